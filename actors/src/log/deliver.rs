//! Notices as messages.

use std::time::Duration;

use super::{Notice, Subscription, Version};
use crate::clock::Clock;
use crate::eventual::Eventual;
use crate::outcome::{Lost, Refusal, Refused};
use crate::pid::Handle;
use crate::process::Message;
use crate::runtime::Runtime;

/// After so long the next notice is sent although the one before has no answer.
const HANDLED_WITHIN: Duration = Duration::from_secs(60);

/// How long to wait for room in a full mailbox.
const FULL_PAUSE: Duration = Duration::from_millis(10);

impl<K, S, E> Message for Notice<K, S, E>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    type Reply = ();

    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<K, S, E> Subscription<K, S, E>
where
    K: Ord + Clone + Send + Sync + 'static,
    S: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Sends every notice to an actor, each when it has answered the one before, so that at most one takes room in
    /// its mailbox: an actor that is slow lags, and nobody else waits. Ends when the log does, or when the actor
    /// takes nothing more, with the version up to which it has answered; a successor can go on there. A discard of
    /// the eventual stops it.
    pub fn deliver_to(self, to: &Handle<Notice<K, S, E>>) -> Eventual<Version> {
        let pid = to.pid();
        let runtime = Runtime::unowned_of(&pid.0.control().runtime);
        let group = pid.0.control().seat.group;
        let pump = pump(self, to.clone(), runtime.clock());
        runtime.spawn_future(group, "deliver", pump)
    }
}

async fn pump<K, S, E>(
    mut from: Subscription<K, S, E>,
    to: Handle<Notice<K, S, E>>,
    clock: Clock,
) -> Version
where
    K: Ord + Clone + Send + Sync + 'static,
    S: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    let mut answered = from.position();
    while let Some(notice) = from.next().await {
        loop {
            match to.dispatch(notice.clone(), HANDLED_WITHIN).await.into_result() {
                Ok(()) => answered = from.position(),
                // It was admitted, and will be handled before the next.
                Err(Lost::Deadline { .. }) => {}
                Err(Lost::Refused(Refused { why: Refusal::Full { .. }, .. })) => {
                    let _ = clock.after(FULL_PAUSE).await;
                    continue;
                }
                Err(
                    Lost::Refused(_)
                    | Lost::Gone { .. }
                    | Lost::Failed { .. }
                    | Lost::Discarded { .. },
                ) => return answered,
            }
            break;
        }
    }
    answered
}
