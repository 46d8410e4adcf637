//! Guards: what undoes or withdraws when it is dropped.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::body::run_caught;
use crate::eventual::Eventual;
use crate::outcome::{Cause, Outcome};

type Undo<T> = Box<dyn FnOnce(T) + Send>;

/// A result whose drop undoes it: for answers that hold something and may be dropped on the way, because nobody waits
/// any more or a chain stopped at a [checkpoint](Eventual::checkpoint).
#[must_use = "dropping it undoes what it holds"]
pub struct Guarded<T> {
    /// Both taken by the drop, or by who keeps the value.
    held: Option<(T, Undo<T>)>,
}

impl<T> Guarded<T> {
    /// Holds `value` until it is kept; if it never is, calls `undo`, on the thread that drops it. A panic of `undo`
    /// goes no further.
    pub fn new(value: T, undo: impl FnOnce(T) + Send + 'static) -> Self {
        Self { held: Some((value, Box::new(undo))) }
    }

    /// The value, which is not undone any more.
    pub fn keep(mut self) -> T {
        self.held.take().expect("held until it is kept or dropped").0
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.held.as_ref().expect("held until it is kept or dropped").0
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.held.as_mut().expect("held until it is kept or dropped").0
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        if let Some((value, undo)) = self.held.take() {
            run_caught(|| undo(value));
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&**self).finish()
    }
}

/// An [`Eventual`] whose drop discards it: for queries, whose work is worth nothing once nobody waits.
#[must_use = "dropping it withdraws the request"]
pub struct DiscardOnDrop<T: Send + 'static> {
    /// Taken by who keeps it.
    eventual: Option<Eventual<T>>,
}

impl<T: Send + 'static> Eventual<T> {
    /// The same, but dropped before its end it is discarded, as is a future that awaits it.
    pub fn discard_on_drop(self) -> DiscardOnDrop<T> {
        DiscardOnDrop { eventual: Some(self) }
    }
}

impl<T: Send + 'static> DiscardOnDrop<T> {
    /// As [`Eventual::discard`].
    pub fn discard(&self, cause: impl Into<Cause>) -> bool {
        self.eventual.as_ref().is_some_and(|eventual| eventual.discard(cause))
    }

    /// The eventual, which is not discarded by its drop any more.
    pub fn keep(mut self) -> Eventual<T> {
        self.eventual.take().expect("there until it is kept")
    }
}

impl<T: Send + 'static> Future for DiscardOnDrop<T> {
    type Output = Outcome<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        Pin::new(self.eventual.as_mut().expect("there until it is kept")).poll(cx)
    }
}

impl<T: Send + 'static> Drop for DiscardOnDrop<T> {
    fn drop(&mut self) {
        self.discard("nobody waits for it any more");
    }
}

impl<T: Send + 'static> fmt::Debug for DiscardOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiscardOnDrop").field(&self.eventual).finish()
    }
}
