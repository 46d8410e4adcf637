//! Chains: an eventual that is made of another and of what is to follow.
//!
//! A continuation runs on the thread that ends the first eventual, or at once on the caller's where it has ended.
//! It must not block; an actor that wants it as a turn of its own uses [`Cx::run`](crate::Cx::run). Its panic is a
//! failure of the derived eventual.
//!
//! The errors of what is derived from a dispatch name the same actor and message, until another eventual follows.
//!
//! A discard of the derived eventual travels up, to whatever it waits for at that time. It skips nothing: an answer
//! that comes all the same goes to its continuation, because whoever holds what was produced has to deal with it.
//! Where a chain may stop is written down, as [`Eventual::checkpoint`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use super::{Discardable, Eventual, Promise, Shared, cascade, derived};
use crate::body::{panic_fault, run_caught};
use crate::crossings::Crossings;
use crate::lock;
use crate::outcome::{Cause, Exit, Fault, Lost, Outcome};

/// What a continuation says.
enum Next<T> {
    Ended(Outcome<T>),
    Follow(Eventual<T>),
}

impl<T: Send + 'static> Eventual<T> {
    /// One that has failed already.
    pub fn failed(fault: Fault) -> Self {
        Self::ended(Outcome::Failed(fault))
    }

    /// What `f` makes of the answer. Any other end is passed on, and `f` is dropped.
    pub fn map<U: Send + 'static>(self, f: impl FnOnce(T) -> U + Send + 'static) -> Eventual<U> {
        self.pass_on(|outcome, _| {
            answered(outcome).map_or_else(|end| end, |value| Outcome::Ok(f(value)))
        })
    }

    /// The end of the eventual that `f` makes of the answer. Any other end is passed on, and `f` is dropped.
    pub fn then<U: Send + 'static>(
        self,
        f: impl FnOnce(T) -> Eventual<U> + Send + 'static,
    ) -> Eventual<U> {
        self.chain(|outcome, _| match answered(outcome) {
            Ok(value) => Next::Follow(f(value)),
            Err(end) => Next::Ended(end),
        })
    }

    /// The end of the eventual that `f` makes of a failure. Any other end is passed on.
    pub fn repair(self, f: impl FnOnce(Fault) -> Self + Send + 'static) -> Self {
        self.chain(|outcome, _| match outcome {
            Outcome::Failed(fault) => Next::Follow(f(fault)),
            end @ (Outcome::Ok(_) | Outcome::Discarded(_) | Outcome::Abandoned(_)) => {
                Next::Ended(end)
            }
        })
    }

    /// The end of the eventual that `f` makes of any end without an answer: a failure, a discard, an abandonment.
    ///
    /// A discard that was asked for before does not reach that eventual: the recovery from a discard must not be
    /// discarded itself. A later one does.
    pub fn recover(self, f: impl FnOnce(Lost) -> Self + Send + 'static) -> Self {
        let address = self.address();
        self.chain(move |outcome, promise| match outcome {
            Outcome::Ok(value) => Next::Ended(Outcome::Ok(value)),
            end @ (Outcome::Failed(_) | Outcome::Discarded(_) | Outcome::Abandoned(_)) => {
                promise.forget_discard();
                let lost = end.into_result_at(address.as_ref()).err();
                Next::Follow(f(lost.expect("it has no answer")))
            }
        })
    }

    /// The place where a chain stops if a discard was asked for: then an answer is dropped instead of passed on, and
    /// this ends as discarded. An answer that holds something gives it back in its destructor: see
    /// [`Guarded`](crate::Guarded).
    pub fn checkpoint(self) -> Self {
        self.pass_on(|outcome, promise| match (outcome, promise.discard_cause()) {
            (Outcome::Ok(value), Some(cause)) => {
                drop(value);
                Outcome::Discarded(cause)
            }
            (outcome, _) => outcome,
        })
    }

    /// The same, but a discard of it stops here and does not reach this one.
    pub fn shield(self) -> Self {
        let (promise, shielded) = self.derive_named();
        self.end_with(move |outcome| {
            promise.end(outcome);
        });
        shielded
    }

    /// The same, after `f` has seen the end. A panic of `f` changes nothing, here and in the methods that follow.
    pub fn on_any(self, f: impl FnOnce(&Outcome<T>) + Send + 'static) -> Self {
        self.pass_on(|outcome, _| {
            run_caught(|| f(&outcome));
            outcome
        })
    }

    /// The same, after `f` has seen the answer, if there is one.
    pub fn on_ready(self, f: impl FnOnce(&T) + Send + 'static) -> Self {
        self.on_any(|outcome| {
            if let Outcome::Ok(value) = outcome {
                f(value);
            }
        })
    }

    /// The same, after `f` has seen the failure, if it failed.
    pub fn on_failed(self, f: impl FnOnce(&Fault) + Send + 'static) -> Self {
        self.on_any(|outcome| {
            if let Outcome::Failed(fault) = outcome {
                f(fault);
            }
        })
    }

    /// The same, after `f` has seen the cause, if it ended as discarded. Who works hears that a discard is asked for
    /// from [`Promise::discarded`].
    pub fn on_discarded(self, f: impl FnOnce(&Cause) + Send + 'static) -> Self {
        self.on_any(|outcome| {
            if let Outcome::Discarded(cause) = outcome {
                f(cause);
            }
        })
    }

    /// The same, after `f` has seen the exit, if it was abandoned.
    pub fn on_abandoned(self, f: impl FnOnce(&Exit) + Send + 'static) -> Self {
        self.on_any(|outcome| {
            if let Outcome::Abandoned(exit) = outcome {
                f(exit);
            }
        })
    }

    /// Another request may follow, whose errors are not those of this one.
    fn chain<U: Send + 'static>(
        self,
        next: impl FnOnce(Outcome<T>, &Promise<U>) -> Next<U> + Send + 'static,
    ) -> Eventual<U> {
        let pair = self.derive();
        self.chain_in(pair, next)
    }

    /// It ends with the same request.
    fn pass_on<U: Send + 'static>(
        self,
        end: impl FnOnce(Outcome<T>, &Promise<U>) -> Outcome<U> + Send + 'static,
    ) -> Eventual<U> {
        let pair = self.derive_named();
        self.chain_in(pair, |outcome, promise| Next::Ended(end(outcome, promise)))
    }

    fn chain_in<U: Send + 'static>(
        self,
        (promise, derived): (Promise<U>, Eventual<U>),
        next: impl FnOnce(Outcome<T>, &Promise<U>) -> Next<U> + Send + 'static,
    ) -> Eventual<U> {
        promise.pass_discard_to(&self);
        self.end_with(move |outcome| {
            match catch_unwind(AssertUnwindSafe(|| next(outcome, &promise))) {
                Ok(Next::Ended(end)) => {
                    promise.end(end);
                }
                Ok(Next::Follow(eventual)) => promise.follow(eventual),
                Err(payload) => {
                    promise.fail(panic_fault(&*payload));
                }
            }
        });
        derived
    }

    /// Hands the outcome to `end`, in a cascade.
    pub(crate) fn end_with(self, end: impl FnOnce(Outcome<T>) + Send + 'static) {
        let given = self.shared.forward(move |outcome| cascade(move || end(outcome)));
        // What comes later is handled by the thread that gives it.
        if let Some(given) = given {
            self.shared.note_taken(given);
        }
    }

    /// A pair whose answer, if it crosses threads, is counted where that of this one would be.
    pub(super) fn derive<U: Send + 'static>(&self) -> (Promise<U>, Eventual<U>) {
        derived(self.crossings(), None)
    }

    /// The same, and its errors name what those of this one would.
    pub(super) fn derive_named<U: Send + 'static>(&self) -> (Promise<U>, Eventual<U>) {
        derived(self.crossings(), self.address().map(Box::new))
    }

    fn crossings(&self) -> Option<Crossings> {
        let asked = self.shared.ask.as_ref().map(|ask| ask.to.crossings());
        asked.or(self.shared.crossings.as_ref()).cloned()
    }

    /// Where a discard goes. Weak, so that what is derived keeps nothing alive: while it can still end, its promise
    /// does.
    pub(super) fn upstream(&self) -> Weak<dyn Discardable> {
        let shared: Weak<Shared<T>> = Arc::downgrade(&self.shared);
        shared
    }
}

