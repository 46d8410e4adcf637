//! The launcher for Linux: namespaces, cgroups, a root file system, and an init of our own.
//!
//! Everything here may block; it is called on a lane that may.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::child::{self, Child};
use super::compile::{Compiled, Facts, Want, compile};
use super::credentials::{credentials, owner};
use super::handover::hand_over;
use super::ops::{LIFE_WITH_AGENT, NAME_LINUX};
use super::spawner::Spawner;
use super::steps::{self, CgroupVersion};
use super::{ForkRequest, InitPid, LauncherError, Lifetime};
use crate::linux::cgroups::{Cgroups, Version};
use crate::linux::{self, capabilities, mount, pidfd, probe, root};
use crate::model::{ContainerId, LaunchInfo, MountFlags, Namespace, Rootfs};
use crate::paths;

/// Starts inits and ends containers. One for all containers; shared by threads.
#[derive(Debug)]
pub struct LinuxLauncher {
    spawner: Spawner,
    cgroups: Arc<Cgroups>,
    may_make_nodes: bool,
}

impl LinuxLauncher {
    /// A launcher that keeps each container's processes together by a cgroup of `cgroups`.
    ///
    /// Starts nothing yet. Errors: `Unsupported`, where the kernel or a filter lacks what every
    /// container needs; `Host`, where no file can be made in memory.
    pub fn new(cgroups: Arc<Cgroups>) -> Result<Self, LauncherError> {
        probe::needed()?;
        let mknod = capabilities::by_name("CAP_MKNOD").expect("a capability of capabilities(7)");
        let may_make_nodes = capabilities::held()?.contains(mknod);
        Ok(Self { spawner: Spawner::new(NAME_LINUX)?, cgroups, may_make_nodes })
    }

    /// The spawner, if one runs.
    #[cfg(all(test, feature = "root-tests"))]
    pub(super) fn spawner_pid(&self) -> Option<i32> {
        self.spawner.pid()
    }

    /// Starts the init of a container; it waits to be released.
    ///
    /// Undo, also of a failure: [`LinuxLauncher::kill`], then [`LinuxLauncher::forget`]. Blocks until
    /// the init exists.
    /// Errors: `InvalidRequest` (unknown user, a path that leaves the root), `Host`, `Exhausted`.
    pub fn fork(&self, mut request: ForkRequest) -> Result<Child, LauncherError> {
        let rootfs = request.rootfs.as_ref().map(detach).transpose()?;
        let credentials = credentials(&request.launch, rootfs.as_ref().map(Root::as_fd))?;
        let owner = match &request.task_root {
            Some(root) => task_owner(&request.launch, root)?,
            None => owner(credentials.as_ref()),
        };
        if rootfs.is_some() {
            let home = credentials.as_ref().and_then(|who| who.home.clone());
            // As engines do it: programs of images rely on having one.
            let home = home.unwrap_or_else(|| "/".to_owned());
            request.launch.environment.entry("HOME".to_owned()).or_insert(home);
        }
        let cgroups = self.cgroups_to_join(&request)?;
        let facts = Facts {
            posix: false,
            own_root: rootfs.is_some(),
            task_root: request.task_root.clone(),
            credentials,
            kill_switch: kill_switch(&request, &cgroups),
            cgroups,
            may_make_nodes: self.may_make_nodes,
        };
        let compiled = compile(&request.launch, &facts)?;
        let (init, control, report) = self.start(&request, compiled, rootfs)?;
        let argv = request.launch.command.map(|command| command.argv).unwrap_or_default();
        Ok(Child { init, argv, owner, control, report })
    }

    /// Ends every process of a container and waits until all are gone, at most `deadline`.
    ///
    /// Repeatable; nothing there is success. Errors: `Host`, with the processes that are left.
    pub fn kill(
        &self,
        id: &ContainerId,
        init: Option<InitPid>,
        deadline: Duration,
    ) -> Result<(), LauncherError> {
        if let Some(pidfd) = init.map(child::open).transpose()?.flatten() {
            pidfd::kill(pidfd.as_fd())?;
            let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
            if !pidfd::has_ended(pidfd.as_fd(), deadline_ms)? {
                return Err(linux::Error::new("wait for the init", Errno::TIMEDOUT).into());
            }
            // One that an earlier containerizer of this process has started has no report that would
            // reap it. Whatever there is to know of its end is in the status file.
            let _status = pidfd::reap(pidfd.as_fd());
        }
        Ok(self.cgroups.kill_group_kill(&paths::cgroup(id), deadline)?)
    }

    /// The container was started by a launcher of this kind, and is not forgotten.
    pub(super) fn has_group(&self, id: &ContainerId) -> bool {
        self.cgroups.kill_group_exists(&paths::cgroup(id))
    }

    /// Whether every process of a container is gone already, and can be known to be without waiting.
    pub(crate) fn is_gone(&self, id: &ContainerId, init: Option<InitPid>) -> bool {
        let init = init.map(child::open).transpose();
        matches!(init, Ok(None | Some(None)))
            && self.cgroups.kill_group_is_empty(&paths::cgroup(id))
    }

    /// Removes what the launcher keeps of a container whose processes are gone. Repeatable.
    pub fn forget(&self, id: &ContainerId) -> Result<(), LauncherError> {
        Ok(self.cgroups.kill_group_remove(&paths::cgroup(id))?)
    }

