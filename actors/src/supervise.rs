//! Supervision: who starts actors, starts them again, and gives up when that does not help.
//!
//! A [`Supervisor`] is an actor without any code of its embedder's. It starts its children in the order of their
//! declaration, each when the one before has initialised, and stops them in reverse. What becomes of a child that
//! ends is a matter of its [`Restart`]; who else is stopped and started with it, of the [`Strategy`]; how often,
//! of the [`Intensity`]. A child that is started again is a new actor: its state is made by the factory, its
//! mailbox is empty, pids of the old one lead nowhere. Whoever wants to reach the duty rather than the
//! incarnation has a [`Role`](crate::Role).
//!
//! What it does not do: it does not wait for ever. A supervisor that is killed, or whose arbiter is lost, has its
//! children killed before anybody hears of its end.

mod actor;
mod plan;
mod roster;
mod spec;

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use actor::{StartChild, StopChild, Supervisor};
pub(crate) use roster::Roster;
pub use spec::ChildSpec;

use crate::outcome::Exit;
use crate::pid::AnyPid;

/// Who is stopped and started again with a child that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody: the children do not depend on each other.
    OneForOne,
    /// Those declared after it: each may depend on those before.
    RestForOne,
    /// Everybody.
    All,
}

/// Whether a child that ended is started again. One that is not is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// However it ended.
    Always,
    /// Unless it ended normally.
    OnFailure,
    /// Never, also when its siblings are.
    Never,
}

/// How a child is stopped. One that has not ended when it was killed, since its thread is stuck, holds its
/// supervisor up until the arbiter is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It is drained; if it takes longer than this it is killed.
    Drain(Duration),
    /// It is killed.
    Kill,
}

/// How often a supervisor restarts before it gives up: at most so many times within any window of this length.
/// A restart of several children is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intensity {
    restarts: usize,
    within: Duration,
}

impl Intensity {
    /// At most `restarts` within `within`.
    pub fn new(restarts: usize, within: Duration) -> Self {
        Self { restarts, within }
    }
}

impl Default for Intensity {
    /// One restart within five seconds: small on purpose, so that nobody relies on restarts by accident.
    fn default() -> Self {
        Self::new(1, Duration::from_secs(5))
    }
}

/// How long a supervisor waits before it starts a child again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    most: Duration,
}

impl Backoff {
    /// Not at all.
    pub const NONE: Self = Self { first: Duration::ZERO, most: Duration::ZERO };

    /// `first`, then twice as long after each failure, up to `most`. A child that has lived for the window of the
    /// [`Intensity`] begins anew.
    pub fn doubling(first: Duration, most: Duration) -> Self {
        Self { first, most }
    }

    /// Before the restart that follows so many failures.
    fn delay(self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures);
        self.first.saturating_mul(factor).min(self.most)
    }
}

/// A child as its supervisor sees it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildStatus {
    /// Its name, also that of its actor.
    pub name: Arc<str>,
    /// What its supervisor does with it.
    pub state: ChildState,
    /// Its incarnation, if there is one.
    pub pid: Option<AnyPid>,
    /// How often it was started again.
    pub restarts: u64,
    /// How its last incarnation ended.
    pub last_exit: Option<Exit>,
}

/// What a supervisor does with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// It waits for its turn, or for the end of a back-off.
    Waiting,
    /// It is being initialised.
    Starting,
    /// It runs.
    Running,
    /// It has been told to end.
    Stopping,
}

/// An end of a child that its supervisor had not asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildEnd {
    /// Who ended.
    pub child: Arc<str>,
    /// Why.
    pub exit: Exit,
    /// When.
    pub at: Instant,
}

/// Why a supervisor failed: restarts did not help. The source of its [`Exit::Failed`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GaveUp {
    /// What was exceeded.
    pub intensity: Intensity,
    /// The ends that led there, the last one last.
    pub history: Vec<ChildEnd>,
}

impl std::fmt::Display for GaveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Intensity { restarts, within } = self.intensity;
        write!(f, "more than {restarts} restarts within {within:?}")?;
        match self.history.last() {
            Some(last) => write!(f, "; the last: {} {}", last.child, last.exit),
            None => Ok(()),
        }
    }
}

impl std::error::Error for GaveUp {}

/// Where an incarnation comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lineage {
    /// The incarnation of its supervisor.
    pub(crate) parent: u64,
}
