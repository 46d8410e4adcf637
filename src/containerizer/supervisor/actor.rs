//! The supervisor: performs what `state.rs` decides, for one container.
//!
//! Every step is asked of another room with a deadline; its answer comes back as an input, tagged
//! with the attempt that it answers, so that an answer that comes after the step was given up is
//! dropped. `actor/steps.rs` has the steps, `actor/requests.rs` what callers ask.

mod requests;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_actors::{Cx, Discarder, Eventual, Process, Promise, TimerKey};

use super::messages::{Conclusion, Stop};
use super::state::{Effect, Input, Lifecycle, Next, OutOfTurn, Why};
use super::termination::{self, Facts};
use crate::checkpoint::{ConfigV1, ContainerV1, Journal};
use crate::containerizer::recorder::messages::{Create, Save};
use crate::containerizer::recovery::Left;
use crate::containerizer::rooms::{Lane, Rooms};
use crate::error::{Stage, one_line};
use crate::events::{self, ContainerSnapshot, Happened, ImageName, Moment, WallTime};
use crate::isolators::messages::Prepared;
use crate::launcher::InitPid;
use crate::launcher::messages::Control;
use crate::limits;
use crate::messages::flatten;
use crate::model::{
    ContainerConfig, ContainerId, End, Failure, Limitation, Provisioned, Record, Rootfs, State,
    Usage,
};

type Context = Cx<Supervisor>;

/// What a new supervisor is given.
pub(crate) struct Assignment {
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) lane: Lane,
    pub(crate) origin: Origin,
}

/// How a container comes to its supervisor.
pub(crate) enum Origin {
    /// It is to be launched.
    Launch,
    /// Its owner died, or its supervisor did; all is undone, and whoever asked for it is told how that
    /// ended: a question of his might come after the end.
    Orphan(Box<Left>, Option<Promise<Conclusion>>),
}

/// Owns all state of one container.
pub(crate) struct Supervisor {
    config: Arc<ContainerConfig>,
    rooms: Arc<Rooms>,
    lane: Lane,
    journal: Arc<Journal>,
    /// `config`, as the journal has it.
    frozen: Arc<ConfigV1>,
    state: Lifecycle,
    /// Counts the steps that were begun; an answer to an older one is stale.
    attempt: u64,
    /// Asks the step in flight to settle early.
    discarder: Option<Discarder>,
    /// The state that observers know of.
    published: State,
    /// As it is published.
    snapshot: ContainerSnapshot,
    provisioned: Option<Arc<Provisioned>>,
    prepared: Prepared,
    init: Option<InitPid>,
    control: Option<Arc<dyn Control>>,
    /// uid and gid of the payload.
    payload_owner: (u32, u32),
    /// The init is gone and its status known; true also when there never was one to report.
    init_gone: bool,
    /// A kill that waits for the status.
    killing: Option<u64>,
    limitation: Option<Limitation>,
    usage: Usage,
    /// Asked for and not sent yet, each signal once.
    stops: Vec<Stop>,
    /// When a stop becomes a destroy, by the runtime's clock.
    stop_deadline: Option<(Instant, TimerKey)>,
    stop_deadline_ns: Option<i64>,
    timers: Vec<TimerKey>,
    remaining: Vec<String>,
    waiting: Vec<Promise<Conclusion>>,
    awaiting_running: Vec<Promise<Result<i32, Conclusion>>>,
    created_ns: i64,
    /// Its end is on record already; whoever wrote that died before the rest was gone.
    recorded: Option<Record>,
    origin: Option<Origin>,
}

