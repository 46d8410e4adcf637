//! ROOM: starts the first process of a container, and ends all of them.
//!
//! The init is our own small static program, run from a sealed memfd; it does what the plan says,
//! starts the payload, waits for it and writes down how it ended. It never runs code of the
//! embedding process.

pub(crate) mod actor;
mod any;
mod child;
mod compile;
mod credentials;
mod executor;
mod handover;
mod linux;
pub(crate) mod messages;
#[expect(unreachable_pub, dead_code, reason = "the same file is part of the init's program")]
#[path = "init/ops.rs"]
mod ops;
pub mod plan;
mod posix;
#[cfg(test)]
mod posix_tests;
#[cfg(all(test, feature = "root-tests"))]
mod root_tests;
mod spawner;
mod steps;
mod user;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::error::{Classified, ErrorKind, Stage};
use crate::model::{ContainerId, LaunchInfo, Rootfs, WaitStatus};

pub use crate::isolators::InitPid;
pub use any::{AnyLauncher, automatic};
pub use child::{Adopted, Child, ChildControl, ChildReport};
pub use compile::CompileError;
pub use linux::LinuxLauncher;
pub use posix::PosixLauncher;
pub use user::UnknownUser;

/// The three streams of a payload, open and ready.
#[derive(Debug)]
pub struct Stdio {
    /// Read by the payload.
    pub stdin: OwnedFd,
    /// Written by the payload.
    pub stdout: OwnedFd,
    /// Written by the payload.
    pub stderr: OwnedFd,
}

/// What a container dies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The init outlives this process (agent).
    Independent,
    /// The init kills the payload when this process is gone (`longshore run`).
    WithAgent,
}

/// Everything that a fork needs.
#[derive(Debug)]
pub struct ForkRequest {
    /// Who.
    pub container_id: ContainerId,
    /// Merged contributions: `plan::merge`.
    pub launch: LaunchInfo,
    /// What the payload's root becomes; `None`: the host's file system.
    pub rootfs: Option<Rootfs>,
    /// Where on the host the root file system of a command executor's task is; the executor itself
    /// works on the host's file system.
    pub task_root: Option<PathBuf>,
    /// Streams.
    pub stdio: Stdio,
    /// Where the init writes the raw wait status: decimal text, mode 0600.
    pub status_file: PathBuf,
    /// What it dies with.
    pub lifetime: Lifetime,
}

/// Why a released init did not reach exec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}", self.reason())]
pub struct StartFailure {
    /// What was tried, with its object: `exec /no/such`, `mount proc at /proc`.
    pub step: String,
    /// The exec itself failed, not something before it.
    pub exec: bool,
    /// The caller named what was tried: the program, or the working directory.
    pub callers: bool,
    /// The kernel's error number; 0 beside a `status`.
    pub errno: i32,
    /// How a command ended that was to run before the payload.
    pub status: Option<WaitStatus>,
}

impl StartFailure {
    fn reason(&self) -> String {
        match self.status.map(|status| (status, status.signal())) {
            None => {}
            Some((_, Some(signal))) => {
                return format!("killed by {}", crate::model::signal_name(signal));
            }
            Some((status, None)) => return format!("exited with code {}", status.exit_code()),
        }
        let errno = nix::errno::Errno::from_raw(self.errno);
        let reason = errno.desc().to_lowercase();
        match (self.exec, errno) {
            // The kernel does not tell which of the two it has not found.
            (true, nix::errno::Errno::ENOENT) => format!("{reason} (it, or its interpreter)"),
            _ => reason,
        }
    }
}

impl Classified for StartFailure {
    fn kind(&self) -> ErrorKind {
        match self.callers {
            true => ErrorKind::InvalidRequest,
            false => ErrorKind::Host,
        }
    }

    fn errno(&self) -> Option<String> {
        let errno = nix::errno::Errno::from_raw(self.errno);
        self.status.is_none().then(|| format!("{errno:?}"))
    }

    fn stage(&self) -> Option<Stage> {
        Some(if self.exec { Stage::Exec } else { Stage::Start })
    }
}

/// Why an init could not be started, released, signalled or ended.
#[derive(Debug, thiserror::Error)]
pub enum LauncherError {
    /// The payload's user or group is not in the image.
    #[error(transparent)]
    User(#[from] UnknownUser),
    /// The launch contradicts itself.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] crate::linux::Error),
    /// The kernel, or a filter, lacks what every container needs.
    #[error("the host lacks {feature}: {error}")]
    Missing {
        /// Its row in `docs/kernel-features.md`.
        feature: &'static str,
        /// The call that told.
        #[source]
        error: crate::linux::Error,
    },
    /// The spawner cannot have a mount namespace of its own: the embedder is no root, lives in a
    /// chroot, or on an initial ram disk, which no root can be exchanged for.
    #[error(
        "prepare the spawner's mount namespace: {}",
        nix::errno::Errno::from_raw(.0.raw_os_error()).desc().to_lowercase()
    )]
    Spawner(rustix::io::Errno),
    /// The spawner could not make the process.
    #[error("clone an init: {}", nix::errno::Errno::from_raw(.0.raw_os_error()).desc().to_lowercase())]
    Spawn(rustix::io::Errno),
    /// Only the linux launcher can.
    #[error("{0} needs --launcher=linux")]
    NeedsLinux(&'static str),
    /// This process is no root.
    #[error("to run as user {uid}:{gid} needs root")]
    OtherUser {
        /// Wanted.
        uid: u32,
        /// Wanted.
        gid: u32,
    },
    /// The host has no such file.
    #[error("the posix launcher needs {0} (CONFIG_PROC_CHILDREN)")]
    NoChildren(&'static str),
    /// More mounts from the host and cgroups than one message can carry.
    #[error("more than {limit} host mounts and cgroups")]
    TooManyMounts {
        /// How many there may be.
        limit: usize,
    },
    /// Arguments and environment of more than 4 GiB.
    #[error("the plan is larger than 4 GiB")]
    PlanTooLarge,
}

impl From<crate::linux::probe::Missing> for LauncherError {
    fn from(missing: crate::linux::probe::Missing) -> Self {
        Self::Missing { feature: missing.feature, error: missing.error }
    }
}

impl Classified for LauncherError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::User(_)
            | Self::Compile(_)
            | Self::NeedsLinux(_)
            | Self::TooManyMounts { .. }
            | Self::PlanTooLarge => ErrorKind::InvalidRequest,
            Self::Kernel(error) => error.kind(),
            Self::Spawn(errno) => crate::linux::Error::new("clone", *errno).kind(),
            Self::Spawner(_)
            | Self::Missing { .. }
            | Self::OtherUser { .. }
            | Self::NoChildren(_) => ErrorKind::Unsupported,
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Kernel(error) | Self::Missing { error, .. } => error.errno_name(),
            Self::Spawn(errno) | Self::Spawner(errno) => {
                crate::linux::Error::new("clone", *errno).errno_name()
            }
            Self::User(_)
            | Self::Compile(_)
            | Self::NeedsLinux(_)
            | Self::OtherUser { .. }
            | Self::NoChildren(_)
            | Self::TooManyMounts { .. }
            | Self::PlanTooLarge => None,
        }
    }
}

/// A small static program that can be put into an image: `echo LINE…`, `exit N`, `signal N`, `pause`,
/// `env`, `id`, `cwd`, `cat FILE…`. For examples and tests.
#[doc(hidden)]
pub fn payload() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/payload"))
}
