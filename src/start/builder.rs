//! How a containerizer is to be started.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use longshore_actors::Runtime;

use super::left::ended_snapshot;
use super::{Ground, System, build_runtime, internal};
use crate::config::{self, Config};
use crate::error::{Error, Stage};
use crate::events::{EventHub, Start};
use crate::handle::{Containerizer, Inner};
use crate::isolators::{Host, Isolator, IsolatorError, Registered};
use crate::launcher::Lifetime;
use crate::limits;
use crate::messages::reason;
use crate::paths::Paths;

/// Builds a [`Containerizer`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until it is started"]
pub struct Builder {
    paths: Paths,
    config: Config,
    registered: Vec<Registered>,
}

impl Builder {
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths, config: Config::default(), registered: Vec::new() }
    }

    /// All other settings.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    /// The isolators in use, by name and in any order; replaces the set. Same as
    /// [`Config::isolation`].
    pub fn isolation<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.config.isolation = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Makes an isolator of the caller's known by its [`Isolator::NAME`]. Like a built-in one it is in
    /// use when it is named, by [`Self::isolation`] or [`Config::isolation`]; it comes after the
    /// built-in ones, in the order in which it is named.
    pub fn isolator<I: Isolator>(self) -> Self {
        self.isolator_with(I::create)
    }

    /// The same with a way of the caller's to make it, once for each start: for an isolator that
    /// carries something of the caller's. [`Isolator::create`] is not called.
    pub fn isolator_with<I: Isolator>(
        mut self,
        create: impl Fn(&Host) -> Result<I, IsolatorError> + Send + Sync + 'static,
    ) -> Self {
        self.registered.push(Registered::new(create));
        self
    }

    /// Starts it. What owners that are gone have left on these directories is ended and undone first. An
    /// agent's containers leave their records, with the payload's own end where it had ended by itself,
    /// and their sandboxes; a run's leave nothing. What cannot be undone is `STUCK`.
    ///
    /// With [`Lifetime::Independent`](crate::launcher::Lifetime::Independent) the runtime directory is locked: one agent at a time. With
    /// [`Lifetime::WithAgent`](crate::launcher::Lifetime::WithAgent) the caller holds the lock `run/<id>` of each container it launches.
    ///
    /// Errors: `InvalidRequest` (settings), `Unsupported` (the host lacks something, or we are not
    /// root), `Conflict` (another agent has the runtime directory), `Host`.
    pub async fn start(self) -> Result<Containerizer, Error> {
        let usable = self.config.validate().and_then(|()| {
            config::check_directories(self.paths.work_dir(), self.paths.runtime_dir())
        });
        usable.map_err(|error| Error::wrap(Stage::Configure, error))?;
        let runtime = build_runtime(!self.registered.is_empty(), self.config.lifetime)?;
        let started = self.start_on(&runtime).await;
        if started.is_err() {
            let plan = longshore_actors::ShutdownPlan::within(limits::SHUTDOWN);
            runtime.shutdown(plan).await;
        }
        started
    }

    async fn start_on(self, runtime: &Runtime) -> Result<Containerizer, Error> {
        let Self { paths, config, registered } = self;
        let preparing = {
            let (paths, config) = (paths.clone(), config.clone());
            runtime
                .blocking("bulk", "start", move |_| Ground::prepare(&paths, &config, &registered))
        };
        let mut ground =
            preparing.result().await.unwrap_or_else(|lost| Err(internal(&reason(&lost))))?;
        let graves = std::mem::take(&mut ground.graves);
        let records = std::mem::take(&mut ground.records);
        let ended = records.iter().map(|r| (r.container_id.clone(), r.ended_ns)).collect();
        let containers = records.into_iter().map(ended_snapshot).collect();
        let events = EventHub::new(Start { containers, ..ground.numbering.clone() });
        let system = System { runtime, paths: &paths, config: &config, events: &events };
        let (actor, reserved, images) = system.spawn_all(&ground, ended)?;
        let containerizer = Containerizer::from_inner(Inner {
            runtime: runtime.clone(),
            actor,
            reserved,
            lifetime: config.lifetime,
            closing: AtomicBool::new(false),
            shutting_down: tokio::sync::Mutex::default(),
            events,
            paths,
            store: ground.store.clone(),
            isolation: ground.isolation.clone(),
            images,
            lock: Mutex::new(ground.lock),
        });
        containerizer.bury(graves).await;
        Ok(containerizer)
    }
}

/// A run has one container, and each lane takes time to start and to end.
pub(super) fn kernel_lanes(lifetime: Lifetime) -> usize {
    match lifetime {
        Lifetime::Independent => limits::KERNEL_LANES,
        Lifetime::WithAgent => limits::KERNEL_LANES_OF_A_RUN,
    }
}