impl Supervisor {
    pub(crate) fn new(assignment: Assignment) -> Self {
        let Assignment { config, rooms, lane, origin } = assignment;
        let path = rooms.paths.checkpoint(&config.container_id);
        let journal = Arc::new(match origin {
            Origin::Launch => Journal::new(path),
            Origin::Orphan(..) => Journal::behind(path),
        });
        let frozen = Arc::new(ConfigV1::from(&*config));
        let now = Moment::now();
        let mut snapshot = ContainerSnapshot::new(config.container_id.clone(), now.time);
        snapshot.labels.clone_from(&config.labels);
        snapshot.data.clone_from(&config.data);
        snapshot.sandbox = Some(config.sandbox.clone());
        let asked = |reference: String| ImageName { reference, digest: None };
        snapshot.image = config.image.as_ref().map(|image| asked(image.to_string()));
        Self {
            config,
            rooms,
            lane,
            journal,
            frozen,
            state: Lifecycle::launch().state,
            attempt: 0,
            discarder: None,
            published: State::Provisioning,
            snapshot,
            provisioned: None,
            prepared: Prepared::default(),
            init: None,
            control: None,
            payload_owner: (0, 0),
            init_gone: true,
            killing: None,
            limitation: None,
            usage: Usage::default(),
            stops: Vec::new(),
            stop_deadline: None,
            stop_deadline_ns: None,
            timers: Vec::new(),
            remaining: Vec::new(),
            waiting: Vec::new(),
            awaiting_running: Vec::new(),
            created_ns: now.time.unix_ns(),
            recorded: None,
            origin: Some(origin),
        }
    }

    fn id(&self) -> &ContainerId {
        &self.config.container_id
    }

    /// Decides, records, publishes, performs.
    fn input(&mut self, cx: &mut Context, input: Input) {
        let before = self.state.clone();
        #[cfg(test)]
        if let Some(next) = crate::containerizer::tests::broken::row(&before, &input) {
            return self.enter(cx, &before, next);
        }
        match before.clone().step(input) {
            Ok(next) => self.enter(cx, &before, next),
            Err(OutOfTurn) => {
                tracing::debug!(container = %self.id(), state = %before.name(), "out of turn");
            }
        }
    }

    fn enter(&mut self, cx: &mut Context, before: &Lifecycle, next: Next) {
        let Next { state, effects } = next;
        let (from, ended) = (before.name(), matches!(state, Lifecycle::Ended(_)));
        self.state = state;
        if self.state.name() != from {
            self.note_entry(cx);
            let happened = Happened::Entered { from: Some(from) };
            self.save(cx, Some(happened));
        }
        for effect in effects {
            self.perform(cx, effect);
        }
        if ended {
            self.conclude(cx);
        }
    }

    /// What entering the state means for those who look at it.
    fn note_entry(&mut self, cx: &mut Context) {
        self.snapshot.state = Some(self.state.name());
        match &self.state {
            Lifecycle::Running(_) => {
                self.note_running();
                if let Some(timeout) = self.config.timeout {
                    self.arm(cx, timeout, "timeout", Input::Stop(Why::TimedOut));
                }
            }
            Lifecycle::Stuck(_, _, failure) => {
                tracing::warn!(container = %self.id(), %failure.message, "stuck");
                if self.remaining.is_empty() {
                    self.remaining = vec![failure.message.clone()];
                }
                self.snapshot.failure = Some(failure.clone());
                self.snapshot.remaining.clone_from(&self.remaining);
            }
            Lifecycle::Destroying(..) => {
                self.remaining.clear();
                self.snapshot.remaining.clear();
                self.snapshot.failure = None;
                self.disarm(cx);
            }
            Lifecycle::Provisioning(_)
            | Lifecycle::Preparing(_)
            | Lifecycle::Forking(_)
            | Lifecycle::Isolating(_)
            | Lifecycle::Fetching(_)
            | Lifecycle::Starting(_)
            | Lifecycle::Ended(_) => {}
        }
    }

    fn note_running(&mut self) {
        let pid = self.init.map(|init| init.pid);
        self.snapshot.pid = pid;
        if let Some(provisioned) = &self.provisioned {
            self.snapshot.rootfs = match &provisioned.rootfs {
                // Complete in the executor's mount namespace only.
                Rootfs::Directory(path) if self.config.shape.task().is_some() => {
                    pid.map(|pid| format!("/proc/{pid}/root{}", path.display()).into())
                }
                Rootfs::Directory(path) => Some(path.clone()),
                // Mounted in the container's own namespace only: seen through its init.
                Rootfs::Detached(_) => pid.map(|pid| format!("/proc/{pid}/root").into()),
            };
            self.snapshot.upper = provisioned.ephemeral.first().cloned();
        }
    }

