//! A runtime on one thread, where a seed decides everything: who goes next, when time passes, what goes wrong.
//!
//! Actors, futures, blocking jobs and the clock go on by steps, and a [`Schedule`] chooses whose step comes next.
//! Actor code is the same as on real threads: what a turn is stands in `body`, once. A run is told by a hash;
//! two runs with one schedule have one hash, unless something asks for what no seed decides: another thread,
//! the real time, addresses, the order of a hash map.

mod diagram;
mod drawing;
mod local;
mod machine;
mod mail;
mod random;
mod schedule;
mod search;
mod thread;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::pid::AnyPid;
use crate::runtime::Runtime;
use crate::work::Unit;

pub use random::Random;
pub use schedule::{NoSchedule, Schedule};
pub use search::{Finding, Search};

pub(crate) use machine::{Bell, Machine, NO_SEAT, Next, Part, Stepped, Strand, Who};
pub(crate) use mail::{Door, Inbox};
pub(crate) use random::{hash, hash_text, is_below, mix};
pub(crate) use thread::{Task, Thread, spawn};

use local::{Local, Step};
use machine::Id;

/// Panics where a thread would wait for the answer of `asked`, if that is simulated or the thread runs a simulation:
/// nobody else would ever run.
pub(crate) fn refuse_to_block(asked: Option<&AnyPid>) {
    let simulated = |pid: &AnyPid| {
        matches!(pid.0.control().runtime.engine, crate::engine::Engine::Simulated(_))
    };
    let blocks = local::is_inside() || asked.is_some_and(simulated);
    assert!(!blocks, "blocks a simulation for ever: use `Simulation::block_on`");
}

/// Steps that a run may take without settling, where nothing else is said.
const STEPS_MAX: u64 = 10_000_000;

/// A simulated runtime and whoever drives it. Nothing runs but in a call of its methods.
///
/// Made by [`Runtime::simulated`] or [`Builder::simulated`](crate::Builder::simulated). Dropping it ends all
/// actors there and then, in the order in which they were spawned.
pub struct Simulation {
    runtime: Runtime,
    local: Rc<Local>,
    clock: Clock,
    start: Instant,
    schedule: Schedule,
    /// Whether the schedule lets time pass while something can run.
    hurried: bool,
    /// The bell of the clock's strand.
    tick: Arc<Bell>,
    /// Held while timers are due.
    due: Rc<RefCell<Unit>>,
    steps_max: Cell<u64>,
}

/// Fires timers that are due, one a step.
struct Ticking {
    clock: Clock,
    due: Rc<RefCell<Unit>>,
}

impl Strand for Ticking {
    fn step(&mut self) -> Stepped {
        let more = self.clock.fire_due();
        if !more {
            drop(self.due.take());
        }
        Stepped { next: if more { Next::Again } else { Next::Wait }, label: "timer" }
    }
}

impl Simulation {
    pub(crate) fn new(runtime: Runtime, machine: &Arc<Machine>, schedule: Schedule) -> Self {
        let local = Local::new(machine);
        let clock = runtime.clock();
        let who = Who::new(Part::Clock, "clock", "timer");
        let tick = machine.bell(&who);
        let due = Rc::<RefCell<Unit>>::default();
        let ticking = Ticking { clock: clock.clone(), due: Rc::clone(&due) };
        local.add(Arc::clone(&tick), NO_SEAT, who, Box::new(ticking));
        let (start, steps_max) = (clock.now(), Cell::new(STEPS_MAX));
        let hurried = schedule.may_hurry();
        Self { runtime, local, clock, start, schedule, hurried, tick, due, steps_max }
    }

    /// The runtime. Its handles must stay on this thread: what another one does, no seed decides.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Its clock, which passes in [`Simulation::advance`] and [`Simulation::block_on`] only.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Choices for the test itself, of the same seed; each name has its own stream.
    pub fn random(&self, name: &str) -> Random {
        Random::named(self.schedule.seed(), name)
    }

    /// The seed that everything hangs on.
    pub fn seed(&self) -> u64 {
        self.schedule.seed()
    }

    /// Lets one actor, future, job or timer go on by one step; false if nothing can. Time does not pass.
    pub fn step(&self) -> bool {
        let _entered = self.local.enter();
        let mut callers = Vec::new();
        let step = self.step_of_others(None, &mut callers);
        self.local.machine.give_back(callers);
        !matches!(step, Step::Settled)
    }

    /// Steps until nothing can go on without time passing; gives the number of steps.
    ///
    /// # Panics
    /// After [`Simulation::limit`] steps, naming who still goes on.
    pub fn run_until_settled(&self) -> u64 {
        let _entered = self.local.enter();
        self.settle(None)
    }

