//! One subscriber: a position in the log's ring.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::{Core, Notice, Shared, SubscribeFrom, Version};
use crate::lock;

/// A snapshot and every later event, on any executor. Ends (`None`) when the log has.
///
/// One that is not read costs nothing but the knowledge that it missed something.
#[must_use = "a subscription that is not read tells nothing"]
pub struct Subscription<K, S, E> {
    shared: Arc<Shared<K, S, E>>,
    id: u64,
    /// What comes before the ring is looked at.
    due: VecDeque<Notice<K, S, E>>,
    /// The next event to read from the ring.
    next: Version,
    /// Events up to here were missed before there was a subscription: they are read however many there are.
    replayed: Version,
    /// What the subscriber knows.
    position: Version,
}

impl<K: Ord + Clone, S, E> Subscription<K, S, E> {
    pub(super) fn open(shared: &Arc<Shared<K, S, E>>, from: SubscribeFrom) -> Self {
        let mut core = lock(&shared.core);
        let id = core.next_subscriber;
        core.next_subscriber += 1;
        let last = core.version;
        let mut subscription = Self {
            shared: Arc::clone(shared),
            id,
            due: VecDeque::new(),
            next: last.next(),
            replayed: Version(0),
            position: Version(0),
        };
        match from {
            SubscribeFrom::After(version) if version <= last => {
                subscription.next = version.next();
                subscription.replayed = last;
                subscription.position = version;
            }
            SubscribeFrom::After(_) | SubscribeFrom::Now => {
                let snapshot = Notice::Snapshot(core.snapshot());
                subscription.due.push_back(snapshot);
            }
        }
        subscription
    }

    /// The next notice; waits for it. `None`: there will be no more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Notice<K, S, E>> {
        poll_fn(|cx| self.poll_notice(cx)).await
    }

    /// The next notice, if there is one already.
    pub fn try_next(&mut self) -> Option<Notice<K, S, E>> {
        let shared = Arc::clone(&self.shared);
        self.read(&mut lock(&shared.core))
    }

    /// The last version that was given out: where a later subscription goes on, by [`SubscribeFrom::After`].
    pub fn position(&self) -> Version {
        self.position
    }

    pub(super) fn poll_notice(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notice<K, S, E>>> {
        let shared = Arc::clone(&self.shared);
        let mut core = lock(&shared.core);
        if let Some(notice) = self.read(&mut core) {
            return Poll::Ready(Some(notice));
        }
        if core.closed {
            return Poll::Ready(None);
        }
        // Registered under the lock that publishing takes: no event can come in between.
        let before = core.wakers.insert(self.id, cx.waker().clone());
        drop(core);
        drop(before);
        Poll::Pending
    }

    fn read(&mut self, core: &mut Core<K, S, E>) -> Option<Notice<K, S, E>> {
        let notice = self.due.pop_front().or_else(|| self.read_ring(core))?;
        match &notice {
            Notice::Snapshot(snapshot) => self.position = snapshot.version,
            Notice::Event(change) => self.position = change.version,
            // What was missed is known when its snapshot is.
            Notice::Lagged { .. } => {}
        }
        Some(notice)
    }

    fn read_ring(&mut self, core: &mut Core<K, S, E>) -> Option<Notice<K, S, E>> {
        let unread = core.version.next().0 - self.next.0;
        if unread == 0 {
            return None;
        }
        let within = unread <= self.shared.bounds.backlog as u64 || self.next <= self.replayed;
        let change = within.then(|| core.change(self.next)).flatten();
        match change {
            Some(change) => {
                self.next = self.next.next();
                Some(Notice::Event(Arc::clone(change)))
            }
            None => Some(self.lag(core)),
        }
    }

    /// Gives the backlog up: what was missed, then everything as it is now.
    fn lag(&mut self, core: &mut Core<K, S, E>) -> Notice<K, S, E> {
        let (from, to) = (self.next, core.version);
        self.due.push_back(Notice::Snapshot(core.snapshot()));
        self.next = to.next();
        Notice::Lagged { from, to }
    }
}

impl<K: Ord + Clone, S, E> Stream for Subscription<K, S, E> {
    type Item = Notice<K, S, E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_notice(cx)
    }
}

/// Nothing in it is ever pinned in place.
impl<K, S, E> Unpin for Subscription<K, S, E> {}

impl<K, S, E> Drop for Subscription<K, S, E> {
    fn drop(&mut self) {
        let waker = lock(&self.shared.core).wakers.remove(&self.id);
        drop(waker);
    }
}

impl<K, S, E> fmt::Debug for Subscription<K, S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("position", &self.position).finish_non_exhaustive()
    }
}