    /// The kill group, then those of the isolators.
    fn cgroups_to_join(
        &self,
        request: &ForkRequest,
    ) -> Result<Vec<(PathBuf, CgroupVersion)>, LauncherError> {
        let path = paths::cgroup(&request.container_id);
        let group = self.cgroups.kill_group_create(&path)?;
        let mut all = vec![group];
        for cgroup in &request.launch.cgroups {
            if !all.contains(cgroup) {
                all.push(cgroup.clone());
            }
        }
        all.into_iter().map(|path| Ok((self.version_of(&path)?, path))).map(swap).collect()
    }

    /// The embedder's isolators may name cgroups that are not below our root.
    fn version_of(&self, path: &Path) -> Result<CgroupVersion, linux::Error> {
        const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
        Ok(match self.cgroups.version_at(path) {
            Some(Version::V1) => CgroupVersion::V1,
            Some(Version::V2) => CgroupVersion::V2,
            None if linux::fs::file_system_type(path)? == CGROUP2_SUPER_MAGIC => CgroupVersion::V2,
            None => CgroupVersion::V1,
        })
    }

    fn start(
        &self,
        request: &ForkRequest,
        compiled: Compiled,
        rootfs: Option<Root>,
    ) -> Result<(InitPid, child::ChildControl, child::ChildReport), LauncherError> {
        let opened = open_wants(&compiled.wants, rootfs)?;
        let fds: Vec<_> = opened.iter().map(Opened::as_fd).collect();
        let life = match request.lifetime {
            Lifetime::Independent => 0,
            Lifetime::WithAgent => LIFE_WITH_AGENT,
        };
        hand_over(&self.spawner, request, compiled, &fds, life)
    }
}

fn swap<A, B, E>(pair: Result<(A, B), E>) -> Result<(B, A), E> {
    pair.map(|(a, b)| (b, a))
}

/// The container's root as a mount that is attached nowhere.
#[derive(Debug)]
enum Root {
    /// The provisioner's, which it keeps a handle of.
    Shared(Arc<OwnedFd>),
    /// A copy of what is at a directory.
    Copied(OwnedFd),
}

impl Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shared(fd) => fd.as_fd(),
            Self::Copied(fd) => fd.as_fd(),
        }
    }
}

fn detach(rootfs: &Rootfs) -> Result<Root, LauncherError> {
    match rootfs {
        Rootfs::Detached(fd) => Ok(Root::Shared(Arc::clone(fd))),
        Rootfs::Directory(path) => {
            let copy = mount::copy_tree(path)?;
            Ok(Root::Copied(settled(copy, MountFlags::default())?))
        }
    }
}

/// Who runs the task of a command executor, resolved in the task's image: the sandbox is the task's.
fn task_owner(launch: &LaunchInfo, root: &Path) -> Result<(u32, u32), LauncherError> {
    let root = root::open_directory(root)?;
    let task = LaunchInfo { user: launch.task.user.clone(), ..LaunchInfo::default() };
    Ok(owner(credentials(&task, Some(root.as_fd()))?.as_ref()))
}

/// `cgroup.kill` of the kill group, for an init whose own end does not end the rest. Linux 5.14; on
/// older hosts the next agent finds what a dead one has left.
fn kill_switch(request: &ForkRequest, cgroups: &[(PathBuf, CgroupVersion)]) -> Option<PathBuf> {
    let needed = request.lifetime == Lifetime::WithAgent
        && !request.launch.namespaces.contains(&Namespace::Pid);
    let (group, _) = cgroups.first()?;
    let path = group.join("cgroup.kill");
    (needed && path.is_file()).then_some(path)
}

fn open_for_writing(path: &Path) -> Result<OwnedFd, linux::Error> {
    rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| linux::Error::new(format!("open({path:?}, WRONLY)"), errno))
}

/// A descriptor that the init gets.
#[derive(Debug)]
enum Opened {
    Root(Root),
    Other(OwnedFd),
}

impl Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(root) => root.as_fd(),
            Self::Other(fd) => fd.as_fd(),
        }
    }
}

fn open_wants(wants: &[Want], rootfs: Option<Root>) -> Result<Vec<Opened>, LauncherError> {
    let mut rootfs = rootfs;
    wants
        .iter()
        .map(|want| match want {
            Want::Rootfs => Ok(Opened::Root(rootfs.take().expect("compiled with a root, once"))),
            Want::Cgroup(path) => Ok(Opened::Other(root::open_directory(path)?)),
            Want::KillSwitch(path) => Ok(Opened::Other(open_for_writing(path)?)),
            Want::MountNamespace => Ok(Opened::Other(open_mount_namespace()?)),
            Want::Root => Ok(Opened::Other(root::open_directory(Path::new("/"))?)),
            Want::HostTree { path, alone, flags, optional } => {
                let copy = if *alone { mount::copy } else { mount::copy_tree };
                let tree = copy(path).and_then(|tree| settled(tree, *flags));
                match (tree, optional) {
                    // Something that no mount can be attached from: the optional step fails.
                    (Err(_), true) => Ok(Opened::Other(open_mount_namespace()?)),
                    (tree, _) => Ok(Opened::Other(tree?)),
                }
            }
        })
        .collect()
}

fn settled(tree: OwnedFd, flags: MountFlags) -> Result<OwnedFd, linux::Error> {
    let bits = u32::try_from(steps::attributes(flags));
    let bits = bits.expect("the attributes of mount_setattr have 32 bits");
    mount::settle(&tree, MountAttrFlags::from_bits_retain(bits))?;
    Ok(tree)
}

fn open_mount_namespace() -> Result<OwnedFd, linux::Error> {
    // The process', not this thread's: an embedder's thread may have gone its own way.
    let path = "/proc/self/ns/mnt";
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| linux::Error::new(format!("open({path:?})"), errno))
}
