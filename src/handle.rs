//! [`Containerizer`]: the handle that programs hold. Each method is one dispatched message.
//!
//! The containerizer runs on threads of its own and needs no runtime of the caller's; its futures may
//! be awaited on any executor. Dropping any of them strands nothing: what was begun goes on. A
//! container ends when somebody says so, when its payload does, or when a limit is reached, never
//! because a handle was dropped.

mod blocking;
mod guard;
mod images;
mod job;
#[cfg(feature = "actix")]
pub(crate) mod recipients;
mod stop;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::mapref::entry::Entry;
use longshore_actors::{Exit, Handle, Lost, Offender, Pid, Refusal, Runtime, ShutdownPlan};

use crate::containerizer::actor::Containerizer as ContainerizerActor;
use crate::containerizer::messages::{Acknowledge, Close, Launch};
use crate::containerizer::recorder::messages::Sandbox;
use crate::containerizer::rooms::Reserved;
use crate::containerizer::{NotLocked, claim_for_agent, no_sandbox};
use crate::error::{Error, ErrorKind, Stage};
use crate::events::{ContainerSnapshot, EventHub, Since, Subscription};
use crate::launcher::Lifetime;
use crate::limits;
use crate::messages::{Request, reason};
use crate::model::ContainerId;
use crate::paths::Paths;
use crate::provisioner::actor::GetImage;
use crate::spec::ContainerSpec;

pub use crate::start::Builder;
pub use blocking::block_on;
pub use guard::Guard;
pub use job::Job;
#[cfg(feature = "actix")]
pub use recipients::Delivery;
pub use stop::Stop;

/// Launches, observes and ends containers. Clones are the same containerizer.
#[derive(Debug, Clone)]
#[must_use = "a containerizer runs until it is shut down"]
pub struct Containerizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    /// Held until the shutdown, or for as long as the containerizer lives. Before `events`, whose end
    /// tells observers that nobody is here any more.
    pub(crate) lock: Mutex<Option<crate::start::DirectoryLock>>,
    pub(crate) actor: Pid<ContainerizerActor>,
    pub(crate) reserved: Reserved,
    pub(crate) lifetime: Lifetime,
    /// No launch is taken any more.
    pub(crate) closing: AtomicBool,
    /// Held by the shutdown that is under way.
    pub(crate) shutting_down: tokio::sync::Mutex<()>,
    pub(crate) events: EventHub,
    pub(crate) paths: Paths,
    /// Waited for at the end: what a withdrawn pull has staged goes on a thread of its own.
    pub(crate) store: crate::provisioner::stores::ImageStore,
    /// Names of the isolators in use.
    pub(crate) isolation: Vec<String>,
    pub(crate) images: Handle<GetImage>,
}

/// What a shutdown does with the containers that still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// They go on without us, until the next start on the same runtime directory: it ends those that
    /// still run, and keeps how each of them ended on record, and its sandbox, until it is removed.
    Keep,
    /// They are destroyed first.
    Destroy,
}

impl Containerizer {
    /// Begins to build one that keeps images and sandboxes in `work_dir`, and what a reboot may take
    /// in `runtime_dir`.
    pub fn builder(
        work_dir: impl Into<std::path::PathBuf>,
        runtime_dir: impl Into<std::path::PathBuf>,
    ) -> Builder {
        Builder::new(Paths::new(work_dir, runtime_dir))
    }

