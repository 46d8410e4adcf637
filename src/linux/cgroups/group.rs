//! One cgroup of one container: limits and figures, whatever the version.

use std::path::{Path, PathBuf};

use super::detect::{Members, Version};
use super::{v1, v2};
use crate::linux::Error;

/// The cgroup of the processes below one that has controllers.
pub(super) const LEAF: &str = "leaf";

/// One cgroup of one container. All functions block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    version: Version,
    members: Members,
    directory: PathBuf,
}

/// What is known of the limits of a group when one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It was just made, so it has the kernel's: what is to stay as it is needs not be written, and
    /// what is there needs not be read.
    Defaults,
    /// Any.
    Anything,
}

/// What a container's processes have used of the CPUs, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuUsage {
    /// User and system time.
    pub total: Option<u64>,
    /// In user mode.
    pub user: Option<u64>,
    /// In the kernel.
    pub system: Option<u64>,
    /// Held back by the quota.
    pub throttled: Option<u64>,
}

/// How often memory ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEvents {
    /// The limit was in the way, and nothing could be reclaimed. Without it a kill is the host's;
    /// where nobody was killed, v1 is not asked.
    pub at_limit: bool,
    /// Processes that an OOM killer ended, the host's included. v1 has it since Linux 4.13.
    pub oom_kills: u64,
}

impl Group {
    pub(super) fn new(version: Version, members: Members, directory: PathBuf) -> Self {
        Self { version, members, directory }
    }

    /// Its interface.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Where its limits are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory whose `cgroup.procs` the first process joins.
    pub fn processes(&self) -> PathBuf {
        match self.members {
            Members::Here => self.directory.clone(),
            Members::InLeaf => self.directory.join(LEAF),
        }
    }

    pub(super) fn members(&self) -> Members {
        self.members
    }

    /// A share of the host's CPUs, and the same as an upper bound. Controller `Cpu`.
    pub fn set_cpus(&self, cpus: f64, before: Before) -> Result<(), Error> {
        match self.version {
            Version::V1 => v1::set_cpus(&self.directory, cpus, before),
            Version::V2 => v2::set_cpus(&self.directory, cpus, before),
        }
    }

    /// The hard memory limit, swap included where the kernel counts it. Controller `Memory`.
    ///
    /// Errors: EBUSY where more than `limit_bytes` is in use and cannot be reclaimed; then nothing
    /// has changed and nothing was killed.
    pub fn set_memory(&self, limit_bytes: u64, before: Before) -> Result<(), Error> {
        match self.version {
            Version::V1 => v1::set_memory(&self.directory, limit_bytes, before),
            Version::V2 => v2::set_memory(&self.directory, limit_bytes, before),
        }
    }

    /// The hard memory limit as the kernel has it, rounded to pages; `None`: there is none.
    /// Controller `Memory`.
    pub fn memory_limit(&self) -> Result<Option<u64>, Error> {
        let file = match self.version {
            Version::V1 => "memory.limit_in_bytes",
            Version::V2 => "memory.max",
        };
        let text = super::control::read(&self.directory.join(file))?;
        // v1 has a number for "none": the largest multiple of a page that is an i64.
        let is_limit = |bytes: &u64| *bytes < (i64::MAX.cast_unsigned() >> 16) << 16;
        Ok(text.trim().parse().ok().filter(is_limit))
    }

    /// The most processes and threads. Controller `Pids`; the file is the same in both versions.
    pub fn set_pids(&self, limit: u64) -> Result<(), Error> {
        super::control::write(&self.directory.join("pids.max"), &limit.to_string())
    }

    /// Processes and threads now. Controller `Pids`.
    pub fn pids(&self) -> Result<u64, Error> {
        super::control::read_number(&self.directory.join("pids.current"))
    }

    /// Memory in use now, in bytes. Controller `Memory`.
    pub fn memory(&self) -> Result<u64, Error> {
        let file = match self.version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        super::control::read_number(&self.directory.join(file))
    }

    /// The most memory ever in use, in bytes; v2 has it since Linux 5.19. Controller `Memory`.
    pub fn memory_peak(&self) -> Result<Option<u64>, Error> {
        let file = match self.version {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        super::control::read_number_if_any(&self.directory.join(file))
    }

    /// How often memory ran out. Controller `Memory`.
    pub fn memory_events(&self) -> Result<MemoryEvents, Error> {
        match self.version {
            Version::V1 => v1::memory_events(&self.directory),
            Version::V2 => v2::memory_events(&self.directory),
        }
    }
}
