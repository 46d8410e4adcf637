//! How a payload is asked to end.

use std::time::Duration;

use crate::limits;

/// How a graceful stop is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a stop does nothing until it is given to a job"]
pub struct Stop {
    pub(super) signal: Option<i32>,
    pub(super) grace: Duration,
}

impl Stop {
    /// The container's own stop signal, else the image's, else SIGTERM; 10 seconds of grace.
    pub const fn from_image() -> Self {
        Self { signal: None, grace: limits::STOP_GRACE }
    }

    /// This signal.
    pub const fn signal(signal: i32) -> Self {
        Self { signal: Some(signal), grace: limits::STOP_GRACE }
    }

    /// How long the payload has before it is destroyed, from the signal on.
    pub const fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self::from_image()
    }
}
