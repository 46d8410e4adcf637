//! Many readers or one writer.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use crate::eventual::{Eventual, Promise, promise};
use crate::line::{Keeper, Line, leave_on_discard};
use crate::lock;
use crate::outcome::{Cause, Outcome};

/// A value that many can read or one can write, in the order in which they asked.
///
/// Readers that asked one after the other read together. A reader that asks while a writer waits comes after it, so
/// that readers never starve a writer; nor do writers starve a reader.
pub struct RwLock<T: Send + Sync + 'static>(Arc<Inner<T>>);

struct Inner<T: Send + Sync + 'static>(Mutex<State<T>>);

struct State<T: Send + Sync + 'static> {
    /// With the writer while there is one. Readers have copies of the pointer.
    value: Option<Arc<T>>,
    readers: usize,
    line: Line<Waiter<T>>,
}

enum Waiter<T: Send + Sync + 'static> {
    Read(Promise<ReadGuard<T>>),
    Write(Promise<WriteGuard<T>>),
}

/// Somebody whose time has come, and what it gets.
enum Grant<T: Send + Sync + 'static> {
    Read(Promise<ReadGuard<T>>, ReadGuard<T>),
    Write(Promise<WriteGuard<T>>, WriteGuard<T>),
}

impl<T: Send + Sync + 'static> RwLock<T> {
    /// One that nobody holds.
    pub fn new(value: T) -> Self {
        let state = State { value: Some(Arc::new(value)), readers: 0, line: Line::default() };
        Self(Arc::new(Inner(Mutex::new(state))))
    }

    /// Ends when the caller may read.
    pub fn read(&self) -> Eventual<ReadGuard<T>> {
        let (promise, eventual) = promise();
        self.0.join(|place| {
            leave_on_discard(&promise, &self.0, place);
            Waiter::Read(promise)
        });
        eventual
    }

    /// Ends when the caller may write.
    pub fn write(&self) -> Eventual<WriteGuard<T>> {
        let (promise, eventual) = promise();
        self.0.join(|place| {
            leave_on_discard(&promise, &self.0, place);
            Waiter::Write(promise)
        });
        eventual
    }
}

impl<T: Send + Sync + 'static> Inner<T> {
    fn join(self: &Arc<Self>, waiter: impl FnOnce(u64) -> Waiter<T>) {
        self.change(|state| state.line.join(waiter));
    }

    /// Changes something, and lets in whoever can come in then.
    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = lock(&self.0);
        let result = change(&mut state);
        let mut unheard = Vec::new();
        let granted = state.grant(self, &mut unheard);
        // Who is let in may run at once, and ask again.
        drop(state);
        for grant in granted {
            match grant {
                Grant::Read(promise, guard) => promise.set(guard),
                Grant::Write(promise, guard) => promise.set(guard),
            };
        }
        result
    }
}

impl<T: Send + Sync + 'static> State<T> {
    /// Takes out of the line who can come in now. Who is not there any more goes to `unheard`.
    fn grant(&mut self, inner: &Arc<Inner<T>>, unheard: &mut Vec<Waiter<T>>) -> Vec<Grant<T>> {
        let mut granted = Vec::new();
        loop {
            let may = match self.line.first() {
                Some(Waiter::Read(promise)) => self.value.is_some() || !promise.is_heard(),
                Some(Waiter::Write(promise)) => {
                    (self.value.is_some() && self.readers == 0) || !promise.is_heard()
                }
                None => false,
            };
            let Some(first) = may.then(|| self.line.next()).flatten() else { return granted };
            match (first, self.value.take()) {
                (Waiter::Read(promise), Some(value)) if promise.is_heard() => {
                    self.readers += 1;
                    self.value = Some(Arc::clone(&value));
                    let inner = Arc::clone(inner);
                    granted.push(Grant::Read(promise, ReadGuard { value: Some(value), inner }));
                }
                (Waiter::Write(promise), Some(value)) if promise.is_heard() => {
                    let inner = Arc::clone(inner);
                    granted.push(Grant::Write(promise, WriteGuard { value: Some(value), inner }));
                }
                (gone, value) => {
                    self.value = value;
                    unheard.push(gone);
                }
            }
        }
    }
}

impl<T: Send + Sync + 'static> Keeper for Inner<T> {
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause) {
        // A writer that leaves may have kept readers waiting.
        match self.change(|state| state.line.leave(place)) {
            Some(Waiter::Read(promise)) => {
                promise.end(Outcome::Discarded(cause));
            }
            Some(Waiter::Write(promise)) => {
                promise.end(Outcome::Discarded(cause));
            }
            None => {}
        }
    }
}

impl<T: Send + Sync + 'static> Clone for RwLock<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.0);
        f.debug_struct("RwLock")
            .field("readers", &state.readers)
            .field("written", &state.value.is_none())
            .field("waiting", &state.line.len())
            .finish()
    }
}

/// Reads the value of an [`RwLock`].
#[must_use = "dropping it ends the reading"]
pub struct ReadGuard<T: Send + Sync + 'static> {
    /// Taken by the drop.
    value: Option<Arc<T>>,
    inner: Arc<Inner<T>>,
}

impl<T: Send + Sync + 'static> Deref for ReadGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until the drop")
    }
}

impl<T: Send + Sync + 'static> Drop for ReadGuard<T> {
    fn drop(&mut self) {
        // Before it is counted out: the writer's copy must be the only one.
        drop(self.value.take());
        self.inner.change(|state| state.readers -= 1);
    }
}

impl<T: fmt::Debug + Send + Sync + 'static> fmt::Debug for ReadGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadGuard").field(&**self).finish()
    }
}

/// Writes the value of an [`RwLock`].
#[must_use = "dropping it ends the writing"]
pub struct WriteGuard<T: Send + Sync + 'static> {
    /// The only copy. Taken by the drop.
    value: Option<Arc<T>>,
    inner: Arc<Inner<T>>,
}

impl<T: Send + Sync + 'static> Deref for WriteGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("held until the drop")
    }
}

impl<T: Send + Sync + 'static> DerefMut for WriteGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        let value = self.value.as_mut().expect("held until the drop");
        Arc::get_mut(value).expect("readers drop theirs before they are counted out")
    }
}

impl<T: Send + Sync + 'static> Drop for WriteGuard<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        self.inner.change(|state| state.value = value);
    }
}

impl<T: fmt::Debug + Send + Sync + 'static> fmt::Debug for WriteGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriteGuard").field(&**self).finish()
    }
}
