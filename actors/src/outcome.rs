//! How things end: exits of actors, outcomes of requests, and the errors made of them.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::role::Vacant;
use crate::waits::AskCycle;

/// Why an actor ended.
#[derive(Clone, Debug)]
pub enum Exit {
    /// It stopped or was drained.
    Normal,
    /// Its `initialize` refused, or it gave up by [`Cx::fail`](crate::Cx::fail).
    Failed(Fault),
    /// Its code panicked; the text of the panic.
    Panicked(String),
    /// It was ended from outside, or its arbiter was lost.
    Killed(&'static str),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("ended"),
            Self::Failed(fault) => write!(f, "failed: {fault}"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Killed(why) => write!(f, "killed: {why}"),
        }
    }
}

/// An error that travels between actors: a text, a kind that code can recognise, maybe a source.
#[derive(Clone, Debug)]
pub struct Fault(Arc<Facts>);

/// Behind a pointer, since every outcome has room for a fault and hardly any has one.
#[derive(Debug)]
struct Facts {
    kind: FaultKind,
    text: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What sort of [`Fault`] it is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FaultKind {
    /// The actor or the job reported it.
    Reported,
    /// The receiver did not admit the message.
    Refused(Refused),
    /// Nobody had the role that was asked.
    Vacant(Vacant),
    /// The answer would have waited for the asker, who waits for it.
    Cycle(AskCycle),
    /// A blocking job or a background task panicked.
    Panicked,
    /// A filter made it up, in a test.
    Injected,
}

impl Fault {
    /// A fault with a text: a lower-case fragment without a full stop.
    pub fn new(text: impl Into<String>) -> Self {
        Self::of_kind(FaultKind::Reported, text)
    }

    /// A fault made of an error, which stays its source.
    pub fn from_error(error: impl Error + Send + Sync + 'static) -> Self {
        let text = error.to_string();
        let source: Option<Box<dyn Error + Send + Sync>> = Some(Box::new(error));
        Self(Arc::new(Facts { kind: FaultKind::Reported, text, source }))
    }

    pub(crate) fn of_kind(kind: FaultKind, text: impl Into<String>) -> Self {
        Self(Arc::new(Facts { kind, text: text.into(), source: None }))
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        Self::of_kind(FaultKind::Refused(refused.clone()), refused.to_string())
    }

    pub(crate) fn vacant(vacant: Vacant) -> Self {
        let text = vacant.to_string();
        Self::of_kind(FaultKind::Vacant(vacant), text)
    }

    pub(crate) fn cycle(cycle: AskCycle) -> Self {
        let text = cycle.to_string();
        Self::of_kind(FaultKind::Cycle(cycle), text)
    }

    pub(crate) fn injected(text: &str) -> Self {
        Self::of_kind(FaultKind::Injected, text)
    }

    pub(crate) fn panicked(text: &str) -> Self {
        Self::of_kind(FaultKind::Panicked, format!("panicked: {text}"))
    }

    /// What sort of fault it is.
    pub fn kind(&self) -> &FaultKind {
        &self.0.kind
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Who was asked what. Part of every error, so that its text names both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// The name of the actor or lane.
    pub to: Arc<str>,
    /// The label of the message or job.
    pub label: &'static str,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.label, self.to)
    }
}

/// A message that was not admitted, and will not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was sent to whom.
    pub address: Address,
    /// Why it was turned away.
    pub why: Refusal,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.why)
    }
}

impl Error for Refused {}

/// Why a message was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As many messages as its mailbox holds are waiting already.
    Full {
        /// The bound of the mailbox.
        capacity: usize,
    },
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It has ended.
    Gone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => write!(f, "mailbox full ({capacity} messages)"),
            Self::Draining => f.write_str("is draining"),
            Self::Gone => f.write_str("has ended"),
        }
    }
}

