//! What a supervisor decides: who is stopped and started, when, and in which order. Nothing is done here.
//!
//! A child is *due* (down, and to be started), *starting*, *up* or *stopping*. Beside that stands what it is
//! stopped for, if it is: to be forgotten or to start again. The two rules of order are looked at after every
//! input, by [`Plan::advance`]: of those stopped in order the last goes first, one at a time; of those started in
//! order the first goes first, each when the one before is up, and none while one is still to be stopped.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Backoff, Intensity, Restart, Strategy};

/// Names a child within its supervisor. Grows with every declaration.
pub(crate) type Key = u64;

/// What the supervisor has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Spawn it; report [`Plan::started`] or [`Plan::ended`].
    Start(Key),
    /// Tell it to end; report [`Plan::ended`].
    Stop(Key),
    /// Report [`Plan::hold_over`] after this delay.
    Hold(Hold, Duration),
    /// It is no longer a child.
    Forget(Key),
    /// Nobody is left; end.
    Finish(Finish),
}

/// Names one wait before a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold(Key, u64);

/// How the supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It was told to.
    Stopped,
    /// Restarts did not help.
    GaveUp,
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Normally,
    Badly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Due,
    Starting,
    Up { since: Instant },
    Stopping,
}

/// What follows when a child that is to be stopped has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Restart,
    Forget,
}

/// Whether others wait for a child's start or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    InOrder,
    Alone,
}

struct Child {
    restart: Restart,
    phase: Phase,
    order: Order,
    /// Present when it is to be stopped.
    then: Option<Then>,
    /// It is not started before this is over.
    hold: Option<Hold>,
    /// Failures without a long life between them.
    failures: u32,
}

impl Child {
    fn restarts(&self, how: How) -> bool {
        match self.restart {
            Restart::Always => true,
            Restart::OnFailure => how == How::Badly,
            Restart::Never => false,
        }
    }
}

/// The children of a supervisor, and what is to become of them.
pub(super) struct Plan {
    strategy: Strategy,
    pub(super) intensity: Intensity,
    pub(super) backoff: Backoff,
    children: BTreeMap<Key, Child>,
    next_key: Key,
    next_hold: u64,
    /// When it restarted, within the last window.
    restarts: VecDeque<Instant>,
    closing: Option<Finish>,
    effects: Vec<Effect>,
}