    pub(crate) fn from_inner(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// Begins a launch and returns its handle at once; the rest happens without the caller.
    ///
    /// Errors: `Conflict` (the id is in use, its record is not acknowledged, or its sandbox not removed;
    /// the containerizer is shut down), `Unsupported` (the request is for another containerizer), `InvalidRequest` (the spec,
    /// or an isolator that it needs is not on), `Exhausted` (too many launches wait).
    pub fn launch(&self, spec: ContainerSpec) -> Result<Job, Error> {
        let id = spec.container_id().clone();
        if id.parent().is_some() {
            let message = format!("container {id}: nested containers are not supported");
            return Err(Error::new(Stage::Configure, ErrorKind::Unsupported, message).of(&id));
        }
        // As Mesos has it: a known id is told of first, whatever else is wrong.
        self.refuse_known(&id)?;
        let invalid = |error| Error::wrap(Stage::Configure, error).of(&id);
        let config = spec.into_config(self.inner.paths.sandbox(&id)).map_err(invalid)?;
        crate::spec::require_isolators(&config, &self.inner.isolation).map_err(invalid)?;
        crate::fetcher::validate(&config.command.uris)
            .map_err(|error| Error::wrap(Stage::Fetch, error).of(&id))?;
        self.reserve_unused(&id)?;
        let launched = self.inner.actor.notify(Launch { config: Arc::new(config) });
        launched.map_err(|refused| {
            self.inner.reserved.remove(&id);
            let (kind, why) = match refused.why {
                Refusal::Full { capacity } => {
                    (ErrorKind::Exhausted, format!("more than {capacity} launches wait"))
                }
                Refusal::Draining | Refusal::Gone => {
                    (ErrorKind::Conflict, "the containerizer is shut down".to_owned())
                }
            };
            Error::new(Stage::Configure, kind, format!("container {id}: {why}")).of(&id)
        })?;
        Ok(self.job(id))
    }

    /// A look that takes nothing; [`Self::reserve`] decides.
    fn refuse_known(&self, id: &ContainerId) -> Result<(), Error> {
        let conflict =
            |message: String| Error::new(Stage::Configure, ErrorKind::Conflict, message).of(id);
        if self.inner.reserved.contains_key(id) {
            return Err(conflict(format!("container {id} exists already")));
        }
        match self.inner.events.container(id) {
            Some(_) => Err(conflict(format!("container {id} has ended and is not acknowledged"))),
            None => Ok(()),
        }
    }

    /// In this process first, then for all others. What a stranger has left under this id is not
    /// ours to write over, nor, if the launch fails, to undo.
    fn reserve(&self, id: &ContainerId) -> Result<(), Error> {
        let inner = &*self.inner;
        if inner.closing.load(Ordering::Acquire) {
            return Err(shut_down().of(id));
        }
        let conflict =
            |message: String| Error::new(Stage::Configure, ErrorKind::Conflict, message).of(id);
        match inner.reserved.entry(id.clone()) {
            Entry::Occupied(_) => return Err(conflict(format!("container {id} exists already"))),
            Entry::Vacant(free) => {
                if inner.events.container(id).is_some() {
                    let message = format!("container {id} has ended and is not acknowledged");
                    return Err(conflict(message));
                }
                let claim = match inner.lifetime {
                    Lifetime::Independent => Some(claim_for_agent(&inner.paths, id)),
                    Lifetime::WithAgent => None,
                };
                let claim = claim.transpose();
                free.insert(claim.map_err(|error| Error::wrap(Stage::Configure, error).of(id))?);
            }
        }
        if std::fs::exists(inner.paths.container(id)).unwrap_or(true) {
            inner.reserved.remove(id);
            let message = format!("container {id} was left by an agent that is gone");
            return Err(conflict(message));
        }
        Ok(())
    }

    /// A payload neither reads nor writes the files of the one who had its id before.
    fn reserve_unused(&self, id: &ContainerId) -> Result<(), Error> {
        self.reserve(id)?;
        no_sandbox(&self.inner.paths, id).map_err(|error: NotLocked| {
            self.inner.reserved.remove(id);
            Error::wrap(Stage::Configure, error).of(id)
        })
    }

    /// The handle of a container of this id, whether or not it exists.
    pub fn job(&self, container_id: ContainerId) -> Job {
        Job { containerizer: self.clone(), container_id }
    }

    /// What a message asks, as the method of the same name does it.
    ///
    /// Errors: those of the method.
    pub async fn ask<R: Request>(&self, request: R) -> Result<R::Reply, Error> {
        request.perform(self).await
    }

    /// A snapshot of all containers and every later event; no gap, no duplicate between the two.
    pub fn subscribe(&self, since: Since) -> Subscription {
        self.inner.events.subscribe(since)
    }

    /// Every container that lives or whose record is kept, as published last.
    pub fn containers(&self) -> Vec<Arc<ContainerSnapshot>> {
        self.inner.events.containers()
    }

    /// Forgets an ended container; its sandbox stays, and until [`Self::remove`] the id is in use.
    ///
    /// Errors: `Conflict` if it lives or is stuck, `NotFound` if it is not known, `Host`.
    pub async fn acknowledge(&self, id: &ContainerId) -> Result<(), Error> {
        self.forget(id, Sandbox::Keep).await
    }

    /// Forgets an ended container and removes its sandbox. Of one that is not known (any more) the
    /// sandbox is removed that is still there.
    ///
    /// Errors: `Conflict` if it lives, here or elsewhere, or is stuck; `NotFound` if it is not known and has
    /// no sandbox; `Host`.
    pub async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        self.forget(id, Sandbox::Remove).await
    }

