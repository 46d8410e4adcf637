//! Event logs: what things are, and what happens to them, told to any number of subscribers.
//!
//! A [`Log`] owns the state of every thing by its key, and a version that grows with every event. A subscriber is
//! given a snapshot and then every later event, with no gap and no duplicate between the two. One that falls behind
//! is told which versions it has missed, and is given a fresh snapshot: it never misses silently, and it never slows
//! the publisher. The last event of a thing is kept until it is acknowledged, so that an end is learned at least
//! once, whoever was away when it came.
//!
//! # Why a lock and no mailbox
//!
//! Whoever publishes has the version when [`Log::publish`] returns, and the next thing that it does can rely on it.
//! A mailbox would be a second queue with a bound of its own, and a full one would have to drop an event or hold the
//! publisher up. The section under the lock is a map insert and a queue push; it waits for nobody, allocates for no
//! subscriber, and drops no state and no event. Who asks for a snapshot copies the map of pointers under it, once for
//! each version, however many ask.
//!
//! # Why subscribers have no queue
//!
//! All read one ring of the last events; a subscription is a position in it. So a subscriber costs the publisher one
//! wake, whatever it has not read yet, and the snapshot of one that lags is made when it reads, not when it falls
//! behind.
//!
//! What this does not do: it persists nothing. Whoever does continues the numbers by [`LogStart`].

mod deliver;
mod subscription;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::Waker;

pub use subscription::Subscription;

use crate::lock;

/// The number of an event in its log; the first is 1. Zero stands before all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One event, and what it made of the thing that it happened to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Change<K, S, E> {
    /// Its number.
    pub version: Version,
    /// What it happened to.
    pub key: K,
    /// The state afterwards; nothing where this was its end.
    pub state: Option<Arc<S>>,
    /// What happened.
    pub event: E,
}

/// Everything as it is after the event of `version`.
#[derive(Debug)]
#[non_exhaustive]
pub struct Snapshot<K, S, E> {
    /// The last event that it knows.
    pub version: Version,
    /// What there is.
    pub states: BTreeMap<K, Arc<S>>,
    /// Ends that nobody has acknowledged, in the order in which they came.
    pub ended: Vec<Arc<Change<K, S, E>>>,
}

/// What a subscriber is told.
#[derive(Debug)]
pub enum Notice<K, S, E> {
    /// Forget what you knew: this is how it is.
    Snapshot(Arc<Snapshot<K, S, E>>),
    /// This happened next.
    Event(Arc<Change<K, S, E>>),
    /// You have missed these, both ends included; a snapshot follows.
    Lagged {
        /// The first one missed.
        from: Version,
        /// The last one missed, which is that of the snapshot.
        to: Version,
    },
}

