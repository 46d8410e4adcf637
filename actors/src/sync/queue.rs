//! Values from those who have some to those who want some.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use crate::eventual::{Eventual, Promise, promise};
use crate::line::{Keeper, Line, leave_on_discard};
use crate::lock;
use crate::outcome::{Cause, Outcome};

/// A queue: values leave it in the order in which they came, to getters in the order in which they asked.
///
/// With the last handle what it holds is dropped, and getters that wait end as abandoned.
pub struct Queue<T: Send + 'static>(Arc<Inner<T>>);

struct Inner<T: Send + 'static> {
    state: Mutex<State<T>>,
    capacity: usize,
}

/// At least one of the two is empty.
struct State<T: Send + 'static> {
    values: VecDeque<T>,
    line: Line<Promise<T>>,
}

/// The value that a full [`Queue`] did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct Full<T>(pub T);

impl<T: Send + 'static> Queue<T> {
    /// One without a bound: [`Queue::put`] never fails.
    pub fn unbounded() -> Self {
        Self::bounded(usize::MAX)
    }

    /// One that holds at most `capacity` values for which no getter waits.
    pub fn bounded(capacity: usize) -> Self {
        let state = Mutex::new(State { values: VecDeque::new(), line: Line::default() });
        Self(Arc::new(Inner { state, capacity }))
    }

    /// Gives `value` to the getter that waits longest, or keeps it for the next. Where it is full the value comes back.
    ///
    /// A getter whose eventual was dropped is passed over. One that is dropped later, with the value in it, takes the
    /// value along.
    pub fn put(&self, value: T) -> Result<(), Full<T>> {
        let mut unheard = Vec::new();
        let mut state = lock(&self.0.state);
        let next = state.line.next_heard(&mut unheard);
        if let Some(promise) = next {
            drop(state);
            promise.set(value);
        } else if state.values.len() >= self.0.capacity {
            return Err(Full(value));
        } else {
            state.values.push_back(value);
        }
        Ok(())
    }

    /// The next value, now or when it comes.
    pub fn get(&self) -> Eventual<T> {
        let mut state = lock(&self.0.state);
        if let Some(value) = state.values.pop_front() {
            drop(state);
            return Eventual::ready(value);
        }
        let (promise, eventual) = promise();
        state.line.join(|place| {
            leave_on_discard(&promise, &self.0, place);
            promise
        });
        eventual
    }

    /// How many values wait for a getter.
    pub fn len(&self) -> usize {
        lock(&self.0.state).values.len()
    }

    /// True when no value waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Send + 'static> Keeper for Inner<T> {
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause) {
        let leaves = lock(&self.state).line.leave(place);
        if let Some(promise) = leaves {
            promise.end(Outcome::Discarded(cause));
        }
    }
}

impl<T: Send + 'static> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        let (values, waiting) = (state.values.len(), state.line.len());
        f.debug_struct("Queue").field("values", &values).field("waiting", &waiting).finish()
    }
}