    async fn forget(&self, id: &ContainerId, sandbox: Sandbox) -> Result<(), Error> {
        let (handle, owned) = (self.clone(), id.clone());
        let forgetting = async move { handle.forget_here(&owned, sandbox).await };
        // On a thread of ours: done even if the caller drops the future once it was polled.
        let forgotten = self.inner.runtime.spawn_future("main", "forget", forgetting);
        answered(id, forgotten.result().await)?
    }

    async fn forget_here(&self, id: &ContainerId, sandbox: Sandbox) -> Result<(), Error> {
        match self.inner.events.container(id) {
            None if sandbox == Sandbox::Remove => return self.remove_sandbox(id).await,
            None => return Err(unknown(id)),
            Some(snapshot) if snapshot.state.is_some() => {
                let message = format!("container {id} has not ended");
                return Err(Error::new(Stage::Run, ErrorKind::Conflict, message).of(id));
            }
            // `terminated` is published a moment before the supervisor gives the id back; who acts on
            // the event is not told that there was none.
            Some(_) if self.inner.reserved.contains_key(id) => {
                let end = self.job(id.clone()).wait().await?;
                // What removed its files was not heard of: the next destroy tells of its end again.
                if !end.remaining.is_empty() {
                    let message = format!("container {id} is stuck: {}", end.remaining.join("; "));
                    return Err(Error::new(Stage::Run, ErrorKind::Conflict, message).of(id));
                }
            }
            Some(_) => {}
        }
        self.discard(id, sandbox).await
    }

    /// What is left of one that was acknowledged, here or by somebody else. The id is in use meanwhile.
    async fn remove_sandbox(&self, id: &ContainerId) -> Result<(), Error> {
        let (handle, owned) = (self.clone(), id.clone());
        let reserving = move |_: &_| match no_sandbox(&handle.inner.paths, &owned) {
            Ok(()) => Err(unknown(&owned)),
            Err(_left) => handle.reserve(&owned),
        };
        let reserved = self.inner.runtime.blocking("bulk", "reserve", reserving).result().await;
        answered(id, reserved)??;
        let removed = self.discard(id, Sandbox::Remove).await;
        self.inner.reserved.remove(id);
        removed
    }

    async fn discard(&self, id: &ContainerId, sandbox: Sandbox) -> Result<(), Error> {
        let acknowledge = Acknowledge { container_id: id.clone(), sandbox };
        let answer = self.inner.actor.dispatch(acknowledge, limits::UNPROVISION).result().await;
        answered(id, answer)?.map_err(|failure| Error::from(failure).of(id))
    }