impl Plan {
    pub(super) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            intensity: Intensity::default(),
            backoff: Backoff::NONE,
            children: BTreeMap::new(),
            next_key: 1,
            next_hold: 1,
            restarts: VecDeque::new(),
            closing: None,
            effects: Vec::new(),
        }
    }

    /// A child that starts after those before it.
    pub(super) fn declare(&mut self, restart: Restart) -> Key {
        self.add(restart, Order::InOrder)
    }

    /// A child that comes while the others run. It waits for nobody who does not matter to it.
    pub(super) fn add_dynamic(&mut self, restart: Restart) -> Key {
        match self.strategy {
            Strategy::OneForOne => self.add(restart, Order::Alone),
            Strategy::RestForOne | Strategy::All => self.add(restart, Order::InOrder),
        }
    }

    fn add(&mut self, restart: Restart, order: Order) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        let (phase, then, hold, failures) = (Phase::Due, None, None, 0);
        self.children.insert(key, Child { restart, phase, order, then, hold, failures });
        key
    }

    /// True while the supervisor takes new children.
    pub(super) fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// True if this end would have the child started again: nobody had asked for it.
    pub(super) fn is_failure(&self, key: Key, how: How) -> bool {
        self.children.get(&key).is_some_and(|child| child.then.is_none() && child.restarts(how))
    }

    /// A child has initialised. False if it is to be stopped meanwhile.
    pub(super) fn started(&mut self, key: Key, now: Instant) -> bool {
        let Some(child) = self.children.get_mut(&key) else { return false };
        if child.phase != Phase::Starting {
            return false;
        }
        child.phase = Phase::Up { since: now };
        child.then.is_none()
    }

    /// A child has ended, or could not be spawned.
    pub(super) fn ended(&mut self, key: Key, how: How, now: Instant) {
        let Some(child) = self.children.get_mut(&key) else { return };
        match child.then {
            Some(Then::Restart) => {
                child.phase = Phase::Due;
                child.then = None;
            }
            None if child.restarts(how) => self.failed(key, now),
            None | Some(Then::Forget) => self.forget(key),
        }
    }

    /// A child is not to be started again, whatever happened to it; it is down.
    pub(super) fn withdraw(&mut self, key: Key) {
        self.forget(key);
    }

    /// Somebody wants this child stopped.
    pub(super) fn stop(&mut self, key: Key) {
        let Some(child) = self.children.get_mut(&key) else { return };
        if child.phase == Phase::Due {
            return self.forget(key);
        }
        // One that is being stopped with others keeps its place among them.
        if child.then.is_none() {
            child.order = Order::Alone;
        }
        child.then = Some(Then::Forget);
    }

    /// Everybody is to be stopped, and nobody started. The first reason stands.
    pub(super) fn close(&mut self, finish: Finish) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(finish);
        let keys: Vec<_> = self.children.keys().copied().collect();
        for key in keys {
            self.stop(key);
        }
        for child in self.children.values_mut() {
            child.order = Order::InOrder;
        }
    }

    /// The wait before a restart is over.
    pub(super) fn hold_over(&mut self, hold: Hold) {
        if let Some(child) = self.children.get_mut(&hold.0)
            && child.hold == Some(hold)
        {
            child.hold = None;
        }
    }

    /// What is to be done now. Called after every input.
    pub(super) fn advance(&mut self) -> Vec<Effect> {
        let stopping = self.advance_stops();
        if self.closing.is_none() {
            self.advance_starts(stopping);
        }
        if let Some(finish) = self.closing
            && self.children.is_empty()
        {
            self.effects.push(Effect::Finish(finish));
        }
        std::mem::take(&mut self.effects)
    }

    /// True if somebody is to be stopped in order and has not ended.
    fn advance_stops(&mut self) -> bool {
        let mut later_one = false;
        for (key, child) in self.children.iter_mut().rev() {
            if child.then.is_none() {
                continue;
            }
            let waits = later_one && child.order == Order::InOrder;
            later_one |= child.order == Order::InOrder;
            if child.phase != Phase::Stopping && !waits {
                child.phase = Phase::Stopping;
                self.effects.push(Effect::Stop(*key));
            }
        }
        later_one
    }

    fn advance_starts(&mut self, stopping: bool) {
        let mut earlier_one = stopping;
        for (key, child) in &mut self.children {
            let in_order = child.order == Order::InOrder;
            let due = child.phase == Phase::Due;
            if due && child.hold.is_none() && !(in_order && earlier_one) {
                child.phase = Phase::Starting;
                self.effects.push(Effect::Start(*key));
            }
            earlier_one |= in_order && matches!(child.phase, Phase::Due | Phase::Starting);
        }
    }

    fn forget(&mut self, key: Key) {
        if self.children.remove(&key).is_some() {
            self.effects.push(Effect::Forget(key));
        }
    }

    /// A child that is to be started again has ended.
    fn failed(&mut self, key: Key, now: Instant) {
        if !self.may_restart(now) {
            self.forget(key);
            return self.close(Finish::GaveUp);
        }
        let delay = self.note_failure(key, now);
        let members: Vec<Key> = match self.strategy {
            Strategy::OneForOne => vec![key],
            Strategy::RestForOne => self.children.range(key..).map(|(key, _)| *key).collect(),
            Strategy::All => self.children.keys().copied().collect(),
        };
        let mut first = None;
        for member in members {
            if self.enlist(member) {
                first = first.or(Some(member));
            }
        }
        // The wait stands on the first of them: the others start after it.
        if let Some(first) = first.filter(|_| !delay.is_zero()) {
            self.hold(first, delay);
        }
    }

    /// Slides the window; true if it has room for one more restart, which is then in it.
    fn may_restart(&mut self, now: Instant) -> bool {
        let Intensity { restarts, within } = self.intensity;
        while self.restarts.front().is_some_and(|at| now.duration_since(*at) >= within) {
            self.restarts.pop_front();
        }
        let room = self.restarts.len() < restarts;
        if room {
            self.restarts.push_back(now);
        }
        room
    }

    /// Puts the failed child down; how long to wait before it is started again.
    fn note_failure(&mut self, key: Key, now: Instant) -> Duration {
        let within = self.intensity.within;
        let Some(child) = self.children.get_mut(&key) else { return Duration::ZERO };
        if let Phase::Up { since } = child.phase {
            if now.duration_since(since) >= within {
                child.failures = 0;
            }
            // It ran, so those declared after it have had their turn.
            child.order = Order::Alone;
        }
        child.phase = Phase::Due;
        let delay = self.backoff.delay(child.failures);
        child.failures = child.failures.saturating_add(1);
        delay
    }

    /// Makes a child part of a restart; false if it will not come back from it.
    fn enlist(&mut self, key: Key) -> bool {
        let strategy = self.strategy;
        let Some(child) = self.children.get_mut(&key) else { return false };
        if strategy != Strategy::OneForOne {
            child.order = Order::InOrder;
        }
        if child.phase == Phase::Due {
            return true;
        }
        let then = match (child.then, child.restart) {
            (Some(Then::Forget), _) | (_, Restart::Never) => Then::Forget,
            (Some(Then::Restart) | None, Restart::Always | Restart::OnFailure) => Then::Restart,
        };
        child.then = Some(then);
        then == Then::Restart
    }

    fn hold(&mut self, key: Key, delay: Duration) {
        let hold = Hold(key, self.next_hold);
        self.next_hold += 1;
        if let Some(child) = self.children.get_mut(&key) {
            child.hold = Some(hold);
            self.effects.push(Effect::Hold(hold, delay));
        }
    }
}

#[cfg(test)]
mod tests;
