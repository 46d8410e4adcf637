//! The supervisor itself: does what the plan decides, and reports back to it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::plan::{Effect, Finish, How, Key, Plan};
use super::spec::{Template, Typed};
use super::{
    Backoff, ChildEnd, ChildSpec, ChildState, ChildStatus, GaveUp, Intensity, Lineage, Roster,
    Stop, Strategy,
};
use crate::cx::{Cx, TimerKey};
use crate::eventual::{Eventual, Promise};
use crate::outcome::{Exit, Fault, Outcome};
use crate::pid::{AnyPid, Pid};
use crate::process::{Drained, Handler, Message, Process, Reply};
use crate::role::Role;
use crate::runtime::{Runtime, SpawnError};
use crate::spawn::Spawn;

/// How many ends the history of a supervisor has room for, whatever its intensity.
const HISTORY_MAX: usize = 64;

/// An actor that starts others, starts them again when they end, and stops them with itself.
///
/// Drained, it stops its children in reverse order of their declaration and then ends normally. When it restarts too
/// often it does the same and fails, with a [`GaveUp`] as the source of its fault. While the runtime shuts down it
/// restarts nothing.
pub struct Supervisor {
    plan: Plan,
    kids: BTreeMap<Key, Kid>,
    /// By the number of their incarnation.
    living: HashMap<u64, Key>,
    roster: Arc<Roster>,
    history: VecDeque<ChildEnd>,
}

/// One child.
struct Kid {
    template: Box<dyn Template>,
    pid: Option<AnyPid>,
    /// How often the plan had it started.
    starts: u64,
    /// Grows with every attempt to spawn it, so that what belongs to an earlier one is known.
    attempt: u64,
    last_exit: Option<Exit>,
    /// Who waits for its first start.
    starter: Option<Starter>,
    /// Who waits for its stop.
    stoppers: Vec<Promise<Exit>>,
    grace: Option<TimerKey>,
}

/// Told of the first start, or of the end that came instead.
type Starter = Box<dyn FnOnce(Result<(), Exit>) + Send>;

impl Supervisor {
    /// One without children, with an intensity of one restart in five seconds and no back-off.
    pub fn new(strategy: Strategy) -> Self {
        Self {
            plan: Plan::new(strategy),
            kids: BTreeMap::new(),
            living: HashMap::new(),
            roster: Arc::default(),
            history: VecDeque::new(),
        }
    }

