//! What the recorder accepts.

use std::sync::Arc;

use longshore_actors::Message;

use crate::checkpoint::{ContainerV1, Journal};
use crate::events;
use crate::model::{ContainerId, Failure, Record};

/// Makes the directories of a new container and its first checkpoint, then publishes it.
#[derive(Debug)]
pub(crate) struct Create {
    pub(crate) container_id: ContainerId,
    pub(crate) journal: Arc<Journal>,
    pub(crate) checkpoint: ContainerV1,
    pub(crate) update: events::Update,
}

impl Message for Create {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// Writes a checkpoint, then publishes what it says. Published even if it cannot be written: an
/// observer must not miss what happened because a disk is full.
#[derive(Debug)]
pub(crate) struct Save {
    pub(crate) container_id: ContainerId,
    pub(crate) journal: Arc<Journal>,
    pub(crate) checkpoint: ContainerV1,
    pub(crate) update: Option<events::Update>,
}

impl Message for Save {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// Publishes what no checkpoint tells, in its turn.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) update: events::Update,
}

impl Message for Publish {
    type Reply = ();
}

/// Writes the record of an ended container, removes its runtime directory, then publishes the end.
/// Repeatable.
#[derive(Debug)]
pub(crate) struct Conclude {
    pub(crate) record: Record,
    pub(crate) update: events::Update,
}

impl Message for Conclude {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.record.container_id.shared())
    }
}

/// Removes the record and the sandbox of an ended container.
#[derive(Debug)]
pub(crate) struct Discard {
    pub(crate) container_id: ContainerId,
    pub(crate) sandbox: Sandbox,
}

/// What happens to a sandbox when its record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// It stays: the operator's to collect.
    Keep,
    /// It goes too.
    Remove,
}

impl Message for Discard {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}
