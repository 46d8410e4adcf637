//! What the containerizer accepts.

use std::sync::Arc;

use longshore_actors::{AnyPid, Message, Pid};

use super::claim::Claim;
use super::recovery::Orphan;
use super::supervisor::actor::Supervisor;
use super::supervisor::messages::Conclusion;
use crate::model::{ContainerConfig, ContainerId};

/// Begins to launch a container whose id the sender has reserved.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) config: Arc<ContainerConfig>,
}

impl Message for Launch {
    type Reply = ();

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.config.container_id.shared())
    }
}

/// Who owns the state of a container; `None`: never existed, or has ended.
#[derive(Debug, Clone)]
pub(crate) struct Find {
    pub(crate) container_id: ContainerId,
    /// A supervisor that the asker has found gone: what comes after it is asked for, and waited for.
    pub(crate) gone: Option<AnyPid>,
}

impl Message for Find {
    type Reply = Option<Pid<Supervisor>>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// Undoes what a dead owner has left. Answers when it is gone or stuck.
#[derive(Debug)]
pub(crate) struct Bury {
    pub(crate) orphan: Orphan,
    /// On the id, until nothing of the container is left but what is to stay.
    pub(crate) claim: Option<Claim>,
}

impl Message for Bury {
    type Reply = Conclusion;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.orphan.config.container_id.shared())
    }
}

/// Takes no more launches; answers with all that still exist.
#[derive(Debug, Clone)]
pub(crate) struct Close;

impl Message for Close {
    type Reply = Vec<ContainerId>;
}

/// Forgets an ended container.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledge {
    pub(crate) container_id: ContainerId,
    pub(crate) sandbox: super::recorder::messages::Sandbox,
}

impl Message for Acknowledge {
    type Reply = Result<(), crate::model::Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}
