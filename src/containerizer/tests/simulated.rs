//! A whole containerizer in a simulation: the scenario's side of it, and what must be true whenever it
//! has settled.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use longshore_actors::{
    Builder, Eventual, Faults, Handler, Match, Message, Pid, Random, Runtime, ShutdownPlan,
    Simulation,
};

use super::host::{Dice, Host};
use super::memory::{Memory, PIECES};
use super::world::{Isolators, Parts, Plan, World, line};
use crate::containerizer::supervisor::actor::Supervisor;
use crate::containerizer::supervisor::messages::{Conclusion, Destroy, Wait};
use crate::events::{Event, EventKind, Notice, Since, Snapshot, Subscription};
use crate::isolators::actor::apart::{CALLS, WATCHES};
use crate::limits;
use crate::model::{ContainerConfig, ContainerId, State};
use crate::paths::Paths;

/// Longer than every deadline there is.
const AGES: Duration = Duration::from_secs(10_000);

/// Destroys that are asked for until a container has to be gone. Where nothing goes wrong any more one
/// is enough, but in a schedule that hurries deadlines pass at any time.
const DESTROYS_MAX: u32 = 100;

/// The runtime of a containerizer with two lanes.
pub(super) fn builder() -> Builder {
    let groups = [("main", 1), (WATCHES, 1), ("kernel", 2), ("disk", 1)];
    let lanes = [("bulk", 2), ("kill", 2), (CALLS, 2)];
    let builder = groups.iter().fold(Runtime::builder(), |b, (name, size)| b.group(name, *size));
    lanes.iter().fold(builder, |b, (name, size)| b.lane(name, *size))
}

/// What a scenario finds wrong.
pub(super) type Wrong = Result<(), String>;

/// One that a seed drives.
pub(super) struct Life<'a> {
    parts: Parts,
    sim: &'a Simulation,
    random: RefCell<Random>,
    log: RefCell<Log>,
    /// Destroys and stops that were asked for; each is answered some day.
    asked: RefCell<Vec<Eventual<Conclusion>>>,
    /// Something may fail: what is written may be older than what is published.
    faulty: Cell<bool>,
    /// A supervisor may be lost: its successor undoes things before it publishes anything.
    lost: Cell<bool>,
    isolators: Isolators,
}

impl Deref for Life<'_> {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

impl<'a> Life<'a> {
    pub(super) fn new(sim: &'a Simulation) -> Self {
        Self::with(sim, Isolators::Chain, 0)
    }

    pub(super) fn with(sim: &'a Simulation, isolators: Isolators, figures: u64) -> Self {
        let (host, paths) = (Host::default(), Paths::new("/work", "/run"));
        let files = Arc::new(Memory(host.clone()));
        let plan = Plan { lanes: 2, isolators, figures, files, paths };
        let parts = Parts::assemble(sim.runtime().clone(), host, &plan);
        let log = RefCell::new(Log::new(parts.events.subscribe(Since::Now)));
        let random = RefCell::new(sim.random("life"));
        let (asked, faulty, lost) = (RefCell::default(), Cell::new(false), Cell::new(false));
        Self { parts, sim, random, log, asked, faulty, lost, isolators }
    }

    /// Less than `bound`, by the seed.
    pub(super) fn below(&self, bound: usize) -> usize {
        self.random.borrow_mut().below(bound)
    }

    /// From now on messages with these labels that concern `subject` may be dropped, lost, late, or fail.
    pub(super) fn lose(&self, labels: &[&str], subject: &str, chance: f64) {
        self.faulty.set(true);
        for (index, label) in labels.iter().enumerate() {
            let seed = self.sim.seed().wrapping_add(index as u64);
            let each = chance / 5.0;
            let faults = Faults::seeded(seed).drop(each).lose_request(each).lose_reply(each);
            // Shorter than any deadline: no message of one sender overtakes another for good.
            let faults = faults.fail(each).delay(each, Duration::from_secs(3));
            self.runtime.filter().plan(Match::any().label(*label).subject(subject), faults);
        }
    }

