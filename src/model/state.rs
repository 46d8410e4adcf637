//! Where a container is in its life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a container is in its life. An ended container has none: it has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum State {
    /// The image becomes a root file system; also passed by a container without an image.
    Provisioning,
    /// Isolators describe and allocate.
    Preparing,
    /// The init is started.
    Forking,
    /// Isolators put the blocked init under control.
    Isolating,
    /// URIs are fetched into the sandbox.
    Fetching,
    /// The init is released and sets the container up; exec has not succeeded yet.
    Starting,
    /// The payload runs: exec has succeeded.
    Running,
    /// The freezer holds the payload.
    Paused,
    /// Everything is being undone.
    Destroying,
    /// Something could not be undone; the next destroy goes on there.
    Stuck,
}

impl State {
    /// Every state, in the order in which a container passes them.
    pub const ALL: [Self; 10] = [
        Self::Provisioning,
        Self::Preparing,
        Self::Forking,
        Self::Isolating,
        Self::Fetching,
        Self::Starting,
        Self::Running,
        Self::Paused,
        Self::Destroying,
        Self::Stuck,
    ];

    /// As in events: `RUNNING`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provisioning => "PROVISIONING",
            Self::Preparing => "PREPARING",
            Self::Forking => "FORKING",
            Self::Isolating => "ISOLATING",
            Self::Fetching => "FETCHING",
            Self::Starting => "STARTING",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Destroying => "DESTROYING",
            Self::Stuck => "STUCK",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_as_it_is_displayed() {
        for state in State::ALL {
            let json = serde_json::to_string(&state).expect("serializable");
            assert_eq!(json, format!("\"{state}\""));
        }
    }
}
