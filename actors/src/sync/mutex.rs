//! One holder at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::eventual::{Eventual, Promise, promise};
use crate::line::{Keeper, Line, leave_on_discard};
use crate::lock;
use crate::outcome::{Cause, Outcome};

/// A value that one holder at a time can reach, in the order in which they asked.
///
/// It is held as long as its [`MutexGuard`] lives, across turns and awaits too. A holder that panics gives it back as
/// it is.
pub struct Mutex<T: Send + 'static>(Arc<Inner<T>>);

struct Inner<T: Send + 'static>(std::sync::Mutex<State<T>>);

struct State<T: Send + 'static> {
    /// With the holder while there is one; only then does somebody wait.
    value: Option<T>,
    line: Line<Promise<MutexGuard<T>>>,
}

impl<T: Send + 'static> Mutex<T> {
    /// One that nobody holds. `Mutex::new(())` guards what is elsewhere.
    pub fn new(value: T) -> Self {
        let state = State { value: Some(value), line: Line::default() };
        Self(Arc::new(Inner(std::sync::Mutex::new(state))))
    }

    /// Ends when the caller holds it.
    pub fn lock(&self) -> Eventual<MutexGuard<T>> {
        let mut state = lock(&self.0.0);
        if let Some(value) = state.value.take() {
            drop(state);
            return Eventual::ready(self.0.guard(value));
        }
        let (promise, eventual) = promise();
        state.line.join(|place| {
            leave_on_discard(&promise, &self.0, place);
            promise
        });
        eventual
    }

    /// Holds it, unless somebody else does.
    pub fn try_lock(&self) -> Option<MutexGuard<T>> {
        let value = lock(&self.0.0).value.take();
        value.map(|value| self.0.guard(value))
    }
}

impl<T: Send + 'static> Inner<T> {
    fn guard(self: &Arc<Self>, value: T) -> MutexGuard<T> {
        MutexGuard { value: Some(value), inner: Arc::clone(self) }
    }

    /// Gives the value to who is next, or keeps it.
    fn give_back(self: &Arc<Self>, value: T) {
        let mut unheard = Vec::new();
        let mut state = lock(&self.0);
        let next = state.line.next_heard(&mut unheard);
        let Some(promise) = next else {
            state.value = Some(value);
            return;
        };
        drop(state);
        promise.set(self.guard(value));
    }
}

impl<T: Send + 'static> Keeper for Inner<T> {
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause) {
        let leaves = lock(&self.0).line.leave(place);
        if let Some(promise) = leaves {
            promise.end(Outcome::Discarded(cause));
        }
    }
}

impl<T: Send + 'static> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.0);
        let (held, waiting) = (state.value.is_none(), state.line.len());
        f.debug_struct("Mutex").field("held", &held).field("waiting", &waiting).finish()
    }
}

/// Reaches the value of a [`Mutex`], and lets the next one have it when dropped.
#[must_use = "dropping it gives the value back"]
pub struct MutexGuard<T: Send + 'static> {
    /// Taken by the drop.
    value: Option<T>,
    inner: Arc<Inner<T>>,
}

impl<T: Send + 'static> Deref for MutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until the drop")
    }
}

impl<T: Send + 'static> DerefMut for MutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held until the drop")
    }
}

impl<T: Send + 'static> Drop for MutexGuard<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.inner.give_back(value);
        }
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for MutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MutexGuard").field(&**self).finish()
    }
}
