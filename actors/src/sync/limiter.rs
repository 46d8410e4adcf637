//! So many permits in so much time.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::clock::{Clock, Due, later};
use crate::eventual::{Eventual, Promise, promise};
use crate::line::{Keeper, Line, leave_on_discard};
use crate::lock;
use crate::outcome::{Cause, Outcome};

/// Gives permits one at a time, evenly spread: after each the next is due a fixed interval later. What was not used is
/// not saved up, so there are no bursts.
///
/// A permit says that the time has come, not that nobody else got one since: two that must keep their distance use one
/// limiter each, or act at once. With the last handle, who waits ends as abandoned.
#[derive(Clone)]
pub struct RateLimiter(Arc<Inner>);

struct Inner {
    clock: Clock,
    interval: Duration,
    state: Mutex<State>,
}

struct State {
    /// When the next permit is due.
    due: Instant,
    /// A timer will look at the line then.
    armed: bool,
    line: Line<Promise<()>>,
}

impl RateLimiter {
    /// At most `permits` in each `per`, on `clock`; the first is due now.
    pub fn new(clock: &Clock, permits: NonZeroU32, per: Duration) -> Self {
        let clock = clock.clone();
        let state = State { due: clock.now(), armed: false, line: Line::default() };
        let interval = per / permits.get();
        Self(Arc::new(Inner { clock, interval, state: Mutex::new(state) }))
    }

    /// Ends when the caller has a permit.
    pub fn acquire(&self) -> Eventual<()> {
        let now = self.0.clock.now();
        let mut state = lock(&self.0.state);
        if !state.armed && state.due <= now {
            state.due = later(now, self.0.interval);
            return Eventual::ready(());
        }
        let (promise, eventual) = promise();
        state.line.join(|place| {
            leave_on_discard(&promise, &self.0, place);
            promise
        });
        if !std::mem::replace(&mut state.armed, true) {
            let due = state.due;
            drop(state);
            self.0.arm(due);
        }
        eventual
    }
}

impl Inner {
    fn arm(self: &Arc<Self>, at: Instant) {
        self.clock.schedule(at, Arc::new(Tick(Arc::downgrade(self))));
    }

    /// A permit is due.
    fn grant(self: &Arc<Self>) {
        let now = self.clock.now();
        let mut unheard = Vec::new();
        let mut state = lock(&self.state);
        let next = state.line.next_heard(&mut unheard);
        state.armed = state.line.len() > 0;
        if next.is_some() {
            state.due = later(now, self.interval);
        }
        let again = state.armed.then_some(state.due);
        drop(state);
        if let Some(promise) = next {
            promise.set(());
        }
        if let Some(at) = again {
            self.arm(at);
        }
    }
}

/// The timer. It does not keep the limiter alive.
struct Tick(Weak<Inner>);

impl Due for Tick {
    fn due(self: Arc<Self>) {
        if let Some(inner) = self.0.upgrade() {
            inner.grant();
        }
    }
}

impl Keeper for Inner {
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause) {
        let leaves = lock(&self.state).line.leave(place);
        if let Some(promise) = leaves {
            promise.end(Outcome::Discarded(cause));
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("interval", &self.0.interval)
            .field("waiting", &lock(&self.0.state).line.len())
            .finish_non_exhaustive()
    }
}
