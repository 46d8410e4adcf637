//! The machine of a simulation: what can run, and which of it goes next.
//!
//! Whatever runs is a *strand*: an actor, a future, a blocking job, the clock, the caller's own future. A strand
//! goes on by steps, one at a time on one thread; what a step is, is its own affair. Strands are known by
//! creation numbers, and no order here depends on an address or on a hash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::time::Duration;

use super::diagram::Trace;
use super::random;
use super::schedule::{Chooser, Departures, Schedule};
use crate::crossings::Here;
use crate::lock;

/// Number of a strand, in order of creation.
pub(crate) type Id = u32;

/// Who acts between steps.
pub(crate) const OUTSIDE: Id = Id::MAX;

/// Number of a simulated thread of actors.
pub(crate) type SeatId = u32;

/// Where strands live that belong to no thread of actors.
pub(crate) const NO_SEAT: SeatId = SeatId::MAX;

/// What runs by steps.
pub(crate) trait Strand {
    fn step(&mut self) -> Stepped;
}

/// What a step did, and what comes next.
pub(crate) struct Stepped {
    pub(crate) next: Next,
    pub(crate) label: &'static str,
}

pub(crate) enum Next {
    /// It can go on at once.
    Again,
    /// Not before its bell rings.
    Wait,
    /// It is over.
    Done,
}

/// Whose strand it is, for reports and diagrams.
#[derive(Clone)]
pub(crate) struct Who {
    pub(crate) part: Part,
    /// Of the actor, the lane, the future that is nobody's.
    pub(crate) name: Arc<str>,
    pub(crate) label: &'static str,
}

/// What a strand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Actor,
    Future,
    Job,
    Clock,
    Caller,
}

impl Who {
    pub(crate) fn new(part: Part, name: impl Into<Arc<str>>, label: &'static str) -> Self {
        Self { part, name: name.into(), label }
    }
}

/// The part of a simulation that runtime handles on any thread may know.
pub(crate) struct Machine {
    here: Here,
    traced: bool,
    state: Mutex<State>,
}

struct State {
    /// Who can run, in the order of waiting.
    ready: Vec<Id>,
    chooser: Chooser,
    /// Who runs; between steps [`OUTSIDE`].
    current: Id,
    last: Id,
    /// Whether the one that ran last is ready again.
    last_is_ready: bool,
    hash: u64,
    next_id: Id,
    next_seat: SeatId,
    arrivals: BTreeMap<Id, Arrival>,
    /// Nothing new is taken.
    closed: bool,
    /// A strand that another thread has woken.
    foreign: Option<Id>,
    trace: Option<Trace>,
}

/// Who goes next.
pub(super) enum Picked {
    Next(Id),
    /// Nobody can.
    Nobody,
    /// Another thread has woken this one: it is no simulation any more.
    Foreign(Id),
}

/// A strand that has not run yet: it is made on the machine's thread.
pub(super) struct Arrival {
    pub(super) bell: Arc<Bell>,
    pub(super) seat: SeatId,
    pub(super) who: Who,
    pub(super) make: Box<dyn FnOnce() -> Box<dyn Strand> + Send>,
}

