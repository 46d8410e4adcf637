//! One subscriber: a position in the hub's ring.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;

use super::{Core, Ended, Lagged, Notice, Shared, Since};
use crate::limits;

/// A snapshot and every later event. Ends (`None`) when the containerizer has shut down.
///
/// Runs on any executor. One that does not read costs nothing but the knowledge that it missed
/// something: past [`limits::SUBSCRIBER_EVENTS`] unread events the next notice is
/// [`Notice::Lagged`], and then a snapshot.
#[must_use = "a subscription that is not read tells nothing"]
pub struct Subscription {
    shared: Arc<Shared>,
    id: u64,
    /// Notices that are due before the ring is looked at.
    due: VecDeque<Notice>,
    /// Number of the next event to read from the ring.
    next: u64,
}

impl Subscription {
    pub(super) fn open(shared: &Arc<Shared>, since: Since) -> Self {
        let mut core = shared.lock();
        let id = core.next_subscriber;
        core.next_subscriber += 1;
        let due = first_notices(shared, &core, since);
        let next = core.seq + 1;
        drop(core);
        Self { shared: Arc::clone(shared), id, due, next }
    }

    /// The next notice; waits for it. `None`: there will be no more. Dropping the future loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Notice> {
        poll_fn(|cx| self.poll_notice(cx)).await
    }

    /// The next notice, if there is one already.
    pub fn try_next(&mut self) -> Option<Notice> {
        if let Some(notice) = self.due.pop_front() {
            return Some(notice);
        }
        let shared = Arc::clone(&self.shared);
        self.read(&shared.lock())
    }

    fn poll_notice(&mut self, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        if let Some(notice) = self.due.pop_front() {
            return Poll::Ready(Some(notice));
        }
        let shared = Arc::clone(&self.shared);
        let mut core = shared.lock();
        if let Some(notice) = self.read(&core) {
            return Poll::Ready(Some(notice));
        }
        if core.closed {
            return Poll::Ready(None);
        }
        // Registered under the lock that publishing takes: no event can come in between.
        core.wakers.insert(self.id, cx.waker().clone());
        Poll::Pending
    }

    /// Reads the ring at this position.
    fn read(&mut self, core: &Core) -> Option<Notice> {
        let unread = core.seq + 1 - self.next;
        if unread == 0 {
            return None;
        }
        let event =
            (unread <= limits::SUBSCRIBER_EVENTS as u64).then(|| core.event(self.next)).flatten();
        match event {
            Some(event) => {
                self.next += 1;
                Some(Notice::Event(event))
            }
            None => Some(self.lag(core)),
        }
    }

    /// Gives the backlog up: what was missed, then everything as it is now.
    fn lag(&mut self, core: &Core) -> Notice {
        let [lagged, snapshot] = lag(&self.shared, core, self.next);
        self.due.push_back(snapshot);
        self.next = core.seq + 1;
        lagged
    }
}

/// What a new subscriber is told before it follows the ring from `core.seq + 1`.
fn first_notices(shared: &Shared, core: &Core, since: Since) -> VecDeque<Notice> {
    let snapshot = |ended| Notice::Snapshot(core.snapshot((shared.clock)(), ended));
    match since {
        Since::Now => [snapshot(Ended::LeftOut)].into(),
        Since::Seq { epoch, seq } if epoch == core.epoch && seq <= core.seq => {
            let missed = seq + 1..=core.seq;
            let replay: Option<VecDeque<Notice>> =
                missed.map(|seq| core.event(seq).map(Notice::Event)).collect();
            replay.unwrap_or_else(|| lag(shared, core, seq + 1).into())
        }
        Since::Acknowledged | Since::Seq { .. } => [snapshot(Ended::Included)].into(),
    }
}

/// The two notices of a subscriber whose next event would have been `from_seq`. The snapshot has
/// the ended containers too: their `terminated` may be among what was missed.
fn lag(shared: &Shared, core: &Core, from_seq: u64) -> [Notice; 2] {
    let moment = (shared.clock)();
    let lagged = Lagged {
        epoch: core.epoch.clone(),
        time: moment.time,
        monotonic_ns: moment.monotonic_ns,
        from_seq,
        to_seq: core.seq,
    };
    [Notice::Lagged(lagged), Notice::Snapshot(core.snapshot(moment, Ended::Included))]
}

impl Stream for Subscription {
    type Item = Notice;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.get_mut().poll_notice(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.lock().wakers.remove(&self.id);
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("next", &self.next).finish_non_exhaustive()
    }
}
