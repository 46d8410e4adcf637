//! A deadline for any eventual.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Discardable, Eventual, Shared};
use crate::clock::{Clock, Due};
use crate::outcome::{Cause, Outcome};

impl<T: Send + 'static> Eventual<T> {
    /// The same, but after `limit` on `clock` it ends as discarded, by its deadline, whatever this one does. That one
    /// is discarded for the same cause, which its worker sees; an answer that comes later is dropped.
    ///
    /// The error names who was asked what if this comes from a dispatch, and `request to somebody` where that is not
    /// known.
    /// Until the end it keeps `clock` going. With one second or more it may end some 10 ms late.
    pub fn within(self, clock: &Clock, limit: Duration) -> Self {
        if self.is_done() {
            return self;
        }
        let (promise, derived) = self.derive_named::<T>();
        promise.pass_discard_to(&self);
        let (to, label) = match self.address() {
            Some(address) => (address.to, address.label),
            None => ("somebody".into(), "request"),
        };
        let id = clock.reserve(clock.deadline(limit).1);
        let expiry = Arc::new(Expiry {
            source: self.upstream(),
            derived: Arc::downgrade(&derived.shared),
            cause: Cause::Deadline { to, label, after: limit },
        });
        // Before the end can be noted, so that the end finds the timer that it cancels.
        clock.put(id, expiry);
        let clock = clock.clone();
        self.end_with(move |outcome| {
            clock.cancel(id);
            promise.end(outcome);
        });
        derived
    }
}

/// The timer. It keeps nothing alive.
struct Expiry<T> {
    source: Weak<dyn Discardable>,
    derived: Weak<Shared<T>>,
    cause: Cause,
}

impl<T: Send + 'static> Due for Expiry<T> {
    fn due(self: Arc<Self>) {
        if let Some(source) = self.source.upgrade() {
            source.request_discard(self.cause.clone());
        }
        if let Some(derived) = self.derived.upgrade() {
            derived.complete(Outcome::Discarded(self.cause.clone()));
        }
    }
}
