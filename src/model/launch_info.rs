//! What an isolator contributes to a launch. `launcher/plan.rs` merges the contributions.
//!
//! Paths of the container are written as the payload sees them (`/proc`, not `<rootfs>/proc`); the
//! init resolves them inside the root file system, so that no link in an image leads to the host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TaskLaunch;

/// One isolator's contribution. Everything is optional; merging is `launcher/plan.rs`'s.
///
/// ```
/// use longshore::model::LaunchInfo;
///
/// let mut info = LaunchInfo::default();
/// info.environment.insert("ACME_ZONE".to_owned(), "7".to_owned());
/// info.no_new_privileges = true;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaunchInfo {
    /// Replaces the config's command. Two isolators: refused.
    pub command: Option<Command>,
    /// Merged in isolator order; the caller's environment wins over all.
    pub environment: BTreeMap<String, String>,
    /// Two isolators: refused.
    pub working_directory: Option<PathBuf>,
    /// The image's `USER` or the caller's, still a text: the launcher resolves it in the image.
    /// Two isolators: refused.
    pub user: Option<User>,
    /// Mounted in order, after the root file system is in place and before it is entered.
    pub mounts: Vec<Mount>,
    /// What the caller shows in the container. Mounted in order, after everything else is done to the
    /// tree: nothing but a mount point for another volume is ever made in a caller's directory.
    pub volumes: Vec<Mount>,
    /// Nodes to make in the container's `/dev`.
    pub devices: Vec<DeviceNode>,
    /// Done in order, after the mounts.
    pub file_operations: Vec<FileOperation>,
    /// Hidden: a file by `/dev/null`, a directory by an empty read-only tmpfs. Missing: nothing.
    pub masked_paths: Vec<PathBuf>,
    /// Made read-only where they are. Missing: nothing.
    pub readonly_paths: Vec<PathBuf>,
    /// New namespaces.
    pub namespaces: BTreeSet<Namespace>,
    /// Two isolators: refused.
    pub capabilities: Option<CapabilitySets>,
    /// Two isolators setting one kind: refused.
    pub rlimits: Vec<Rlimit>,
    /// Any isolator: set.
    pub no_new_privileges: bool,
    /// Written to the payload's `oom_score_adj`. Lowering it is fatal only if the user asked.
    pub oom_score_adj: Option<i32>,
    /// cgroup directories that the first process joins before it does anything else: v1, one for each
    /// hierarchy; v2, one, entered by CLONE_INTO_CGROUP. Absolute host paths.
    pub cgroups: Vec<PathBuf>,
    /// Supplementary groups of the payload.
    pub supplementary_groups: BTreeSet<u32>,
    /// `sethostname` in the new UTS namespace.
    pub hostname: Option<String>,
    /// Everything below the root file system is read-only.
    pub readonly_rootfs: bool,
    /// A compiled filter, one `struct sock_filter` a word. Two isolators: refused.
    pub seccomp: Option<Vec<u64>>,
    /// Run in order before the payload, after everything else is done to the tree.
    pub pre_exec_commands: Vec<PreExecCommand>,
    /// For the task, if the container is a command executor's.
    pub task: TaskLaunch,
}

/// A command that the init runs before the payload and waits for; its failure fails the launch.
///
/// It runs as the agent's user in the *host's* file system, in a mount namespace that goes with it,
/// and otherwise in the container: its namespaces, its cgroups and its streams. It sees no more of an
/// environment than this, and `PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreExecCommand {
    /// What to run.
    pub command: Command,
    /// Its whole environment; `PATH` where it has none.
    pub environment: BTreeMap<String, String>,
}

impl PreExecCommand {
    /// Exactly this argv.
    pub fn program<S: Into<String>>(executable: S, arguments: impl IntoIterator<Item = S>) -> Self {
        let executable = executable.into();
        let first = std::iter::once(executable.clone());
        let argv = first.chain(arguments.into_iter().map(Into::into)).collect();
        Self { command: Command { executable, argv }, environment: BTreeMap::new() }
    }

