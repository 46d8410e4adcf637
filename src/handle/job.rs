//! [`Job`]: one container, by its id.

use std::sync::Arc;
use std::time::Duration;

use longshore_actors::{Eventual, Lost};

use super::{Containerizer, Guard, Stop, answered, shut_down, unknown};
use crate::containerizer::messages::Find;
use crate::containerizer::supervisor::actor::Supervisor;
use crate::containerizer::supervisor::messages::{
    AwaitRunning, Conclusion, Destroy, GetUsage, SetResources, Signal, Stop as StopMessage, Wait,
};
use crate::error::{Error, ErrorKind, Stage};
use crate::events::ContainerSnapshot;
use crate::limits;
use crate::model::{ContainerId, End, Failure, Resources, Usage};

/// One container, by its id. Cheap to clone; dropping it does nothing to the container.
#[derive(Debug, Clone)]
#[must_use = "the container runs on without its handle; say so with `let _ =`"]
pub struct Job {
    pub(super) containerizer: Containerizer,
    pub(super) container_id: ContainerId,
}

impl Job {
    /// Its id.
    pub fn id(&self) -> &ContainerId {
        &self.container_id
    }

    /// Ends when exec of the payload has succeeded, with the pid of the container's init.
    ///
    /// Errors: what made the launch fail; `NotFound`.
    pub async fn running(&self) -> Result<i32, Error> {
        match self.ask(AwaitRunning, limits::FOREVER).await? {
            Asked::Answered(Ok(pid)) => Ok(pid),
            Asked::Answered(Err(conclusion)) => Err(self.never_ran(conclusion.end)),
            Asked::Ended(end) => Err(self.never_ran(*end)),
        }
    }

    fn never_ran(&self, end: End) -> Error {
        match end.failure {
            Some(failure) => Error::from(failure).of(&self.container_id),
            None => {
                let message = format!("container {} has ended", self.container_id);
                Error::new(Stage::Run, ErrorKind::Conflict, message).of(&self.container_id)
            }
        }
    }

    /// Ends when the container has ended, or is stuck: `remaining` is not empty then.
    ///
    /// Errors: `NotFound`.
    pub async fn wait(&self) -> Result<End, Error> {
        Ok(match self.ask(Wait, limits::FOREVER).await? {
            Asked::Answered(conclusion) => end_of(conclusion),
            Asked::Ended(end) => *end,
        })
    }

    /// Sends the stop signal, and destroys the container when the grace is over. Ends with it.
    ///
    /// Repeatable: each sends its signal, and of their deadlines the one that comes first counts, so a
    /// later one may shorten what an earlier one has given, and lengthens nothing. Before the payload
    /// runs there is nobody to signal: while it is being started a stop waits for it, with its grace from
    /// then on; earlier it is a destroy.
    ///
    /// Errors: `InvalidRequest` (no such signal); `NotFound`; as [`Self::destroy`] when it is stuck.
    pub async fn stop(&self, stop: Stop) -> Result<End, Error> {
        stop.signal.map_or(Ok(()), |signal| self.check(signal))?;
        let message = StopMessage { signal: stop.signal, grace: stop.grace };
        self.conclude(self.ask_surely(message, limits::FOREVER).await?)
    }

    /// Ends the container whatever it is doing. Repeatable: a second one joins the first, one of a
    /// stuck container goes on where it failed, one of an ended container answers with its record.
    ///
    /// Errors: `NotFound`; what could not be undone, with [`Error::remaining`].
    pub async fn destroy(&self) -> Result<End, Error> {
        self.conclude(self.ask_surely(Destroy, limits::FOREVER).await?)
    }

    fn conclude(&self, asked: Asked<Conclusion>) -> Result<End, Error> {
        match asked {
            Asked::Answered(Conclusion { stuck: Some(failure), remaining, .. }) => {
                Err(Error::from(failure).of(&self.container_id).with_remaining(remaining))
            }
            Asked::Answered(conclusion) => Ok(end_of(conclusion)),
            Asked::Ended(end) => Ok(*end),
        }
    }

    fn check(&self, signal: i32) -> Result<(), Error> {
        let checked = crate::spec::check_signal(signal);
        checked.map_err(|error| Error::wrap(Stage::Run, error).of(&self.container_id))
    }

    /// Sends a signal to the payload: 1 to 64, signal(7).
    ///
    /// Errors: `InvalidRequest` (no such signal); `Conflict` unless it runs; `NotFound`; `Host`.
    pub async fn kill(&self, signal: i32) -> Result<(), Error> {
        self.check(signal)?;
        self.living(self.ask_surely(Signal { signal }, limits::QUERY).await?)
    }

    /// Sets new limits.
    ///
    /// Errors: `InvalidRequest` (a limit that no launch could have, or whose isolator is not on);
    /// `Conflict` unless it runs, and where
    /// the kernel refuses; `NotFound`; `Host`.
    pub async fn update(&self, resources: Resources) -> Result<(), Error> {
        let isolation = &self.containerizer.inner.isolation;
        let checked = crate::spec::check_resources(&resources)
            .and_then(|()| crate::spec::require_limits(&resources, isolation));
        checked.map_err(|error| Error::wrap(Stage::Run, error).of(&self.container_id))?;
        self.living(self.ask_surely(SetResources { resources }, limits::QUERY).await?)
    }

