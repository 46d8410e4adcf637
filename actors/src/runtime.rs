//! The runtime: owns the threads, the names and the clock, and spawns actors.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::body::{Body, panic_fault};
use crate::builder::Builder;
use crate::clock::Clock;
use crate::control::{ActorStatus, Control};
use crate::crossings::Crossings;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::eventual::{Eventual, Token, promise};
use crate::filter::Filter;
use crate::lanes::{Lane, LaneStatus};
use crate::lock;
use crate::meter::Tally;
use crate::outcome::{Exit, Fault, Outcome};
use crate::pid::{AnyPid, Core, Pid};
use crate::process::{Process, short_name};
use crate::seat::{Group, Seat};
use crate::shutdown::Shutdown;
use crate::spawn::{Placement, Spawn};
use crate::waits::Waits;
use crate::work::{Counted, Unit};

/// A handle to the runtime. Cheap to clone, usable from any thread.
///
/// When the last handle outside the actors is dropped without [`Runtime::shutdown`], all actors are killed and
/// the threads end, without anybody waiting for it.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
    /// Held by the embedder's handles only: those of actors must not keep the runtime alive.
    _owner: Option<Arc<Owner>>,
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) clock: Clock,
    pub(crate) filter: Filter,
    pub(crate) shutdown: Shutdown,
    pub(crate) crossings: Crossings,
    pub(crate) waits: Waits,
    pub(crate) tally: Tally,
    pub(crate) engine: Engine,
    groups: Vec<Group>,
    lanes: BTreeMap<&'static str, Arc<Lane>>,
    names: DashMap<Arc<str>, AnyPid>,
    /// By number of incarnation, hence in start order.
    actors: Mutex<BTreeMap<u64, AnyPid>>,
    next_id: AtomicU64,
}

/// A dispatch that waits for its answer: a line of [`Runtime::pending`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pending {
    /// Who was asked.
    pub to: Arc<str>,
    /// What was asked.
    pub label: &'static str,
    /// What it concerns.
    pub subject: Option<Arc<str>>,
    /// Since when.
    pub since: Instant,
    /// How long the asker waits.
    pub deadline: Duration,
}

/// Why an actor was not spawned.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An actor of this name has not ended.
    #[error("an actor named {0} is still there")]
    NameTaken(Arc<str>),
    /// The placement names no arbiter of this runtime.
    #[error("no arbiter {0:?}")]
    NoSuchPlace(Placement),
    /// The arbiter of the actor to live with was given up.
    #[error("the arbiter {0}/{1} was lost")]
    ArbiterLost(&'static str, usize),
    /// The runtime shuts down.
    #[error("the runtime shuts down")]
    ShuttingDown,
}