    /// A line for `/bin/sh -c`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self::program("/bin/sh".to_owned(), ["-c".to_owned(), line.into()])
    }
}

/// An executable and its whole argv, argv\[0] included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Found by PATH if it has no `/`.
    pub executable: String,
    /// argv; never empty.
    pub argv: Vec<String>,
}

/// Who runs the payload, as written: `root`, `1000`, `1000:100`, `redis:redis`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User(pub String);

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MountSource {
    /// A new file system of this type (`proc`, `tmpfs`, `sysfs`, `devpts`, `mqueue`, `cgroup2`).
    Filesystem {
        /// Type as in /proc/filesystems.
        kind: String,
        /// Options as in fsconfig(2): `("mode", "0755")`; a flag has the empty value.
        options: Vec<(String, String)>,
    },
    /// A path on the host, bound with all mounts below it.
    HostPath(PathBuf),
    /// A path of the container itself, bound onto the target.
    ContainerPath(PathBuf),
    /// A directory on the host, bound without the mounts below it: to look for those takes the kernel
    /// the longer the more mounts the host has.
    HostPathAlone(PathBuf),
}

/// Mount attributes, mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountFlags {
    /// `MOUNT_ATTR_RDONLY`, also on the mounts below (AT_RECURSIVE).
    pub read_only: bool,
    /// `MOUNT_ATTR_NOSUID`.
    pub nosuid: bool,
    /// `MOUNT_ATTR_NODEV`.
    pub nodev: bool,
    /// `MOUNT_ATTR_NOEXEC`.
    pub noexec: bool,
}

/// One mount of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// From where.
    pub source: MountSource,
    /// Absolute path in the container; made if missing (a file for a file).
    pub target: PathBuf,
    /// How.
    pub flags: MountFlags,
    /// Failure of this mount does not fail the launch.
    pub optional: bool,
}

/// A device node below the container's `/dev`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// Absolute path in the container.
    pub path: PathBuf,
    /// Character (`true`) or block device.
    pub character: bool,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
}

/// A change to the container's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FileOperation {
    /// Make a link. An existing name is left alone.
    Symlink {
        /// What the link says.
        target: PathBuf,
        /// Absolute path of the link in the container.
        link: PathBuf,
    },
    /// Make a directory and its parents.
    Mkdir {
        /// Absolute path in the container.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
}

/// A namespace to unshare, namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Namespace {
    /// Mount.
    Mnt,
    /// Process ids.
    Pid,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Network.
    Net,
    /// cgroup root.
    Cgroup,
}

/// A capability by its number, capabilities(7).
pub type Capability = u8;

/// The capability sets of the payload; each a bit mask, bit N = capability N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// Upper bound for anything executed.
    pub bounding: u64,
    /// Effective and permitted of the payload.
    pub effective: u64,
    /// Ambient and inheritable: kept over exec by a user other than root. A subset of `effective`.
    pub ambient: u64,
}

/// A resource that setrlimit(2) limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the names are setrlimit(2)'s, without RLIMIT_")]
#[non_exhaustive]
pub enum RlimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl std::fmt::Display for RlimitKind {
    /// As on the command line: `nofile`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// One resource limit; `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rlimit {
    /// Which.
    pub kind: RlimitKind,
    /// Soft limit, in the kernel's unit for this resource.
    pub soft: Option<u64>,
    /// Hard limit.
    pub hard: Option<u64>,
}

impl Rlimit {
    /// Soft and hard limit in the kernel's unit of each; `None` is unlimited.
    pub const fn new(kind: RlimitKind, both: Option<u64>) -> Self {
        Self { kind, soft: both, hard: both }
    }

    /// Up to which a process may raise the soft limit itself.
    #[must_use]
    pub const fn hard(self, hard: Option<u64>) -> Self {
        Self { hard, ..self }
    }
}
