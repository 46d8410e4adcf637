//! What the fetcher's actor accepts.

use std::sync::Arc;

use longshore_actors::Message;

use crate::model::{ContainerConfig, Failure};

/// Fetches the URIs of a command into the sandbox, in order. A discard stops it; nothing is written
/// after the answer.
#[derive(Debug, Clone)]
pub(crate) struct Fetch {
    pub(crate) config: Arc<ContainerConfig>,
    /// Who the files belong to: uid and gid.
    pub(crate) owner: (u32, u32),
}

impl Message for Fetch {
    type Reply = Result<(), Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.config.container_id.shared())
    }
}
