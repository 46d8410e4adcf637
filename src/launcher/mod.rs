//! ROOM: starts the first process of a container, and ends all of them.
//!
//! The init is our own small static program, run from a sealed memfd; it does what the plan says,
//! starts the payload, waits for it and writes down how it ended. It never runs code of the
//! embedding process.

pub(crate) mod messages;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::model::{ContainerId, LaunchInfo, Rootfs, WaitStatus};

pub use crate::isolators::InitPid;

/// The three streams of a payload, open and ready.
#[derive(Debug)]
pub struct Stdio {
    /// Read by the payload.
    pub stdin: OwnedFd,
    /// Written by the payload.
    pub stdout: OwnedFd,
    /// Written by the payload.
    pub stderr: OwnedFd,
}

/// What a container dies with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The init outlives this process (agent).
    Independent,
    /// The init kills the payload when this process is gone (`longshore run`).
    WithAgent,
}

/// Everything that a fork needs.
#[derive(Debug)]
pub struct ForkRequest {
    /// Who.
    pub container_id: ContainerId,
    /// Merged contributions: `plan::merge`.
    pub launch: LaunchInfo,
    /// What the payload's root becomes; `None`: the host's file system.
    pub rootfs: Option<Rootfs>,
    /// Streams.
    pub stdio: Stdio,
    /// Where the init writes the raw wait status: decimal text, mode 0600.
    pub status_file: PathBuf,
    /// What it dies with.
    pub lifetime: Lifetime,
}

/// Why a released init did not reach exec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}", nix::errno::Errno::from_raw(*errno).desc().to_lowercase())]
pub struct StartFailure {
    /// What was tried, with its object: `exec /no/such`, `mount proc at /proc`.
    pub step: String,
    /// The exec itself failed, not something before it.
    pub exec: bool,
    /// The kernel's error number.
    pub errno: i32,
}

/// How the truth about an end was found; for tests and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Raw wait status of the payload.
    pub status: WaitStatus,
}
