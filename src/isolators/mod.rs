//! ROOM: what a container may see and use. Each isolator is one file, named as the operator names it.
//!
//! An isolator describes ([`Isolator::prepare`] returns a [`LaunchInfo`]), allocates what it needs,
//! watches, measures and cleans up. It starts nothing: the launcher acts.
//!
//! # Contract
//!
//! * Calls for one container never overlap. Calls for different containers do.
//! * Every call but `watch` runs on a thread that may block; it must still end by itself.
//! * `prepare` in table order; `cleanup` in reverse, also after a failed or missing `prepare`, and
//!   again on a retry: it must find by the id alone what is to be undone, and succeed when nothing is.
//! * State that must survive is [`Isolator::Container`]: the shell keeps it and checkpoints it.
//! * `last` is asked when the last process is gone and before `cleanup`: the final figures.

pub(crate) mod actor;
pub(crate) mod messages;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

mod built_in;
mod cgroups;
mod docker;
mod erased;
mod filesystem;
mod linux;
mod namespaces;
mod posix;
#[cfg(all(test, feature = "root-tests"))]
mod root_tests;
mod selection;
#[cfg(test)]
mod tests;

pub use built_in::BuiltIn;
pub use erased::DynIsolator;
use erased::{Entry, entry};
pub(crate) use erased::{Registered, create, create_others};
pub use selection::{
    Asked, DEFAULT_FOR_IMAGES, DEFAULT_WITHOUT_IMAGE, ImageProvider, LauncherKind, SelectError,
    Selection, select,
};

use crate::error::{Classified, ErrorKind};
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Limitation, Resources, Usage};
use crate::paths::Paths;

/// Every isolator. Order of the table = order of `prepare`; `cleanup` goes in reverse.
pub(crate) const TABLE: &[Entry] = &[
    // First: what all others mount lands in what these two mount.
    entry::<filesystem::posix::Posix>(),
    entry::<filesystem::linux::Linux>(),
    // Only measure; no order among them.
    entry::<posix::cpu::Cpu>(),
    entry::<posix::mem::Mem>(),
    entry::<posix::rlimits::Rlimits>(),
    // Before anything that may start a process for the container.
    entry::<cgroups::cpu::Cpu>(),
    entry::<cgroups::mem::Mem>(),
    entry::<cgroups::pids::Pids>(),
    // What to run, once it is known what it runs in.
    entry::<docker::runtime::Runtime>(),
    // Rights of the payload; no order among them.
    entry::<linux::capabilities::Capabilities>(),
    entry::<linux::nnp::NoNewPrivileges>(),
    // After the file system: a fresh /proc and /dev/shm cover what it has mounted there.
    entry::<namespaces::ipc::Ipc>(),
    entry::<namespaces::pid::Pid>(),
];

/// What an isolator may know when it is made, once per start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Host {
    /// Paths on disk.
    pub paths: Paths,
    /// The cgroup hierarchies of this host and our root in each.
    pub cgroups: Arc<crate::linux::cgroups::Cgroups>,
    /// Names of all isolators in use.
    pub isolation: Vec<String>,
    /// Where the sandbox appears in a container with its own root (`--sandbox-directory`).
    pub sandbox_directory: PathBuf,
}

/// Identifies a process for good: a pid can be taken again, a pid with its start time cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
pub struct InitPid {
    /// In the agent's PID namespace.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5), in clock ticks since boot.
    pub start_time: u64,
}

/// Waits for a limit to be reached. `Err` is reported and ends nothing.
pub type Watch = Pin<Box<dyn Future<Output = Result<Limitation, IsolatorError>> + Send>>;

