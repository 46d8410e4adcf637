//! Calls of an isolator that is not ours: on threads where it can hang and panic alone.
//!
//! A call that hangs keeps its thread and, by its deadline, becomes the failure of its container. Until
//! it comes back, no other call for that container is made: `cleanup` would overtake it.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use longshore_actors::{Cx, Discarder, Eventual, Lost, Outcome, Promise, Reply, Runtime};

use super::{Failure, IsolatorActor, told};
use crate::error::{ErrorKind, Stage};
use crate::isolators::{DynIsolator, IsolatorError, Watch};
use crate::messages::flatten;
use crate::model::{ContainerId, Limitation};

/// The lane, in the sense of the runtime, on which calls run.
pub(crate) const CALLS: &str = "isolators";

/// The group of arbiters on which watches wait.
pub(crate) const WATCHES: &str = "watches";

/// One isolator of the embedder's; shared by its actors on all lanes.
#[derive(Debug, Clone)]
pub(crate) struct Apart {
    isolator: Arc<dyn DynIsolator>,
    /// Containers for which a call is being made.
    busy: Arc<Mutex<BTreeSet<ContainerId>>>,
}

impl Apart {
    pub(crate) fn new(isolator: Arc<dyn DynIsolator>) -> Self {
        Self { isolator, busy: Arc::default() }
    }

    fn busy(&self) -> MutexGuard<'_, BTreeSet<ContainerId>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one call. `label` is how it is known in lists of what runs.
    pub(super) fn call<T: Send + 'static>(
        &self,
        cx: &mut Cx<IsolatorActor>,
        (stage, label): (Stage, &'static str),
        id: &ContainerId,
        work: impl FnOnce(&dyn DynIsolator) -> Result<T, IsolatorError> + Send + 'static,
    ) -> Reply<Result<T, Failure>> {
        let name = self.isolator.name();
        if !self.busy().insert(id.clone()) {
            let message = format!("{name}: an earlier call for {id} has not come back");
            let kind = ErrorKind::Conflict;
            return Reply::Now(Err(Failure { stage, kind, errno: None, message }));
        }
        let isolator = Arc::clone(&self.isolator);
        let called = cx.blocking(CALLS, label, move |_| {
            work(&*isolator).map_err(|error| told(stage, name, &error))
        });
        let (promise, reply): (Promise<Result<T, Failure>>, _) = Reply::promised();
        let settled = settle(called, promise.discarded());
        let (apart, id) = (self.clone(), id.clone());
        cx.run(label, settled, move |_: &mut IsolatorActor, _, answer| {
            apart.busy().remove(&id);
            let answer = flatten(stage, answer).map_err(|failure| match failure.kind {
                // A panic, or a full lane: the text does not say of whom.
                ErrorKind::Internal | ErrorKind::Exhausted if !failure.message.contains(name) => {
                    Failure { message: format!("{name}: {label} {}", failure.message), ..failure }
                }
                _ => failure,
            });
            promise.set(answer);
        });
        reply
    }
}

/// Waits for the call to come back, also when nobody wants its answer any more; one that still waits
/// for a thread is withdrawn then.
async fn settle<T: Send + 'static>(
    called: Eventual<T>,
    discarded: impl Future<Output = longshore_actors::Cause>,
) -> Result<T, Lost> {
    let discarder = called.discarder();
    let mut called = std::pin::pin!(called.result());
    tokio::select! {
        biased;
        answer = &mut called => answer,
        cause = discarded => {
            discarder.discard(cause);
            called.await
        }
    }
}

/// Lets a watch wait where it can disturb nobody's supervisor. Dropping it ends it there.
pub(super) fn watch(runtime: &Runtime, name: &'static str, watch: Watch) -> Watch {
    let waiting = runtime.spawn_future(WATCHES, "watch", watch);
    let discarder = waiting.discarder();
    Box::pin(Away { name, waiting, discarder })
}

struct Away {
    name: &'static str,
    waiting: Eventual<Result<Limitation, IsolatorError>>,
    discarder: Discarder,
}

impl Future for Away {
    type Output = Result<Limitation, IsolatorError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.waiting).poll(cx).map(|outcome| match outcome {
            Outcome::Ok(watched) => watched,
            Outcome::Failed(_) | Outcome::Discarded(_) | Outcome::Abandoned(_) => {
                Err(IsolatorError::Broken { isolator: name, what: "watch" })
            }
        })
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.discarder.discard("the container is being destroyed");
    }
}
