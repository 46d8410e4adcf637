//! Lifecycle events and subscriptions: the only writer of published state.
//!
//! [`EventHub`] owns the pair (every container's snapshot, sequence number). A subscriber is given a
//! snapshot and every later event, with no gap and no duplicate between the two; one that falls
//! behind is told which sequence numbers it has missed and is given a fresh snapshot. It never slows
//! the publisher and never misses silently.
//!
//! # Why a lock and no mailbox
//!
//! The single writer of the published state could be an actor. It is a lock instead, because
//! *checkpointed before published* is an order between two steps of one supervisor: with a call, an
//! event has its number when `publish` returns, and a container's next effect can rely on it; with a
//! mailbox there would be a second queue with a bound of its own, and a full one would have to drop
//! an event or hold a container up. The section under the lock is a map insert and a queue push; it
//! never waits, allocates for no subscriber and copies nothing but an [`Arc`].
//!
//! # Why subscribers have no queue
//!
//! All read the one ring of the last [`limits::EVENTS_KEPT`] events; a subscription is a position in
//! it. So a subscriber costs the publisher one wake, whatever it has not read yet, and the snapshot
//! of one that lags is made when it reads, not when it falls behind.
//!
//! What this module does not do: it persists nothing. The checkpoint has the state, and a restarted
//! agent continues the numbers with [`Start`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::limits;
use crate::model::{ContainerId, Limitation, State};

mod event;
mod moment;
mod subscription;

pub use event::{
    ContainerSnapshot, Epoch, Event, EventKind, ImageName, Lagged, LayerProgress, Notice, Snapshot,
};
pub use moment::{InvalidWallTime, Moment, WallTime};
pub use subscription::Subscription;

/// Where a subscription begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Since {
    /// With a snapshot of the containers that live.
    #[default]
    Now,
    /// With a snapshot that also has the ended containers nobody has acknowledged yet, so that an
    /// end is learned at least once, whoever was away when it came.
    Acknowledged,
    /// After this event. Where it is no longer kept: `Lagged` and a snapshot. Where the epoch is
    /// another one: a snapshot, as for [`Since::Acknowledged`].
    Seq {
        /// [`Event::epoch`] of the last event seen.
        epoch: Epoch,
        /// [`Event::seq`] of the last event seen.
        seq: u64,
    },
}

impl Since {
    /// After this notice: where a subscription goes on that had seen everything up to it. Keep it as
    /// text by the JSON of the notice, whose `epoch` and `seq` say the same.
    pub fn after(notice: &Notice) -> Self {
        let (epoch, seq) = match notice {
            Notice::Event(event) => (&event.epoch, event.seq),
            Notice::Snapshot(snapshot) => (&snapshot.epoch, snapshot.seq),
            // The snapshot that follows has not come yet: it is told again.
            Notice::Lagged(lagged) => (&lagged.epoch, lagged.from_seq - 1),
        };
        Self::Seq { epoch: epoch.clone(), seq }
    }
}

/// Where the numbering begins.
#[derive(Debug, Clone)]
pub struct Start {
    /// Names the counter; kept for as long as the counter is.
    pub epoch: Epoch,
    /// Number of the next event; the first is 1.
    pub next_seq: u64,
    /// Containers known already: recovered ones, and ended ones that nobody has acknowledged.
    pub containers: Vec<ContainerSnapshot>,
}

impl Start {
    /// A new counter under a new name.
    pub fn fresh() -> Self {
        let epoch = uuid::Uuid::new_v4().simple().to_string();
        Self { epoch: epoch[..16].to_owned().into(), next_seq: 1, containers: Vec::new() }
    }
}

/// What the hub is told: what happened, and the container as it is afterwards.
#[derive(Debug, Clone)]
pub struct Update {
    /// What happened.
    pub happened: Happened,
    /// The container afterwards. Shared, so that a `progress` costs no copy.
    pub container: Arc<ContainerSnapshot>,
}