/// One isolator. See the module for the contract.
pub trait Isolator: Send + Sync + Sized + 'static {
    /// As the operator writes it, and as the file is named.
    const NAME: &'static str;

    /// Takes part in nested containers.
    const NESTING: bool = false;

    /// Has nothing to do but in `prepare`: no other call is made for its containers.
    const PREPARES_ONLY: bool = false;

    /// What it remembers of one container.
    type Container: Serialize + DeserializeOwned + Clone + Send + Sync + 'static;

    /// Made once at start; refuses a host that it cannot work on. Of an embedder's isolator it runs on a
    /// thread apart, has [`limits::ISOLATOR_CREATE`](crate::limits::ISOLATOR_CREATE), and its failure,
    /// its panic and its silence are failures of the start, by its name.
    fn create(host: &Host) -> Result<Self, IsolatorError>;

    /// Allocates, and describes what the launch must do. Record a side effect so that `cleanup`
    /// finds it *before* making it.
    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, Self::Container), IsolatorError>;

    /// Puts the blocked first process under control.
    fn isolate(
        &self,
        _id: &ContainerId,
        _container: &mut Self::Container,
        _init: InitPid,
    ) -> Result<(), IsolatorError> {
        Ok(())
    }

    /// Ends when a limit is reached; `None`: it never will. Dropped when the container is destroyed.
    /// Of [`LimitedResource::Mem`](crate::model::LimitedResource) the supervisor only takes note: the
    /// kernel has killed already, and the payload may survive it. For any other it ends the container.
    fn watch(&self, _id: &ContainerId, _container: &Self::Container) -> Option<Watch> {
        None
    }

    /// The limit that ended the container, or that killed one of its processes while it lived.
    /// Asked by [`Isolator::last`].
    fn limitation(
        &self,
        _id: &ContainerId,
        _container: &Self::Container,
    ) -> Result<Option<Limitation>, IsolatorError> {
        Ok(None)
    }

    /// New limits, not differences. A refusal by the kernel is `Conflict`.
    fn update(
        &self,
        _id: &ContainerId,
        _container: &mut Self::Container,
        _resources: &Resources,
    ) -> Result<(), IsolatorError> {
        Ok(())
    }

    /// What this isolator measures.
    fn usage(
        &self,
        _id: &ContainerId,
        _container: &Self::Container,
    ) -> Result<Usage, IsolatorError> {
        Ok(Usage::default())
    }

    /// The final `usage` and the `limitation`, which many isolators find in one place. What can only be
    /// told of living processes may be missing.
    fn last(
        &self,
        id: &ContainerId,
        container: &Self::Container,
    ) -> Result<(Usage, Option<Limitation>), IsolatorError> {
        Ok((self.usage(id, container)?, self.limitation(id, container)?))
    }

    /// Undoes `prepare` and `isolate`. `container` is absent when `prepare` did not finish.
    fn cleanup(
        &self,
        _id: &ContainerId,
        _container: Option<&Self::Container>,
    ) -> Result<(), IsolatorError> {
        Ok(())
    }
}

/// Why an isolator refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IsolatorError {
    /// The caller's configuration is contradictory or out of range.
    #[error("{0}")]
    Invalid(String),
    /// The host lacks a feature; `feature` is its row in `docs/kernel-features.md`.
    #[error("the host lacks {feature}: {detail}")]
    Unsupported {
        /// Row in the table.
        feature: &'static str,
        /// What was looked for, where.
        detail: String,
    },
    /// The state of the container forbids it.
    #[error("{0}")]
    Conflict(String),
    /// What an isolator remembered cannot be read back.
    #[error("the state that {isolator} kept cannot be read: {reason}")]
    Forgotten {
        /// Which.
        isolator: &'static str,
        /// Why.
        reason: String,
    },
    /// An isolator of the embedder's ended in a way of which it says nothing.
    #[error("the {what} of {isolator} broke")]
    Broken {
        /// Which.
        isolator: &'static str,
        /// The call.
        what: &'static str,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] crate::linux::Error),
    /// The host refused, in the words of an error that only the isolator knows.
    #[error("{0}")]
    Host(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl IsolatorError {
    /// The host refused: any error of the isolator's own. The error number of an [`std::io::Error`]
    /// is kept.
    pub fn host(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Host(error.into())
    }
}

impl Classified for IsolatorError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::InvalidRequest,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Forgotten { .. } | Self::Broken { .. } => ErrorKind::Internal,
            Self::Kernel(error) => error.kind(),
            Self::Host(_) => ErrorKind::Host,
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Kernel(error) => error.errno_name(),
            Self::Host(error) => {
                let errno = error.downcast_ref::<std::io::Error>()?.raw_os_error()?;
                let errno = rustix::io::Errno::from_raw_os_error(errno);
                crate::linux::Error::new("", errno).errno_name()
            }
            Self::Invalid(_)
            | Self::Unsupported { .. }
            | Self::Conflict(_)
            | Self::Forgotten { .. }
            | Self::Broken { .. } => None,
        }
    }
}
