//! What the launcher's actor accepts, and the running container as its supervisor holds it.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use longshore_actors::Message;

use super::{InitPid, Lifetime};
use crate::model::{ContainerConfig, ContainerId, Failure, LaunchInfo, Provisioned, WaitStatus};

/// Starts the init of a container; it waits to be released.
#[derive(Debug, Clone)]
pub(crate) struct Fork {
    pub(crate) config: Arc<ContainerConfig>,
    /// In table order, with the isolators' names.
    pub(crate) contributions: Vec<(&'static str, LaunchInfo)>,
    pub(crate) provisioned: Option<Arc<Provisioned>>,
    pub(crate) status_file: PathBuf,
    pub(crate) lifetime: Lifetime,
}

impl Message for Fork {
    type Reply = Result<Forked, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.config.container_id.shared())
    }
}

/// A started, blocked init. Dropping both ends before the release makes it exit.
pub(crate) struct Forked {
    pub(crate) init: InitPid,
    /// What will be executed.
    pub(crate) argv: Vec<String>,
    /// uid and gid of the payload, resolved in the image.
    pub(crate) owner: (u32, u32),
    pub(crate) control: Arc<dyn Control>,
    pub(crate) report: Box<dyn Report>,
}

impl fmt::Debug for Forked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forked").field("init", &self.init).finish_non_exhaustive()
    }
}

/// Says what the init is to do. A seam: the tests of the lifecycle have an init of their own.
pub(crate) trait Control: Send + Sync {
    /// Lets the init go on to the payload.
    fn release(&self) -> Result<(), Failure>;

    /// Sends a signal to the init, which forwards it. SIGKILL kills the init.
    fn signal(&self, signal: i32) -> Result<(), Failure>;
}

/// Tells what the init has reached.
pub(crate) trait Report: Send {
    /// Ends when exec has succeeded, or with what failed before.
    fn started(&mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + '_>>;

    /// Ends when the init is gone, with the payload's status.
    fn ended(&mut self) -> Pin<Box<dyn Future<Output = WaitStatus> + '_>>;
}

/// Kills every process of a container and ends when all are gone. Repeatable; nothing there is
/// success. Answers with what is known of a payload that nobody listened to: its own status, or that it
/// was alive until now.
#[derive(Debug, Clone)]
pub(crate) struct Kill {
    pub(crate) container_id: ContainerId,
    /// The init, if one is known.
    pub(crate) init: Option<InitPid>,
    /// Of an init that nobody listened to.
    pub(crate) status_file: Option<PathBuf>,
}

impl Message for Kill {
    type Reply = Result<Option<WaitStatus>, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// Removes what the launcher keeps of a container whose processes are gone: its kill group.
#[derive(Debug, Clone)]
pub(crate) struct Forget {
    pub(crate) container_id: ContainerId,
}

impl Message for Forget {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}