    /// From now on calls of the host get into trouble.
    pub(super) fn roll(&self, chance: f64) {
        self.faulty.set(true);
        self.host.roll(Some(Dice { seed: self.sim.seed(), chance }));
    }

    /// From now on supervisors may be lost.
    pub(super) fn lose_supervisors(&self) {
        self.faulty.set(true);
        self.lost.set(true);
    }

    /// As the handle does it: an id has one owner.
    pub(super) fn launch(&self, name: &str) {
        self.launch_config(World::config(name));
    }

    pub(super) fn launch_config(&self, config: ContainerConfig) {
        let id = config.container_id.clone();
        self.reserved.insert(id.clone(), None);
        let mut log = self.log.borrow_mut();
        // What was published of its last life is not of this one.
        log.read(&self.host);
        log.lives.insert(id, Seen::Launched);
        self.begin(config);
    }

    /// At most so many steps of whoever the seed chooses.
    pub(super) fn steps(&self, count: usize) {
        for _ in 0..count {
            if !self.sim.step() {
                return;
            }
        }
    }

    /// Some steps, by the seed: up to about as many as a launch takes.
    pub(super) fn some_steps(&self) {
        self.steps(self.below(150));
    }

    /// Steps until `id` is published as being in `state`; false if it never is.
    pub(super) fn reaches(&self, id: &ContainerId, state: State) -> bool {
        while self.state(id) != Some(state) {
            if !self.sim.step() {
                return false;
            }
        }
        true
    }

    pub(super) fn settle(&self) -> Wrong {
        self.sim.run_until_settled();
        self.check()
    }

    pub(super) fn advance(&self, duration: Duration) -> Wrong {
        self.sim.advance(duration);
        self.check()
    }

    pub(super) fn supervisor(&self, id: &ContainerId) -> Option<Pid<Supervisor>> {
        self.sim.block_on(self.find(id).result()).ok().flatten()
    }

    /// Asks whoever has `id` now; nothing if nobody does.
    pub(super) fn ask<M: Message>(&self, id: &ContainerId, message: M) -> Option<Eventual<M::Reply>>
    where
        Supervisor: Handler<M>,
    {
        let supervisor = self.supervisor(id)?;
        Some(supervisor.dispatch(message, limits::FOREVER))
    }

    /// An [`Life::ask`] whose answer must come, sooner or later.
    pub(super) fn demand<M: Message<Reply = Conclusion>>(&self, id: &ContainerId, message: M)
    where
        Supervisor: Handler<M>,
    {
        let answer = self.ask(id, message);
        self.asked.borrow_mut().extend(answer);
    }

    /// Forgets `id` as the handle does it: only if it has ended, and when its supervisor has, too.
    /// False if it is not forgotten.
    pub(super) fn acknowledge(&self, id: &ContainerId) -> bool {
        if !self.has_ended(id) {
            return false;
        }
        if self.reserved.contains_key(id) {
            let waited = self.ask(id, Wait).map(|answer| self.sim.block_on(answer.result()));
            if waited.is_some_and(|end| end.is_ok_and(|end| end.stuck.is_some())) {
                return false;
            }
        }
        matches!(self.sim.block_on(self.forget(id).result()), Ok(Ok(())))
    }

    /// Launches `name` unless the id is in use or its end not acknowledged.
    pub(super) fn launch_if_free(&self, name: &str) {
        let id = World::id(name);
        if !self.reserved.contains_key(&id) && self.events.container(&id).is_none() {
            self.launch(name);
        }
    }

    pub(super) fn state(&self, id: &ContainerId) -> Option<State> {
        self.events.container(id)?.state
    }

    pub(super) fn has_ended(&self, id: &ContainerId) -> bool {
        self.events.container(id).is_some_and(|container| container.state.is_none())
    }

    /// The events so far, a line each.
    pub(super) fn lines(&self) -> String {
        let mut log = self.log.borrow_mut();
        log.read(&self.host);
        log.lines.clone()
    }

