//! From the description of a launch to the init's steps. Pure: what the host has to be asked for
//! comes in as [`Facts`], what has to be opened goes out as [`Want`]s.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::ops::FD_FIRST_FREE;
use super::plan::DEFAULT_PATH;
use super::steps::{CgroupVersion, Fd, MaskPlace, Step, Target};
use super::user::Credentials;
use crate::model::{
    Command, DeviceNode, FileOperation, LaunchInfo, Mount, MountFlags, MountSource, Namespace,
};

/// What the launcher found out about the host and the image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// No privilege and no namespace: the payload stays where its spawner is.
    pub(crate) posix: bool,
    /// The container has a root file system of its own.
    pub(crate) own_root: bool,
    /// It has none, but the task of the command executor has one, here.
    pub(crate) task_root: Option<PathBuf>,
    /// Who runs the payload; `None` leaves it as the agent is.
    pub(crate) credentials: Option<Credentials>,
    /// The cgroups to join, the kill group included.
    pub(crate) cgroups: Vec<(PathBuf, CgroupVersion)>,
    /// The file by which the init ends everything when the agent is gone.
    pub(crate) kill_switch: Option<PathBuf>,
    /// mknod(2) is permitted; otherwise the host's nodes are shown.
    pub(crate) may_make_nodes: bool,
}

/// Something that the launcher opens for the init, in its own mount namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Want {
    /// The container's root, as a detached mount.
    Rootfs,
    /// A cgroup's directory.
    Cgroup(PathBuf),
    /// A detached copy of a host path and all mounts below it.
    HostTree {
        /// Where it is on the host.
        path: PathBuf,
        /// Without the mounts below it.
        alone: bool,
        /// How it shall be mounted.
        flags: MountFlags,
        /// A path that is not there drops the steps that need it.
        optional: bool,
    },
    /// A cgroup's `cgroup.kill`.
    KillSwitch(PathBuf),
    /// The agent's mount namespace.
    MountNamespace,
    /// The agent's root directory.
    Root,
}

/// A launch, ready to be handed to the spawner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Compiled {
    /// `CLONE_NEW…` of the clone.
    pub(crate) clone_flags: u64,
    /// What the init does.
    pub(crate) steps: Vec<Step>,
    /// What it needs; the first one has index [`FD_FIRST_FREE`].
    pub(crate) wants: Vec<Want>,
    /// Index of the v2 cgroup to be born in.
    pub(crate) birthplace: Fd,
}

/// A launch that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A path of the container that is not absolute, or goes upwards.
    #[error("path {0:?} of the container is not absolute or leaves the root file system")]
    Path(PathBuf),
    /// Mounts, but no mount namespace for them.
    #[error("mount at {0:?} needs a mount namespace (isolation filesystem/linux)")]
    NoMountNamespace(PathBuf),
    /// `plan::merge` was not called.
    #[error("the launch has no command")]
    NoCommand,
    /// A text that no system call can take.
    #[error("{0:?} contains a NUL byte")]
    Nul(PathBuf),
}

/// Compiles `info`.
pub(crate) fn compile(info: &LaunchInfo, facts: &Facts) -> Result<Compiled, CompileError> {
    let own_mounts = facts.own_root || info.namespaces.contains(&Namespace::Mnt);
    let mut compiler = Compiler {
        facts,
        out: Compiled { clone_flags: 0, steps: Vec::new(), wants: Vec::new(), birthplace: -1 },
    };
    compiler.out.clone_flags = clone_flags(&info.namespaces, facts.own_root);
    compiler.place(info, own_mounts);
    match own_mounts {
        true => compiler.trees(info)?,
        false => refuse_tree(info)?,
    }
    if let Some(name) = &info.hostname {
        compiler.step(Step::Hostname(name.clone()));
    }
    compiler.pre_exec(info);
    compiler.step(Step::Fork);
    compiler.payload(info)?;
    Ok(compiler.out)
}