/// Makes a strand ready.
pub(crate) struct Bell {
    pub(crate) id: Id,
    rung: AtomicBool,
    machine: Arc<Machine>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.machine.make_ready(self.id);
        }
    }

    /// Heard: the next ring counts again.
    pub(crate) fn hear(&self) {
        self.rung.store(false, Ordering::Release);
    }

    /// Rung for good: its strand is over.
    pub(super) fn retire(&self) {
        self.rung.store(true, Ordering::Release);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Machine {
    pub(crate) fn new(schedule: &Schedule) -> Arc<Self> {
        let state = State {
            ready: Vec::new(),
            chooser: schedule.chooser(),
            current: OUTSIDE,
            last: OUTSIDE,
            last_is_ready: false,
            hash: 0,
            next_id: 0,
            next_seat: 0,
            arrivals: BTreeMap::new(),
            closed: false,
            foreign: None,
            trace: schedule.traced.then(Trace::default),
        };
        Arc::new(Self { here: Here::now(), traced: schedule.traced, state: Mutex::new(state) })
    }

    /// A bell for a new strand, not rung.
    pub(crate) fn bell(self: &Arc<Self>, who: &Who) -> Arc<Bell> {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id += 1;
        if let Some(trace) = &mut state.trace {
            trace.name(id, who.clone());
        }
        Arc::new(Bell { id, rung: AtomicBool::new(false), machine: Arc::clone(self) })
    }

    pub(crate) fn next_seat(&self) -> SeatId {
        let mut state = lock(&self.state);
        state.next_seat += 1;
        state.next_seat
    }

    /// Takes a strand that its first step makes. Dropped, with all it holds, if the machine has been closed.
    pub(crate) fn arrive(
        &self,
        bell: Arc<Bell>,
        seat: SeatId,
        who: Who,
        make: impl FnOnce() -> Box<dyn Strand> + Send + 'static,
    ) {
        let make = Box::new(make);
        let arrival = Arrival { bell: Arc::clone(&bell), seat, who, make };
        let mut state = lock(&self.state);
        if state.closed {
            drop(state);
            drop(arrival);
            return;
        }
        state.arrivals.insert(bell.id, arrival);
        drop(state);
        bell.ring();
    }

    fn make_ready(&self, id: Id) {
        let mut state = lock(&self.state);
        if Here::now() != self.here {
            state.foreign.get_or_insert(id);
        }
        state.last_is_ready |= id == state.last;
        state.ready.push(id);
        let current = state.current;
        if let Some(trace) = &mut state.trace {
            trace.woken(current, id);
        }
    }

    /// Chooses who goes next.
    pub(super) fn pick(&self) -> Picked {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let last = state.last;
        if let Some(id) = state.foreign {
            return Picked::Foreign(id);
        }
        if state.ready.is_empty() {
            return Picked::Nobody;
        }
        let at = state.last_is_ready.then(|| state.ready.iter().rposition(|id| *id == last));
        let index = state.chooser.choose(&state.ready, at.flatten());
        let id = state.ready.remove(index);
        state.last_is_ready = false;
        (state.current, state.last) = (id, id);
        if let Some(trace) = &mut state.trace {
            trace.step(state.chooser.steps(), state.chooser.has_departed());
        }
        Picked::Next(id)
    }

    /// Notes what a step was; nobody runs now.
    pub(super) fn note(&self, id: Id, label: &'static str) {
        let mut state = lock(&self.state);
        state.current = OUTSIDE;
        state.hash = random::hash_text(random::hash(state.hash, u64::from(id)), label);
        if let Some(trace) = &mut state.trace {
            trace.did(id, label);
        }
    }

    /// Time is part of the schedule.
    pub(crate) fn note_time(&self, since_start: Duration) {
        let mut state = lock(&self.state);
        let nanoseconds = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        state.hash = random::hash(state.hash, nanoseconds);
        if let Some(trace) = &mut state.trace {
            trace.time(since_start);
        }
    }

    /// Whether time passes before the next step although something can run.
    pub(crate) fn hurries(&self) -> bool {
        let mut state = lock(&self.state);
        !state.ready.is_empty() && state.chooser.hurries()
    }

    /// It did.
    pub(crate) fn note_hurry(&self) {
        lock(&self.state).chooser.note_hurry();
    }

    /// Whoever runs has put a message into the mailbox of `to`.
    pub(crate) fn note_sent(&self, to: Id, label: &'static str) {
        if !self.traced {
            return;
        }
        let mut state = lock(&self.state);
        let current = state.current;
        if let Some(trace) = &mut state.trace {
            trace.sent(current, to, label);
        }
    }

    pub(crate) fn draw(&self) -> Option<String> {
        lock(&self.state).trace.as_ref().map(Trace::draw)
    }

    pub(crate) fn hash(&self) -> u64 {
        lock(&self.state).hash
    }

    pub(crate) fn steps(&self) -> u64 {
        lock(&self.state).chooser.steps()
    }

    pub(crate) fn departures(&self) -> Departures {
        lock(&self.state).chooser.departures()
    }

    pub(crate) fn is_settled(&self) -> bool {
        lock(&self.state).ready.is_empty()
    }

    pub(super) fn ready(&self) -> Vec<Id> {
        lock(&self.state).ready.clone()
    }

    pub(super) fn take_arrival(&self, id: Id) -> Option<Arrival> {
        lock(&self.state).arrivals.remove(&id)
    }

    pub(super) fn arrivals_of(&self, seat: SeatId) -> Vec<Id> {
        let state = lock(&self.state);
        let coming = state.arrivals.iter().filter(|(_, arrival)| arrival.seat == seat);
        coming.map(|(id, _)| *id).collect()
    }

    /// Takes nothing new from now on.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
    }

    pub(super) fn first_arrival(&self) -> Option<Id> {
        lock(&self.state).arrivals.first_key_value().map(|(id, _)| *id)
    }

    /// Makes strands ready again that were chosen when they could not go on.
    pub(super) fn give_back(&self, ids: Vec<Id>) {
        let mut state = lock(&self.state);
        state.ready.extend(ids);
        let last = state.last;
        state.last_is_ready = state.ready.contains(&last);
    }

    /// Ends a strand of the caller's.
    pub(super) fn silence(&self, bell: &Bell) {
        bell.retire();
        self.forget(bell.id);
    }

    pub(super) fn forget(&self, id: Id) {
        lock(&self.state).ready.retain(|ready| *ready != id);
    }
}