    /// Ends everything in order. Returns when all actors have ended, or after
    /// [`limits::SHUTDOWN`] at the latest.
    ///
    /// One at a time: a second one waits for the first. A future that is dropped half way has begun to
    /// refuse launches; the next call does the rest.
    ///
    /// Errors: what would not end, by name; containers that are stuck; `Conflict`, where containers are
    /// to be destroyed that an earlier shutdown has left running.
    pub async fn shutdown(&self, containers: Containers) -> Result<(), Error> {
        let _turn = self.inner.shutting_down.lock().await;
        self.inner.closing.store(true, Ordering::Release);
        let living = self.inner.actor.dispatch(Close, limits::QUERY).result().await;
        let mut stuck = Vec::new();
        if let (Containers::Destroy, Ok(living)) = (containers, &living) {
            let living = living.clone();
            let jobs: Vec<_> = living.into_iter().map(|id| self.job(id)).collect();
            let ends = jobs.iter().map(Job::destroy);
            for end in futures_util::future::join_all(ends).await {
                stuck.extend(end.err().filter(|error| error.kind() != ErrorKind::NotFound));
            }
            // What does not go in time is swept by the next start.
            let patience = self.inner.runtime.clock().after(limits::PULL_WITHDRAWN);
            let settled = std::pin::pin!(self.inner.store.settled());
            futures_util::future::select(settled, patience).await;
        }
        let plan = ShutdownPlan::within(limits::SHUTDOWN);
        let report = self.inner.runtime.shutdown(plan).await;
        self.inner.events.close();
        // Whoever comes next need not wait until the last handle is dropped.
        drop(self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(error) = stuck.into_iter().next() {
            return Err(error);
        }
        // A second shutdown finds nobody to close, and nothing to do, unless it was to destroy.
        if containers == Containers::Destroy
            && let Some(left) = self.containers().iter().find(|left| left.state.is_some())
        {
            return Err(shut_down().of(&left.container_id));
        }
        if let (Containers::Destroy, Err(lost @ (Lost::Deadline { .. } | Lost::Refused(_)))) =
            (containers, &living)
        {
            let message = format!("the containers were not destroyed: {}", reason(lost));
            return Err(Error::new(Stage::Destroy, ErrorKind::Internal, message));
        }
        match report.is_clean() {
            true => Ok(()),
            false => Err(Error::new(
                Stage::Destroy,
                ErrorKind::Internal,
                format!("not shut down in order: {}", offenders(&report.offenders)),
            )),
        }
    }
}

/// Who did not end, in the words of a list of what runs.
fn offenders(offenders: &[Offender]) -> String {
    let name = |offender: &Offender| match offender {
        Offender::Actor { name, .. } => name.to_string(),
        Offender::Job { lane, label } => format!("{label} ({lane})"),
        Offender::Arbiter { group, index } => format!("thread {group} {index}"),
        _ => "something else".to_owned(),
    };
    offenders.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn unknown(id: &ContainerId) -> Error {
    Error::new(Stage::Run, ErrorKind::NotFound, format!("container {id} is not known")).of(id)
}

/// What is asked of a containerizer that is no more.
fn shut_down() -> Error {
    Error::new(Stage::Run, ErrorKind::Conflict, "the containerizer is shut down")
}

/// The answer; no word of the runtime's reaches the caller but the reason.
fn answered<T>(id: &ContainerId, answer: Result<T, Lost>) -> Result<T, Error> {
    answer.map_err(|lost| {
        let kind = match &lost {
            Lost::Refused(refused) => match refused.why {
                Refusal::Full { .. } => ErrorKind::Exhausted,
                Refusal::Draining | Refusal::Gone => ErrorKind::Conflict,
            },
            Lost::Deadline { .. } => ErrorKind::Exhausted,
            // It was shut down while it was asked.
            Lost::Gone { exit: Exit::Normal | Exit::Killed(_), .. } => ErrorKind::Conflict,
            Lost::Gone { .. } | Lost::Failed { .. } => ErrorKind::Internal,
            Lost::Discarded { .. } => ErrorKind::Discarded,
        };
        Error::new(Stage::Run, kind, format!("container {id}: {}", reason(&lost))).of(id)
    })
}

#[cfg(test)]
mod tests;
