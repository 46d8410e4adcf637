//! What the isolators' actors accept: one message to the chain, one to each isolator in turn.

use std::fmt;
use std::sync::Arc;

use longshore_actors::Message;

use super::{InitPid, Watch};
use crate::model::{ContainerId, Failure, LaunchContext, LaunchInfo, Limitation, Resources, Usage};

/// What isolators remember of one container: name and encoded state, in table order. Goes with every
/// call and into every checkpoint.
pub(crate) type Remembered = Arc<[(String, Vec<u8>)]>;

/// What a prepare chain yields.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prepared {
    /// Contributions in table order, with the isolator's name.
    pub(crate) contributions: Vec<(&'static str, LaunchInfo)>,
    /// For the later calls and the checkpoint.
    pub(crate) remembered: Remembered,
}

/// Prepares with every isolator, in table order; the first failure ends the chain.
#[derive(Debug, Clone)]
pub(crate) struct Prepare {
    pub(crate) context: Arc<LaunchContext>,
}

impl Message for Prepare {
    type Reply = Result<Prepared, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.context.config.container_id.shared())
    }
}

/// What isolating yields.
pub(crate) struct Isolated {
    /// As changed by the isolators.
    pub(crate) remembered: Remembered,
    /// What waits for limits.
    pub(crate) watches: Vec<Watch>,
}

impl fmt::Debug for Isolated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated").field("watches", &self.watches.len()).finish_non_exhaustive()
    }
}

/// Puts the blocked init under the control of every isolator.
#[derive(Debug, Clone)]
pub(crate) struct Isolate {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
    pub(crate) init: InitPid,
}

impl Message for Isolate {
    type Reply = Result<Isolated, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// New limits for a running container.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
    pub(crate) resources: Resources,
}

impl Message for Update {
    type Reply = Result<Remembered, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// What the isolators have measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// What cannot be read is absent.
    pub(crate) usage: Usage,
    /// A limit that was reached, told by its isolator at the last moment.
    pub(crate) limitation: Option<Limitation>,
}

/// Which figures are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figures {
    /// While the container runs: what it uses now.
    Current,
    /// When the last process is gone: what it has used, and whether a limit was reached.
    Last,
}

/// Asks the isolators what they measure.
#[derive(Debug, Clone)]
pub(crate) struct Measure {
    pub(crate) figures: Figures,
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
}

impl Message for Measure {
    type Reply = Measured;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// Undoes everything, in reverse table order, over failures; every failure is reported.
#[derive(Debug, Clone)]
pub(crate) struct Cleanup {
    pub(crate) container_id: ContainerId,
    pub(crate) remembered: Remembered,
}

impl Message for Cleanup {
    type Reply = Result<(), Vec<Failure>>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

/// One call of one isolator; the chain sends them in table order, or in reverse.
#[derive(Debug)]
pub(crate) struct Call<C> {
    pub(crate) container_id: ContainerId,
    /// What the isolator remembers; absent before and after a failed `prepare`.
    pub(crate) remembered: Option<Vec<u8>>,
    pub(crate) call: C,
}

/// What can be asked of one isolator.
pub(crate) trait IsolatorCall: Send + 'static {
    /// As in pending lists, errors and fault plans.
    const NAME: &'static str;
    /// What it answers.
    type Answer: Send + 'static;
}

impl<C: IsolatorCall> Message for Call<C> {
    type Reply = Result<C::Answer, Failure>;

    fn label(&self) -> &'static str {
        C::NAME
    }

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.container_id.shared())
    }
}

macro_rules! calls {
    ($($(#[$doc:meta])* $call:ident $name:literal -> $answer:ty { $($field:ident: $type:ty),* };)+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone)]
            pub(crate) struct $call { $(pub(crate) $field: $type),* }

            impl IsolatorCall for $call {
                const NAME: &'static str = $name;
                type Answer = $answer;
            }
        )+
    };
}

calls! {
    /// `Isolator::prepare`.
    PrepareOne "prepare" -> (LaunchInfo, Vec<u8>) { context: Arc<LaunchContext> };
    /// `Isolator::isolate`, then `watch`.
    IsolateOne "isolate" -> IsolatedOne { init: InitPid };
    /// `Isolator::update`.
    UpdateOne "update" -> Vec<u8> { resources: Resources };
    /// `Isolator::usage`, or `last`.
    MeasureOne "usage" -> Measured { figures: Figures };
    /// `Isolator::cleanup`.
    CleanupOne "cleanup" -> () {};
}

/// What isolating by one isolator yields.
pub(crate) struct IsolatedOne {
    pub(crate) remembered: Vec<u8>,
    pub(crate) watch: Option<Watch>,
}