    /// How often it restarts before it gives up.
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.plan.intensity = intensity;
        self
    }

    /// How long it waits before a restart.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.plan.backoff = backoff;
        self
    }

    /// Declares a child, to be started after those declared before.
    pub fn child<P: Process>(mut self, spec: ChildSpec<P>) -> Self {
        let template = Typed::boxed(spec);
        let key = self.plan.declare(template.restart());
        self.insert(key, template, None);
        self
    }

    /// Spawns it, which starts its children. Place and capacity can be given by [`Runtime::spawn`] instead.
    pub fn start(
        self,
        runtime: &Runtime,
        name: impl Into<String>,
    ) -> Result<Pid<Self>, SpawnError> {
        runtime.spawn(Spawn::new(name, move || self))
    }

    fn insert(&mut self, key: Key, template: Box<dyn Template>, starter: Option<Starter>) {
        self.roster.add(key, Arc::clone(template.name()));
        let kid = Kid {
            template,
            pid: None,
            starts: 0,
            attempt: 0,
            last_exit: None,
            starter,
            stoppers: Vec::new(),
            grace: None,
        };
        self.kids.insert(key, kid);
    }

    /// Does what the plan decides upon the last input.
    fn advance(&mut self, cx: &mut Cx<Self>) {
        for effect in self.plan.advance() {
            match effect {
                Effect::Start(key) => self.start_child(key, cx),
                Effect::Stop(key) => self.stop_child(key, cx),
                Effect::Hold(hold, delay) => {
                    cx.after(delay, "restart", move |supervisor, cx| {
                        supervisor.plan.hold_over(hold);
                        supervisor.advance(cx);
                    });
                }
                Effect::Forget(key) => self.forget(key),
                Effect::Finish(Finish::Stopped) => cx.stop(),
                Effect::Finish(Finish::GaveUp) => cx.fail(self.verdict()),
            }
        }
    }

    fn start_child(&mut self, key: Key, cx: &mut Cx<Self>) {
        let Some(kid) = self.kids.get_mut(&key) else { return };
        kid.starts += 1;
        self.roster.set_restarts(key, kid.starts - 1);
        self.spawn_child(key, cx);
    }

    fn spawn_child(&mut self, key: Key, cx: &mut Cx<Self>) {
        let Some(kid) = self.kids.get_mut(&key) else { return };
        kid.attempt += 1;
        let attempt = kid.attempt;
        let lineage = Lineage { parent: cx.core.control.id };
        let again = kid.starts > 1;
        match kid.template.spawn(cx.runtime(), lineage) {
            Ok(pid) => {
                let restarted = &cx.core.control.runtime.tally.restarted;
                restarted.fetch_add(u64::from(again), Ordering::Relaxed);
                self.enter(key, pid, cx);
            }
            Err(SpawnError::NameTaken(name)) => self.wait_for_name(key, attempt, &name, cx),
            Err(error) => self.report_unspawned(key, attempt, error, cx),
        }
    }

    fn enter(&mut self, key: Key, pid: AnyPid, cx: &mut Cx<Self>) {
        self.roster.enter(key, &pid);
        self.living.insert(pid.id(), key);
        cx.watch(&pid);
        let id = pid.id();
        cx.run("started", pid.started(), move |supervisor, cx, outcome| {
            // One that never started is heard of by its exit.
            if outcome.is_ok() && supervisor.living.get(&id) == Some(&key) {
                supervisor.child_started(key, cx);
            }
        });
        if let Some(kid) = self.kids.get_mut(&key) {
            kid.pid = Some(pid);
        }
    }

    fn child_started(&mut self, key: Key, cx: &mut Cx<Self>) {
        let wanted = self.plan.started(key, cx.now());
        if let Some(kid) = self.kids.get_mut(&key)
            && wanted
        {
            self.roster.set_state(key, ChildState::Running);
            kid.template.fill();
            if let Some(starter) = kid.starter.take() {
                starter(Ok(()));
            }
        }
        self.advance(cx);
    }

    /// A supervisor that was killed leaves children that are ending: their names will be free. A holder that takes
    /// messages is no such child.
    fn wait_for_name(&mut self, key: Key, attempt: u64, name: &Arc<str>, cx: &mut Cx<Self>) {
        match cx.runtime().find(name) {
            Some(holder) if !holder.0.control().is_closed() => {
                let error = SpawnError::NameTaken(Arc::clone(name));
                self.report_unspawned(key, attempt, error, cx);
            }
            holder => {
                let free = holder.map_or_else(|| Eventual::ready(Exit::Normal), |pid| pid.exit());
                cx.run("name", free, move |supervisor, cx, _| {
                    if supervisor.kids.get(&key).is_some_and(|kid| kid.attempt == attempt) {
                        supervisor.spawn_child(key, cx);
                    }
                });
            }
        }
    }

    /// As a turn of its own, so that one that fails at once, again and again, keeps nobody from theirs.
    fn report_unspawned(&mut self, key: Key, attempt: u64, error: SpawnError, cx: &mut Cx<Self>) {
        let exit = Exit::Failed(Fault::from_error(error));
        cx.after(Duration::ZERO, "not spawned", move |supervisor, cx| {
            if supervisor.kids.get(&key).is_some_and(|kid| kid.attempt == attempt) {
                supervisor.child_ended(key, exit, cx);
            }
        });
    }

    fn stop_child(&mut self, key: Key, cx: &mut Cx<Self>) {
        let Some(kid) = self.kids.get_mut(&key) else { return };
        self.roster.set_state(key, ChildState::Stopping);
        kid.template.vacate();
        match (&kid.pid, kid.template.stop()) {
            (None, _) => {
                // It was never spawned: whatever comes of that start is of no interest any more.
                kid.attempt += 1;
                let attempt = kid.attempt;
                cx.after(Duration::ZERO, "not spawned", move |supervisor, cx| {
                    if supervisor.kids.get(&key).is_some_and(|kid| kid.attempt == attempt) {
                        supervisor.child_ended(key, Exit::Killed("stopped"), cx);
                    }
                });
            }
            (Some(pid), Stop::Kill) => drop(pid.kill("stopped by its supervisor")),
            (Some(pid), Stop::Drain(grace)) => {
                drop(pid.drain());
                let pid = pid.clone();
                kid.grace = Some(cx.after(grace, "grace", move |_, _| {
                    drop(pid.kill("did not drain in time"));
                }));
            }
        }
    }

    fn child_ended(&mut self, key: Key, exit: Exit, cx: &mut Cx<Self>) {
        let Some(kid) = self.kids.get_mut(&key) else { return };
        kid.pid = None;
        kid.template.vacate();
        if let Some(grace) = kid.grace.take() {
            cx.cancel(grace);
        }
        kid.last_exit = Some(exit.clone());
        self.roster.leave(key, Some(exit.clone()));
        let how = if matches!(exit, Exit::Normal) { How::Normally } else { How::Badly };
        // The first start is a matter of whoever asked for it, the end of the runtime nobody's.
        let withdrawn = kid.starter.is_some() || cx.runtime().is_shutting_down();
        if self.plan.is_failure(key, how) {
            self.remember(key, exit, cx);
        }
        if withdrawn {
            self.plan.withdraw(key);
        } else {
            self.plan.ended(key, how, cx.now());
        }
        self.advance(cx);
    }

    fn remember(&mut self, key: Key, exit: Exit, cx: &mut Cx<Self>) {
        let Some(kid) = self.kids.get(&key) else { return };
        let child = Arc::clone(kid.template.name());
        if self.history.len() >= HISTORY_MAX.min(self.plan.intensity.restarts.saturating_add(1)) {
            self.history.pop_front();
        }
        self.history.push_back(ChildEnd { child, exit, at: cx.now() });
    }

    fn forget(&mut self, key: Key) {
        self.roster.remove(key);
        let Some(kid) = self.kids.remove(&key) else { return };
        let exit = kid.last_exit.unwrap_or(Exit::Killed("stopped before it was started"));
        if let Some(starter) = kid.starter {
            starter(Err(exit.clone()));
        }
        for promise in kid.stoppers {
            promise.set(exit.clone());
        }
    }

    fn verdict(&mut self) -> Fault {
        let history = std::mem::take(&mut self.history).into();
        Fault::from_error(GaveUp { intensity: self.plan.intensity, history })
    }

    fn key_of(&self, name: &str) -> Option<Key> {
        let mut kids = self.kids.iter();
        kids.find(|(_, kid)| &**kid.template.name() == name).map(|(key, _)| *key)
    }
}