/// What happened to a container.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Happened {
    /// It entered the state that the snapshot names.
    Entered {
        /// Absent for the first one.
        from: Option<State>,
    },
    /// Its end: everything is undone, the snapshot has no state and says how.
    Terminated {
        /// DESTROYING.
        from: State,
    },
    /// A limit was reached; the state is as before.
    Limited(Limitation),
    /// A layer of its image is on its way; the state is as before.
    Progress(LayerProgress),
}

/// The single writer of published state. Clones share it; when the last is dropped the
/// subscriptions end, after what was published has been read.
#[derive(Clone)]
pub struct EventHub {
    shared: Arc<Shared>,
    _closes: Arc<CloseOnDrop>,
}

impl EventHub {
    /// A hub that numbers from `start` and stamps events with the real clocks.
    pub fn new(start: Start) -> Self {
        Self::with_clock(start, Box::new(Moment::now))
    }

    /// The same with a clock of the caller's, for tests.
    pub fn with_clock(start: Start, clock: Box<dyn Fn() -> Moment + Send + Sync>) -> Self {
        let containers =
            start.containers.into_iter().map(|c| (c.container_id.clone(), Arc::new(c))).collect();
        let core = Core {
            epoch: start.epoch,
            seq: start.next_seq.saturating_sub(1),
            containers,
            ring: VecDeque::new(),
            wakers: BTreeMap::new(),
            next_subscriber: 0,
            closed: false,
        };
        let shared = Arc::new(Shared { core: Mutex::new(core), clock });
        Self { _closes: Arc::new(CloseOnDrop(Arc::clone(&shared))), shared }
    }

    /// Numbers and stamps the event, updates the published state, and wakes who waits. Never waits.
    ///
    /// Returns the event's number. Call it after the checkpoint.
    pub fn publish(&self, update: Update) -> u64 {
        let mut core = self.shared.lock();
        let moment = (self.shared.clock)();
        core.seq += 1;
        let event = Arc::new(describe(&core, moment, &update));
        let Update { container, .. } = update;
        core.containers.insert(container.container_id.clone(), container);
        if core.ring.len() == limits::EVENTS_KEPT {
            core.ring.pop_front();
        }
        core.ring.push_back(event);
        let seq = core.seq;
        let wakers = std::mem::take(&mut core.wakers);
        // A waker may run anything, also a read of this hub.
        drop(core);
        wakers.into_values().for_each(Waker::wake);
        seq
    }

    /// A subscription that begins at `since`. Dropping it ends it.
    pub fn subscribe(&self, since: Since) -> Subscription {
        Subscription::open(&self.shared, since)
    }

    /// The container as published last.
    pub fn container(&self, id: &ContainerId) -> Option<Arc<ContainerSnapshot>> {
        self.shared.lock().containers.get(id).cloned()
    }

    /// Every container that lives or whose end nobody has acknowledged, as published last, by name.
    pub fn containers(&self) -> Vec<Arc<ContainerSnapshot>> {
        self.shared.lock().containers.values().cloned().collect()
    }

    /// Forgets an ended container: acknowledged, removed or aged out. `false`: it has not ended, or
    /// is not known. No event: its last one was `terminated`.
    pub fn forget(&self, id: &ContainerId) -> bool {
        let mut core = self.shared.lock();
        let ended = core.containers.get(id).is_some_and(|c| c.state.is_none());
        ended && core.containers.remove(id).is_some()
    }

    /// Name of the counter and number of the last event, for the checkpoint.
    pub fn position(&self) -> (Epoch, u64) {
        let core = self.shared.lock();
        (core.epoch.clone(), core.seq)
    }

    /// Ends every subscription, after what was published has been read.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl fmt::Debug for EventHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (epoch, seq) = self.position();
        f.debug_struct("EventHub").field("epoch", &epoch).field("seq", &seq).finish_non_exhaustive()
    }
}

