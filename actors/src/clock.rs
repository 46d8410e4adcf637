//! Time: one clock per runtime, real or virtual. Actors read it and nothing else.
//!
//! Timers live on the clock, never on the arbiter of whoever is asked: a deadline passes even when that
//! arbiter is stuck. The real clock has one thread, which sleeps until the next deadline and never polls.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

#[cfg(feature = "testing")]
use crate::body::drop_caught;
use crate::body::run_caught;
use crate::eventual::{Ask, Eventual, Promise, promise};
use crate::lock;
use crate::outcome::{Exit, Outcome};
use crate::work::Work;

/// What a timer does. Called without any lock of the clock held.
pub(crate) trait Due: Send + Sync {
    fn due(self: Arc<Self>);

    /// The dispatch whose deadline this is.
    fn ask(&self) -> Option<&Ask> {
        None
    }

    /// Ends that dispatch before its deadline.
    fn abandon(&self, exit: Exit) {
        let _ = exit;
    }
}

/// Names a timer; the instant first, so that the queue is in time order.
pub(crate) type TimerId = (Instant, u64);

/// The clock of a runtime. Cheap to clone.
#[derive(Clone)]
pub struct Clock {
    shared: Arc<Shared>,
    /// Ends the thread of a real clock when the last handle goes.
    _stop: Arc<StopOnDrop>,
}

struct Shared {
    timers: Mutex<Timers>,
    changed: Condvar,
    /// Present on a virtual clock.
    work: Option<Arc<Work>>,
    next_key: AtomicU64,
    /// One instant on both the precise and the cheap scale.
    anchor: (Instant, Duration),
}

struct Timers {
    queue: BTreeMap<TimerId, Arc<dyn Due>>,
    /// When the thread will look next; a later timer need not wake it.
    armed: Option<Instant>,
    running: bool,
    stopped: bool,
    /// The virtual now.
    now: Instant,
}

struct StopOnDrop(Weak<Shared>);

/// Keeps the timer queue from being empty.
struct Never;

impl Due for Never {
    fn due(self: Arc<Self>) {}
}

/// Longer than any process lives.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// How far the cheap clock may lag: one tick of the slowest kernel, 100 a second.
const COARSENESS: Duration = Duration::from_millis(10);

/// Deadlines below this are measured by the precise clock.
const PRECISE_BELOW: Duration = Duration::from_secs(1);

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs() * 1_000_000_000 + u64::from(duration.subsec_nanos())
}

fn monotonic(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            let queue = {
                let mut timers = lock(&shared.timers);
                timers.stopped = true;
                std::mem::take(&mut timers.queue)
            };
            shared.changed.notify_all();
            // Timers own promises, whose drop runs foreign code.
            drop(queue);
        }
    }
}

/// `after` from `since`; whatever lies beyond a century is never waited for.
pub(crate) fn later(since: Instant, after: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    since + after.min(CENTURY)
}

impl Clock {
    /// The machine's monotonic clock.
    pub fn real() -> Self {
        Self::of(None)
    }

    fn of(work: Option<Arc<Work>>) -> Self {
        let anchor = (Instant::now(), monotonic(ClockId::CLOCK_MONOTONIC));
        // A lone timer that comes and goes would allocate and free the map's only node each time.
        let queue = BTreeMap::from([((anchor.0 + NEVER, 0), Arc::new(Never) as Arc<dyn Due>)]);
        let timers = Timers { queue, armed: None, running: false, stopped: false, now: anchor.0 };
        let (timers, changed) = (Mutex::new(timers), Condvar::new());
        let next_key = AtomicU64::new(1);
        let shared = Arc::new(Shared { timers, changed, work, next_key, anchor });
        let stop = Arc::new(StopOnDrop(Arc::downgrade(&shared)));
        Self { shared, _stop: stop }
    }

    /// Now, on this clock.
    pub fn now(&self) -> Instant {
        match self.shared.work {
            None => Instant::now(),
            Some(_) => lock(&self.shared.timers).now,
        }
    }

    /// Now or up to a few milliseconds ago, at a tenth of the price.
    pub(crate) fn about_now(&self) -> Instant {
        match self.shared.work {
            None => {
                let (instant, then) = self.shared.anchor;
                // Reading the clock cannot fail; if it did, the anchor is the safe side.
                instant + monotonic(ClockId::CLOCK_MONOTONIC_COARSE).saturating_sub(then)
            }
            Some(_) => self.now(),
        }
    }