    /// Nothing has happened that never may.
    pub(super) fn observe(&self) -> Wrong {
        let mut log = self.log.borrow_mut();
        log.read(&self.host);
        log.wrong.clone()?;
        self.host.wrong().first().map_or(Ok(()), |wrong| Err(wrong.clone()))
    }

    /// What the host holds is what containers own by their published state. True whenever everything
    /// has settled.
    pub(super) fn check(&self) -> Wrong {
        self.observe()?;
        let ids: Vec<_> = self.log.borrow().lives.keys().cloned().collect();
        ids.iter().try_for_each(|id| self.check_one(id))
    }

    fn check_one(&self, id: &ContainerId) -> Wrong {
        let published = self.events.container(id).map(|container| container.state);
        let (may, must) = owned(published);
        let state = self.host.lock();
        let wrong = |what: &str| {
            let state = published.map(|state| state.map(State::name));
            Err(format!("{what} of {id}, which is {state:?}"))
        };
        for (kind, words) in kinds(self.isolators) {
            for word in words {
                let (whole, part) =
                    (state.holds(word, id), state.holds(&format!("part of {word}"), id));
                if (whole || part) && !may.contains(&kind) {
                    return wrong(&format!("{word} is held"));
                }
                if !whole && must.contains(&kind) && !self.lost.get() {
                    return wrong(&format!("{word} is missing"));
                }
            }
        }
        let (directory, saved) = (state.directories.contains(id), state.checkpoints.get(id));
        if (directory || saved.is_some()) && !may.contains(&Kind::Files) {
            return wrong("the runtime directory is there");
        }
        if self.faulty.get() {
            return Ok(());
        }
        let saved = saved.map(|saved| saved.state.as_str());
        match published {
            Some(Some(State::Stuck)) | None => Ok(()),
            Some(Some(now)) if saved != Some(now.name()) => {
                wrong(&format!("the checkpoint says {saved:?}"))
            }
            Some(None) if !state.records.contains_key(id) => wrong("no record"),
            Some(_) => Ok(()),
        }
    }

    /// Nothing goes wrong any more, and every container is destroyed: then nothing is left but records.
    pub(super) fn end(&self) -> Wrong {
        self.runtime.filter().clear();
        self.host.roll(None);
        let ids: Vec<_> = self.log.borrow().lives.keys().cloned().collect();
        self.advance(AGES)?;
        for id in &ids {
            let mut destroys = 0;
            while self.supervisor(id).is_some() {
                destroys += 1;
                if destroys > DESTROYS_MAX {
                    return Err(format!("{id} cannot be destroyed: {}", self.lines()));
                }
                self.demand(id, Destroy);
                self.advance(AGES)?;
            }
        }
        self.check()?;
        self.check_end()
    }

    fn check_end(&self) -> Wrong {
        let held = self.host.held();
        if !held.is_empty() {
            return Err(format!("held at the end: {held:?}"));
        }
        let log = self.log.borrow();
        let unended = log.lives.iter().find(|(_, seen)| **seen == Seen::Launched);
        if let Some((id, _)) = unended {
            return Err(format!("{id} never ended: {}", log.lines));
        }
        if self.asked.borrow().iter().any(|answer| !answer.is_done()) {
            return Err("a destroy or a stop was never answered".to_owned());
        }
        if !self.reserved.is_empty() {
            return Err(format!("reserved at the end: {:?}", self.reserved));
        }
        let supervisors: Vec<_> =
            self.runtime.actors().into_iter().map(|actor| actor.name).collect();
        match supervisors.iter().find(|name| name.starts_with("supervisor")) {
            Some(name) => Err(format!("{name} is left")),
            None => Ok(()),
        }
    }

    /// As [`Life::end`]; the runtime shuts down without a reproach as well.
    pub(super) fn end_and_shut_down(&self) -> Wrong {
        self.end()?;
        let plan = ShutdownPlan::within(limits::SHUTDOWN);
        let report = self.sim.block_on(self.runtime.shutdown(plan));
        if report.is_clean() { Ok(()) } else { Err(format!("{report:?}")) }
    }
}

