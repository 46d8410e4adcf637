//! A containerizer over a fake host, and those who drive it: a [`World`] on threads with a clock of its
//! own, or a simulation (`simulated.rs`). Time is virtual, so deadlines pass at once and nothing ever
//! sleeps.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_actors::{
    Clock, Eventual, Message, Pid, Placement, Process, Runtime, ShutdownPlan, Spawn,
};

use super::fakes::Room;
use super::host::Host;
use super::memory::{APART, PIECES, Piece};
use crate::checkpoint::OwnerV1;
use crate::containerizer::actor::Containerizer;
use crate::containerizer::messages::{Acknowledge, Bury, Find, Launch};
use crate::containerizer::recorder::actor::Recorder;
use crate::containerizer::recorder::files::{Disk, Files};
use crate::containerizer::recorder::messages::Sandbox;
use crate::containerizer::recovery::{Left, Orphan, Remains};
use crate::containerizer::rooms::{Lane, Reserved, Rooms};
use crate::containerizer::supervisor::actor::Supervisor;
use crate::events::{Event, EventHub, EventKind, Notice, Since, Start, Subscription};
use crate::isolators::actor::apart::Apart;
use crate::isolators::actor::{Isolation, IsolatorActor, Link, Shared};
use crate::limits;
use crate::model::{CommandInfo, ContainerConfig, ContainerId, End, Uri};
use crate::paths::Paths;
use crate::spec::ContainerSpec;

/// Who prepares containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolators {
    /// One fake for all of it.
    Fake,
    /// The real chain, over three fake isolators.
    Chain,
}

/// What a containerizer is put together from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) lanes: usize,
    pub(super) isolators: Isolators,
    /// Figures that each pull tells.
    pub(super) figures: u64,
    pub(super) files: Arc<dyn Files>,
    pub(super) paths: Paths,
}

/// A containerizer over a fake host. Who drives its runtime is another matter.
pub(super) struct Parts {
    pub(super) host: Host,
    pub(super) runtime: Runtime,
    pub(super) events: EventHub,
    pub(super) reserved: Reserved,
    pub(super) containerizer: Pid<Containerizer>,
}

impl Parts {
    pub(super) fn assemble(runtime: Runtime, host: Host, plan: &Plan) -> Self {
        let events = EventHub::new(Start::fresh());
        let reserved = Reserved::default();
        let maker = Maker { runtime: &runtime, host: &host, plan, events: &events };
        let (lanes, rooms) = (maker.lanes(), Arc::new(maker.rooms(&reserved)));
        let hub = events.clone();
        let containerizer = maker.spawn("containerizer", Placement::Group("main"), move || {
            Containerizer::new(rooms, lanes, hub, Vec::new())
        });
        Self { host, runtime, events, reserved, containerizer }
    }

    pub(super) fn begin(&self, config: ContainerConfig) {
        self.containerizer.notify(Launch { config: Arc::new(config) }).expect("admitted");
    }

    /// Whoever owns the state of `id`.
    pub(super) fn find(&self, id: &ContainerId) -> Eventual<Option<Pid<Supervisor>>> {
        let find = Find { container_id: id.clone(), gone: None };
        self.containerizer.dispatch(find, limits::FOREVER)
    }

    /// Forgets an ended container.
    pub(super) fn forget(&self, id: &ContainerId) -> Eventual<Result<(), crate::model::Failure>> {
        let acknowledge = Acknowledge { container_id: id.clone(), sandbox: Sandbox::Remove };
        self.containerizer.dispatch(acknowledge, limits::QUERY)
    }
}

/// One on threads, with a clock of its own.
pub(super) struct World {
    parts: Parts,
    pub(super) clock: Clock,
    pub(super) directory: tempfile::TempDir,
    log: Mutex<Subscription>,
}