/// What all subscriptions and the publisher share.
struct Shared {
    core: Mutex<Core>,
    clock: Box<dyn Fn() -> Moment + Send + Sync>,
}

impl Shared {
    /// Never held over an await or a call of foreign code, the clock excepted.
    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock can only come from the clock or the allocator, before anything has
        // been changed by half: the state is good.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut core = self.lock();
        core.closed = true;
        let wakers = std::mem::take(&mut core.wakers);
        drop(core);
        wakers.into_values().for_each(Waker::wake);
    }
}

struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The published state.
struct Core {
    epoch: Epoch,
    /// Number of the last event.
    seq: u64,
    containers: BTreeMap<ContainerId, Arc<ContainerSnapshot>>,
    /// The last events, without holes; the newest has number `seq`.
    ring: VecDeque<Arc<Event>>,
    /// Who waits for the next event, by subscriber.
    wakers: BTreeMap<u64, Waker>,
    next_subscriber: u64,
    closed: bool,
}

impl Core {
    /// The event of this number, if it is still kept.
    fn event(&self, seq: u64) -> Option<Arc<Event>> {
        let first = self.seq + 1 - self.ring.len() as u64;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.ring.get(index).cloned()
    }

    fn snapshot(&self, moment: Moment, which: Ended) -> Arc<Snapshot> {
        let wanted = |c: &&Arc<ContainerSnapshot>| which == Ended::Included || c.state.is_some();
        Arc::new(Snapshot {
            seq: self.seq,
            epoch: self.epoch.clone(),
            time: moment.time,
            monotonic_ns: moment.monotonic_ns,
            containers: self.containers.values().filter(wanted).cloned().collect(),
        })
    }
}

/// Whether a snapshot has the containers that have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Included,
    LeftOut,
}

/// Which of the container's data an event carries.
fn describe(core: &Core, moment: Moment, update: &Update) -> Event {
    let container = &update.container;
    let mut event = Event {
        seq: core.seq,
        epoch: core.epoch.clone(),
        container_id: container.container_id.clone(),
        time: moment.time,
        monotonic_ns: moment.monotonic_ns,
        kind: EventKind::Terminated,
        from: None,
        to: None,
        pid: None,
        argv: Vec::new(),
        image: None,
        rootfs: None,
        labels: BTreeMap::new(),
        termination: None,
        failure: None,
        usage: None,
        remaining: Vec::new(),
        limitation: None,
        progress: None,
    };
    match &update.happened {
        Happened::Entered { from } => entered(&mut event, *from, container),
        Happened::Terminated { from } => {
            event.from = Some(*from);
            event.labels.clone_from(&container.labels);
            event.termination.clone_from(&container.termination);
            event.failure.clone_from(&container.failure);
            event.usage = container.usage;
        }
        Happened::Limited(limitation) => {
            event.kind = EventKind::Limited;
            event.limitation = Some(limitation.clone());
        }
        Happened::Progress(progress) => {
            event.kind = EventKind::Progress;
            event.progress = Some(progress.clone());
        }
    }
    event
}

/// The data of a change of state.
fn entered(event: &mut Event, from: Option<State>, container: &ContainerSnapshot) {
    // A container without a state has ended; who says otherwise has a bug, but an event that says
    // `terminated` of it is the truth.
    event.kind = container.state.map_or(EventKind::Terminated, EventKind::from);
    event.from = from;
    event.to = container.state;
    if from.is_none() || container.state == Some(State::Running) {
        event.image.clone_from(&container.image);
        event.labels.clone_from(&container.labels);
    }
    if container.state == Some(State::Running) {
        event.pid = container.pid;
        event.argv.clone_from(&container.argv);
        event.rootfs.clone_from(&container.rootfs);
    }
    if container.state == Some(State::Stuck) {
        event.failure.clone_from(&container.failure);
        event.remaining.clone_from(&container.remaining);
    }
}

#[cfg(test)]
mod tests;