    /// Lets `duration` pass, from timer to timer; between two instants everything settles. Timers of one instant
    /// fire in their order, and the seed decides what runs between them.
    pub fn advance(&self, duration: Duration) {
        let _entered = self.local.enter();
        let target = self.clock.now() + duration;
        self.settle(Some(target));
        while self.pass(target) {
            self.settle(Some(target));
        }
        self.clock.set_now(target);
    }

    /// Runs `future` beside all others, as one more that the schedule chooses from, until it ends. Where nothing can go on, time passes to the
    /// next timer. The future may itself call [`Simulation::advance`] and the like.
    ///
    /// # Panics
    /// When the future waits for something that nobody is left to bring.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let _entered = self.local.enter();
        let mut future = pin!(future);
        let bell = self.local.machine.bell(&Who::new(Part::Caller, "outside", "goes on"));
        let waker = Waker::from(Arc::clone(&bell));
        bell.ring();
        let (mut steps, mut callers) = (0, Vec::new());
        let output = loop {
            if self.hurried {
                self.hurry(self.clock.next_timer());
            }
            match self.step_of_others(Some(bell.id), &mut callers) {
                Step::Callers(id) => {
                    bell.hear();
                    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
                    self.local.note_callers(id);
                    if let Poll::Ready(output) = polled {
                        break output;
                    }
                }
                Step::Taken => {}
                Step::Settled => {
                    steps = 0;
                    let next = self.clock.next_timer();
                    let passed = next.is_some_and(|at| self.pass(at));
                    assert!(passed, "what is awaited never comes: nothing runs, no timer is set");
                }
            }
            steps += 1;
            self.check(steps);
        };
        self.local.machine.silence(&bell);
        self.local.machine.give_back(callers);
        output
    }

    /// At most so many steps without settling; more are taken for an endless loop.
    pub fn limit(&self, steps: u64) {
        self.steps_max.set(steps);
    }

    /// True when nothing can go on without time passing.
    pub fn is_settled(&self) -> bool {
        self.local.machine.is_settled()
    }

    /// How many steps have been taken.
    pub fn steps(&self) -> u64 {
        self.local.machine.steps()
    }

    /// Tells one run from another: who went when, with which message, at what time.
    pub fn hash(&self) -> u64 {
        self.local.machine.hash()
    }

    /// What has happened so far as a message-sequence diagram; nothing unless the schedule is
    /// [traced](Schedule::traced).
    ///
    /// From left to right: the number of the step, with a star where the schedule departs from the usual one, then a
    /// column for everybody who does more than to start. `[…]` is a turn or a job, `(…)` a future that goes on,
    /// `-->` a message, `..>` whatever else makes somebody go on. Very wide ones are written as a list.
    pub fn diagram(&self) -> Option<String> {
        self.local.machine.draw()
    }

    /// The schedule so far, as departures from the usual one.
    pub fn recorded(&self) -> Schedule {
        Schedule::recorded(self.schedule.seed(), self.local.machine.departures())
    }

    /// Steps until nothing can go on; time may pass up to `target` where the schedule hurries.
    fn settle(&self, target: Option<Instant>) -> u64 {
        let (mut steps, mut callers) = (0, Vec::new());
        loop {
            if self.hurried {
                self.hurry(target);
            }
            if matches!(self.step_of_others(None, &mut callers), Step::Settled) {
                break;
            }
            steps += 1;
            self.check(steps);
        }
        self.local.machine.give_back(callers);
        steps
    }

    /// A step of anybody but the futures of other calls of [`Simulation::block_on`], which go on when this call,
    /// made by one of them, is over.
    fn step_of_others(&self, own: Option<Id>, callers: &mut Vec<Id>) -> Step {
        loop {
            match self.local.step() {
                Step::Callers(id) if own != Some(id) => callers.push(id),
                step @ (Step::Callers(_) | Step::Taken | Step::Settled) => return step,
            }
        }
    }

    fn hurry(&self, target: Option<Instant>) {
        let Some(target) = target else { return };
        if self.local.machine.hurries() && self.pass(target) {
            self.local.machine.note_hurry();
        }
    }

    fn check(&self, steps: u64) {
        if steps > self.steps_max.get() {
            let names = self.local.names_of_ready().join(", ");
            panic!("after {steps} steps there is no end to it; still going on: {names}");
        }
    }

    /// Moves the clock to its next timer up to `target`; false if there is none.
    fn pass(&self, target: Instant) -> bool {
        let Some(now) = self.clock.turn_to_next(target) else { return false };
        self.local.machine.note_time(now.saturating_duration_since(self.start));
        *self.due.borrow_mut() = Unit::of(self.clock.work());
        self.tick.ring();
        true
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _entered = self.local.enter();
        self.local.close();
        // What waits for time holds its actors, and with them the runtime.
        self.clock.forget_timers();
        self.runtime.filter().clear();
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("schedule", &self.schedule.to_string())
            .field("steps", &self.steps())
            .field("hash", &self.hash())
            .finish_non_exhaustive()
    }
}
