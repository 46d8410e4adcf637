//! What the provisioner's actors accept.

use std::fmt;
use std::sync::Arc;

use longshore_actors::Message;

use super::backends::Exposure;
use crate::events::LayerProgress;
use crate::model::{ContainerId, Failure, ImageReference, Provisioned, PullPolicy};

/// Who is told how far a pull has come.
#[derive(Clone)]
pub(crate) struct ProgressSink(pub(crate) Arc<dyn Fn(LayerProgress) + Send + Sync>);

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProgressSink")
    }
}

/// Makes a root file system for a container. A discard stops a pull that nobody else waits for.
#[derive(Debug, Clone)]
pub(crate) struct Provision {
    pub(crate) container_id: ContainerId,
    pub(crate) reference: ImageReference,
    pub(crate) pull: PullPolicy,
    /// Who must see it; `None`: whoever the settings say.
    pub(crate) exposure: Option<Exposure>,
    pub(crate) progress: ProgressSink,
}

impl Message for Provision {
    type Reply = Result<Provisioned, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// Removes what was provisioned for a container. Repeatable; nothing there is success.
#[derive(Debug, Clone)]
pub(crate) struct Unprovision {
    pub(crate) container_id: ContainerId,
}

impl Message for Unprovision {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}
