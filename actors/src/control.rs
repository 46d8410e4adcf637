//! What is known about an actor without asking it.
//!
//! Everything here is read and written beside the actor: the gate that bounds its mailbox, whether it is draining
//! or terminating, what it is doing, how it ended and who wants to know.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use crate::eventual::Promise;
use crate::gate::Gate;
use crate::lock;
use crate::meter::{Durations, Meter};
use crate::outcome::{Exit, Outcome, Refusal};
use crate::pid::{AnyPid, Notice};
use crate::runtime::Inner;
use crate::seat::Seat;
use crate::supervise::{Lineage, Roster};
use crate::work::Unit;

/// The record of one incarnation of an actor.
pub(crate) struct Control {
    /// Grows with every spawn of a runtime, so it is the start order too.
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) seat: Arc<Seat>,
    pub(crate) runtime: Arc<Inner>,
    pub(crate) since: Instant,
    gate: Gate,
    meter: Meter,
    handled: AtomicU64,
    refused: AtomicU64,
    /// The label of the current turn, or of the last.
    label: Mutex<&'static str>,
    /// When the current turn began, on the clock's scale; zero between turns.
    turn_since: AtomicU64,
    /// Where it comes from, if a supervisor started it.
    pub(crate) lineage: Option<Lineage>,
    /// Its children, if it is a supervisor.
    pub(crate) roster: OnceLock<Arc<Roster>>,
    end: Mutex<End>,
}

/// What an actor is doing.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// The label of the message, timer or continuation.
    pub label: &'static str,
    /// Since when.
    pub since: Instant,
}

#[derive(Default)]
struct End {
    /// Its `initialize` is through.
    started: bool,
    starters: Vec<Promise<()>>,
    /// Set as soon as it is known why; the first reason stands.
    decided: Option<Exit>,
    /// Set when it has ended and everybody may know.
    published: Option<Exit>,
    promises: Vec<Promise<Exit>>,
    watchers: Vec<Weak<dyn Notice>>,
    /// Held from the last turn until everybody has been told.
    unit: Unit,
}

/// A line of [`Runtime::actors`](crate::Runtime::actors).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ActorStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The type that implements it.
    pub kind: &'static str,
    /// Group and index of its arbiter.
    pub arbiter: (&'static str, usize),
    /// When it was spawned.
    pub since: Instant,
    /// How many messages wait.
    pub depth: usize,
    /// The most that ever waited.
    pub high_water: usize,
    /// How many may wait.
    pub capacity: usize,
    /// What it is doing now; nothing when it is idle.
    pub current: Option<Turn>,
    /// How many messages it has handled.
    pub handled: u64,
    /// How many messages found its mailbox full or closed.
    pub refused: u64,
    /// It takes nothing new.
    pub draining: bool,
    /// How long the messages that it has handled had waited: every dispatch, and one in eight of those that were
    /// sent without waiting for an answer.
    pub waits: Durations,
    /// How long its turns took: messages, continuations, timers and exits.
    pub turns: Durations,
}

impl Control {
    pub(crate) fn new(
        id: u64,
        name: Arc<str>,
        kind: &'static str,
        capacity: usize,
        seat: Arc<Seat>,
        runtime: Arc<Inner>,
    ) -> Self {
        Self {
            id,
            name,
            kind,
            seat,
            since: runtime.clock.now(),
            runtime,
            gate: Gate::new(capacity),
            meter: Meter::default(),
            handled: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            label: Mutex::new(""),
            turn_since: AtomicU64::new(0),
            lineage: None,
            roster: OnceLock::new(),
            end: Mutex::new(End::default()),
        }
    }

    /// Takes a place in the mailbox, or says why there is none.
    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        self.gate.admit().inspect_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Gives back the place of a message that left the mailbox.
    pub(crate) fn leave(&self) {
        self.meter.note_depth(self.gate.leave());
    }

    /// Now, for the wait of a message that is admitted.
    pub(crate) fn stamp(&self) -> u64 {
        self.runtime.clock.stamp()
    }

    /// The turn that has just ended was that of a message admitted at `admitted`, by [`Control::stamp`], if that is
    /// known.
    pub(crate) fn note_wait(&self, admitted: u64, began: u64) {
        if admitted != 0 {
            self.meter.note_wait(began.saturating_sub(admitted));
        }
    }

    /// Takes nothing new from now on.
    pub(crate) fn close(&self) {
        self.gate.close();
    }

    /// Nothing that waits is handled any more; it ends because of `exit`, unless a reason stands already.
    pub(crate) fn terminate(&self, exit: Exit) {
        lock(&self.end).decided.get_or_insert(exit);
        self.gate.terminate();
    }

    /// The last turn is over; the mailbox and the notices are still to come.
    pub(crate) fn begin_end(&self) {
        let mut end = lock(&self.end);
        if end.published.is_none() {
            end.unit = Unit::of(self.runtime.clock.work());
        }
    }

    /// Replaces the reason, for a failure on the way out.
    pub(crate) fn overrule(&self, exit: Exit) {
        lock(&self.end).decided = Some(exit);
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.gate.is_terminating()
    }

