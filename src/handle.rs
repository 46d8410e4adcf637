//! [`Containerizer`]: the handle that programs hold. Each method is one dispatched message.
//!
//! The containerizer runs on threads of its own and needs no runtime of the caller's; its futures may
//! be awaited on any executor. Dropping any of them strands nothing: what was begun goes on. A
//! container ends when somebody says so, when its payload does, or when a limit is reached, never
//! because a handle was dropped.

use std::sync::Arc;
use std::time::Duration;

use dashmap::mapref::entry::Entry;
use longshore_actors::{Eventual, Lost, Pid, Runtime, ShutdownPlan};

use crate::containerizer::RunLock;
use crate::containerizer::actor::Containerizer as ContainerizerActor;
use crate::containerizer::messages::{Acknowledge, Close, Find, Launch};
use crate::containerizer::recorder::messages::Sandbox;
use crate::containerizer::rooms::Reserved;
use crate::containerizer::supervisor::actor::Supervisor;
use crate::containerizer::supervisor::messages::{
    AwaitRunning, Conclusion, Destroy, GetUsage, SetResources, Signal, Stop as StopMessage, Wait,
};
use crate::error::{Error, ErrorKind, Stage};
use crate::events::{ContainerSnapshot, EventHub, Since, Subscription};
use crate::launcher::Lifetime;
use crate::limits;
use crate::model::{ContainerId, End, Failure, Resources, Usage};
use crate::paths::Paths;
use crate::spec::ContainerSpec;

pub use crate::start::Builder;

/// Launches, observes and ends containers. Clones are the same containerizer.
#[derive(Debug, Clone)]
pub struct Containerizer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) runtime: Runtime,
    pub(crate) actor: Pid<ContainerizerActor>,
    pub(crate) reserved: Reserved,
    pub(crate) lifetime: Lifetime,
    pub(crate) events: EventHub,
    pub(crate) paths: Paths,
    /// Waited for at the end: what a withdrawn pull has staged goes on a thread of its own.
    pub(crate) store: crate::provisioner::stores::ImageStore,
    /// Names of the isolators in use.
    pub(crate) isolation: Vec<String>,
    /// Held for as long as the containerizer lives.
    #[expect(dead_code, reason = "held, never read")]
    pub(crate) lock: Option<crate::start::DirectoryLock>,
}

/// What a shutdown does with the containers that still run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Containers {
    /// They go on without us.
    Keep,
    /// They are destroyed first.
    Destroy,
}

/// How a graceful stop is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a stop does nothing until it is given to a job"]
pub struct Stop {
    signal: Option<i32>,
    grace: Duration,
}

impl Stop {
    /// The container's own stop signal, else the image's, else SIGTERM; 10 seconds of grace.
    pub const fn from_image() -> Self {
        Self { signal: None, grace: limits::STOP_GRACE }
    }

    /// This signal.
    pub const fn signal(signal: i32) -> Self {
        Self { signal: Some(signal), grace: limits::STOP_GRACE }
    }

    /// How long the payload has before it is destroyed.
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::from_image()
    }
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
    /// Errors: `Conflict` (the id is in use, or its record is not acknowledged), `Unsupported` (the
    /// request is for another containerizer), `InvalidRequest` (the spec, or an isolator that it needs
    /// is not on), `Exhausted` (too many launches wait).
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
        self.reserve(&id)?;
        let launched = self.inner.actor.notify(Launch { config: Arc::new(config) });
        launched.map_err(|refused| {
            self.inner.reserved.remove(&id);
            let message = format!("container {id}: {refused}");
            Error::new(Stage::Configure, ErrorKind::Exhausted, message).of(&id)
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
        let conflict =
            |message: String| Error::new(Stage::Configure, ErrorKind::Conflict, message).of(id);
        match inner.reserved.entry(id.clone()) {
            Entry::Occupied(_) => return Err(conflict(format!("container {id} exists already"))),
            Entry::Vacant(free) => {
                if inner.events.container(id).is_some() {
                    let message = format!("container {id} has ended and is not acknowledged");
                    return Err(conflict(message));
                }
                let lock = match inner.lifetime {
                    Lifetime::Independent => Some(RunLock::take_now(&inner.paths, id)),
                    Lifetime::WithAgent => None,
                };
                let lock = lock.transpose();
                free.insert(lock.map_err(|error| Error::wrap(Stage::Configure, error).of(id))?);
            }
        }
        if std::fs::exists(inner.paths.container(id)).unwrap_or(true) {
            inner.reserved.remove(id);
            let message = format!("container {id} was left by an agent that is gone");
            return Err(conflict(message));
        }
        // Of an agent, or of a run, beside us on the same directories.
        if std::fs::exists(self.inner.paths.checkpoint(id)).unwrap_or(false) {
            self.inner.reserved.remove(id);
            return Err(conflict(format!("container {id} exists already, in another process")));
        }
        Ok(())
    }

    /// The handle of a container of this id, whether or not it exists.
    pub fn job(&self, container_id: ContainerId) -> Job {
        Job { containerizer: self.clone(), container_id }
    }

    /// A snapshot of all containers and every later event; no gap, no duplicate between the two.
    pub fn subscribe(&self, since: Since) -> Subscription {
        self.inner.events.subscribe(since)
    }

    /// Every container that lives or whose record is kept, as published last.
    pub fn containers(&self) -> Vec<Arc<ContainerSnapshot>> {
        self.inner.events.containers()
    }

    /// Forgets an ended container; its sandbox stays.
    ///
    /// Errors: `Conflict` if it lives, `NotFound` if it is not known, `Host`.
    pub async fn acknowledge(&self, id: &ContainerId) -> Result<(), Error> {
        self.forget(id, Sandbox::Keep).await
    }

    /// Forgets an ended container and removes its sandbox.
    ///
    /// Errors: as [`Self::acknowledge`].
    pub async fn remove(&self, id: &ContainerId) -> Result<(), Error> {
        self.forget(id, Sandbox::Remove).await
    }

    async fn forget(&self, id: &ContainerId, sandbox: Sandbox) -> Result<(), Error> {
        match self.inner.events.container(id) {
            None => return Err(unknown(id)),
            Some(snapshot) if snapshot.state.is_some() => {
                let message = format!("container {id} has not ended");
                return Err(Error::new(Stage::Run, ErrorKind::Conflict, message).of(id));
            }
            // `terminated` is published a moment before the supervisor gives the id back; who acts on
            // the event is not told that there was none.
            Some(_) if self.inner.reserved.contains_key(id) => {
                self.job(id.clone()).wait().await?;
            }
            Some(_) => {}
        }
        let acknowledge = Acknowledge { container_id: id.clone(), sandbox };
        let answer = self.inner.actor.dispatch(acknowledge, limits::UNPROVISION).result().await;
        answered(id, answer)?.map_err(|failure| Error::from(failure).of(id))
    }

    /// Ends everything in order. Returns when all actors have ended, or after
    /// [`limits::SHUTDOWN`] at the latest.
    ///
    /// Errors: what would not end, by name; containers that are stuck.
    pub async fn shutdown(&self, containers: Containers) -> Result<(), Error> {
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
        if let Some(error) = stuck.into_iter().next() {
            return Err(error);
        }
        // A second shutdown finds nobody to close, and nothing to do.
        if let (Containers::Destroy, Err(lost @ (Lost::Deadline { .. } | Lost::Refused(_)))) =
            (containers, living)
        {
            let message = format!("the containers were not destroyed: {lost}");
            return Err(Error::new(Stage::Destroy, ErrorKind::Internal, message));
        }
        match report.is_clean() {
            true => Ok(()),
            false => Err(Error::new(
                Stage::Destroy,
                ErrorKind::Internal,
                format!("not shut down in order: {:?}", report.offenders),
            )),
        }
    }
}

