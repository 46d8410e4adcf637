//! The actors that a supervisor asks. Plain data; made by `start.rs`, or by tests with fakes.

use std::sync::Arc;
use std::time::Instant;

use dashmap::DashMap;
use longshore_actors::{AnyPid, Handle, Placement};

use super::claim::Claim;
use super::recorder::files::Files;
use super::recorder::messages::{Conclude, Create, Discard, Publish, Save};
use crate::checkpoint::OwnerV1;
use crate::fetcher::messages::Fetch;
use crate::isolators::messages::{Cleanup, Isolate, Measure, Prepare, Update};
use crate::launcher::Lifetime;
use crate::launcher::messages::{Forget, Fork, Kill};
use crate::limits;
use crate::model::ContainerId;
use crate::paths::Paths;
use crate::provisioner::messages::{Provision, Unprovision};

/// What serves one container: actors of one arbiter that may block, and its supervisor beside them, so
/// that a launch does not cross threads for every call.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    /// Where the supervisor lives.
    pub(crate) place: Placement,
    pub(crate) create: Handle<Create>,
    pub(crate) save: Handle<Save>,
    pub(crate) conclude: Handle<Conclude>,
    pub(crate) publish: Handle<Publish>,
    pub(crate) provision: Handle<Provision>,
    pub(crate) unprovision: Handle<Unprovision>,
    pub(crate) prepare: Handle<Prepare>,
    pub(crate) isolate: Handle<Isolate>,
    pub(crate) update: Handle<Update>,
    pub(crate) measure: Handle<Measure>,
    pub(crate) cleanup: Handle<Cleanup>,
    pub(crate) fork: Handle<Fork>,
    pub(crate) kill: Handle<Kill>,
    pub(crate) forget: Handle<Forget>,
    /// All its actors, to see whether one of them hangs.
    pub(crate) actors: Arc<[AnyPid]>,
}

impl Lane {
    /// One of its actors has been in the same turn for longer than anything here should take.
    pub(crate) fn hangs(&self, now: Instant) -> bool {
        self.actors
            .iter()
            .filter_map(|actor| actor.status().current)
            .any(|turn| now.saturating_duration_since(turn.since) > limits::TURN)
    }
}

/// Ids that somebody has launched and that have not ended; shared with the handles, so that an id in
/// use is refused before anything is sent.
///
/// An agent's container comes with the claim that other processes see; a run holds its own.
pub(crate) type Reserved = Arc<DashMap<ContainerId, Option<Claim>>>;

/// What serves all containers.
#[derive(Debug, Clone)]
pub(crate) struct Rooms {
    pub(crate) fetch: Handle<Fetch>,
    pub(crate) discard: Handle<Discard>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) paths: Paths,
    pub(crate) owner: OwnerV1,
    pub(crate) reserved: Reserved,
}

impl Rooms {
    /// What a container dies with.
    pub(crate) const fn lifetime(&self) -> Lifetime {
        match self.owner {
            OwnerV1::Agent => Lifetime::Independent,
            OwnerV1::Run => Lifetime::WithAgent,
        }
    }
}
