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
pub struct Limitation {
    /// Which resource.
    pub resource: LimitedResource,
    /// The limit, in the resource's unit (bytes for memory and disk).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// One line for operators; names the resource in words.
    pub message: String,
}

/// How the payload of a container ended. Present if a payload ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Why a container never ran, or what could not be undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

    #[test]
    fn a_raw_status_reads_as_a_shell_would() {
        assert_eq!(WaitStatus(256).exit_code(), 1);
        assert_eq!(WaitStatus(0).exited(), Some(0));
        assert_eq!(WaitStatus::KILLED.exit_code(), 137);
        assert_eq!(WaitStatus(15).signal(), Some(15));
        assert_eq!(WaitStatus(11 | 0x80).signal(), Some(11), "the core-dump bit is no signal");
    }
}
