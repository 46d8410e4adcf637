//! What is counted of every actor, always: how long messages wait and turns take, how full the mailbox was.
//!
//! Times are read from the coarse clock, which ticks every few milliseconds: a turn below a tick counts as nothing or
//! as a tick, so that sums are right on average and long ones are right to a tick. What a message adds is one read of
//! that clock and some additions; only what took a tick or more is entered anywhere. The wait of a message would be a
//! second read, by its sender; so it is known of dispatches, which read the clock anyhow, and of one message in eight.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::outcome::Exit;
use crate::runtime::Runtime;

/// How many classes of length [`Durations`] tells apart.
pub const DURATION_CLASSES: usize = 16;

/// How long something took, many times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Durations {
    /// How often.
    pub count: u64,
    /// All together.
    pub sum: Duration,
    /// The longest.
    pub max: Duration,
    /// How often by length: class `n` is below 2ⁿ ms and not in a lower one; the last has everything else.
    pub classes: [u64; DURATION_CLASSES],
}

impl Durations {
    /// What the durations of a class are below; nothing for the last one.
    pub fn bound(class: usize) -> Option<Duration> {
        (class + 1 < DURATION_CLASSES).then(|| Duration::from_millis(1 << class))
    }

    /// Takes in what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
        for (class, more) in self.classes.iter_mut().zip(other.classes) {
            *class += more;
        }
    }
}

/// True for one message in eight of those that this thread sends.
pub(crate) fn is_sampled() -> bool {
    thread_local!(static SENT: Cell<u8> = const { Cell::new(0) });
    let sent = SENT.get();
    SENT.set(sent.wrapping_add(1));
    sent.is_multiple_of(8)
}

/// The counts of one actor. Written by its own thread only, hence no atomic additions.
#[derive(Default)]
pub(crate) struct Meter {
    turns: AtomicU64,
    waits: AtomicU64,
    /// The most messages that ever waited, as far as it has got.
    high_water: AtomicUsize,
    /// Made by the first of a tick or more, so that most actors have none.
    waited: OnceLock<Box<Series>>,
    ran: OnceLock<Box<Series>>,
}

/// Durations of a tick or more.
#[derive(Default)]
struct Series {
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
    classes: [AtomicU64; DURATION_CLASSES],
}

impl Meter {
    /// A message left the mailbox, in which so many had waited with it.
    pub(crate) fn note_depth(&self, depth: usize) {
        if depth > self.high_water.load(Ordering::Relaxed) {
            self.high_water.store(depth, Ordering::Relaxed);
        }
    }

    /// A message had waited for so many nanoseconds.
    pub(crate) fn note_wait(&self, ns: u64) {
        add(&self.waits, 1);
        note(&self.waited, ns);
    }

    /// A turn took so many nanoseconds.
    pub(crate) fn note_turn(&self, ns: u64) {
        add(&self.turns, 1);
        note(&self.ran, ns);
    }

    pub(crate) fn turns(&self) -> Durations {
        read(&self.ran, self.turns.load(Ordering::Relaxed))
    }

    pub(crate) fn waits(&self) -> Durations {
        read(&self.waited, self.waits.load(Ordering::Relaxed))
    }

    /// The most that ever waited, `now` included.
    pub(crate) fn high_water(&self, now: usize) -> usize {
        self.high_water.load(Ordering::Relaxed).max(now)
    }
}

fn note(series: &OnceLock<Box<Series>>, ns: u64) {
    if ns > 0 {
        series.get_or_init(Box::default).enter(ns);
    }
}

fn read(series: &OnceLock<Box<Series>>, count: u64) -> Durations {
    let mut durations = Durations { count, ..Durations::default() };
    if let Some(series) = series.get() {
        durations.sum = Duration::from_nanos(series.sum_ns.load(Ordering::Relaxed));
        durations.max = Duration::from_nanos(series.max_ns.load(Ordering::Relaxed));
        durations.classes = series.classes.each_ref().map(|class| class.load(Ordering::Relaxed));
    }
    // The others were over within a tick.
    let entered: u64 = durations.classes.iter().sum();
    durations.classes[0] += count.saturating_sub(entered);
    durations
}

impl Series {
    fn enter(&self, ns: u64) {
        add(&self.sum_ns, ns);
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.store(ns, Ordering::Relaxed);
        }
        add(&self.classes[class_of(ns)], 1);
    }
}

fn class_of(ns: u64) -> usize {
    let bits = u64::BITS - (ns / 1_000_000).leading_zeros();
    (bits as usize).min(DURATION_CLASSES - 1)
}

fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// What has become of the actors of a runtime since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How many were spawned.
    pub spawned: u64,
    /// How many of those by a supervisor, again.
    pub restarted: u64,
    /// How many ended normally.
    pub ended: u64,
    /// How many failed.
    pub failed: u64,
    /// How many panicked.
    pub panicked: u64,
    /// How many were killed.
    pub killed: u64,
}

impl Runtime {
    /// What has become of the actors since the start.
    pub fn totals(&self) -> Totals {
        self.inner.tally.totals()
    }
}

/// The same, as it is counted.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) spawned: AtomicU64,
    pub(crate) restarted: AtomicU64,
    ended: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    killed: AtomicU64,
}

impl Tally {
    pub(crate) fn note_end(&self, exit: &Exit) {
        let counter = match exit {
            Exit::Normal => &self.ended,
            Exit::Failed(_) => &self.failed,
            Exit::Panicked(_) => &self.panicked,
            Exit::Killed(_) => &self.killed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            spawned: read(&self.spawned),
            restarted: read(&self.restarted),
            ended: read(&self.ended),
            failed: read(&self.failed),
            panicked: read(&self.panicked),
            killed: read(&self.killed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DURATION_CLASSES, Durations, Meter, class_of};
    use std::time::Duration;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_duration_is_in_the_class_below_whose_bound_it_is() {
        for (ns, class) in [(0, 0), (MS - 1, 0), (MS, 1), (2 * MS - 1, 1), (2 * MS, 2), (9 * MS, 4)]
        {
            assert_eq!(class_of(ns), class, "{ns}");
            assert!(Durations::bound(class).is_some_and(|bound| Duration::from_nanos(ns) < bound));
        }
        assert_eq!(class_of(u64::MAX), DURATION_CLASSES - 1);
        assert_eq!(Durations::bound(DURATION_CLASSES - 1), None);
    }

    #[test]
    fn what_is_over_within_a_tick_is_counted_and_keeps_nothing() {
        let meter = Meter::default();
        (0..5).for_each(|_| meter.note_turn(0));
        assert!(meter.ran.get().is_none());
        meter.note_turn(3 * MS);
        let turns = meter.turns();
        assert_eq!((turns.count, turns.classes[0], turns.classes[2]), (6, 5, 1));
        assert_eq!((turns.sum, turns.max), (Duration::from_millis(3), Duration::from_millis(3)));
    }
}