/// The mount namespace of a container on the host's file system is made later, from the agent's.
fn clone_flags(namespaces: &BTreeSet<Namespace>, own_root: bool) -> u64 {
    const MNT: u64 = 0x0002_0000;
    let flag = |namespace: &Namespace| match namespace {
        Namespace::Mnt | Namespace::Cgroup => 0,
        Namespace::Uts => 0x0400_0000,
        Namespace::Ipc => 0x0800_0000,
        Namespace::Pid => 0x2000_0000,
        Namespace::Net => 0x4000_0000,
    };
    let root = if own_root { MNT } else { 0 };
    namespaces.iter().map(flag).fold(root, |all, one| all | one)
}

fn refuse_tree(info: &LaunchInfo) -> Result<(), CompileError> {
    let first = info
        .mounts
        .iter()
        .chain(&info.volumes)
        .map(|mount| &mount.target)
        .chain(info.devices.iter().map(|device| &device.path))
        .chain(&info.masked_paths)
        .chain(&info.readonly_paths)
        .next();
    match first {
        Some(path) => Err(CompileError::NoMountNamespace(path.clone())),
        None => Ok(()),
    }
}

struct Compiler<'a> {
    facts: &'a Facts,
    out: Compiled,
}

impl Compiler<'_> {
    fn step(&mut self, step: Step) {
        self.out.steps.push(step);
    }

    fn want(&mut self, want: Want) -> Fd {
        self.out.wants.push(want);
        let index = FD_FIRST_FREE + self.out.wants.len() - 1;
        Fd::try_from(index).expect("a request has few descriptors")
    }

    /// cgroups, namespaces, the barrier, the root.
    fn place(&mut self, info: &LaunchInfo, own_mounts: bool) {
        for (path, version) in &self.facts.cgroups {
            let fd = self.want(Want::Cgroup(path.clone()));
            let birthplace = *version == CgroupVersion::V2 && self.out.birthplace < 0;
            if birthplace {
                self.out.birthplace = fd;
            }
            let (path, version) = (path.clone(), *version);
            self.step(Step::JoinCgroup { fd, path, version, birthplace });
        }
        // The root of a cgroup namespace is where its maker is: after the join.
        if info.namespaces.contains(&Namespace::Cgroup) {
            self.step(Step::UnshareCgroup);
        }
        if let Some(path) = &self.facts.kill_switch {
            let fd = self.want(Want::KillSwitch(path.clone()));
            self.step(Step::KeepKill { fd });
        }
        if let Some(value) = info.oom_score_adj {
            self.step(Step::OomScoreAdj(value));
        }
        self.step(Step::Barrier);
        if self.facts.posix {
            return;
        }
        if self.facts.own_root {
            if !info.masked_paths.is_empty() {
                self.step(Step::KeepMasks(MaskPlace::Spawner));
            }
            let fd = self.want(Want::Rootfs);
            self.step(Step::EnterRoot { fd });
            return;
        }
        let fd = self.want(Want::MountNamespace);
        self.step(Step::EnterHostMounts { fd });
        let fd = self.want(Want::Root);
        self.step(Step::EnterHostRoot { fd });
        if own_mounts {
            self.step(Step::UnshareMounts);
            // Slaves, so that what the host unmounts does not stay busy in here.
            self.step(Step::FollowHostMounts);
        }
        if !info.masked_paths.is_empty() {
            self.step(Step::KeepMasks(MaskPlace::Host));
        }
    }

    /// A command executor sees the host's tree, and its task's complete in it.
    fn trees(&mut self, info: &LaunchInfo) -> Result<(), CompileError> {
        let Some(root) = &self.facts.task_root else { return self.tree(info) };
        let at = |path: &Path, flags| Target {
            path: path.to_owned(),
            flags,
            optional: false,
            create: false,
        };
        if info.namespaces.contains(&Namespace::Pid) {
            let flags =
                MountFlags { nosuid: true, nodev: true, noexec: true, ..MountFlags::default() };
            let (kind, at) = ("proc".to_owned(), at(Path::new("/proc"), flags));
            self.step(Step::MountFs { kind, options: Vec::new(), at });
        }
        let (path, flags) = (inside(root)?, MountFlags::default());
        // A mount of its own, which pivot_root(2) needs.
        let fd =
            self.want(Want::HostTree { path: path.clone(), alone: false, flags, optional: false });
        self.step(Step::MountFd {
            fd,
            source: path.clone(),
            directory: true,
            at: at(&path, flags),
        });
        self.step(Step::EnterTree(path));
        self.tree(info)?;
        self.step(Step::LeaveTree);
        Ok(())
    }

    fn pre_exec(&mut self, info: &LaunchInfo) {
        // The host's tree is where an init without a root of its own already is.
        let host = (self.facts.own_root && !info.pre_exec_commands.is_empty()).then(|| {
            let mounts = self.want(Want::MountNamespace);
            self.want(Want::Root);
            mounts
        });
        for before in &info.pre_exec_commands {
            let Command { executable, argv } = before.command.clone();
            let mut environment = before.environment.clone();
            let search = environment.entry("PATH".to_owned()).or_insert(DEFAULT_PATH.to_owned());
            let search = search.clone();
            let environment = environment.iter().map(|(key, value)| format!("{key}={value}"));
            let environment = environment.collect();
            self.step(Step::PreExec { host, executable, search, argv, environment });
        }
    }

    fn tree(&mut self, info: &LaunchInfo) -> Result<(), CompileError> {
        for mount in &info.mounts {
            self.mount(mount)?;
        }
        for device in &info.devices {
            self.device(device)?;
        }
        self.close_to_devices(info)?;
        for operation in &info.file_operations {
            self.step(match operation {
                FileOperation::Symlink { target, link } => {
                    Step::Symlink { target: no_nul(target)?, link: inside(link)? }
                }
                FileOperation::Mkdir { path, mode } => {
                    Step::Mkdir { path: inside(path)?, mode: *mode }
                }
            });
        }
        for path in &info.masked_paths {
            self.step(Step::Mask(inside(path)?));
        }
        for path in &info.readonly_paths {
            let mount = info.mounts.iter().rev().find(|mount| mount.target == *path);
            let path = inside(path)?;
            self.step(match mount {
                Some(mount) => Step::ReadonlyMount { path, optional: mount.optional },
                None => Step::Readonly(path),
            });
        }
        // Over whatever they cover; before the root is read-only, for the mount points of theirs.
        for volume in &info.volumes {
            self.mount(volume)?;
        }
        if info.readonly_rootfs && self.facts.own_root {
            self.step(Step::ReadonlyRoot);
        }
        Ok(())
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), CompileError> {
        let at = Target {
            path: inside(&mount.target)?,
            flags: mount.flags,
            optional: mount.optional,
            // No new mount points on the host.
            create: self.facts.own_root || self.facts.task_root.is_some(),
        };
        let step = match &mount.source {
            MountSource::Filesystem { kind, options } => {
                Step::MountFs { kind: kind.clone(), options: options.clone(), at }
            }
            MountSource::ContainerPath(source) => Step::Bind { source: inside(source)?, at },
            MountSource::HostPath(source) | MountSource::HostPathAlone(source) => {
                let alone = matches!(mount.source, MountSource::HostPathAlone(_));
                let (flags, optional) = (mount.flags, mount.optional);
                let path = no_nul(source)?;
                let fd = self.want(Want::HostTree { path: path.clone(), alone, flags, optional });
                Step::MountFd { fd, source: path, directory: alone, at }
            }
        };
        self.step(step);
        Ok(())
    }

    /// Whoever may make nodes in the container must not open the host's devices by them. The nodes of the
    /// plan are mounts of their own by now.
    fn close_to_devices(&mut self, info: &LaunchInfo) -> Result<(), CompileError> {
        let made = |mount: &&Mount| matches!(mount.source, MountSource::Filesystem { .. });
        let directories: BTreeSet<&Path> =
            info.devices.iter().filter_map(|device| device.path.parent()).collect();
        for mount in info.mounts.iter().filter(made) {
            if self.facts.may_make_nodes && directories.contains(mount.target.as_path()) {
                self.step(Step::NoDevices(inside(&mount.target)?));
            }
        }
        Ok(())
    }

    fn device(&mut self, device: &DeviceNode) -> Result<(), CompileError> {
        let path = inside(&device.path)?;
        if self.facts.may_make_nodes {
            let DeviceNode { character, mode, major, minor, .. } = *device;
            self.step(Step::Mknod { path, character, mode, major, minor });
            return Ok(());
        }
        let source = MountSource::HostPath(path.clone());
        let flags = MountFlags { nosuid: true, noexec: true, ..MountFlags::default() };
        self.mount(&Mount { source, target: path, flags, optional: false })
    }

    fn payload(&mut self, info: &LaunchInfo) -> Result<(), CompileError> {
        let command = info.command.as_ref().ok_or(CompileError::NoCommand)?;
        for rlimit in &info.rlimits {
            let (soft, hard) = (rlimit.soft.unwrap_or(u64::MAX), rlimit.hard.unwrap_or(u64::MAX));
            self.step(Step::Rlimit { kind: rlimit.kind, soft, hard });
        }
        if let Some(path) = &info.working_directory {
            self.step(Step::Chdir(no_nul(path)?));
        }
        let filter = info.seccomp.clone().map(Step::Seccomp);
        // Without no_new_privs a filter takes a capability that the switch may take away.
        let (early, late) = match info.no_new_privileges {
            true => (None, filter),
            false => (filter, None),
        };
        self.out.steps.extend(early);
        self.identity(info);
        if self.facts.posix {
            self.step(Step::DieWithInit);
        }
        if info.no_new_privileges {
            self.step(Step::NoNewPrivs);
        }
        self.out.steps.extend(late);
        let search = info.environment.get("PATH").map_or(DEFAULT_PATH, String::as_str).to_owned();
        let environment = info.environment.iter().map(|(key, value)| format!("{key}={value}"));
        self.step(Step::Exec {
            executable: command.executable.clone(),
            search,
            argv: command.argv.clone(),
            environment: environment.collect(),
        });
        Ok(())
    }

    fn identity(&mut self, info: &LaunchInfo) {
        if let Some(sets) = info.capabilities {
            self.step(Step::CapBounding(sets.bounding));
        }
        if let Some(who) = &self.facts.credentials {
            // The primary group as well: a file may deny what a group's member may not do
            // (CVE-2022-36109).
            let groups = who.groups.union(&info.supplementary_groups).copied();
            let groups: BTreeSet<u32> = groups.chain([who.gid]).collect();
            let (uid, gid) = (who.uid, who.gid);
            self.step(Step::Groups(groups.into_iter().collect()));
            if info.capabilities.is_some() && uid != 0 {
                self.step(Step::KeepCaps);
            }
            self.step(Step::User { uid, gid });
        }
        if let Some(sets) = info.capabilities {
            self.step(Step::Caps { effective: sets.effective, ambient: sets.ambient });
        }
    }
}

/// A path of the container: absolute, never upwards, and written in the one way that the init can
/// compare.
fn inside(path: &Path) -> Result<PathBuf, CompileError> {
    let upwards = path.components().any(|component| component == Component::ParentDir);
    match path.is_absolute() && !upwards {
        true => no_nul(&path.components().collect::<PathBuf>()),
        false => Err(CompileError::Path(path.to_owned())),
    }
}

fn no_nul(path: &Path) -> Result<PathBuf, CompileError> {
    use std::os::unix::ffi::OsStrExt;
    match path.as_os_str().as_bytes().contains(&0) {
        true => Err(CompileError::Nul(path.to_owned())),
        false => Ok(path.to_owned()),
    }
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