/// One container, by its id. Cheap to clone; dropping it does nothing to the container.
#[derive(Debug, Clone)]
#[must_use = "the container runs on without its handle; say so with `let _ =`"]
pub struct Job {
    containerizer: Containerizer,
    container_id: ContainerId,
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
    /// Errors: `NotFound`; as [`Self::destroy`] when it is stuck.
    pub async fn stop(&self, stop: Stop) -> Result<End, Error> {
        let message = StopMessage { signal: stop.signal, grace: stop.grace };
        self.conclude(self.ask(message, limits::FOREVER).await?)
    }

    /// Ends the container whatever it is doing. Repeatable: a second one joins the first, one of a
    /// stuck container goes on where it failed, one of an ended container answers with its record.
    ///
    /// Errors: `NotFound`; what could not be undone, with [`Error::remaining`].
    pub async fn destroy(&self) -> Result<End, Error> {
        self.conclude(self.ask(Destroy, limits::FOREVER).await?)
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

    /// Sends a signal to the payload.
    ///
    /// Errors: `Conflict` unless it runs; `NotFound`; `Host`.
    pub async fn kill(&self, signal: i32) -> Result<(), Error> {
        self.living(self.ask(Signal { signal }, limits::QUERY).await?)
    }

    /// Sets new limits.
    ///
    /// Errors: `Conflict` unless it runs, and where the kernel refuses; `NotFound`; `Host`.
    pub async fn update(&self, resources: Resources) -> Result<(), Error> {
        self.living(self.ask(SetResources { resources }, limits::QUERY).await?)
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
        let mut rescued = false;
        loop {
            let find = Find { container_id: self.container_id.clone() };
            let found = inner.actor.dispatch(find, limits::QUERY).result().await;
            let Some(supervisor) = answered(&self.container_id, found)? else {
                return self.record();
            };
            let asked: Eventual<M::Reply> = supervisor.dispatch(message.clone(), deadline);
            match asked.result().await {
                Ok(reply) => return Ok(Asked::Answered(reply)),
                // It ended in order before it came to the message, or broke and is being replaced.
                Err(Lost::Gone { .. }) if !rescued => rescued = true,
                Err(lost) => return answered(&self.container_id, Err(lost)),
            }
        }
    }

    fn record<T>(&self) -> Result<Asked<T>, Error> {
        let snapshot = self.status()?;
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

fn unknown(id: &ContainerId) -> Error {
    Error::new(Stage::Run, ErrorKind::NotFound, format!("container {id} is not known")).of(id)
}

/// The answer; no word of the runtime's reaches the caller but the reason.
fn answered<T>(id: &ContainerId, answer: Result<T, Lost>) -> Result<T, Error> {
    answer.map_err(|lost| {
        let kind = match &lost {
            Lost::Deadline { .. } | Lost::Refused(_) => ErrorKind::Exhausted,
            Lost::Gone { .. } | Lost::Failed { .. } => ErrorKind::Internal,
            Lost::Discarded { .. } => ErrorKind::Discarded,
        };
        Error::new(Stage::Run, kind, format!("container {id}: {lost}")).of(id)
    })
}
