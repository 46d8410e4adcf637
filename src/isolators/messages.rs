//! What the isolators' actors accept: one message to the chain, one to each isolator in turn.

use std::fmt;
use std::sync::Arc;

use longshore_actors::Message;

use super::{InitPid, Watch};
use crate::model::{ContainerId, Failure, LaunchContext, LaunchInfo, Resources, Usage};

/// What isolators remember of one container: name and encoded state, in table order.
pub(crate) type Remembered = Vec<(String, Vec<u8>)>;

/// What a prepare chain yields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    /// Contributions in table order, with the isolator's name.
    pub(crate) contributions: Vec<(String, LaunchInfo)>,
    /// For the later calls and the checkpoint.
    pub(crate) remembered: Remembered,
}

/// Prepares with every isolator, in table order; the first failure ends the chain.
#[derive(Debug, Clone)]
pub(crate) struct Prepare {
    pub(crate) context: Arc<LaunchContext>,
}

impl Message for Prepare {
    type Reply = Result<Prepared, Failure>;

    fn subject(&self) -> Option<String> {
        Some(self.context.config.container_id.to_string())
    }
}

/// What isolating yields.
pub(crate) struct Isolated {
    /// As changed by the isolators.
    pub(crate) remembered: Remembered,
    /// What waits for limits.
    pub(crate) watches: Vec<Watch>,
}

impl fmt::Debug for Isolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated").field("watches", &self.watches.len()).finish_non_exhaustive()
    }
}

/// Puts the blocked init under the control of every isolator.
#[derive(Debug, Clone)]
pub(crate) struct Isolate {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
    pub(crate) init: InitPid,
}

impl Message for Isolate {
    type Reply = Result<Isolated, Failure>;

    fn subject(&self) -> Option<String> {
        Some(self.container_id.to_string())
    }
}

/// New limits for a running container.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
    pub(crate) resources: Resources,
}

impl Message for Update {
    type Reply = Result<Remembered, Failure>;

    fn subject(&self) -> Option<String> {
        Some(self.container_id.to_string())
    }
}

/// What the isolators measure. What cannot be read is absent.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
}

impl Message for Measure {
    type Reply = Usage;

    fn subject(&self) -> Option<String> {
        Some(self.container_id.to_string())
    }
}

/// Undoes everything, in reverse table order, over failures; every failure is reported.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
}

impl Message for Cleanup {
    type Reply = Result<(), Vec<Failure>>;

    fn subject(&self) -> Option<String> {
        Some(self.container_id.to_string())
    }
}
