//! What all shells say in one way: why a message has no answer.

use longshore_actors::Lost;

use crate::error::{ErrorKind, Stage};
use crate::model::Failure;

/// A message without an answer, as a failure of `stage`; the text names the actor and the message.
pub(crate) fn unanswered(stage: Stage, lost: &Lost) -> Failure {
    let kind = match lost {
        Lost::Deadline { .. } => ErrorKind::Host,
        Lost::Refused(_) => ErrorKind::Exhausted,
        Lost::Gone { .. } | Lost::Failed { .. } => ErrorKind::Internal,
        Lost::Discarded { .. } => ErrorKind::Discarded,
    };
    Failure { stage, kind, errno: None, message: lost.to_string().replace('\n', " ") }
}

/// The answer, or why there is none.
pub(crate) fn flatten<T>(
    stage: Stage,
    answer: Result<Result<T, Failure>, Lost>,
) -> Result<T, Failure> {
    answer.unwrap_or_else(|lost| Err(unanswered(stage, &lost)))
}
