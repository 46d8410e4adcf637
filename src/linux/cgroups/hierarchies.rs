//! The hierarchies of this host, and our root in each.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::detect::{Controller, Layout, Members, Version};
use super::group::{CpuUsage, Group};
use super::{control, tree, v1, v2};
use crate::linux::Error;
use crate::linux::error::Called;

/// Attempts at making a cgroup while another process removes the root that we share with it.
const ATTEMPTS: u32 = 20;

/// The hierarchies of this host, and our root in each. All functions block.
#[derive(Debug)]
pub struct Cgroups {
    layout: Layout,
    root: PathBuf,
    /// What this process made and did not remove, so that isolators which share a v2 cgroup join
    /// it, while a leftover of an earlier life is replaced and never lends its counters.
    made: Mutex<BTreeSet<PathBuf>>,
    /// Containers' paths that somebody else's processes live in: a launch that met them made nothing
    /// there, and its undoing must not touch what is there.
    strangers: Mutex<BTreeSet<PathBuf>>,
    /// Somebody holds a [`KeptRoot`].
    keep: AtomicBool,
}

/// Keeps our roots while no container is there: making and removing them for each container costs as
/// much as its own cgroups. Dropped: roots that nobody uses are removed, and again with the last
/// container of each.
#[derive(Debug)]
#[must_use = "the roots are kept while it lives"]
pub struct KeptRoot {
    cgroups: Arc<Cgroups>,
}

impl Drop for KeptRoot {
    fn drop(&mut self) {
        self.cgroups.keep.store(false, Ordering::SeqCst);
        for mount in self.cgroups.mounts() {
            // Like every root that cannot go, it is empty, marked, and removed by whoever comes next.
            let _ = tree::remove_root(mount, &self.cgroups.root);
        }
    }
}

impl Cgroups {
    /// Finds the hierarchies in /proc/self/mountinfo; `root` is the name of our cgroup in each
    /// (`longshore`, or a path such as `batch/longshore`). Makes nothing.
    ///
    /// `private` is where a later version may mount v1 hierarchies that the host has not.
    /// Errors: `root` is empty, absolute or has `..`: EINVAL; mountinfo cannot be read.
    pub fn detect(root: &str, _private: &Path) -> Result<Self, Error> {
        let mountinfo = "/proc/self/mountinfo";
        let text = std::fs::read_to_string(mountinfo).called(|| format!("read({mountinfo:?})"))?;
        let mut layout = Layout::from_mountinfo(&text);
        if let Some(mount) = layout.v2.clone() {
            layout = layout.with_unified(&control::read(&mount.join("cgroup.controllers"))?);
            layout.counts_time = mount.join("cpu.stat").is_file();
        }
        Self::with_layout(layout, root)
    }

    pub(super) fn with_layout(layout: Layout, root: &str) -> Result<Self, Error> {
        let root = PathBuf::from(root);
        let normal = |component| matches!(component, Component::Normal(_));
        if root.as_os_str().is_empty() || !root.components().all(normal) {
            return Err(Error::new(format!("cgroups root {}", tree::quoted(&root)), Errno::INVAL));
        }
        Ok(Self {
            layout,
            root,
            made: Mutex::default(),
            strangers: Mutex::default(),
            keep: AtomicBool::new(false),
        })
    }

    /// Leaves the roots in place between containers, as long as the answer lives.
    pub fn keep_root(self: &Arc<Self>) -> KeptRoot {
        self.keep.store(true, Ordering::SeqCst);
        KeptRoot { cgroups: Arc::clone(self) }
    }

