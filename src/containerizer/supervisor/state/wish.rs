//! What is wanted of a container, and what is known of its end while it comes. Pure.

use super::Step;
use crate::error::{ErrorKind, Stage};
use crate::model::{Failure, Limitation, LimitedResource, WaitStatus};

/// Why somebody wants a container gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// Asked for.
    Requested,
    /// Ran longer than it was allowed to.
    TimedOut,
    /// Its owner died and left it.
    Orphaned,
    /// Its supervisor broke.
    Lost,
}

/// What the end of a container came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The payload ended by itself.
    Exited,
    /// Somebody wanted it gone.
    Wanted(Why),
    /// A limit that must be enforced by us.
    Limited,
    /// A step of the launch failed.
    Failed(Failure),
}

/// What is known of the end while it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The first cause; a later one never replaces it.
    pub(crate) cause: Cause,
    /// Raw status, once the init has reported it.
    pub(crate) status: Option<WaitStatus>,
    /// The payload's program was executed.
    pub(crate) ran: bool,
    /// How far the launch had come; `Destroy` where nobody knows.
    pub(crate) stage: Stage,
}

/// What is wanted of a container whose launch step is still in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Go on.
    Run,
    /// Undo as soon as the step has settled.
    End(Ending),
}

impl Wish {
    pub(super) fn wanted(why: Why) -> Self {
        Self::End(Ending::of(Cause::Wanted(why)))
    }

    /// This wish, or the new one if none was noted.
    pub(super) fn or_wanted(self, why: Why) -> Self {
        match self {
            Self::Run => Self::wanted(why),
            Self::End(_) => self,
        }
    }

    /// A limit was reached while the launch went on.
    pub(super) fn or_limited(self, limitation: &Limitation) -> Self {
        match self {
            Self::Run if must_end(limitation) => Self::End(Ending::of(Cause::Limited)),
            Self::Run | Self::End(_) => self,
        }
    }

    /// The init died while the launch went on.
    pub(super) fn or_died(self, status: WaitStatus, during: Step) -> Self {
        let ending = match self {
            Self::Run => Ending::of(Cause::Failed(Failure {
                stage: during.stage(),
                kind: ErrorKind::Host,
                errno: None,
                message: format!(
                    "the init was gone before the payload ran (wait status {})",
                    status.0
                ),
            })),
            Self::End(ending) => ending,
        };
        Self::End(Ending { status: ending.status.or(Some(status)), ..ending })
    }

    /// The end that was wished for, else the failure.
    pub(super) fn ended_by(self, failure: Failure) -> Ending {
        match self {
            Self::Run => Ending::of(Cause::Failed(failure)),
            Self::End(ending) => ending,
        }
    }
}

impl Ending {
    pub(crate) fn of(cause: Cause) -> Self {
        Self { cause, status: None, ran: false, stage: Stage::Destroy }
    }

    /// Of a container that was left without an owner when its launch had come to `stage`.
    pub(crate) fn left(stage: Stage) -> Self {
        let ran = stage == Stage::Run;
        Self { ran, stage, ..Self::of(Cause::Wanted(Why::Orphaned)) }
    }

    /// The status has come. Of a container that nobody watched it says that the init was released, for
    /// one that was not goes with its agent and leaves none: the launch had come further than it says.
    pub(super) fn heard(mut self, status: WaitStatus) -> Self {
        if self.cause == Cause::Wanted(Why::Orphaned) && self.status.is_none() {
            // What could not be executed leaves the status of an exit with 1.
            self.ran |= status.exit_code() != 1;
            self.cause = if self.ran { Cause::Exited } else { self.cause };
        }
        Self { status: self.status.or(Some(status)), ..self }
    }
}

/// Of memory the kernel has killed already; whether the payload survives is the payload's business.
pub(super) fn must_end(limitation: &Limitation) -> bool {
    limitation.resource != LimitedResource::Mem
}