    /// It takes nothing new: it drains, or ends, or has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.gate.is_closed()
    }

    /// Closed, and whatever had been admitted was handled.
    pub(crate) fn is_drained(&self) -> bool {
        self.gate.is_drained()
    }

    /// Why it ended, or is about to.
    pub(crate) fn exit_so_far(&self) -> Exit {
        lock(&self.end).decided.clone().unwrap_or(Exit::Normal)
    }

    /// Why it has ended; nothing while it lives.
    pub(crate) fn published(&self) -> Option<Exit> {
        lock(&self.end).published.clone()
    }

    /// A turn begins. `last` is the label of the turn before, kept by the only caller: between turns of one
    /// kind, which is most of them, nothing is locked. Gives the time, by [`Control::stamp`].
    pub(crate) fn begin(&self, label: &'static str, last: &mut &'static str) -> u64 {
        if !std::ptr::eq(label, *last) {
            *last = label;
            *lock(&self.label) = label;
        }
        let began = self.stamp();
        self.turn_since.store(began, Ordering::Release);
        began
    }

    pub(crate) fn finish(&self, began: u64) {
        self.turn_since.store(0, Ordering::Release);
        self.meter.note_turn(self.stamp().saturating_sub(began));
    }

    /// Called by the actor's own thread only, hence no atomic addition.
    pub(crate) fn count_handled(&self) {
        self.handled.store(self.handled.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// What it does now. A turn that changes meanwhile may be told with the start of the one before.
    pub(crate) fn turn(&self) -> Option<Turn> {
        let since = self.turn_since.load(Ordering::Acquire);
        let turn =
            || Turn { label: *lock(&self.label), since: self.runtime.clock.instant_of(since) };
        (since != 0).then(turn)
    }

    /// Its `initialize` has let it in.
    pub(crate) fn note_started(&self) {
        let mut end = lock(&self.end);
        end.started = true;
        let starters = std::mem::take(&mut end.starters);
        drop(end);
        for promise in starters {
            promise.set(());
        }
    }

    /// Ends `promise` when it has started, or as abandoned if it never does.
    pub(crate) fn promise_start(&self, promise: Promise<()>) {
        let mut end = lock(&self.end);
        let exit = end.published.clone();
        if exit.is_none() && !end.started {
            end.starters.push(promise);
            return;
        }
        let started = end.started;
        drop(end);
        promise.end(match exit {
            Some(exit) if !started => Outcome::Abandoned(exit),
            Some(_) | None => Outcome::Ok(()),
        });
    }

    /// Gives `promise` the exit, now or later.
    pub(crate) fn promise_exit(&self, promise: Promise<Exit>) {
        let mut end = lock(&self.end);
        match end.published.clone() {
            Some(exit) => {
                drop(end);
                promise.set(exit);
            }
            None => end.promises.push(promise),
        }
    }

    /// Tells `watcher` when this ends; false if it has.
    pub(crate) fn add_watcher(&self, watcher: Weak<dyn Notice>) -> bool {
        let mut end = lock(&self.end);
        if end.published.is_some() {
            return false;
        }
        // Watchers come and go while a long-lived actor stays; forget the dead before growing.
        if end.watchers.len() == end.watchers.capacity() {
            end.watchers.retain(|watcher| watcher.strong_count() > 0);
        }
        end.watchers.push(watcher);
        true
    }

    /// Makes the end known: the name is free, then watchers and waiters hear of it. Only the first call counts.
    pub(crate) fn publish(&self, me: &AnyPid) {
        let mut end = lock(&self.end);
        if end.published.is_some() {
            return;
        }
        let exit = end.decided.get_or_insert(Exit::Normal).clone();
        end.published = Some(exit.clone());
        let promises = std::mem::take(&mut end.promises);
        let watchers = std::mem::take(&mut end.watchers);
        let starters = std::mem::take(&mut end.starters);
        let _unit = std::mem::take(&mut end.unit);
        drop(end);
        self.gate.terminate();
        self.runtime.tally.note_end(&exit);
        // Before anybody can hear of it and start a successor: no child outlives its supervisor.
        if let Some(roster) = self.roster.get() {
            roster.end();
        }
        self.runtime.forget(self);
        self.seat.leave();
        tracing::debug!(actor = %self.name, %exit, "actor ended");
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            watcher.notice(me.clone(), exit.clone());
        }
        for promise in starters {
            promise.end(Outcome::Abandoned(exit.clone()));
        }
        for promise in promises {
            promise.set(exit.clone());
        }
    }

    pub(crate) fn status(&self) -> ActorStatus {
        let (depth, handled) = (self.gate.depth(), self.handled.load(Ordering::Relaxed));
        ActorStatus {
            name: Arc::clone(&self.name),
            kind: self.kind,
            arbiter: (self.seat.group, self.seat.index),
            since: self.since,
            depth,
            high_water: self.meter.high_water(depth),
            capacity: self.gate.capacity(),
            current: self.turn(),
            handled,
            refused: self.refused.load(Ordering::Relaxed),
            draining: self.gate.is_closed(),
            waits: self.meter.waits(),
            turns: self.meter.turns(),
        }
    }
}
