//! A host that exists in memory: what is provisioned, prepared and forked is a set of words, and an
//! init is two promises. Time is virtual, so deadlines pass at once and nothing ever sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_actors::{
    Clock, Eventual, Handle, Message, Outcome, Pid, Placement, Promise, Reply, Runtime,
    ShutdownPlan, Spawn, promise,
};

use crate::checkpoint::OwnerV1;
use crate::containerizer::actor::Containerizer;
use crate::containerizer::messages::{Acknowledge, Bury, Find, Launch};
use crate::containerizer::recorder::actor::Recorder;
use crate::containerizer::recorder::messages::Sandbox;
use crate::containerizer::recovery::{Left, Orphan, Remains};
use crate::containerizer::rooms::{Lane, Rooms};
use crate::containerizer::supervisor::actor::Supervisor;
use crate::error::{ErrorKind, Stage};
use crate::events::{Event, EventHub, EventKind, Notice, Since, Start, Subscription};
use crate::fetcher::messages::Fetch;
use crate::isolators::messages::{
    Cleanup, Isolate, Isolated, Measure, Measured, Prepare, Prepared, Update,
};
use crate::launcher::InitPid;
use crate::launcher::messages::{Control, Forget, Fork, Forked, Kill, Report};
use crate::limits;
use crate::model::{
    CommandInfo, ContainerConfig, ContainerId, End, Failure, Provisioned, Rootfs, Usage, WaitStatus,
};
use crate::paths::Paths;
use crate::provisioner::messages::{Provision, Unprovision};
use crate::spec::ContainerSpec;

/// What the fake host holds, as words: `rootfs a`, `isolated a`, `init a`.
#[derive(Debug, Default)]
struct HostState {
    held: BTreeSet<String>,
    inits: BTreeMap<ContainerId, FakeInit>,
    /// Calls that fail, each as often as it is listed: `fork`.
    failing: Vec<&'static str>,
    /// Status of a payload that ends as soon as it is released.
    exits_at_once: Option<i32>,
    /// Status of a payload that ended while nobody looked.
    left: Option<i32>,
    signals: Vec<i32>,
    /// Kills and exits that came before somebody could tell.
    calls: Vec<String>,
}

#[derive(Debug, Default)]
struct FakeInit {
    release: Option<Promise<()>>,
    end: Option<Promise<WaitStatus>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Host(Arc<Mutex<HostState>>);

impl Host {
    fn lock(&self) -> MutexGuard<'_, HostState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next call of this name fail.
    pub(super) fn fail_next(&self, call: &'static str) {
        self.lock().failing.push(call);
    }

    /// What of the host is in use.
    pub(super) fn held(&self) -> Vec<String> {
        self.lock().held.iter().cloned().collect()
    }

    pub(super) fn signals(&self) -> Vec<i32> {
        self.lock().signals.clone()
    }

    pub(super) fn exit_at_once(&self, status: i32) {
        self.lock().exits_at_once = Some(status);
    }

    /// The payload of a container without an owner has ended.
    pub(super) fn leave_status(&self, status: i32) {
        self.lock().left = Some(status);
    }

    /// How often a call was made for any container.
    pub(super) fn calls(&self, call: &str) -> usize {
        self.lock().calls.iter().filter(|made| *made == call).count()
    }

    /// The payload of `id` ends.
    pub(super) fn exit(&self, id: &ContainerId, status: i32) {
        let mut state = self.lock();
        state.held.remove(&format!("init {id}"));
        if let Some(end) = state.inits.get_mut(id).and_then(|init| init.end.take()) {
            drop(state);
            end.set(WaitStatus(status));
        }
    }