impl Deref for World {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_lanes(1)
    }

    /// One whose containers have several lanes to be on.
    pub(super) fn with_lanes(lanes: usize) -> Self {
        let clock = Clock::virtual_();
        let runtime = Runtime::builder()
            .group("main", 1)
            .group("kernel", lanes)
            .group("disk", 1)
            .lane("bulk", 1)
            .lane("kill", 1)
            .clock(clock.clone())
            .build()
            .expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(directory.path().join("work"), directory.path().join("run"));
        let files = Arc::new(Disk::new(paths.clone()));
        let plan = Plan { lanes, isolators: Isolators::Fake, figures: 0, files, paths };
        let parts = Parts::assemble(runtime, Host::default(), &plan);
        let log = Mutex::new(parts.events.subscribe(Since::Now));
        Self { parts, clock, directory, log }
    }

    pub(super) fn id(name: &str) -> ContainerId {
        ContainerId::new(name).expect("a valid name")
    }

    /// A container with an image and a URI, so that it passes every step.
    pub(super) fn config(name: &str) -> ContainerConfig {
        let spec = ContainerSpec::image(name, "rootfs:/image").expect("valid").command(["payload"]);
        let mut config = spec.into_config("/sandbox".into()).expect("valid");
        config.command = CommandInfo {
            uris: vec![Uri {
                value: "file:/x".into(),
                executable: false,
                extract: false,
                output_file: None,
            }],
            ..config.command
        };
        config
    }

    pub(super) async fn launch(&self, config: ContainerConfig) {
        self.begin(config);
        self.clock.settle().await;
    }

    /// Undoes what a dead owner has left of `config`, and leaves what an agent's container leaves.
    pub(super) async fn bury(&self, config: ContainerConfig, left: Left) -> End {
        let orphan = Orphan { config: Arc::new(config), left, remains: Remains::Record };
        let bury = Bury { orphan, claim: None };
        let buried = self.containerizer.dispatch(bury, limits::SHUTDOWN).result().await;
        buried.expect("answered").end
    }

    pub(super) async fn supervisor(&self, id: &ContainerId) -> Option<Pid<Supervisor>> {
        self.find(id).result().await.ok().flatten()
    }

    /// Forgets an ended container.
    pub(super) async fn acknowledge(&self, id: &ContainerId) {
        assert_eq!(self.forget(id).result().await.expect("answered"), Ok(()));
    }

    /// Asks the supervisor of `id` and settles; the answer may still be outstanding.
    pub(super) async fn ask<M: Message>(&self, id: &ContainerId, message: M) -> Eventual<M::Reply>
    where
        Supervisor: longshore_actors::Handler<M>,
    {
        let supervisor = self.supervisor(id).await.expect("the container lives");
        let answer = supervisor.dispatch(message, limits::FOREVER);
        self.clock.settle().await;
        answer
    }

    pub(super) async fn advance(&self, duration: Duration) {
        self.clock.advance_settling(duration).await;
    }

    /// The events since the last call, a line each.
    pub(super) fn log(&self) -> String {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = String::new();
        while let Some(notice) = log.try_next() {
            if let Notice::Event(event) = notice {
                lines += &line(&event);
            }
        }
        lines
    }

    /// The events up to the first that ends with `what`; fails when it does not come. For what hangs
    /// on the end of an actor, which is no outstanding work.
    pub(super) async fn log_until(&self, what: &str) -> String {
        let mut lines = String::new();
        let since = tokio::time::Instant::now();
        while !lines.trim_end().ends_with(what) {
            assert!(since.elapsed() < Duration::from_secs(20), "no {what:?} after {lines}");
            lines += &self.log();
            tokio::task::yield_now().await;
        }
        lines
    }

    /// The supervisors of `name`, or of all, are gone, and the containerizer has heard of it. An actor
    /// that was told to stop ends in a turn of its own, which is no outstanding work.
    pub(super) async fn supervisors_ended(&self, name: &str) {
        for actor in self.runtime.actors() {
            if actor.name.starts_with(&format!("supervisor {name}")) {
                let ended = self.runtime.find(&actor.name).map(|pid| pid.exit());
                if let Some(ended) = ended {
                    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
                    assert!(ended.is_ok(), "{} has not ended", actor.name);
                }
            }
        }
        self.clock.settle().await;
    }

    /// Nothing of any container is left: not on the host, not on disk, no actor, no promise.
    pub(super) async fn assert_clean(self) {
        self.clock.settle().await;
        assert_eq!(self.host.held(), Vec::<String>::new(), "held by the host");
        let containers = self.directory.path().join("run/containers");
        let left: Vec<_> = std::fs::read_dir(containers).into_iter().flatten().collect();
        assert!(left.is_empty(), "runtime directories: {left:?}");
        self.supervisors_ended("").await;
        let report = self.parts.runtime.shutdown(ShutdownPlan::within(limits::SHUTDOWN)).await;
        assert!(report.is_clean(), "{report:?}");
    }
}