/// What a container may own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Files,
    Rootfs,
    Isolated,
    Group,
    Init,
}

/// The words that the host has for it.
fn kinds(isolators: Isolators) -> [(Kind, Vec<&'static str>); 4] {
    let isolated = match isolators {
        Isolators::Fake => vec!["isolated"],
        Isolators::Chain => PIECES.map(|piece| piece.name).to_vec(),
    };
    [
        (Kind::Rootfs, vec!["rootfs"]),
        (Kind::Isolated, isolated),
        (Kind::Group, vec!["group"]),
        (Kind::Init, vec!["init"]),
    ]
}

/// What may be there of a container by its published state, and what must be.
fn owned(published: Option<Option<State>>) -> (&'static [Kind], &'static [Kind]) {
    use Kind::{Files, Group, Init, Isolated, Rootfs};
    const ALL: &[Kind] = &[Files, Rootfs, Isolated, Group, Init];
    let Some(Some(state)) = published else { return (&[], &[]) };
    match state {
        State::Provisioning => (&[Files, Rootfs], &[]),
        State::Preparing => (&[Files, Rootfs, Isolated], &[Rootfs]),
        State::Forking => (ALL, &[Rootfs, Isolated]),
        State::Isolating | State::Fetching | State::Starting => (ALL, &[Rootfs, Isolated, Group]),
        State::Running => (ALL, &[Rootfs, Isolated, Group, Init]),
        State::Destroying | State::Stuck | State::Paused => (ALL, &[]),
    }
}

/// Reads events, and finds what observers must never see.
struct Log {
    subscription: Subscription,
    /// Number of the last event that was told or covered by a snapshot.
    seq: u64,
    lines: String,
    lives: BTreeMap<ContainerId, Seen>,
    /// The first thing that was.
    wrong: Wrong,
}

/// How far the last life of an id has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Launched,
    Ended,
}

impl Log {
    fn new(subscription: Subscription) -> Self {
        let (lines, lives) = (String::new(), BTreeMap::new());
        Self { subscription, seq: 0, lines, lives, wrong: Ok(()) }
    }

    fn read(&mut self, host: &Host) {
        while let Some(notice) = self.subscription.try_next() {
            let read = match notice {
                Notice::Event(event) => self.event(&event, host),
                Notice::Lagged(lagged) => self.goes_on(lagged.from_seq, lagged.to_seq),
                Notice::Snapshot(snapshot) => self.snapshot(&snapshot),
            };
            if self.wrong.is_ok() {
                self.wrong = read;
            }
        }
    }

    /// No number is left out, and none comes twice.
    fn goes_on(&mut self, from: u64, to: u64) -> Wrong {
        let expected = self.seq + 1;
        self.seq = to;
        if from == expected { Ok(()) } else { Err(format!("event {from}, not {expected}")) }
    }

    /// What a snapshot covers ends where the gap before it does.
    fn snapshot(&mut self, snapshot: &Snapshot) -> Wrong {
        let ended = snapshot.containers.iter().filter(|container| container.state.is_none());
        for id in ended.map(|container| &container.container_id) {
            self.lives.insert(id.clone(), Seen::Ended);
        }
        if snapshot.seq == self.seq {
            return Ok(());
        }
        Err(format!("a snapshot of {} after {}", snapshot.seq, self.seq))
    }

    fn event(&mut self, event: &Event, host: &Host) -> Wrong {
        self.goes_on(event.seq, event.seq)?;
        let text = line(event);
        self.lines += &text;
        if self.lives.get(&event.container_id) != Some(&Seen::Launched) {
            return Err(format!("after its end: {text}"));
        }
        if event.kind == EventKind::Terminated {
            self.lives.insert(event.container_id.clone(), Seen::Ended);
        }
        let pid = event.pid.unwrap_or_default();
        if event.kind == EventKind::Running && !host.was_released(pid) {
            return Err(format!("its init was never released: {text}"));
        }
        Ok(())
    }
}
