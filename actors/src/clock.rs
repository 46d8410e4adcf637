//! Time: one clock per runtime, real or virtual. Actors read it and nothing else.
//!
//! Timers live on the clock, never on the arbiter of whoever is asked: a deadline passes even when that
//! arbiter is stuck. The real clock has one thread, which sleeps until the next deadline and never polls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

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
}

struct Timers {
    queue: BTreeMap<TimerId, Arc<dyn Due>>,
    next_key: u64,
    /// When the thread will look next; a later timer need not wake it.
    armed: Option<Instant>,
    running: bool,
    stopped: bool,
    /// The virtual now.
    now: Instant,
}

/// A clock that is not kept alive.
pub(crate) struct WeakClock(Weak<Shared>);

impl WeakClock {
    pub(crate) fn cancel(&self, id: TimerId) {
        if let Some(shared) = self.0.upgrade() {
            shared.cancel(id);
        }
    }
}

struct StopOnDrop(Weak<Shared>);

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

impl Clock {
    /// The machine's monotonic clock.
    pub fn real() -> Self {
        Self::of(None)
    }

    fn of(work: Option<Arc<Work>>) -> Self {
        let timers = Timers {
            queue: BTreeMap::new(),
            next_key: 0,
            armed: None,
            running: false,
            stopped: false,
            now: Instant::now(),
        };
        let shared = Arc::new(Shared { timers: Mutex::new(timers), changed: Condvar::new(), work });
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

    /// Ends after `duration` on this clock; a discard ends the wait at once.
    pub fn after(&self, duration: Duration) -> Eventual<()> {
        let (promise, eventual) = promise();
        let sleeper = Arc::new(Sleeper(Mutex::new(None)));
        let woken = Arc::downgrade(&sleeper);
        let due: Arc<dyn Due> = Arc::<Sleeper>::clone(&sleeper);
        let at = self.now() + duration;
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
        let mut timers = lock(&self.shared.timers);
        timers.next_key += 1;
        let id = (at, timers.next_key);
        if self.shared.work.is_some() {
            // Nobody would fire what is due already before the next `advance`.
            if at <= timers.now {
                drop(timers);
                due.due();
                return id;
            }
            timers.queue.insert(id, due);
            return id;
        }
        timers.queue.insert(id, due);
        if timers.armed.is_none_or(|armed| at < armed) {
            // Claimed here, so that further timers before the thread wakes do not notify again.
            timers.armed = Some(at);
            if !timers.running {
                timers.running = true;
                self.start_thread();
            }
            self.shared.changed.notify_one();
        }
        id
    }

    /// Calls `action` after `delay`.
    pub(crate) fn later(&self, delay: Duration, action: impl FnOnce() + Send + 'static) {
        let due: Arc<dyn Due> = Arc::new(Later(Mutex::new(Some(Box::new(action)))));
        self.schedule(self.now() + delay, due);
    }

    pub(crate) fn cancel(&self, id: TimerId) {
        self.shared.cancel(id);
    }

    pub(crate) fn downgrade(&self) -> WeakClock {
        WeakClock(Arc::downgrade(&self.shared))
    }

    /// Every dispatch that waits, soonest deadline first.
    pub(crate) fn waiting(&self) -> Vec<Arc<dyn Due>> {
        let timers = lock(&self.shared.timers);
        timers.queue.values().filter(|due| due.ask().is_some()).cloned().collect()
    }

    fn start_thread(&self) {
        let shared = Arc::clone(&self.shared);
        let run = move || shared.run();
        thread::Builder::new()
            .name("actors-clock".to_owned())
            .spawn(run)
            .expect("the system has a thread left for the clock");
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
