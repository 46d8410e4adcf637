//! What a container may use, and what it has used.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` × 1024.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` × 1024².
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// `n` × 1024³.
    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Bytes {
    type Err = String;

    /// `NUMBER[K|M|G]`, powers of 1024.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (number, shift) = match text.as_bytes().last() {
            Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
            Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
            Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
            Some(_) | None => (text, 0),
        };
        number
            .parse::<u64>()
            .ok()
            .filter(|_| number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|n| n.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| {
                format!("{text:?} is not a number of bytes; write 1048576, 1024K, 1M or 1G")
            })
    }
}

/// Limits of a container. `None` sets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resources {
    /// CPUs: shares or weight, and the quota. 1.5 is one and a half CPUs.
    pub cpus: Option<f64>,
    /// Hard memory limit, exactly as given.
    pub memory: Option<Bytes>,
    /// Processes and threads of the payload; the init is added by the isolator.
    pub pids: Option<u64>,
}

impl Resources {
    /// CPUs, above 0.
    #[must_use]
    pub fn cpus(self, limit: f64) -> Self {
        Self { cpus: Some(limit), ..self }
    }

    /// Memory, at least [`limits::MEMORY_LIMIT_MIN`](crate::limits::MEMORY_LIMIT_MIN).
    #[must_use]
    pub fn memory(self, limit: Bytes) -> Self {
        Self { memory: Some(limit), ..self }
    }

    /// Processes and threads of the payload, at most [`limits::PIDS_MAX`](crate::limits::PIDS_MAX).
    #[must_use]
    pub fn pids(self, limit: u64) -> Self {
        Self { pids: Some(limit), ..self }
    }
}

/// What a container has used. A field is absent when no isolator measures it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// CPU time, user and system, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
    /// CPU time in user mode, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_user_ns: Option<u64>,
    /// CPU time in the kernel, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_system_ns: Option<u64>,
    /// Time during which the CPU quota held the container back, in nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_throttled_ns: Option<u64>,
    /// Memory now, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// The most memory ever, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_peak: Option<u64>,
    /// Times the kernel's OOM killer killed in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Processes and threads now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// Bytes read from block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_read_bytes: Option<u64>,
    /// Bytes written to block devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_write_bytes: Option<u64>,
}

impl Usage {
    /// Adds what `other` measured and this one did not.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.or(other.cpu_ns),
            cpu_user_ns: self.cpu_user_ns.or(other.cpu_user_ns),
            cpu_system_ns: self.cpu_system_ns.or(other.cpu_system_ns),
            cpu_throttled_ns: self.cpu_throttled_ns.or(other.cpu_throttled_ns),
            memory: self.memory.or(other.memory),
            memory_peak: self.memory_peak.or(other.memory_peak),
            oom_kills: self.oom_kills.or(other.oom_kills),
            pids: self.pids.or(other.pids),
            io_read_bytes: self.io_read_bytes.or(other.io_read_bytes),
            io_write_bytes: self.io_write_bytes.or(other.io_write_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_powers_of_1024() {
        assert_eq!("64M".parse(), Ok(Bytes::mib(64)));
        assert_eq!("2g".parse(), Ok(Bytes::gib(2)));
        assert_eq!("4096".parse(), Ok(Bytes::kib(4)));
    }

    #[test]
    fn a_text_that_is_no_size_is_refused() {
        for bad in ["", "M", "-1", "+1", "1.5G", "1T", "99999999999G"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad:?}");
        }
    }
}
