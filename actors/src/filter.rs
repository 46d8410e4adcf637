//! What may happen to a message between its sender and its handler, for tests.
//!
//! Without the feature `testing` every message is delivered and none of this is compiled in.

use crate::outcome::Fault;
use std::time::Duration;

/// What becomes of a message.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "testing"),
    expect(dead_code, unreachable_pub, reason = "only tests choose the others")
)]
pub enum Fate {
    /// It is delivered.
    Deliver,
    /// It is never handled; the asker sees at once that nobody will answer.
    Drop,
    /// It is never handled; the asker waits until its deadline.
    LoseRequest,
    /// It is handled; its answer is lost, and the asker waits until its deadline.
    LoseReply,
    /// It is delivered later, after those that come meanwhile.
    Delay(Duration),
    /// It is not handled; the asker gets this failure.
    Fail(Fault),
    /// It is handled twice: first a copy by [`Message::duplicate`](crate::Message::duplicate) whose answer nobody
    /// sees, then the message itself. A message that cannot be copied fails instead, so that it is noticed.
    Duplicate,
    /// Its handler panics.
    Panic,
}

/// What the actor does with an admitted message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handling {
    Normal,
    LoseReply,
    Panic,
}

#[cfg(not(feature = "testing"))]
mod rules {
    use super::Fate;
    use std::sync::Arc;

    /// No rules.
    #[derive(Debug, Default)]
    pub(crate) struct Filter {}

    impl Filter {
        pub(crate) fn is_installed(&self) -> bool {
            false
        }

        pub(crate) fn fate<'a>(
            &self,
            _: impl FnOnce() -> (&'a Arc<str>, &'static str, &'a Option<Arc<str>>),
        ) -> Fate {
            Fate::Deliver
        }
    }
}

#[cfg(feature = "testing")]
mod rules;

#[cfg(not(feature = "testing"))]
pub(crate) use rules::Filter;
#[cfg(feature = "testing")]
pub use rules::{Filter, Match, Rule, Seen};