/// Why a request was withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// No answer came in time.
    Deadline {
        /// Who did not answer.
        to: Arc<str>,
        /// What was asked.
        label: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The asker withdrew it.
    Asked(&'static str),
    /// The runtime shuts down.
    Shutdown,
}

impl From<&'static str> for Cause {
    fn from(why: &'static str) -> Self {
        Self::Asked(why)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline { to, label, after } => {
                write!(f, "{label} to {to}: no answer within {after:?}")
            }
            Self::Asked(why) => write!(f, "withdrawn: {why}"),
            Self::Shutdown => f.write_str("withdrawn: the runtime shuts down"),
        }
    }
}

/// How a request ended; an [`Eventual`](crate::Eventual) ends in exactly one of these.
#[derive(Clone, Debug)]
pub enum Outcome<T> {
    /// Answered.
    Ok(T),
    /// Refused, or failed before there was an answer.
    Failed(Fault),
    /// Withdrawn, by its deadline or by its asker.
    Discarded(Cause),
    /// Nobody is left who could answer.
    Abandoned(Exit),
}

impl<T> Outcome<T> {
    /// The answer, or an error. [`Eventual::result`](crate::Eventual::result) gives the same error with the names
    /// of actor and message where this does not know them.
    pub fn into_result(self) -> Result<T, Lost> {
        self.into_result_at(None)
    }

    pub(crate) fn into_result_at(self, address: Option<&Address>) -> Result<T, Lost> {
        let address = address.cloned();
        match self {
            Self::Ok(value) => Ok(value),
            Self::Failed(fault) => Err(match fault.kind() {
                FaultKind::Refused(refused) => Lost::Refused(refused.clone()),
                FaultKind::Reported
                | FaultKind::Vacant(_)
                | FaultKind::Cycle(_)
                | FaultKind::Panicked
                | FaultKind::Injected => Lost::Failed { address, fault },
            }),
            Self::Discarded(Cause::Deadline { to, label, after }) => {
                Err(Lost::Deadline { address: Address { to, label }, after })
            }
            Self::Discarded(cause) => Err(Lost::Discarded { address, cause }),
            Self::Abandoned(exit) => Err(Lost::Gone { address, exit }),
        }
    }

    /// True for [`Outcome::Ok`].
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub enum Lost {
    /// No answer came in time. The message may still be handled; its answer is dropped.
    Deadline {
        /// What was asked of whom.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// The message was never admitted.
    Refused(Refused),
    /// The actor, or whoever it left the answer to, is gone.
    Gone {
        /// What was asked of whom, where that is known.
        address: Option<Address>,
        /// Why it ended.
        exit: Exit,
    },
    /// There was a failure instead of an answer.
    Failed {
        /// What was asked of whom, where that is known.
        address: Option<Address>,
        /// The failure.
        fault: Fault,
    },
    /// The request was withdrawn.
    Discarded {
        /// What was asked of whom, where that is known.
        address: Option<Address>,
        /// Why.
        cause: Cause,
    },
}

impl Lost {
    /// The exit of the actor, where that is the reason.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            Self::Gone { exit, .. } => Some(exit),
            Self::Deadline { .. }
            | Self::Refused(_)
            | Self::Failed { .. }
            | Self::Discarded { .. } => None,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = |f: &mut fmt::Formatter<'_>, address: &Option<Address>| match address {
            Some(address) => write!(f, "{address}: "),
            None => Ok(()),
        };
        match self {
            Self::Deadline { address, after } => {
                write!(f, "{address}: no answer within {after:?}")
            }
            Self::Refused(refused) => refused.fmt(f),
            Self::Gone { address, exit } => {
                prefix(f, address)?;
                write!(f, "the actor {exit}")
            }
            Self::Failed { address, fault } => {
                prefix(f, address)?;
                fault.fmt(f)
            }
            Self::Discarded { address, cause } => {
                prefix(f, address)?;
                cause.fmt(f)
            }
        }
    }
}

impl Error for Lost {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed { fault, .. } => fault.source(),
            Self::Gone { exit: Exit::Failed(fault), .. } => fault.source(),
            Self::Deadline { .. }
            | Self::Refused(_)
            | Self::Gone { .. }
            | Self::Discarded { .. } => None,
        }
    }
}

/// The text of a caught panic.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