impl Process for Supervisor {
    fn initialize(&mut self, cx: &mut Cx<Self>) -> Result<(), Fault> {
        // A supervisor initialises once, so nobody has set it before.
        let _ = cx.core.control.roster.set(Arc::clone(&self.roster));
        self.advance(cx);
        Ok(())
    }

    fn exited(&mut self, cx: &mut Cx<Self>, who: &AnyPid, why: &Exit) {
        if let Some(key) = self.living.remove(&who.id()) {
            self.child_ended(key, why.clone(), cx);
        }
    }

    fn drained(&mut self, cx: &mut Cx<Self>) -> Drained {
        self.plan.close(Finish::Stopped);
        self.advance(cx);
        Drained::Linger
    }
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.kids.values().map(|kid| kid.template.name());
        f.debug_struct("Supervisor")
            .field("children", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Adds a child to a supervisor that runs. The answer comes when it has initialised. If it does not, the answer is
/// why, and it is no child.
#[derive(Debug)]
pub struct StartChild<P: Process>(pub ChildSpec<P>);

impl<P: Process> Message for StartChild<P> {
    type Reply = Pid<P>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.0.name))
    }
}

impl<P: Process> Handler<StartChild<P>> for Supervisor {
    fn handle(&mut self, message: StartChild<P>, cx: &mut Cx<Self>) -> Reply<Pid<P>> {
        let StartChild(spec) = message;
        let (promise, reply) = Reply::promised();
        if !self.plan.is_open() {
            promise.fail(Fault::new("the supervisor stops its children"));
        } else if self.key_of(&spec.name).is_some() {
            promise.fail(Fault::from_error(SpawnError::NameTaken(spec.name)));
        } else {
            let role = spec.role.clone();
            let template = Typed::boxed(spec);
            let key = self.plan.add_dynamic(template.restart());
            let starter = move |started| answer_start(promise, &role, started);
            self.insert(key, template, Some(Box::new(starter)));
            self.advance(cx);
        }
        reply
    }
}

fn answer_start<P: Process>(promise: Promise<Pid<P>>, role: &Role<P>, started: Result<(), Exit>) {
    promise.end(match (started, role.resolve()) {
        (Ok(()), Ok(pid)) => Outcome::Ok(pid),
        (Ok(()), Err(vacant)) => Outcome::Failed(Fault::vacant(vacant)),
        (Err(exit), _) => Outcome::Abandoned(exit),
    });
}

/// Stops a child and forgets it. The answer is its exit.
#[derive(Debug)]
pub struct StopChild(pub Arc<str>);

impl Message for StopChild {
    type Reply = Exit;

    fn subject(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.0))
    }
}

impl Handler<StopChild> for Supervisor {
    fn handle(&mut self, StopChild(name): StopChild, cx: &mut Cx<Self>) -> Reply<Exit> {
        let (promise, reply) = Reply::promised();
        let key = self.key_of(&name);
        match key.and_then(|key| Some((key, self.kids.get_mut(&key)?))) {
            Some((key, kid)) => {
                kid.stoppers.push(promise);
                self.plan.stop(key);
                self.advance(cx);
            }
            None => drop(promise.fail(Fault::new(format!("no child named {name}")))),
        }
        reply
    }
}

impl Pid<Supervisor> {
    /// Adds a child, by [`StartChild`]. It comes last in the order of the supervisor.
    pub fn start_child<P: Process>(
        &self,
        spec: ChildSpec<P>,
        deadline: Duration,
    ) -> Eventual<Pid<P>> {
        self.dispatch(StartChild(spec), deadline)
    }

    /// Stops a child for good, by [`StopChild`].
    pub fn stop_child(&self, name: impl Into<Arc<str>>, deadline: Duration) -> Eventual<Exit> {
        self.dispatch(StopChild(name.into()), deadline)
    }

    /// Its children in their order, also those that wait to be started again. Asks nobody, so it answers while the
    /// supervisor's arbiter is stuck. Empty before the supervisor has started and after it has ended.
    pub fn children(&self) -> Vec<ChildStatus> {
        let roster = self.core.control.roster.get();
        roster.map_or_else(Vec::new, |roster| roster.children())
    }
}
