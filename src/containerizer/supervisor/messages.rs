//! What a supervisor accepts. The containerizer routes these by id.

use std::time::Duration;

use longshore_actors::Message;

use crate::model::{End, Failure, Resources, Usage};

/// How far the undoing of a container has come, for those who wait for its end.
#[derive(Debug, Clone)]
pub(crate) struct Conclusion {
    /// How it ended, as far as it is known.
    pub(crate) end: End,
    /// Why it is stuck; `None` when nothing is left.
    pub(crate) stuck: Option<Failure>,
    /// What a stuck container still holds.
    pub(crate) remaining: Vec<String>,
}

/// Answers when the container has ended or is stuck.
#[derive(Debug, Clone)]
pub(crate) struct Wait;

impl Message for Wait {
    type Reply = Conclusion;
}

/// Answers when exec has succeeded, with the init's pid, or with the end if it never will.
#[derive(Debug, Clone)]
pub(crate) struct AwaitRunning;

impl Message for AwaitRunning {
    type Reply = Result<i32, Conclusion>;
}

/// Ends the container whatever it is doing. A second destroy joins the first; one of a stuck
/// container goes on where it failed.
#[derive(Debug, Clone)]
pub(crate) struct Destroy;

impl Message for Destroy {
    type Reply = Conclusion;
}

/// Sends the stop signal; a destroy follows when the grace is over. One after another sends its signal
/// as well; the deadline that comes first counts. Answers with the end.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// The image's, or SIGTERM, if absent.
    pub(crate) signal: Option<i32>,
    pub(crate) grace: Duration,
}

impl Message for Stop {
    type Reply = Conclusion;
}

/// Sends a signal to the payload. `Conflict` before it runs.
#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub(crate) signal: i32,
}

impl Message for Signal {
    type Reply = Result<(), Failure>;
}

/// Sets new limits. `Conflict` before it runs, and where the kernel refuses.
#[derive(Debug, Clone)]
pub(crate) struct SetResources {
    pub(crate) resources: Resources,
}

impl Message for SetResources {
    type Reply = Result<(), Failure>;
}

/// What the container has used so far.
#[derive(Debug, Clone)]
pub(crate) struct GetUsage;

impl Message for GetUsage {
    type Reply = Result<Usage, Failure>;
}