    /// The interface of `controller` on this host; `None` where it is not mounted.
    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.layout.version(controller)
    }

    /// The controllers that limit a container's CPU time and count it, as far as they need a cgroup
    /// besides the kill group; see [`Self::cpu_usage`].
    pub fn cpu_controllers(&self) -> &'static [Controller] {
        self.layout.cpu()
    }

    /// A container's cgroup for `controller`, whether it exists or not; `None` as above.
    pub fn group(&self, controller: Controller, path: &Path) -> Option<Group> {
        let version = self.version(controller)?;
        let mount = match version {
            Version::V1 => self.layout.v1.get(&controller)?,
            Version::V2 => self.layout.v2.as_ref()?,
        };
        Some(self.group_below(version, mount, path))
    }

    pub(super) fn group_below(&self, version: Version, mount: &Path, path: &Path) -> Group {
        Group::new(version, self.layout.members(version), mount.join(&self.root).join(path))
    }

    /// The interface of a cgroup of ours, or below one of ours; `None` for any other directory. Looks
    /// at nothing but the path.
    pub fn version_at(&self, directory: &Path) -> Option<Version> {
        let ours = |mount: &Path| {
            let below = directory.strip_prefix(mount);
            below.is_ok_and(|below| below.starts_with(&self.root))
        };
        if self.unified().is_some_and(ours) {
            return Some(Version::V2);
        }
        self.layout.v1.values().any(|mount| ours(mount)).then_some(Version::V1)
    }

    /// Makes a container's cgroup for `controllers`, with the root and the parents it lacks.
    ///
    /// On v2 one cgroup serves all controllers: the second call joins what the first one made. A
    /// leftover that no process lives in is replaced.
    /// Undo: [`Self::remove`]. Errors: EEXIST where processes live in a cgroup of this name; ENODEV
    /// where a controller is not mounted.
    pub fn create(&self, controllers: &[Controller], path: &Path) -> Result<Vec<Group>, Error> {
        let mut groups: Vec<Group> = Vec::new();
        for controller in controllers {
            let Some(group) = self.group(*controller, path) else {
                return Err(Error::new(
                    format!("cgroup controller {}", controller.name()),
                    Errno::NODEV,
                ));
            };
            self.make_group(&group, path, *controller)?;
            // cpu and cpuacct are often one hierarchy.
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
        Ok(groups)
    }

    /// Removes a container's cgroups, and the roots that Longshore made and nobody uses or keeps.
    ///
    /// Repeatable; a missing cgroup is done. The processes must be gone: EBUSY after some seconds.
    pub fn remove(&self, controllers: &[Controller], path: &Path) -> Result<(), Error> {
        let mut first = Ok(());
        for group in controllers.iter().filter_map(|c| self.group(*c, path)) {
            let removed = self.remove_group(path, &group);
            first = first.and(removed);
        }
        first
    }

    /// What a container has used of the CPUs; nothing before its first process.
    ///
    /// Errors: ENODEV where `Cpu` is not mounted, or nobody counts time.
    pub fn cpu_usage(&self, path: &Path) -> Result<CpuUsage, Error> {
        let group = |controller: Controller| {
            let missing =
                || Error::new(format!("cgroup controller {}", controller.name()), Errno::NODEV);
            self.group(controller, path).ok_or_else(missing)
        };
        let cpu = group(Controller::Cpu)?;
        if cpu.version() == Version::V2 {
            return v2::cpu_usage(cpu.directory());
        }
        let time = match self.time_of_unified(path)? {
            Some(time) => time,
            None if self.layout.counts_time => CpuUsage::default(),
            None => v1::cpu_time(group(Controller::Cpuacct)?.directory())?,
        };
        Ok(CpuUsage { throttled: v1::cpu_throttled(cpu.directory())?, ..time })
    }

    /// On a hybrid host, the time that the kill group has counted: since Linux 4.15 every v2 cgroup does,
    /// whichever controllers it has, and in one file there is what takes three of `cpuacct`.
    fn time_of_unified(&self, path: &Path) -> Result<Option<CpuUsage>, Error> {
        let Some(mount) = self.unified() else { return Ok(None) };
        match v2::cpu_usage(&mount.join(&self.root).join(path)) {
            Err(error) if control::is_missing(&error) => Ok(None),
            usage => usage.map(Some),
        }
    }

    /// Names of the top-level containers that have a cgroup in any hierarchy; for finding orphans.
    pub fn containers(&self) -> Result<BTreeSet<String>, Error> {
        let mut names = BTreeSet::new();
        for mount in self.mounts() {
            for child in tree::children(&mount.join(&self.root))? {
                names.extend(child.file_name().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
        Ok(names)
    }

    /// Every hierarchy in use, once.
    pub(super) fn mounts(&self) -> BTreeSet<&Path> {
        self.layout.v1.values().chain(&self.layout.v2).map(PathBuf::as_path).collect()
    }

    #[cfg(all(test, feature = "root-tests"))]
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn unified(&self) -> Option<&Path> {
        self.layout.v2.as_deref()
    }

    pub(super) fn freezer(&self) -> Option<&Path> {
        self.layout.v1.get(&Controller::Freezer).map(PathBuf::as_path)
    }

    fn make_group(&self, group: &Group, path: &Path, controller: Controller) -> Result<(), Error> {
        let mount = self.mount_of(group);
        self.make_below(mount, path, group, Leftover::Replace)?;
        match group.version() {
            Version::V1 => Ok(()),
            Version::V2 => v2::enable(mount, group.directory(), controller),
        }
    }

    /// Makes the cgroup directories of `group`. Another process that shares our root may remove it
    /// while it is empty, between our two mkdir: then all is done again.
    pub(super) fn make_below(
        &self,
        mount: &Path,
        path: &Path,
        group: &Group,
        leftover: Leftover,
    ) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.try_make(mount, path, group, leftover) {
                Err(error) if error.errno == Errno::NOENT && attempt < ATTEMPTS => attempt += 1,
                Err(error) if error.errno == Errno::EXIST => {
                    locked(&self.strangers).insert(path.to_path_buf());
                    return Err(error);
                }
                other => return other,
            }
        }
    }

    fn try_make(
        &self,
        mount: &Path,
        path: &Path,
        group: &Group,
        leftover: Leftover,
    ) -> Result<(), Error> {
        let needs = self.needs(mount);
        let directory = group.directory();
        let made = match tree::make(directory, needs) {
            Err(error) if error.errno == Errno::NOENT => {
                self.make_parents(mount, path, needs)?;
                tree::make(directory, needs)?
            }
            made => made?,
        };
        if made == tree::Made::Before && !self.is_ours(directory) {
            leftover.settle(directory, needs)?;
        }
        self.made().insert(directory.to_path_buf());
        match group.members() {
            Members::Here => Ok(()),
            Members::InLeaf => tree::make(&group.processes(), needs).map(|_| ()),
        }
    }

    fn make_parents(&self, mount: &Path, path: &Path, needs: tree::Needs) -> Result<(), Error> {
        tree::make_root(mount, &self.root, needs)?;
        let mut parent = mount.join(&self.root);
        for level in path.parent().into_iter().flatten() {
            parent.push(level);
            tree::make(&parent, needs)?;
        }
        Ok(())
    }

    pub(super) fn remove_group(&self, path: &Path, group: &Group) -> Result<(), Error> {
        let directory = group.directory();
        if self.is_strangers(path, directory) {
            return Ok(());
        }
        if group.members() == Members::InLeaf {
            // Whatever keeps it there keeps the other one, too, and is told then.
            let _ = tree::remove_one(&group.processes());
        }
        tree::remove(directory)?;
        self.made().remove(directory);
        // The separator of nested containers goes with the last of them. What is in it is others'.
        if let Some(parent) = directory.parent().filter(|parent| parent.ends_with("mesos")) {
            match tree::remove_one(parent) {
                Err(error) if matches!(error.errno, Errno::BUSY | Errno::NOTEMPTY) => {}
                other => other?,
            }
        }
        if self.keep.load(Ordering::SeqCst) {
            return Ok(());
        }
        match self.mounts().into_iter().find(|mount| directory.starts_with(mount)) {
            Some(mount) => tree::remove_root(mount, &self.root),
            None => Ok(()),
        }
    }

    fn needs(&self, mount: &Path) -> tree::Needs {
        match self.layout.cpusets.contains(mount) {
            true => tree::Needs::Cpuset,
            false => tree::Needs::Nothing,
        }
    }

    fn mount_of(&self, group: &Group) -> &Path {
        self.mounts()
            .into_iter()
            .filter(|mount| group.directory().starts_with(mount))
            .max_by_key(|mount| mount.as_os_str().len())
            .expect("every group lies below a hierarchy of this layout")
    }

    pub(super) fn is_ours(&self, directory: &Path) -> bool {
        self.made().contains(directory)
    }

    /// A launch of this path has met processes that are not ours, and did not make this cgroup.
    pub(super) fn is_strangers(&self, path: &Path, directory: &Path) -> bool {
        locked(&self.strangers).contains(path) && !self.is_ours(directory)
    }

    fn made(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        locked(&self.made)
    }
}

/// The set is whole between any two of its operations, so a panic elsewhere spoils nothing.
fn locked(set: &Mutex<BTreeSet<PathBuf>>) -> MutexGuard<'_, BTreeSet<PathBuf>> {
    set.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What to do with a cgroup that this process did not make, once it is known to be empty.
#[derive(Debug, Clone, Copy)]
pub(super) enum Leftover {
    /// Make it anew, so that no counter of an earlier container is seen.
    Replace,
    /// Use it: it has no counters that anybody reads.
    Join,
}

impl Leftover {
    fn settle(self, directory: &Path, needs: tree::Needs) -> Result<(), Error> {
        let in_use = || {
            let call = format!("mkdir({}): processes live in it", tree::quoted(directory));
            Error::new(call, Errno::EXIST)
        };
        match self {
            Self::Join if tree::processes(directory)?.is_empty() => Ok(()),
            Self::Join => Err(in_use()),
            Self::Replace => match tree::remove_now(directory) {
                Err(error) if matches!(error.errno, Errno::BUSY | Errno::NOTEMPTY) => Err(in_use()),
                Ok(()) => tree::make(directory, needs).map(|_| ()),
                Err(error) => Err(error),
            },
        }
    }
}