impl<K, S, E> Clone for Notice<K, S, E> {
    fn clone(&self) -> Self {
        match self {
            Self::Snapshot(snapshot) => Self::Snapshot(Arc::clone(snapshot)),
            Self::Event(change) => Self::Event(Arc::clone(change)),
            Self::Lagged { from, to } => Self::Lagged { from: *from, to: *to },
        }
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscribeFrom {
    /// With a snapshot.
    #[default]
    Now,
    /// After the event of this version. Where the next one is not kept any more, with [`Notice::Lagged`] and a
    /// snapshot; where there was no such event yet, with a snapshot.
    After(Version),
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Events, for subscribers to read or to resume at. At least one.
    pub kept: usize,
    /// How many events a subscriber may have unread before it lags; no more than are kept, whatever is said.
    pub backlog: usize,
}

impl Default for LogBounds {
    fn default() -> Self {
        Self { kept: 4096, backlog: 1024 }
    }
}

/// How a log begins: empty by default, or where an earlier one ended.
#[derive(Debug)]
pub struct LogStart<K, S, E> {
    /// The version of the last event of the earlier one.
    pub version: Version,
    /// What there is.
    pub states: BTreeMap<K, S>,
    /// Ends that were not acknowledged: version, key and event.
    pub ended: Vec<(Version, K, E)>,
    /// How much is kept.
    pub bounds: LogBounds,
}

impl<K, S, E> Default for LogStart<K, S, E> {
    fn default() -> Self {
        let (states, ended) = (BTreeMap::new(), Vec::new());
        Self { version: Version(0), states, ended, bounds: LogBounds::default() }
    }
}

/// The one writer of some published state. Clones are the same log. When the last one is dropped its subscriptions
/// end, after what was published has been read.
pub struct Log<K, S, E> {
    shared: Arc<Shared<K, S, E>>,
    _closes: Arc<CloseOnDrop<K, S, E>>,
}

/// What the log and its subscriptions share.
struct Shared<K, S, E> {
    core: Mutex<Core<K, S, E>>,
    bounds: LogBounds,
}

/// Ends that nobody has acknowledged.
type Ends<K, S, E> = BTreeMap<K, Vec<Arc<Change<K, S, E>>>>;

struct Core<K, S, E> {
    version: Version,
    states: BTreeMap<K, Arc<S>>,
    ended: Ends<K, S, E>,
    /// The last events, without holes; the newest has the version above.
    ring: VecDeque<Arc<Change<K, S, E>>>,
    /// How everything is now, if somebody has asked since the last change.
    snapshot: Option<Arc<Snapshot<K, S, E>>>,
    /// Who waits for the next event, by subscriber.
    wakers: BTreeMap<u64, Waker>,
    next_subscriber: u64,
    closed: bool,
}

impl<K: Ord + Clone, S, E> Log<K, S, E> {
    /// An empty log with the default bounds.
    pub fn new() -> Self {
        Self::starting(LogStart::default())
    }

    /// A log that goes on where another ended.
    pub fn starting(start: LogStart<K, S, E>) -> Self {
        let mut ended = Ends::<K, S, E>::new();
        for (version, key, event) in start.ended {
            let change = Change { version, key: key.clone(), state: None, event };
            ended.entry(key).or_default().push(Arc::new(change));
        }
        let core = Core {
            version: start.version,
            states: start.states.into_iter().map(|(key, state)| (key, Arc::new(state))).collect(),
            ended,
            ring: VecDeque::new(),
            snapshot: None,
            wakers: BTreeMap::new(),
            next_subscriber: 0,
            closed: false,
        };
        let bounds = LogBounds { kept: start.bounds.kept.max(1), ..start.bounds };
        let shared = Arc::new(Shared { core: Mutex::new(core), bounds });
        Self { _closes: Arc::new(CloseOnDrop(Arc::clone(&shared))), shared }
    }

    /// Says that `event` happened to `key`, which is now as in `state`. Never waits.
    pub fn publish(&self, key: K, state: S, event: E) -> Version {
        self.append(key, Some(Arc::new(state)), event)
    }

    /// Says that `event` was the end of `key`. It stays in snapshots until it is acknowledged. Never waits.
    pub fn publish_end(&self, key: K, event: E) -> Version {
        self.append(key, None, event)
    }

    fn append(&self, key: K, state: Option<Arc<S>>, event: E) -> Version {
        let mut core = lock(&self.shared.core);
        let version = core.version.next();
        let change = Arc::new(Change { version, key: key.clone(), state: state.clone(), event });
        let replaced = match state {
            Some(state) => core.states.insert(key, state),
            None => {
                let replaced = core.states.remove(&key);
                core.ended.entry(key).or_default().push(Arc::clone(&change));
                replaced
            }
        };
        core.version = version;
        let full = core.ring.len() == self.shared.bounds.kept;
        let oldest = if full { core.ring.pop_front() } else { None };
        core.ring.push_back(change);
        let snapshot = core.snapshot.take();
        let wakers = std::mem::take(&mut core.wakers);
        // Wakers may run anything, also a read of this log; so may what drops a state or an event.
        drop(core);
        drop((replaced, oldest, snapshot));
        wakers.into_values().for_each(Waker::wake);
        version
    }

    /// Forgets the ends of `key` up to the event of `upto`, since whoever has to know them does; how many. No event:
    /// the end was the last.
    pub fn acknowledge(&self, key: &K, upto: Version) -> usize {
        let mut core = lock(&self.shared.core);
        let Some(ends) = core.ended.get_mut(key) else { return 0 };
        let (forgotten, kept) =
            std::mem::take(ends).into_iter().partition::<Vec<_>, _>(|end| end.version <= upto);
        let count = forgotten.len();
        let removed = if kept.is_empty() {
            core.ended.remove(key)
        } else {
            *ends = kept;
            None
        };
        let snapshot = if count > 0 { core.snapshot.take() } else { None };
        drop(core);
        drop((forgotten, removed, snapshot));
        count
    }

    /// A subscription that begins at `from`. Dropping it ends it.
    pub fn subscribe(&self, from: SubscribeFrom) -> Subscription<K, S, E> {
        Subscription::open(&self.shared, from)
    }

    /// Everything as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot<K, S, E>> {
        lock(&self.shared.core).snapshot()
    }

    /// The state of `key` as published last; nothing after its end.
    pub fn state(&self, key: &K) -> Option<Arc<S>> {
        lock(&self.shared.core).states.get(key).cloned()
    }

    /// The version of the last event.
    pub fn version(&self) -> Version {
        lock(&self.shared.core).version
    }

    /// Ends every subscription, after what was published has been read.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl<K: Ord + Clone, S, E> Default for Log<K, S, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, S, E> Clone for Log<K, S, E> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), _closes: Arc::clone(&self._closes) }
    }
}

impl<K, S, E> fmt::Debug for Log<K, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = lock(&self.shared.core);
        f.debug_struct("Log")
            .field("version", &core.version)
            .field("states", &core.states.len())
            .field("unacknowledged", &core.ended.len())
            .finish_non_exhaustive()
    }
}

impl<K, S, E> Shared<K, S, E> {
    fn close(&self) {
        let mut core = lock(&self.core);
        core.closed = true;
        let wakers = std::mem::take(&mut core.wakers);
        drop(core);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl<K: Ord + Clone, S, E> Core<K, S, E> {
    /// The event of this version, if it is still kept.
    fn change(&self, version: Version) -> Option<&Arc<Change<K, S, E>>> {
        let oldest = self.ring.front()?.version;
        let index = usize::try_from(version.0.checked_sub(oldest.0)?).ok()?;
        self.ring.get(index)
    }

    /// Made once for each version, however many ask.
    fn snapshot(&mut self) -> Arc<Snapshot<K, S, E>> {
        if let Some(snapshot) = &self.snapshot {
            return Arc::clone(snapshot);
        }
        let mut ended: Vec<_> = self.ended.values().flatten().cloned().collect();
        ended.sort_by_key(|change| change.version);
        let (version, states) = (self.version, self.states.clone());
        Arc::clone(self.snapshot.insert(Arc::new(Snapshot { version, states, ended })))
    }
}

struct CloseOnDrop<K, S, E>(Arc<Shared<K, S, E>>);

impl<K, S, E> Drop for CloseOnDrop<K, S, E> {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
