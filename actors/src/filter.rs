//! What may happen to a message between its sender and its handler, for tests.
//!
//! Without the feature `testing` every message is delivered and none of this is compiled in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock;
use crate::outcome::Fault;

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
    /// It changes places with the next message to the same actor; if none comes within this time, it is delivered
    /// then.
    Swap(Duration),
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

        pub(crate) fn hold(&self, _: u64, _: super::Held) -> bool {
            false
        }

        pub(crate) fn let_go(&self, _: u64) {}

        pub(crate) fn fate<'a>(
            &self,
            _: impl FnOnce() -> (&'a Arc<str>, &'static str, &'a Option<Arc<str>>),
        ) -> Fate {
            Fate::Deliver
        }
    }
}

/// Delivers a message that is held back; once, whoever comes first.
#[derive(Clone)]
pub(crate) struct Held(Arc<Mutex<Option<Deliver>>>);

type Deliver = Box<dyn FnOnce() + Send>;

impl Held {
    pub(crate) fn new(deliver: impl FnOnce() + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(deliver)))))
    }

    #[cfg(feature = "testing")]
    fn is_there(&self) -> bool {
        lock(&self.0).is_some()
    }

    pub(crate) fn deliver(&self) {
        let deliver = lock(&self.0).take();
        if let Some(deliver) = deliver {
            deliver();
        }
    }
}

#[cfg(feature = "testing")]
mod faults;
mod late;
#[cfg(feature = "testing")]
mod rules;

#[cfg(feature = "testing")]
pub use faults::{Faults, Plan};

#[cfg(not(feature = "testing"))]
pub(crate) use rules::Filter;
#[cfg(feature = "testing")]
pub use rules::{Filter, Match, Rule, Seen};
