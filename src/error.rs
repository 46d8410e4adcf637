//! The public error: who must act, where it happened, and why.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::model::{ContainerId, Failure};

/// Who must act on an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller changes the request.
    InvalidRequest,
    /// The caller: nothing of this name is known.
    NotFound,
    /// The caller: the state forbids it.
    Conflict,
    /// The operator; the feature has a row in `docs/kernel-features.md`.
    Unsupported,
    /// The operator or the caller; a limit is reached and named.
    Exhausted,
    /// Retry later: a registry or another remote.
    Remote,
    /// The operator: the host refused.
    Host,
    /// Nobody; it was withdrawn.
    Discarded,
    /// Us: a broken invariant, a panic.
    Internal,
}

/// Where in a container's life an error arose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Stage {
    /// Before a container exists: configuration, flags, start.
    Configure,
    /// Image to root file system.
    Provision,
    /// Isolators describe and allocate.
    Prepare,
    /// The init is started.
    Fork,
    /// Isolators place it under control.
    Isolate,
    /// URIs into the sandbox.
    Fetch,
    /// The init sets the container up.
    Start,
    /// The payload's program is executed.
    Exec,
    /// The payload runs.
    Run,
    /// Everything is undone.
    Destroy,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Provision => "provision",
            Self::Prepare => "prepare",
            Self::Fork => "fork",
            Self::Isolate => "isolate",
            Self::Fetch => "fetch",
            Self::Start => "start",
            Self::Exec => "exec",
            Self::Run => "run",
            Self::Destroy => "destroy",
        })
    }
}

/// What every room's error can say about itself, so that it becomes a public [`Error`] or a
/// [`Failure`] on record in one way.
pub trait Classified: std::error::Error + Send + Sync + 'static {
    /// Who must act.
    fn kind(&self) -> ErrorKind;

    /// The kernel's name of the error number, where a system call is the cause.
    fn errno(&self) -> Option<String> {
        None
    }

    /// The stage, where the error knows better than the one who called.
    fn stage(&self) -> Option<Stage> {
        None
    }
}

/// A failure of Longshore. Opaque: ask [`Error::kind`], [`Error::stage`] and the source chain.
///
/// `Display` is one lower-case line that names stage, object and cause.
#[derive(Debug)]
pub struct Error {
    failure: Failure,
    container_id: Option<ContainerId>,
    remaining: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `stage`; `message` names object and cause.
    pub fn new(stage: Stage, kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = plain(&one_line(&message.into()));
        Self::from(Failure { stage, kind, errno: None, message })
    }

    /// A room's error, met in `stage`.
    pub fn wrap<E: Classified>(stage: Stage, error: E) -> Self {
        let failure = failure(stage, &error);
        Self { failure, container_id: None, remaining: Vec::new(), source: Some(Box::new(error)) }
    }

    /// Names the container.
    #[must_use]
    pub fn of(mut self, container_id: &ContainerId) -> Self {
        self.container_id = Some(container_id.clone());
        self
    }

    /// Names what a failed destroy has left.
    #[must_use]
    pub fn with_remaining(mut self, remaining: Vec<String>) -> Self {
        self.remaining = remaining;
        self
    }

    /// Who must act.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind
    }

    /// Where it happened.
    pub fn stage(&self) -> Stage {
        self.failure.stage
    }

    /// Which container, if one is concerned.
    pub fn container_id(&self) -> Option<&ContainerId> {
        self.container_id.as_ref()
    }

    /// What a stuck container still holds; empty otherwise.
    pub fn remaining(&self) -> &[String] {
        &self.remaining
    }

    /// The same as data, as events and records carry it.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self { failure, container_id: None, remaining: Vec::new(), source: None }
    }
}

/// A room's error as data: the message has the whole chain in one line.
pub fn failure<E: Classified>(stage: Stage, error: &E) -> Failure {
    Failure {
        stage: error.stage().unwrap_or(stage),
        kind: error.kind(),
        errno: error.errno(),
        message: chain(error),
    }
}

/// An error and what caused it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        // An error that already prints its cause is not told twice.
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    plain(&one_line(&message))
}

/// `text` without what ends a line or moves the cursor, whoever has written it.
pub(crate) fn one_line(text: &str) -> String {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text.replace("\r\n", " ").replace(breaks, " ")
}

/// `text` with the kernel's words as we write them: std says "No such file or directory (os error
/// 2)", in the middle of a line.
pub fn plain(text: &str) -> String {
    const OPEN: &str = " (os error ";
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let number = &rest[at + OPEN.len()..];
        let number = &number[..number.find(')').unwrap_or(0)];
        let end = at + OPEN.len() + number.len();
        let words = number.parse().ok().map(io::Error::from_raw_os_error);
        let words = words.map(|error| error.to_string()).unwrap_or_default();
        let words = words.split(OPEN).next().unwrap_or_default();
        match rest[..at].strip_suffix(words) {
            Some(before) if !words.is_empty() => {
                plain.push_str(before);
                plain.push_str(&words.to_lowercase());
                rest = &rest[end + 1..];
            }
            // Somebody else's words, which stay as they are.
            _ => {
                plain.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    plain.push_str(rest);
    plain
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.failure.stage, self.failure.message)?;
        match self.remaining.is_empty() {
            true => Ok(()),
            false => write!(f, "; remaining: {}", self.remaining.join(", ")),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_somebody_writes_is_one_line() {
        let text = "a\nb\r\nc\u{85}d\u{2028}e\u{1b}[2Jf\u{b}g";
        assert_eq!(one_line(text), "a b c d e [2Jf g");
        let error = Error::new(Stage::Run, ErrorKind::Host, "x\ny");
        assert_eq!(error.to_string(), "run: x y");
    }

    #[test]
    fn the_kernels_words_are_in_lower_case_and_without_its_number() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(plain(&format!("/x: {error}")), "/x: no such file or directory");
        let twice = format!("{error}; {}", io::Error::from_raw_os_error(28));
        assert_eq!(plain(&twice), "no such file or directory; no space left on device");
        for other in ["", "plain", "Quoted (os error 2)", "(os error 2", "x (os error )", "a) (b"] {
            assert_eq!(plain(other), other);
        }
    }
}
