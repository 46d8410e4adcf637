//! Many eventuals made one. A discard of that one goes to all that have not ended.

use std::sync::{Arc, Mutex, Weak};

use super::chain::answered;
use super::{Discardable, Eventual, Promise, cascade};
use crate::lock;
use crate::outcome::{Cause, Fault, Outcome};

/// All answers, in the order of `eventuals`. The first end without an answer is the end of the whole; then the others
/// are discarded and answers that have come are dropped. Nothing is waited for then: what must be over before its
/// consequences are cleaned up is gathered by [`settle_all`].
pub fn all<T: Send + 'static>(eventuals: Vec<Eventual<T>>) -> Eventual<Vec<T>> {
    if eventuals.is_empty() {
        return Eventual::ready(Vec::new());
    }
    let open = Open::for_each(&eventuals);
    gather(eventuals, open, |open, index, outcome| match answered(outcome) {
        Ok(value) => open.put(index, value).map(Outcome::Ok),
        Err(end) => Some(end),
    })
}

/// All ends, whatever they are, in the order of `eventuals`. Fails never; a discard asks each of them to stop, and
/// this ends when they have.
pub fn settle_all<T: Send + 'static>(eventuals: Vec<Eventual<T>>) -> Eventual<Vec<Outcome<T>>> {
    if eventuals.is_empty() {
        return Eventual::ready(Vec::new());
    }
    let open = Open::for_each(&eventuals);
    gather(eventuals, open, |open, index, outcome| open.put(index, outcome).map(Outcome::Ok))
}

/// The first answer; the others are discarded then, and an answer that comes later is dropped. When none is left that
/// could answer, the last end is the end of the whole. Of none at all it is a failure.
pub fn first_ok<T: Send + 'static>(eventuals: Vec<Eventual<T>>) -> Eventual<T> {
    if eventuals.is_empty() {
        return Eventual::failed(Fault::new("nobody was asked"));
    }
    let left = (eventuals.len(), Vec::new());
    gather(eventuals, left, |(left, lost), _, outcome| {
        *left -= 1;
        if *left == 0 || outcome.is_ok() {
            return Some(outcome);
        }
        // Kept, since what it owns must not be dropped here.
        lost.push(outcome);
        None
    })
}

/// What has come, and how much has not.
struct Open<T> {
    came: Vec<Option<T>>,
    left: usize,
}

impl<T> Open<T> {
    fn for_each<E>(eventuals: &[E]) -> Self {
        Self { came: eventuals.iter().map(|_| None).collect(), left: eventuals.len() }
    }

    /// Everything, if this was the last to come.
    fn put(&mut self, index: usize, value: T) -> Option<Vec<T>> {
        self.came[index] = Some(value);
        self.left -= 1;
        let came = (self.left == 0).then(|| std::mem::take(&mut self.came));
        came.map(|came| came.into_iter().flatten().collect())
    }
}

/// Notes one end; says the end of the whole where that decides it. Runs under a lock, hence drops nothing foreign.
type Step<S, T, U> = fn(&mut S, usize, Outcome<T>) -> Option<Outcome<U>>;

/// What is known and whom to tell; nothing once it is decided.
type Undecided<S, U> = Mutex<Option<(S, Promise<U>)>>;

/// `eventuals` is not empty.
fn gather<S, T, U>(eventuals: Vec<Eventual<T>>, state: S, step: Step<S, T, U>) -> Eventual<U>
where
    S: Send + 'static,
    T: Send + 'static,
    U: Send + 'static,
{
    let (promise, gathered) = eventuals[0].derive();
    let sources: Arc<[Weak<dyn Discardable>]> = eventuals.iter().map(Eventual::upstream).collect();
    let told = Arc::clone(&sources);
    promise.on_discard(move |cause| cascade(move || discard_all(&told, &cause)));
    let undecided = Arc::new(Mutex::new(Some((state, promise))));
    for (index, eventual) in eventuals.into_iter().enumerate() {
        let (undecided, sources) = (Arc::clone(&undecided), Arc::clone(&sources));
        eventual.end_with(move |outcome| {
            if note(&undecided, step, index, outcome) {
                discard_all(&sources, &Cause::Asked("decided without it"));
            }
        });
    }
    gathered
}

/// True if this decided it.
fn note<S, T, U: Send + 'static>(
    undecided: &Undecided<S, U>,
    step: Step<S, T, U>,
    index: usize,
    outcome: Outcome<T>,
) -> bool {
    let mut open = lock(undecided);
    let Some((state, _)) = open.as_mut() else { return false };
    let Some(end) = step(state, index, outcome) else { return false };
    let decided = open.take();
    // Foreign code, such as the destructors of answers that are not wanted any more, runs without the lock.
    drop(open);
    if let Some((rest, promise)) = decided {
        promise.end(end);
        drop(rest);
    }
    true
}

fn discard_all(sources: &[Weak<dyn Discardable>], cause: &Cause) {
    for source in sources.iter().filter_map(Weak::upgrade) {
        source.request_discard(cause.clone());
    }
}
