//! One outcome for many who wait.

use std::fmt;
use std::sync::{Arc, Mutex};

use super::{Discarder, Eventual, Promise, promise};
use crate::line::{Keeper, Line, leave_on_discard};
use crate::lock;
use crate::outcome::{Cause, Outcome};

/// An [`Eventual`] that any number can wait for: each [`SharedEventual::wait`] gives one that ends as it does. Cheap
/// to clone.
///
/// Who waits withdraws for itself only; [`SharedEventual::discard`] withdraws the work.
pub struct SharedEventual<T: Send + 'static> {
    waiting: Arc<Waiting<T>>,
    source: Discarder,
}

struct Waiting<T: Send + 'static>(Mutex<State<T>>);

enum State<T: Send + 'static> {
    Pending(Line<Promise<T>>),
    Ended(Arc<Outcome<T>>),
}

impl<T: Clone + Send + Sync + 'static> Eventual<T> {
    /// The same for many.
    pub fn share(self) -> SharedEventual<T> {
        let source = self.discarder();
        let waiting = Arc::new(Waiting(Mutex::new(State::Pending(Line::default()))));
        let told = Arc::clone(&waiting);
        self.end_with(move |outcome| told.end(Arc::new(outcome)));
        SharedEventual { waiting, source }
    }
}

impl<T: Clone + Send + Sync + 'static> SharedEventual<T> {
    /// Ends as the shared one does, at once if it has. A discard takes this one out and leaves the others alone.
    pub fn wait(&self) -> Eventual<T> {
        let mut state = lock(&self.waiting.0);
        let line = match &mut *state {
            State::Pending(line) => line,
            State::Ended(outcome) => {
                let outcome = Arc::clone(outcome);
                // Copying is foreign code.
                drop(state);
                return Eventual::ended(Outcome::clone(&outcome));
            }
        };
        let (promise, eventual) = promise();
        line.join(|place| {
            leave_on_discard(&promise, &self.waiting, place);
            promise
        });
        eventual
    }

    /// As [`Eventual::discard`], for everybody.
    pub fn discard(&self, cause: impl Into<Cause>) -> bool {
        self.source.discard(cause)
    }

    /// The outcome, if it has ended.
    pub fn peek(&self) -> Option<Outcome<T>> {
        let outcome = match &*lock(&self.waiting.0) {
            State::Pending(_) => return None,
            State::Ended(outcome) => Arc::clone(outcome),
        };
        Some(Outcome::clone(&outcome))
    }

    /// True when it has ended without an answer.
    pub(crate) fn is_lost(&self) -> bool {
        match &*lock(&self.waiting.0) {
            State::Pending(_) => false,
            State::Ended(outcome) => !outcome.is_ok(),
        }
    }
}

impl<T: Clone + Send + Sync + 'static> Waiting<T> {
    fn end(&self, outcome: Arc<Outcome<T>>) {
        let before = std::mem::replace(&mut *lock(&self.0), State::Ended(Arc::clone(&outcome)));
        let State::Pending(mut line) = before else { return };
        while let Some(promise) = line.next() {
            promise.end(Outcome::clone(&outcome));
        }
    }
}

impl<T: Send + Sync + 'static> Keeper for Waiting<T> {
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause) {
        let leaves = match &mut *lock(&self.0) {
            State::Pending(line) => line.leave(place),
            State::Ended(_) => None,
        };
        if let Some(promise) = leaves {
            promise.end(Outcome::Discarded(cause));
        }
    }
}

impl<T: Send + 'static> Clone for SharedEventual<T> {
    fn clone(&self) -> Self {
        Self { waiting: Arc::clone(&self.waiting), source: self.source.clone() }
    }
}

impl<T: Send + 'static> fmt::Debug for SharedEventual<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = matches!(&*lock(&self.waiting.0), State::Ended(_));
        f.debug_struct("SharedEventual").field("done", &done).finish_non_exhaustive()
    }
}