/// An event as a line; what no seed decides is left out.
pub(super) fn line(event: &Event) -> String {
    let mut line = format!("{} {:?}", event.container_id, event.kind).to_lowercase();
    if event.kind == EventKind::Running {
        line += &format!(" pid={}", event.pid.unwrap_or_default());
    }
    if let Some(termination) = &event.termination {
        line += &format!(" exit_code={}", termination.exit_code);
        line += if termination.stopped { " stopped" } else { "" };
        line += if termination.timed_out { " timed_out" } else { "" };
    }
    if let Some(failure) = &event.failure {
        line += &format!(" {}: {}", failure.stage, failure.message);
    }
    if !event.remaining.is_empty() {
        line += &format!(" remaining={}", event.remaining.join(","));
    }
    line + "\n"
}

/// Makes the actors around a containerizer.
struct Maker<'a> {
    runtime: &'a Runtime,
    host: &'a Host,
    plan: &'a Plan,
    events: &'a EventHub,
}

impl Maker<'_> {
    fn spawn<P: Process>(
        &self,
        name: impl Into<String>,
        place: Placement,
        factory: impl FnOnce() -> P + Send + 'static,
    ) -> Pid<P> {
        let spawn = Spawn::new(name, factory).capacity(limits::MAILBOX).place(place);
        self.runtime.spawn(spawn).expect("the names are free")
    }

    fn room(&self, name: impl Into<String>, place: Placement) -> Pid<Room> {
        let (host, figures) = (self.host.clone(), self.plan.figures);
        self.spawn(name, place, move || Room::new(host, figures))
    }

    fn recorder(&self, name: impl Into<String>, place: Placement) -> Pid<Recorder> {
        let (files, events) = (Arc::clone(&self.plan.files), self.events.clone());
        let recorder = Spawn::new(name, move || Recorder::new(files, events));
        let recorder = recorder.capacity(limits::RECORDER_MAILBOX).place(place);
        self.runtime.spawn(recorder).expect("the names are free")
    }

    fn rooms(&self, reserved: &Reserved) -> Rooms {
        Rooms {
            fetch: self.room("fetcher", Placement::Group("main")).handle(),
            discard: self.recorder("recorder", Placement::Group("disk")).handle(),
            files: Arc::clone(&self.plan.files),
            paths: self.plan.paths.clone(),
            owner: OwnerV1::Agent,
            reserved: Arc::clone(reserved),
        }
    }

    fn lanes(&self) -> Vec<Lane> {
        let pieces = PIECES.map(|names| {
            let piece = Arc::new(Piece { host: self.host.clone(), names });
            match names.name {
                APART => {
                    Shared::Apart { apart: Apart::new(piece), name: APART, prepares_only: false }
                }
                _ => Shared::Here(piece),
            }
        });
        (0..self.plan.lanes).map(|index| self.lane(index, &pieces)).collect()
    }

    fn lane(&self, index: usize, pieces: &[Shared]) -> Lane {
        let place = || Placement::Arbiter("kernel", index);
        let room = |of: &str| self.room(format!("{of} #{index}"), place());
        let (provisioner, launcher) = (room("provisioner"), room("launcher"));
        let recorder = self.recorder(format!("recorder #{index}"), place());
        let fake = room("isolation");
        let lane = Lane {
            place: place(),
            create: recorder.handle(),
            save: recorder.handle(),
            conclude: recorder.handle(),
            publish: recorder.handle(),
            provision: provisioner.handle(),
            unprovision: provisioner.handle(),
            prepare: fake.handle(),
            isolate: fake.handle(),
            update: fake.handle(),
            measure: fake.handle(),
            cleanup: fake.handle(),
            fork: launcher.handle(),
            kill: launcher.handle(),
            forget: launcher.handle(),
            actors: Arc::default(),
        };
        if self.plan.isolators == Isolators::Fake {
            return lane;
        }
        let links = pieces.iter().map(|shared| {
            let (of, name) = (shared.clone(), format!("isolator {} #{index}", shared.name()));
            Link::new(shared, self.spawn(name, place(), || IsolatorActor::new(of)))
        });
        let links: Arc<[Link]> = links.collect();
        let chain = self.spawn(format!("isolation chain #{index}"), place(), || {
            Isolation::new(links, Arc::default())
        });
        Lane {
            prepare: chain.handle(),
            isolate: chain.handle(),
            update: chain.handle(),
            measure: chain.handle(),
            cleanup: chain.handle(),
            ..lane
        }
    }
}