impl<T: Send + 'static> From<Result<T, Fault>> for Eventual<T> {
    fn from(result: Result<T, Fault>) -> Self {
        Self::ended(result.map_or_else(Outcome::Failed, Outcome::Ok))
    }
}

impl<T: Send + 'static> Promise<T> {
    /// Ends as `source` does; a discard is passed on to it.
    pub fn follow(self, source: Eventual<T>) {
        self.pass_discard_to(&source);
        source.end_with(move |outcome| {
            self.end(outcome);
        });
    }

    /// Passes a discard on to `source`, instead of to whatever it was passed on to before.
    pub(crate) fn pass_discard_to<U: Send + 'static>(&self, source: &Eventual<U>) {
        let source = source.upstream();
        self.on_discard(move |cause| {
            cascade(move || {
                if let Some(source) = source.upgrade() {
                    source.request_discard(cause);
                }
            });
        });
    }

    /// Why the asker withdrew, if it did.
    pub(crate) fn discard_cause(&self) -> Option<Cause> {
        self.shared().discard_cause()
    }

    /// False when nobody can learn of the end any more.
    pub(crate) fn is_heard(&self) -> bool {
        let shared = self.shared();
        let followed = lock(&shared.state).forward.is_some();
        // Handles are made of handles: when this is the last, it stays the last.
        followed || Arc::strong_count(shared) > 1
    }

    /// Makes as if no discard had been asked for.
    fn forget_discard(&self) {
        let forgotten = lock(&self.shared().state).discard.take();
        drop(forgotten);
    }
}

/// The answer, or an end without one.
pub(super) fn answered<T, U>(outcome: Outcome<T>) -> Result<T, Outcome<U>> {
    match outcome {
        Outcome::Ok(value) => Ok(value),
        Outcome::Failed(fault) => Err(Outcome::Failed(fault)),
        Outcome::Discarded(cause) => Err(Outcome::Discarded(cause)),
        Outcome::Abandoned(exit) => Err(Outcome::Abandoned(exit)),
    }
}
