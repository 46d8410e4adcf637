//! How a container ended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ContainerId, Usage};
use crate::error::{ErrorKind, Stage};

/// A raw wait(2) status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WaitStatus(pub i32);

impl WaitStatus {
    /// What a container has whose init was killed before it could write the status: SIGKILL.
    pub const KILLED: Self = Self(9);

    /// The exit code, if the process exited by itself.
    pub const fn exited(self) -> Option<i32> {
        if self.0 & 0x7f == 0 { Some((self.0 >> 8) & 0xff) } else { None }
    }

    /// The signal that ended the process.
    pub const fn signal(self) -> Option<i32> {
        if self.0 & 0x7f == 0 { None } else { Some(self.0 & 0x7f) }
    }

    /// 0–255 for an exit, 128+N for signal N: what a shell would say.
    pub const fn exit_code(self) -> i32 {
        match self.signal() {
            Some(signal) => 128 + signal,
            None => (self.0 >> 8) & 0xff,
        }
    }
}

/// The resource whose limit ended a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LimitedResource {
    /// Memory; the kernel's OOM killer struck.
    Mem,
    /// Disk quota.
    Disk,
    /// Number of processes.
    Pids,
    /// Ports not allocated to the container.
    Ports,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limitation {
    /// Which resource.
    pub resource: LimitedResource,
    /// The limit, in the resource's unit (bytes for memory and disk).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// One line for operators; names the resource in words.
    pub message: String,
}

impl Limitation {
    /// What an isolator says of a limit: `limit` in the resource's unit, `message` in one line.
    pub fn new(resource: LimitedResource, limit: Option<u64>, message: impl Into<String>) -> Self {
        Self { resource, limit, message: message.into() }
    }
}

/// How the payload of a container ended. Present if a payload ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Termination {
    /// 0–255, or 128+N beside `signal` N.
    pub exit_code: i32,
    /// The signal that ended the payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// The limit that ended it, or that killed one of its children while it lived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limitation: Option<Limitation>,
    /// It ran out of the time that was asked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// It was stopped or destroyed on request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
}

impl Termination {
    /// A payload that ended by itself, or by a signal of nobody here.
    pub const fn new(status: WaitStatus) -> Self {
        Self {
            exit_code: status.exit_code(),
            signal: status.signal(),
            limitation: None,
            timed_out: false,
            stopped: false,
        }
    }

    /// The limit, if it ended the payload; a kill for lack of memory may have struck only a child, and
    /// the payload went on until it exited, was stopped, or timed out.
    pub fn ended_by_limit(&self) -> Option<&Limitation> {
        let killed = self.exit_code == WaitStatus::KILLED.exit_code();
        let wanted = self.stopped || self.timed_out;
        self.limitation
            .as_ref()
            .filter(|limit| limit.resource != LimitedResource::Mem || (killed && !wanted))
    }
}

/// Why a container never ran, or what could not be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// Where it failed.
    pub stage: Stage,
    /// Who must act.
    pub kind: ErrorKind,
    /// The kernel's word for it, e.g. `ENOENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno: Option<String>,
    /// One lower-case line: object and cause.
    pub message: String,
}

impl Failure {
    /// One of which no system call is the cause; `message` is one lower-case line.
    pub fn new(stage: Stage, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { stage, kind, errno: None, message: message.into() }
    }
}

/// How a container ended, altogether.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct End {
    /// Present if a payload ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// Why it never ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Final figures, read after its last process was gone.
    pub usage: Usage,
    /// What could not be undone yet; empty unless the container is stuck, and in no record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<String>,
}

impl End {
    /// What it ended from, as one answer.
    ///
    /// A limit that killed only a child, and that the payload survived, is not the cause: it is told
    /// by [`Termination::limitation`].
    pub fn cause(&self) -> Cause<'_> {
        let Some(termination) = &self.termination else {
            return self.failure.as_ref().map_or(Cause::Unknown, Cause::LaunchFailed);
        };
        match (termination.ended_by_limit(), termination.signal) {
            (Some(limitation), _) => Cause::Limited(limitation),
            (None, _) if termination.timed_out => Cause::TimedOut,
            (None, _) if termination.stopped => Cause::Stopped,
            (None, Some(signal)) => Cause::Signaled { signal },
            (None, None) => Cause::Exited { code: termination.exit_code },
        }
    }
}