    /// What it uses now; the final figures of an ended one.
    ///
    /// Errors: `NotFound`; `Host`.
    pub async fn usage(&self) -> Result<Usage, Error> {
        match self.ask(GetUsage, limits::QUERY).await? {
            Asked::Ended(end) => Ok(end.usage),
            answered @ Asked::Answered(_) => self.living(answered),
        }
    }

    /// The same container, destroyed when the guard is dropped.
    pub fn guard(self) -> Guard {
        Guard::new(self)
    }

    /// Begins a destroy that nobody here waits for. Ours are the threads on which it is done, ours the
    /// handle that keeps them meanwhile.
    pub(super) fn destroy_later(self) {
        let runtime = self.containerizer.inner.runtime.clone();
        let _begun = runtime.spawn_future("main", "destroy", async move {
            let destroyed = self.ask(Destroy, limits::FOREVER).await;
            if let Err(error) = destroyed.and_then(|asked| self.conclude(asked))
                && error.kind() != ErrorKind::NotFound
            {
                tracing::warn!(%error, "a guard could not destroy its container");
            }
        });
    }

    /// The container as published last.
    ///
    /// Errors: `NotFound`.
    pub fn status(&self) -> Result<Arc<ContainerSnapshot>, Error> {
        let events = &self.containerizer.inner.events;
        events.container(&self.container_id).ok_or_else(|| unknown(&self.container_id))
    }

    fn living<T>(&self, asked: Asked<Result<T, Failure>>) -> Result<T, Error> {
        match asked {
            Asked::Answered(answer) => answer.map_err(|f| Error::from(f).of(&self.container_id)),
            Asked::Ended(_) => {
                let message = format!("container {} has ended", self.container_id);
                Err(Error::new(Stage::Run, ErrorKind::Conflict, message).of(&self.container_id))
            }
        }
    }

    /// Asks the supervisor, or answers from the record where there is none any more.
    async fn ask<M>(&self, message: M, deadline: Duration) -> Result<Asked<M::Reply>, Error>
    where
        M: longshore_actors::Message + Clone,
        Supervisor: longshore_actors::Handler<M>,
    {
        let inner = &self.containerizer.inner;
        let mut gone = None;
        loop {
            let find = Find { container_id: self.container_id.clone(), gone: gone.take() };
            let found = inner.actor.dispatch(find, limits::QUERY).result().await;
            let supervisor = match found {
                Ok(Some(supervisor)) => supervisor,
                Ok(None) => return self.record(),
                // Nobody is there any more, but what has ended is on record.
                Err(lost) => {
                    return self.record().or_else(|_| answered(&self.container_id, Err(lost)));
                }
            };
            let asked: Eventual<M::Reply> = supervisor.dispatch(message.clone(), deadline);
            match asked.result().await {
                Ok(reply) => return Ok(Asked::Answered(reply)),
                // It ended in order before it came to the message, or broke and is being replaced.
                Err(Lost::Gone { .. }) => gone = Some(supervisor.any()),
                Err(lost) => return answered(&self.container_id, Err(lost)),
            }
        }
    }

    /// The same for what is done even if the caller drops the future once it was polled: asked on a
    /// thread of ours.
    async fn ask_surely<M>(&self, message: M, deadline: Duration) -> Result<Asked<M::Reply>, Error>
    where
        M: longshore_actors::Message + Clone + Sync,
        Supervisor: longshore_actors::Handler<M>,
    {
        let (job, inner) = (self.clone(), &self.containerizer.inner);
        let asking = async move { job.ask(message, deadline).await };
        let asked = inner.runtime.spawn_future("main", "request", asking).result().await;
        asked.unwrap_or_else(|lost| {
            self.record().or_else(|_| answered(&self.container_id, Err(lost)))
        })
    }

    /// What there is of one that has ended.
    fn record<T>(&self) -> Result<Asked<T>, Error> {
        let snapshot = self.status()?;
        if snapshot.state.is_some() {
            // It lives, and whoever supervised it does not.
            return Err(shut_down().of(&self.container_id));
        }
        let mut end = End::default();
        end.termination.clone_from(&snapshot.termination);
        end.failure.clone_from(&snapshot.failure);
        end.usage = snapshot.usage.unwrap_or_default();
        end.remaining.clone_from(&snapshot.remaining);
        Ok(Asked::Ended(Box::new(end)))
    }
}

/// What came back for a container.
enum Asked<T> {
    /// Its supervisor's answer.
    Answered(T),
    /// There is only a record.
    Ended(Box<End>),
}

fn end_of(conclusion: Conclusion) -> End {
    let Conclusion { mut end, stuck, remaining } = conclusion;
    if stuck.is_some() {
        end.remaining = remaining;
    }
    end
}