    /// When `after` from now has passed for certain.
    pub(crate) fn deadline(&self, after: Duration) -> (Instant, Instant) {
        if self.shared.work.is_some() || after < PRECISE_BELOW {
            let since = self.now();
            return (since, later(since, after));
        }
        let since = self.about_now();
        (since, later(since, after.saturating_add(COARSENESS)))
    }

    /// Nanoseconds from the clock's start to about now; never zero.
    pub(crate) fn stamp(&self) -> u64 {
        if self.shared.work.is_some() {
            return self.stamp_of(self.now());
        }
        // Read twice for each message, so without the way through an instant.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |now| {
            now.tv_sec().unsigned_abs() * 1_000_000_000 + now.tv_nsec().unsigned_abs()
        });
        now.saturating_sub(nanoseconds(self.shared.anchor.1)).max(1)
    }

    /// The [`Clock::stamp`] of this instant.
    pub(crate) fn stamp_of(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.shared.anchor.0)).max(1)
    }

    /// The instant of a [`Clock::stamp`].
    pub(crate) fn instant_of(&self, stamp: u64) -> Instant {
        self.shared.anchor.0 + Duration::from_nanos(stamp)
    }

    /// Ends after `duration` on this clock; a discard ends the wait at once.
    pub fn after(&self, duration: Duration) -> Eventual<()> {
        let (promise, eventual) = promise();
        let sleeper = Arc::new(Sleeper(Mutex::new(None)));
        let woken = Arc::downgrade(&sleeper);
        let due: Arc<dyn Due> = Arc::<Sleeper>::clone(&sleeper);
        let at = later(self.now(), duration);
        promise.on_discard(move |cause| {
            let promise = woken.upgrade().and_then(|sleeper| sleeper.take());
            if let Some(promise) = promise {
                promise.end(Outcome::Discarded(cause));
            }
        });
        *lock(&sleeper.0) = Some(promise);
        // The timer of a discarded sleep stays until it is due, and then finds nothing to do.
        self.schedule(at, due);
        eventual
    }

    pub(crate) fn work(&self) -> Option<&Arc<Work>> {
        self.shared.work.as_ref()
    }

    pub(crate) fn schedule(&self, at: Instant, due: Arc<dyn Due>) -> TimerId {
        let id = self.reserve(at);
        self.put(id, due);
        id
    }

    /// A name for a timer that is put in later.
    pub(crate) fn reserve(&self, at: Instant) -> TimerId {
        (at, self.shared.next_key.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn put(&self, id: TimerId, due: Arc<dyn Due>) {
        let at = id.0;
        let mut timers = lock(&self.shared.timers);
        if self.shared.work.is_some() {
            // Nobody would fire what is due already before the next `advance`.
            if at <= timers.now {
                drop(timers);
                due.due();
                return;
            }
            timers.queue.insert(id, due);
            return;
        }
        timers.queue.insert(id, due);
        if timers.armed.is_none_or(|armed| at < armed) {
            // Claimed here, so that further timers before the thread wakes do not notify again.
            timers.armed = Some(at);
            let running = timers.running;
            drop(timers);
            if !running {
                // Only on a clock without a runtime: that starts the thread when it is built.
                self.start().expect("the system has a thread left for the clock");
            }
            self.shared.changed.notify_one();
        }
    }

    /// Calls `action` after `delay`.
    pub(crate) fn later(&self, delay: Duration, action: impl FnOnce() + Send + 'static) {
        let due: Arc<dyn Due> = Arc::new(Later(Mutex::new(Some(Box::new(action)))));
        self.schedule(later(self.now(), delay), due);
    }

    pub(crate) fn cancel(&self, id: TimerId) {
        self.shared.cancel(id);
    }

    /// Every dispatch that waits, soonest deadline first.
    pub(crate) fn waiting(&self) -> Vec<Arc<dyn Due>> {
        let timers = lock(&self.shared.timers);
        timers.queue.values().filter(|due| due.ask().is_some()).cloned().collect()
    }

    /// Starts the thread of a real clock, unless it runs.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut timers = lock(&self.shared.timers);
        if timers.running || self.shared.work.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("actors-clock".to_owned());
        thread.spawn(move || shared.run())?;
        timers.running = true;
        Ok(())
    }
}

impl Shared {
    fn cancel(&self, id: TimerId) {
        // Bound, so that what the timer owns is dropped after the lock is.
        let removed = lock(&self.timers).queue.remove(&id);
        drop(removed);
    }