    fn perform(&mut self, cx: &mut Context, effect: Effect) {
        match effect {
            Effect::Begin(step) => self.begin(cx, step),
            Effect::Discard(_) => {
                if let Some(discarder) = &self.discarder {
                    discarder.discard("the container is being destroyed");
                }
            }
            Effect::SignalStop => self.signal_stops(cx),
            Effect::NoteLimit(limitation) => {
                let message = one_line(&limitation.message);
                let limitation = Limitation { message, ..limitation };
                self.limitation.get_or_insert_with(|| limitation.clone());
                self.save(cx, Some(Happened::Limited(limitation)));
            }
        }
    }

    /// A timeout has asked for none in particular.
    fn signal_stops(&mut self, cx: &mut Context) {
        let mut stops = std::mem::take(&mut self.stops);
        if stops.is_empty() {
            stops.push(Stop { signal: None, grace: limits::STOP_GRACE });
        }
        for Stop { signal, grace } in stops {
            let signal = signal.unwrap_or_else(|| self.image_stop_signal());
            let sent = self.control.as_ref().map_or(Ok(()), |control| control.signal(signal));
            if let Err(failure) = sent {
                // The grace period ends it anyway.
                tracing::warn!(container = %self.id(), %failure.message, "a stop signal is not sent");
            }
            self.destroy_within(cx, grace.min(limits::FOREVER));
        }
    }

    /// Unless that comes sooner already.
    fn destroy_within(&mut self, cx: &mut Context, grace: Duration) {
        let deadline = cx.now() + grace;
        match self.stop_deadline.take() {
            Some(sooner) if sooner.0 <= deadline => return self.stop_deadline = Some(sooner),
            Some((_, later)) => {
                cx.cancel(later);
                self.timers.retain(|key| *key != later);
            }
            None => {}
        }
        let grace_ns = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
        self.stop_deadline_ns = Some(Moment::now().time.unix_ns().saturating_add(grace_ns));
        self.save(cx, None);
        let key = self.arm(cx, grace, "grace", Input::Destroy(Why::Requested));
        self.stop_deadline = Some((deadline, key));
    }

    /// The caller's signal over the image's, else SIGTERM.
    fn image_stop_signal(&self) -> i32 {
        let of_image = || {
            let text = self.provisioned.as_ref()?.config.stop_signal.clone()?;
            crate::model::parse_signal(&text)
        };
        self.config.stop_signal.or_else(of_image).unwrap_or(15)
    }

    /// An input that comes by itself, unless the container is being destroyed by then.
    fn arm(
        &mut self,
        cx: &mut Context,
        after: Duration,
        label: &'static str,
        input: Input,
    ) -> TimerKey {
        let key =
            cx.after(after, label, move |supervisor: &mut Self, cx| supervisor.input(cx, input));
        self.timers.push(key);
        key
    }

    fn disarm(&mut self, cx: &mut Context) {
        for key in self.timers.drain(..) {
            cx.cancel(key);
        }
    }

    /// Checkpoints, and publishes what happened once that is written.
    fn save(&mut self, cx: &mut Context, happened: Option<Happened>) {
        let (saving, state) = (self.saving(happened), self.state.name());
        cx.when("save", saving, move |supervisor: &mut Self, _, saved| {
            if let Err(failure) = flatten(Stage::Run, saved) {
                tracing::warn!(container = %supervisor.id(), %failure.message, "not checkpointed");
            }
            supervisor.published = state;
            supervisor.answer_published();
        });
    }

    /// Whoever waits for a state hears of it when observers do, not before.
    fn answer_published(&mut self) {
        match (&self.state, self.published) {
            (Lifecycle::Running(_), State::Running) => {
                let pid = self.init.map_or(0, |init| init.pid);
                for waiter in self.awaiting_running.drain(..) {
                    waiter.set(Ok(pid));
                }
            }
            (Lifecycle::Stuck(..), State::Stuck) => self.answer_waiting(),
            _ => {}
        }
    }