    fn call(&self, name: &'static str, stage: Stage) -> Result<MutexGuard<'_, HostState>, Failure> {
        let mut state = self.lock();
        state.calls.push(name.to_owned());
        match state.failing.iter().position(|failing| *failing == name) {
            Some(position) => {
                state.failing.remove(position);
                let (kind, message) = (ErrorKind::Host, format!("{name} was refused"));
                Err(Failure { stage, kind, errno: None, message })
            }
            None => Ok(state),
        }
    }

    fn hold(&self, name: &'static str, stage: Stage, what: String) -> Result<(), Failure> {
        self.call(name, stage)?.held.insert(what);
        Ok(())
    }

    fn let_go(&self, name: &'static str, what: &str) -> Result<(), Failure> {
        self.call(name, Stage::Destroy)?.held.remove(what);
        Ok(())
    }

    fn fork(&self, id: &ContainerId) -> Result<Forked, Failure> {
        let mut state = self.call("fork", Stage::Fork)?;
        state.held.insert(format!("init {id}"));
        let ((release, released), (end, ended)) = (promise(), promise());
        let init = FakeInit { release: Some(release), end: Some(end) };
        state.inits.insert(id.clone(), init);
        drop(state);
        Ok(Forked {
            init: InitPid { pid: 42, start_time: 1 },
            argv: vec!["payload".into()],
            owner: (0, 0),
            control: Arc::new(FakeControl { host: self.clone(), id: id.clone() }),
            report: Box::new(FakeReport { released: Some(released), ended: Some(ended) }),
        })
    }
}

struct FakeControl {
    host: Host,
    id: ContainerId,
}

impl Control for FakeControl {
    fn release(&self) -> Result<(), Failure> {
        let mut state = self.host.call("start", Stage::Start)?;
        let release = state.inits.get_mut(&self.id).and_then(|init| init.release.take());
        let at_once = state.exits_at_once;
        drop(state);
        if let Some(release) = release {
            release.set(());
        }
        if let Some(status) = at_once {
            self.host.exit(&self.id, status);
        }
        Ok(())
    }

    fn signal(&self, signal: i32) -> Result<(), Failure> {
        self.host.call("signal", Stage::Run)?.signals.push(signal);
        Ok(())
    }
}

struct FakeReport {
    released: Option<Eventual<()>>,
    ended: Option<Eventual<WaitStatus>>,
}

impl Report for FakeReport {
    fn started(&mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + '_>> {
        Box::pin(async {
            let Some(released) = self.released.take() else { return Ok(()) };
            match released.await {
                Outcome::Ok(()) => Ok(()),
                Outcome::Failed(_) | Outcome::Discarded(_) | Outcome::Abandoned(_) => {
                    Err(Failure {
                        stage: Stage::Start,
                        kind: ErrorKind::Host,
                        errno: None,
                        message: "the init is gone".into(),
                    })
                }
            }
        })
    }

    fn ended(&mut self) -> Pin<Box<dyn Future<Output = WaitStatus> + '_>> {
        Box::pin(async {
            let Some(ended) = self.ended.take() else { return WaitStatus::KILLED };
            ended.await.into_result().unwrap_or(WaitStatus::KILLED)
        })
    }
}

/// Actors over a fake host, with a clock of their own.
pub(super) struct World {
    pub(super) host: Host,
    pub(super) runtime: Runtime,
    pub(super) clock: Clock,
    pub(super) events: EventHub,
    pub(super) directory: tempfile::TempDir,
    containerizer: Pid<Containerizer>,
    log: Mutex<Subscription>,
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
            .clock(clock.clone())
            .build()
            .expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(directory.path().join("work"), directory.path().join("run"));
        let (host, events) = (Host::default(), EventHub::new(Start::fresh()));
        let log = Mutex::new(events.subscribe(Since::Now));
        let recorder = recorder(&runtime, &paths, &events);
        let rooms = Arc::new(rooms(&runtime, &host, &paths, &recorder));
        let lanes = (0..lanes).map(|index| lane(&runtime, &host, &recorder, index)).collect();
        let hub = events.clone();
        let spawn =
            Spawn::new("containerizer", move || Containerizer::new(rooms, lanes, hub, Vec::new()));
        let containerizer = runtime.spawn(spawn).expect("a containerizer");
        Self { host, runtime, clock, events, directory, containerizer, log }
    }

    pub(super) fn id(name: &str) -> ContainerId {
        ContainerId::new(name).expect("a valid name")
    }

