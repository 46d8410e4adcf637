//! Loops of eventuals.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::chain::answered;
use super::{Eventual, Promise, cascade, promise};
use crate::body::panic_fault;
use crate::outcome::Outcome;

/// Calls `step`, waits for what it gives, and again, until that is a `Break`: then its value is the answer. A step
/// without an answer ends the loop in the same way; a step that panics fails it.
///
/// The first step runs at once on the caller's thread, later ones on that which ended the step before. Steps that have
/// ended already keep that thread; however many they are, they need no stack. An actor writes a loop of `.await`s in
/// [`Cx::run`](crate::Cx::run) instead, to stay on its own arbiter.
///
/// A discard goes to the step that is under way. If that answers `Continue` all the same, no further step begins and
/// the loop ends as discarded; a `Break` counts.
pub fn loop_<V: Send + 'static>(
    step: impl FnMut() -> Eventual<ControlFlow<V>> + Send + 'static,
) -> Eventual<V> {
    let (promise, eventual) = promise();
    cascade(move || go_round(step, promise));
    eventual
}

fn go_round<V, F>(mut step: F, promise: Promise<V>)
where
    V: Send + 'static,
    F: FnMut() -> Eventual<ControlFlow<V>> + Send + 'static,
{
    let under_way = match catch_unwind(AssertUnwindSafe(&mut step)) {
        Ok(eventual) => eventual,
        Err(payload) => {
            promise.fail(panic_fault(&*payload));
            return;
        }
    };
    promise.pass_discard_to(&under_way);
    // Always a new job of the cascade, so that this one returns first.
    under_way.end_with(move |outcome| match (answered(outcome), promise.discard_cause()) {
        (Ok(ControlFlow::Break(value)), _) => {
            promise.set(value);
        }
        (Ok(ControlFlow::Continue(())), Some(cause)) => {
            promise.end(Outcome::Discarded(cause));
        }
        (Ok(ControlFlow::Continue(())), None) => go_round(step, promise),
        (Err(end), _) => {
            promise.end(end);
        }
    });
}