    /// The thread of a real clock.
    fn run(&self) {
        let mut timers = lock(&self.timers);
        while !timers.stopped {
            let now = Instant::now();
            let next = timers.queue.first_key_value().map(|(id, _)| id.0);
            timers.armed = next;
            match next {
                Some(at) if at <= now => {
                    let (_, due) = timers.queue.pop_first().expect("it was there a line ago");
                    drop(timers);
                    // Wakers and destructors of others: their panic must not end the clock.
                    run_caught(|| due.due());
                    timers = lock(&self.timers);
                }
                Some(at) => {
                    let waited = self.changed.wait_timeout(timers, at - now);
                    timers = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => {
                    let waited = self.changed.wait(timers);
                    timers = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

#[cfg(feature = "testing")]
impl Clock {
    /// A clock that stands still until it is told to go on. It also counts outstanding work, so that a test
    /// can wait until there is none.
    pub fn virtual_() -> Self {
        Self::of(Some(Arc::new(Work::default())))
    }

    /// Lets `duration` pass at once, and fires what falls due, in order of time. What the fired timers cause
    /// runs on the arbiters afterwards: see [`Clock::settle`].
    ///
    /// # Panics
    /// On a real clock, which cannot be advanced.
    pub fn advance(&self, duration: Duration) {
        let target = self.now() + duration;
        while self.fire_next(target) {}
        lock(&self.shared.timers).now = target;
    }

    /// Lets `duration` pass in steps from timer to timer, settling after each, so that timers set by what the
    /// earlier ones caused fire at their own instants.
    ///
    /// # Panics
    /// On a real clock, which cannot be advanced.
    pub async fn advance_settling(&self, duration: Duration) {
        let target = self.now() + duration;
        self.settle().await;
        while self.fire_next(target) {
            self.settle().await;
        }
        lock(&self.shared.timers).now = target;
        self.settle().await;
    }

    /// Ends when no message, continuation or blocking job is outstanding anywhere. Waiting for a timer, a
    /// descriptor or a foreign thread is not outstanding work.
    ///
    /// # Panics
    /// On a real clock, which does not count.
    pub async fn settle(&self) {
        let work = self.shared.work.as_ref().expect("settling needs a virtual clock");
        crate::work::Settled(Arc::clone(work)).await;
    }

    /// Drops all timers unfired.
    pub(crate) fn forget_timers(&self) {
        let queue = std::mem::take(&mut lock(&self.shared.timers).queue);
        for due in queue.into_values() {
            drop_caught(due);
        }
    }

    /// When the next timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let timers = lock(&self.shared.timers);
        let never = self.shared.anchor.0 + NEVER;
        let next = timers.queue.first_key_value().map(|(id, _)| id.0);
        next.filter(|at| *at < never)
    }

    /// Moves to the next timer up to `target` without firing it; gives the new time.
    pub(crate) fn turn_to_next(&self, target: Instant) -> Option<Instant> {
        let at = self.next_timer().filter(|at| *at <= target)?;
        self.set_now(at);
        Some(self.now())
    }

    /// Moves to `at`, never back.
    pub(crate) fn set_now(&self, at: Instant) {
        let mut timers = lock(&self.shared.timers);
        timers.now = timers.now.max(at);
    }

    /// Fires the first timer that is due; true if there are more.
    pub(crate) fn fire_due(&self) -> bool {
        self.fire_next(self.now());
        self.next_timer().is_some_and(|at| at <= self.now())
    }

    /// Moves to the next timer up to `target` and fires it.
    fn fire_next(&self, target: Instant) -> bool {
        assert!(self.shared.work.is_some(), "only a virtual clock can be advanced");
        let mut timers = lock(&self.shared.timers);
        let next = timers.queue.first_key_value().map(|(id, _)| *id);
        let Some(id) = next.filter(|id| id.0 <= target) else { return false };
        timers.now = timers.now.max(id.0);
        let due = timers.queue.remove(&id).expect("it was there a line ago");
        drop(timers);
        due.due();
        true
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("virtual", &self.shared.work.is_some())
            .field("timers", &lock(&self.shared.timers).queue.len())
            .finish_non_exhaustive()
    }
}

/// The timer of [`Clock::after`].
struct Sleeper(Mutex<Option<Promise<()>>>);

impl Due for Sleeper {
    fn due(self: Arc<Self>) {
        if let Some(promise) = self.take() {
            promise.set(());
        }
    }
}

impl Sleeper {
    fn take(&self) -> Option<Promise<()>> {
        lock(&self.0).take()
    }
}

/// The timer of [`Clock::later`].
struct Later(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Due for Later {
    fn due(self: Arc<Self>) {
        let action = lock(&self.0).take();
        if let Some(action) = action {
            action();
        }
    }
}