/// What a container ended from: [`End::cause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause<'a> {
    /// The payload exited by itself.
    Exited {
        /// 0–255.
        code: i32,
    },
    /// A signal ended the payload, and nobody here has sent it; by 9 also what still ran without an
    /// owner when the next one started.
    Signaled {
        /// signal(7).
        signal: i32,
    },
    /// A limit ended it.
    Limited(&'a Limitation),
    /// It was stopped or destroyed on request, by whatever status it ended then.
    Stopped,
    /// It ran longer than its timeout.
    TimedOut,
    /// No payload ever ran.
    LaunchFailed(&'a Failure),
    /// Nothing was written down.
    Unknown,
}

/// What is kept of an ended container until it is acknowledged, removed or aged out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Which container.
    pub container_id: ContainerId,
    /// When it ended, Unix time in nanoseconds.
    pub ended_ns: i64,
    /// Labels of the caller.
    pub labels: BTreeMap<String, String>,
    /// The caller's bytes.
    pub data: Vec<u8>,
    /// How it ended.
    pub end: End,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(termination: Termination) -> End {
        End { termination: Some(termination), ..End::default() }
    }

    fn limited(resource: LimitedResource) -> Limitation {
        Limitation { resource, limit: None, message: "enough".to_owned() }
    }

    #[test]
    fn an_end_has_one_cause() {
        let exited = Termination {
            exit_code: 3,
            signal: None,
            limitation: None,
            timed_out: false,
            stopped: false,
        };
        let killed = Termination { exit_code: 137, signal: Some(9), ..exited.clone() };
        assert_eq!(ended(exited.clone()).cause(), Cause::Exited { code: 3 });
        assert_eq!(ended(killed.clone()).cause(), Cause::Signaled { signal: 9 });
        let stopped = Termination { stopped: true, ..killed.clone() };
        assert_eq!(ended(stopped).cause(), Cause::Stopped);
        let timed_out = Termination { timed_out: true, ..killed.clone() };
        assert_eq!(ended(timed_out).cause(), Cause::TimedOut);
        let memory = limited(LimitedResource::Mem);
        let survived = Termination { limitation: Some(memory.clone()), ..exited.clone() };
        assert_eq!(ended(survived).cause(), Cause::Exited { code: 3 }, "a child was killed");
        let outlived =
            Termination { limitation: Some(memory.clone()), stopped: true, ..killed.clone() };
        assert_eq!(ended(outlived).cause(), Cause::Stopped, "a child was killed before");
        let by_memory = ended(Termination { limitation: Some(memory.clone()), ..killed });
        assert_eq!(by_memory.cause(), Cause::Limited(&memory));
        let disk = limited(LimitedResource::Disk);
        let by_disk = ended(Termination { limitation: Some(disk.clone()), ..exited });
        assert_eq!(by_disk.cause(), Cause::Limited(&disk));
        let kind = ErrorKind::Remote;
        let message = "no route".to_owned();
        let failure = Failure { stage: Stage::Provision, kind, errno: None, message };
        let failed = End { failure: Some(failure.clone()), ..End::default() };
        assert_eq!(failed.cause(), Cause::LaunchFailed(&failure));
        assert_eq!(End::default().cause(), Cause::Unknown);
    }

    #[test]
    fn a_raw_status_reads_as_a_shell_would() {
        assert_eq!(WaitStatus(256).exit_code(), 1);
        assert_eq!(WaitStatus(0).exited(), Some(0));
        assert_eq!(WaitStatus::KILLED.exit_code(), 137);
        assert_eq!(WaitStatus(15).signal(), Some(15));
        assert_eq!(WaitStatus(11 | 0x80).signal(), Some(11), "the core-dump bit is no signal");
    }
}