    fn saving(&self, happened: Option<Happened>) -> Eventual<Result<(), Failure>> {
        let save = Save {
            container_id: self.id().clone(),
            journal: Arc::clone(&self.journal),
            checkpoint: self.checkpoint(),
            update: happened.map(|happened| self.update(happened)),
        };
        self.lane.save.dispatch(save, limits::QUERY)
    }

    fn creating(&self) -> Eventual<Result<(), Failure>> {
        let create = Create {
            container_id: self.id().clone(),
            journal: Arc::clone(&self.journal),
            checkpoint: self.checkpoint(),
            update: self.update(Happened::Entered { from: None }),
        };
        self.lane.create.dispatch(create, limits::QUERY)
    }

    fn update(&self, happened: Happened) -> events::Update {
        events::Update { happened, container: Arc::new(self.snapshot.clone()) }
    }

    fn checkpoint(&self) -> ContainerV1 {
        let image = self.provisioned.as_ref().map(|provisioned| {
            let digest = provisioned.digest.as_ref().map(ToString::to_string);
            (provisioned.reference.clone(), digest)
        });
        ContainerV1 {
            container_id: self.id().to_string(),
            created_ns: self.created_ns,
            owner: self.rooms.owner,
            config: Arc::clone(&self.frozen),
            state: self.state.name().to_string(),
            init: self.init.map(|init| (init.pid, init.start_time)),
            isolators: self.prepared.remembered.clone(),
            image,
            stop_deadline_ns: self.stop_deadline_ns,
        }
    }

    /// The end as far as it is known.
    fn end(&self) -> End {
        let (Lifecycle::Destroying(_, ending)
        | Lifecycle::Stuck(_, ending, _)
        | Lifecycle::Ended(ending)) = &self.state
        else {
            return End::default();
        };
        if let Some(record) = &self.recorded {
            return record.end.clone();
        }
        termination::end(Facts {
            ending,
            limitation: self.limitation.clone(),
            usage: self.usage,
            memory: self.config.resources.memory,
        })
    }

    fn conclusion(&self) -> Conclusion {
        let stuck = match &self.state {
            Lifecycle::Stuck(_, _, failure) => Some(failure.clone()),
            Lifecycle::Provisioning(_)
            | Lifecycle::Preparing(_)
            | Lifecycle::Forking(_)
            | Lifecycle::Isolating(_)
            | Lifecycle::Fetching(_)
            | Lifecycle::Starting(_)
            | Lifecycle::Running(_)
            | Lifecycle::Destroying(..)
            | Lifecycle::Ended(_) => None,
        };
        Conclusion { end: self.end(), stuck, remaining: self.remaining.clone() }
    }

    fn answer_waiting(&mut self) {
        let conclusion = self.conclusion();
        for waiter in self.waiting.drain(..) {
            waiter.set(conclusion.clone());
        }
        for waiter in self.awaiting_running.drain(..) {
            waiter.set(Err(conclusion.clone()));
        }
    }

    /// Nothing is left: everybody is told, and the actor ends.
    fn conclude(&mut self, cx: &mut Context) {
        self.disarm(cx);
        // Before anybody hears of the end: who hears of it may use the id again.
        self.rooms.reserved.remove(self.id());
        self.answer_waiting();
        cx.stop();
    }
}

impl Process for Supervisor {
    fn initialize(&mut self, cx: &mut Cx<Self>) -> Result<(), longshore_actors::Fault> {
        let next = match self.origin.take() {
            Some(Origin::Orphan(left, asker)) => {
                self.waiting.extend(asker);
                let Left { init, remembered, created_ns, stop_deadline_ns, ending, recorded } =
                    *left;
                (self.init, self.prepared.remembered) = (init, remembered);
                (self.stop_deadline_ns, self.recorded) = (stop_deadline_ns, recorded);
                self.created_ns = created_ns.unwrap_or(self.created_ns);
                self.snapshot.created = WallTime::from_unix_ns(self.created_ns);
                Lifecycle::orphan(ending)
            }
            Some(Origin::Launch) | None => Lifecycle::launch(),
        };
        self.state = next.state;
        self.snapshot.state = Some(self.state.name());
        for effect in next.effects {
            self.perform(cx, effect);
        }
        Ok(())
    }
}
