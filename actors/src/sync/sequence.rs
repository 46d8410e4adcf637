//! Jobs one after the other.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use crate::body::panic_fault;
use crate::eventual::{Eventual, Promise, cascade, promise};
use crate::line::{Keeper, Line, leave_on_discard};
use crate::lock;
use crate::outcome::{Cause, Outcome};

/// Runs jobs in the order in which they were added; the next begins when the eventual of the one before has ended,
/// however it did.
///
/// A discard takes away a job that waits: it is never run. One that runs is asked to stop, and the next begins when it
/// has. With the last handle all that wait are discarded; the one that runs goes on.
#[derive(Clone)]
pub struct Sequence {
    inner: Arc<Inner>,
    _owner: Arc<Owner>,
}

#[derive(Default)]
struct Inner(Mutex<State>);

#[derive(Default)]
struct State {
    running: bool,
    line: Line<Job>,
}

/// Runs the job, or ends it.
type Job = Box<dyn FnOnce(Fate) + Send>;

enum Fate {
    Run(Turn),
    Discard(Cause),
}

/// The right to run. Its drop passes it on.
struct Turn(Arc<Inner>);

/// Discards what waits, with the last handle.
struct Owner(Arc<Inner>);

impl Sequence {
    /// An empty one.
    pub fn new() -> Self {
        let inner = Arc::new(Inner::default());
        Self { _owner: Arc::new(Owner(Arc::clone(&inner))), inner }
    }

    /// Calls `job` when its turn comes, at once if nothing runs; ends as what it gives. A panic of `job` is its failure.
    ///
    /// It is called on the thread that ended the job before it, and must not block: it starts work, such as a dispatch.
    pub fn add<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Eventual<T> + Send + 'static,
    ) -> Eventual<T> {
        let (promise, eventual) = promise();
        let mut state = lock(&self.inner.0);
        state.line.join(|place| {
            leave_on_discard(&promise, &self.inner, place);
            Box::new(move |fate| perform(fate, promise, job))
        });
        let begins = !std::mem::replace(&mut state.running, true);
        drop(state);
        if begins {
            drop(Turn(Arc::clone(&self.inner)));
        }
        eventual
    }

    /// How many jobs have not begun.
    pub fn waiting(&self) -> usize {
        lock(&self.inner.0).line.len()
    }
}

fn perform<T: Send + 'static>(
    fate: Fate,
    promise: Promise<T>,
    job: impl FnOnce() -> Eventual<T> + Send + 'static,
) {
    let turn = match fate {
        Fate::Run(turn) => turn,
        Fate::Discard(cause) => {
            promise.end(Outcome::Discarded(cause));
            return;
        }
    };
    // Withdrawn after it had left the line.
    if let Some(cause) = promise.discard_cause() {
        promise.end(Outcome::Discarded(cause));
        return;
    }
    match catch_unwind(AssertUnwindSafe(job)) {
        Ok(eventual) => {
            promise.pass_discard_to(&eventual);
            eventual.end_with(move |outcome| {
                promise.end(outcome);
                drop(turn);
            });
        }
        Err(payload) => {
            promise.fail(panic_fault(&*payload));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let inner = Arc::clone(&self.0);
        cascade(move || {
            let mut state = lock(&inner.0);
            let next = state.line.next();
            state.running = next.is_some();
            drop(state);
            if let Some(job) = next {
                job(Fate::Run(Turn(inner)));
            }
        });
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut waiting = std::mem::take(&mut lock(&self.0.0).line);
        while let Some(job) = waiting.next() {
            cascade(move || job(Fate::Discard(Cause::Asked("the sequence is gone"))));
        }
    }
}

impl Keeper for Inner {
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause) {
        let leaves = lock(&self.0).line.leave(place);
        if let Some(job) = leaves {
            // It is dropped unrun, and what it owns may panic.
            cascade(move || job(Fate::Discard(cause)));
        }
    }
}

impl Default for Sequence {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.inner.0);
        let waiting = state.line.len();
        f.debug_struct("Sequence")
            .field("running", &state.running)
            .field("waiting", &waiting)
            .finish()
    }
}