    /// A container with an image and a URI, so that it passes every step.
    pub(super) fn config(name: &str) -> ContainerConfig {
        let spec = ContainerSpec::image(name, "rootfs:/image").expect("valid").command(["payload"]);
        let mut config = spec.into_config("/sandbox".into()).expect("valid");
        config.command = CommandInfo {
            uris: vec![crate::model::Uri {
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
        self.containerizer.notify(Launch { config: Arc::new(config) }).expect("admitted");
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
        let find = Find { container_id: id.clone(), gone: None };
        self.containerizer.dispatch(find, limits::QUERY).result().await.ok().flatten()
    }

    /// Forgets an ended container.
    pub(super) async fn acknowledge(&self, id: &ContainerId) {
        let acknowledge = Acknowledge { container_id: id.clone(), sandbox: Sandbox::Remove };
        let answer = self.containerizer.dispatch(acknowledge, limits::QUERY).result().await;
        assert_eq!(answer.expect("answered"), Ok(()));
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
        let report = self.runtime.shutdown(ShutdownPlan::within(limits::SHUTDOWN)).await;
        assert!(report.is_clean(), "{report:?}");
    }
}

fn line(event: &Event) -> String {
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

fn fake<M: Message>(
    runtime: &Runtime,
    name: &str,
    mut answer: impl FnMut(M) -> M::Reply + Send + 'static,
) -> Handle<M> {
    Handle::from_fn(runtime, name, move |message| Reply::Now(answer(message))).expect("a fake")
}

fn recorder(runtime: &Runtime, paths: &Paths, events: &EventHub) -> Pid<Recorder> {
    let (paths, events) = (paths.clone(), events.clone());
    runtime.spawn(Spawn::new("recorder", move || Recorder::new(paths, events))).expect("a recorder")
}

fn rooms(runtime: &Runtime, host: &Host, paths: &Paths, recorder: &Pid<Recorder>) -> Rooms {
    let fetcher = host.clone();
    Rooms {
        fetch: fake(runtime, "fetcher", move |_: Fetch| {
            fetcher.call("fetch", Stage::Fetch).map(drop)
        }),
        discard: recorder.handle(),
        paths: paths.clone(),
        owner: OwnerV1::Agent,
        reserved: Arc::default(),
    }
}

fn provisioned() -> Provisioned {
    Provisioned {
        reference: "rootfs:/image".into(),
        digest: None,
        config: crate::model::ImageConfig::default(),
        rootfs: Rootfs::Directory("/image".into()),
        backend: "fake",
        ephemeral: Vec::new(),
        read_only: false,
    }
}

fn lane(runtime: &Runtime, host: &Host, recorder: &Pid<Recorder>, index: usize) -> Lane {
    let each = || host.clone();
    let name = |of: &str| format!("{of} #{index}");
    let (provision, unprovision, prepare, isolate) = (each(), each(), each(), each());
    let (update, cleanup, fork, kill, forget) = (each(), each(), each(), each(), each());
    Lane {
        place: Placement::Arbiter("kernel", index),
        create: recorder.handle(),
        save: recorder.handle(),
        conclude: recorder.handle(),
        publish: recorder.handle(),
        provision: fake(runtime, &name("provisioner"), move |m: Provision| {
            let what = format!("rootfs {}", m.container_id);
            provision.hold("provision", Stage::Provision, what).map(|()| provisioned())
        }),
        unprovision: fake(runtime, &name("provisioner undo"), move |m: Unprovision| {
            unprovision.let_go("unprovision", &format!("rootfs {}", m.container_id))
        }),
        prepare: fake(runtime, &name("isolation"), move |m: Prepare| {
            let what = format!("isolated {}", m.context.config.container_id);
            prepare.hold("prepare", Stage::Prepare, what).map(|()| Prepared::default())
        }),
        isolate: fake(runtime, &name("isolation isolate"), move |m: Isolate| {
            drop(isolate.call("isolate", Stage::Isolate)?);
            Ok(Isolated { remembered: m.remembered, watches: Vec::new() })
        }),
        update: fake(runtime, &name("isolation update"), move |m: Update| {
            drop(update.call("update", Stage::Run)?);
            Ok(m.remembered)
        }),
        measure: fake(runtime, &name("isolation measure"), move |_: Measure| Measured {
            usage: Usage { cpu_ns: Some(7), ..Usage::default() },
            limitation: None,
        }),
        cleanup: fake(runtime, &name("isolation undo"), move |m: Cleanup| {
            let what = format!("isolated {}", m.container_id);
            cleanup.let_go("cleanup", &what).map_err(|failure| vec![failure])
        }),
        fork: fake(runtime, &name("launcher"), move |m: Fork| fork.fork(&m.config.container_id)),
        kill: fake(runtime, &name("launcher undo"), move |m: Kill| {
            drop(kill.call("kill", Stage::Destroy)?);
            kill.exit(&m.container_id, 9);
            let mut state = kill.lock();
            state.inits.remove(&m.container_id);
            Ok(m.status_file.and_then(|_| state.left.take()).map(WaitStatus))
        }),
        forget: fake(runtime, &name("launcher forget"), move |_: Forget| {
            forget.call("forget", Stage::Destroy).map(drop)
        }),
        actors: Arc::default(),
    }
}
