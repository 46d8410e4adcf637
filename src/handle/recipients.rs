//! For programs that are written with actix: recipients of our messages, and events to recipients.

use longshore_actors::Discarder;
use longshore_actors::recipients::{ActixMessage, Recipient, recipient};

use super::Containerizer;
use crate::error::Error;
use crate::events::{Notice, Since};
use crate::messages::Request;

/// The threads on which recipients are served.
pub(crate) const FRONT: &str = "front";

impl Containerizer {
    /// A recipient of one kind of message: `node.recipient::<Launch>()`. It may be sent to from any
    /// system, arbiter or thread, and is served on a thread of the containerizer; several requests are
    /// served at a time. Dropping the answer's future withdraws nothing.
    ///
    /// After the shutdown senders get `MailboxError::Closed`.
    pub fn recipient<R>(&self) -> Recipient<R>
    where
        R: Request + ActixMessage<Result = Result<<R as Request>::Reply, Error>>,
    {
        // Not counted as a handle: a recipient alone keeps no containerizer.
        let inner = std::sync::Arc::downgrade(&self.inner);
        recipient(&self.inner.runtime, FRONT, move |request: R| {
            let node = inner.upgrade().map(|inner| Containerizer { inner });
            async move {
                match node {
                    Some(node) => request.perform(&node).await,
                    None => Err(super::shut_down()),
                }
            }
        })
    }

    /// Sends what a subscription since `since` yields to `recipient`, one after the other: the next
    /// notice is sent when the last one was handled. An actor that is slow falls behind like any
    /// subscriber, and is told by [`Notice::Lagged`].
    ///
    /// Ends when the recipient's actor does, with the containerizer, or by [`Delivery::stop`].
    pub fn deliver(&self, since: Since, recipient: Recipient<Notice>) -> Delivery {
        let mut events = self.subscribe(since);
        let delivering = self.inner.runtime.spawn_future(FRONT, "deliver", async move {
            while let Some(notice) = events.next().await {
                if recipient.send(notice).await.is_err() {
                    return;
                }
            }
        });
        Delivery { discarder: delivering.discarder() }
    }
}

/// Events on their way to a recipient. Dropping it stops nothing.
#[derive(Debug)]
#[must_use = "a delivery is stopped through this; dropping it stops nothing, say so with `let _ =`"]
pub struct Delivery {
    discarder: Discarder,
}

impl Delivery {
    /// Sends no more.
    pub fn stop(self) {
        self.discarder.discard("the delivery was stopped");
    }
}