/// Why an arbiter was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// There is no such arbiter.
    #[error("no arbiter {0}/{1}")]
    NoSuchPlace(&'static str, usize),
    /// The system gave no thread.
    #[error("start a thread for actors")]
    Thread(#[source] io::Error),
    /// The runtime shuts down.
    #[error("the runtime shuts down")]
    ShuttingDown,
}

impl Runtime {
    /// Starts to configure one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A runtime of one arbiter in the group `main`, on the calling thread, where `seed` decides who goes next.
    /// With groups and lanes: [`Builder::simulated`].
    #[cfg(feature = "testing")]
    pub fn simulated(seed: u64) -> crate::Simulation {
        Builder::default().simulated(seed).expect("a single group is well-formed")
    }

    pub(crate) fn start(
        engine: Engine,
        clock: Clock,
        crossings: Crossings,
        groups: Vec<Group>,
        lanes: BTreeMap<&'static str, Arc<Lane>>,
    ) -> Self {
        let inner = Arc::new(Inner {
            clock,
            filter: Filter::default(),
            shutdown: Shutdown::default(),
            crossings,
            waits: Waits::default(),
            tally: Tally::default(),
            engine,
            groups,
            lanes,
            names: DashMap::new(),
            actors: Mutex::default(),
            next_id: AtomicU64::new(1),
        });
        let owner = Arc::new(Owner(Arc::clone(&inner)));
        Self { inner, _owner: Some(owner) }
    }

    /// Spawns an actor, from any thread, without waiting for its arbiter. Its name is taken until it has ended.
    pub fn spawn<P: Process>(&self, spawn: Spawn<P>) -> Result<Pid<P>, SpawnError> {
        self.inner.shutdown.check_open().map_err(|_| SpawnError::ShuttingDown)?;
        let seat = self.inner.seat(spawn.placement)?;
        let name: Arc<str> = spawn.name.into();
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let (door, inbox) = seat.thread.mailbox(&name);
        let inner = Arc::clone(&self.inner);
        let kind = short_name::<P>();
        let mut control =
            Control::new(id, Arc::clone(&name), kind, spawn.capacity, Arc::clone(&seat), inner);
        control.lineage = spawn.lineage;
        let core = Core::new(control, door);
        let pid = Pid { core: Arc::clone(&core) };
        match self.inner.names.entry(Arc::clone(&name)) {
            Entry::Occupied(_) => return Err(SpawnError::NameTaken(name)),
            Entry::Vacant(vacant) => drop(vacant.insert(pid.any())),
        }
        self.inner.tally.spawned.fetch_add(1, Ordering::Relaxed);
        lock(&self.inner.actors).insert(id, pid.any());
        seat.enter();
        self.inner.crossings.note_from(seat.here);
        // From here on the end is published, whatever happens to the arbiter.
        let ending = Ending(pid.any());
        let (factory, runtime) = (spawn.factory, self.unowned());
        let unit = Unit::of(self.inner.clock.work());
        let make = move || Body::new(factory, Cx::new(core, runtime), unit);
        seat.thread.run_actor(inbox, make, ending);
        self.end_if_shut(&pid.any(), &seat);
        Ok(pid)
    }

    /// A shutdown or a replacement that came between the check and the registration saw no such actor.
    fn end_if_shut(&self, pid: &AnyPid, seat: &Seat) {
        if self.inner.shutdown.check_open().is_err() {
            drop(pid.kill("the runtime shuts down"));
        }
        if seat.is_lost() {
            self.inner.lose(pid);
        }
    }

    /// The actor that has this name now.
    pub fn find(&self, name: &str) -> Option<AnyPid> {
        self.inner.names.get(name).map(|entry| entry.value().clone())
    }

    /// Runs `future` on an arbiter of `group`, beside its actors. A discard of the eventual drops it.
    pub fn spawn_future<T: Send + 'static>(
        &self,
        group: &'static str,
        label: &'static str,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Eventual<T> {
        let Some(seat) = self.inner.group(group).and_then(Group::least_loaded) else {
            let text = format!("{label}: no group {group}");
            return Eventual::ended(Outcome::Failed(Fault::new(text)));
        };
        let (promise, eventual) = promise();
        let note = seat.note_task(eventual.discarder());
        let work = async move {
            let _note = note;
            let mut future = Box::pin(future);
            let mut discarded = Box::pin(promise.discarded());
            let outcome = std::future::poll_fn(|cx| {
                if let Poll::Ready(cause) = discarded.as_mut().poll(cx) {
                    return Poll::Ready(Outcome::Discarded(cause));
                }
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                    Ok(polled) => polled.map(Outcome::Ok),
                    Err(payload) => Poll::Ready(Outcome::Failed(panic_fault(&*payload))),
                }
            });
            let outcome = outcome.await;
            // First drop the work, then say that it is over.
            drop(future);
            promise.end(outcome);
        };
        seat.thread.spawn(label, Counted::new(self.inner.clock.work(), work));
        eventual
    }

    /// Runs `job` on a thread of `lane`, which may block. A discard marks the token, and takes the job away if
    /// it still waits.
    pub fn blocking<R: Send + 'static>(
        &self,
        lane: &'static str,
        label: &'static str,
        job: impl FnOnce(&Token) -> R + Send + 'static,
    ) -> Eventual<R> {
        match self.inner.lanes.get(lane) {
            Some(lane) => lane.submit(label, job),
            None => {
                let text = format!("{label}: no lane {lane}");
                Eventual::ended(Outcome::Failed(Fault::new(text)))
            }
        }
    }

    /// Every dispatch that waits for its answer, soonest deadline first. Asks no actor.
    pub fn pending(&self) -> Vec<Pending> {
        let waiting = self.inner.clock.waiting();
        let asks = waiting.iter().filter_map(|due| due.ask());
        let mine = asks.filter(|ask| Arc::ptr_eq(&ask.to.0.control().runtime, &self.inner));
        mine.map(|ask| Pending {
            to: ask.to.name_arc(),
            label: ask.label,
            subject: ask.subject.clone(),
            since: ask.since,
            deadline: ask.after,
        })
        .collect()
    }

    /// Every actor that has not ended, in start order. Asks no actor.
    pub fn actors(&self) -> Vec<ActorStatus> {
        self.inner.actors_in_start_order().iter().map(AnyPid::status).collect()
    }

    /// Every blocking lane.
    pub fn lanes(&self) -> Vec<LaneStatus> {
        self.inner.lanes.values().map(|lane| lane.status()).collect()
    }

    /// Gives up an arbiter whose thread does not come back, and puts a new one in its place. Its actors end as
    /// killed, `arbiter lost`, at once: watchers hear of it, names are free, askers see the abandonment. The old
    /// thread ends when its turn does; its actors' `finalize` does not run.
    pub fn replace_arbiter(&self, group: &'static str, index: usize) -> Result<(), ReplaceError> {
        self.inner.shutdown.check_open().map_err(|_| ReplaceError::ShuttingDown)?;
        let place = ReplaceError::NoSuchPlace(group, index);
        let Some(group) = self.inner.group(group) else { return Err(place) };
        let replaced = group.replace(&self.inner.engine, index);
        let old = replaced.map_err(ReplaceError::Thread)?.ok_or(place)?;
        for pid in self.inner.actors_in_start_order() {
            if Arc::ptr_eq(&pid.0.control().seat, &old) {
                self.inner.lose(&pid);
            }
        }
        Ok(())
    }

    /// How often something was handed from one thread to another since the start: an actor spawned there, a
    /// message, a timer, an exit or a job given, an answer taken. The difference of two readings around some work
    /// is its price in wake-ups, if nothing else went on.
    pub fn crossings(&self) -> u64 {
        self.inner.crossings.count()
    }

    /// The clock.
    pub fn clock(&self) -> Clock {
        self.inner.clock.clone()
    }

    /// The filter that all messages of this runtime pass.
    #[cfg(feature = "testing")]
    pub fn filter(&self) -> Filter {
        self.inner.filter.clone()
    }

    /// A handle that does not keep the runtime alive: for what the runtime itself owns, such as the state of its
    /// actors. [`Cx::runtime`] gives such a one.
    pub fn unowned(&self) -> Self {
        Self::unowned_of(&self.inner)
    }

    pub(crate) fn unowned_of(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner), _owner: None }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("actors", &lock(&self.inner.actors).len())
            .field("clock", &self.inner.clock)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }

    fn seat(&self, placement: Option<Placement>) -> Result<Arc<Seat>, SpawnError> {
        let placement = placement.unwrap_or(Placement::Group(self.groups[0].name));
        let seat = match &placement {
            Placement::Group(name) => self.group(name).and_then(Group::least_loaded),
            Placement::Arbiter(name, index) => self.group(name).and_then(|group| group.get(*index)),
            Placement::With(pid) => {
                let seat = &pid.0.control().seat;
                if seat.is_lost() {
                    return Err(SpawnError::ArbiterLost(seat.group, seat.index));
                }
                let here = std::ptr::eq(Arc::as_ptr(&pid.0.control().runtime), self);
                here.then(|| Arc::clone(seat))
            }
        };
        seat.ok_or(SpawnError::NoSuchPlace(placement))
    }

    pub(crate) fn actors_in_start_order(&self) -> Vec<AnyPid> {
        lock(&self.actors).values().cloned().collect()
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.lanes.values()
    }

    pub(crate) fn seats(&self) -> Vec<Arc<Seat>> {
        self.groups.iter().flat_map(Group::all).collect()
    }

    /// Frees the name of an actor that has ended.
    pub(crate) fn forget(&self, control: &Control) {
        lock(&self.actors).remove(&control.id);
        self.names.remove_if(&control.name, |_, pid| pid.id() == control.id);
    }

    /// Declares an actor ended whose arbiter does not answer.
    fn lose(&self, pid: &AnyPid) {
        let control = pid.0.control();
        control.terminate(Exit::Killed("arbiter lost"));
        control.publish(pid);
        let exit = control.exit_so_far();
        for due in self.clock.waiting() {
            if due.ask().is_some_and(|ask| ask.to == *pid) {
                due.abandon(exit.clone());
            }
        }
    }
}

/// Publishes an actor's end when the task that runs it is gone, however it went.
struct Ending(AnyPid);

impl Drop for Ending {
    fn drop(&mut self) {
        let control = self.0.0.control();
        // Where its body has ended it, that reason stands.
        control.terminate(Exit::Killed("arbiter lost"));
        control.publish(&self.0);
    }
}

/// Ends the runtime with the last handle of the embedder.
struct Owner(Arc<Inner>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Inner {
    /// Tells everything to end and waits for nothing.
    pub(crate) fn abort(&self) {
        self.shutdown.close();
        for pid in self.actors_in_start_order() {
            drop(pid.kill("the runtime was dropped"));
        }
        for lane in self.lanes() {
            lane.close();
        }
        for seat in self.seats() {
            seat.thread.stop();
        }
        self.engine.stop();
    }
}
