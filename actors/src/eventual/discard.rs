//! The handles by which a discard is asked for and seen, whatever the type of the answer.

use std::fmt;
use std::sync::Arc;

use super::Discardable;
use crate::outcome::{Cause, Exit};

/// Withdraws the work behind an [`Eventual`](crate::Eventual) that lives elsewhere.
#[derive(Clone)]
pub struct Discarder(pub(super) Arc<dyn Discardable>);

impl Discarder {
    /// As [`Eventual::discard`](crate::Eventual::discard).
    pub fn discard(&self, cause: impl Into<Cause>) -> bool {
        self.0.request_discard(cause.into())
    }

    /// Why it was withdrawn, if it was.
    #[cfg(feature = "testing")]
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.0.discard_cause()
    }

    /// Ends the eventual, since its worker is given up.
    pub(crate) fn abandon(&self, exit: Exit) {
        self.0.abandon_with(exit);
    }
}

impl fmt::Debug for Discarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Discarder").field(&self.0.discard_cause()).finish()
    }
}

/// Tells a blocking job whether its asker still wants it.
#[derive(Clone)]
pub struct Token(pub(super) Arc<dyn Discardable>);

impl Token {
    /// True when the job should stop as soon as it can.
    pub fn is_discarded(&self) -> bool {
        self.0.discard_cause().is_some()
    }

    /// Why it should stop.
    pub fn cause(&self) -> Option<Cause> {
        self.0.discard_cause()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Token").field(&self.cause()).finish()
    }
}
