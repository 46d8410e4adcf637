//! When something happened, on both clocks.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::linux;

/// Wall-clock time; written in RFC 3339, UTC, to the microsecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallTime(jiff::Timestamp);

impl WallTime {
    /// Now.
    pub fn now() -> Self {
        Self(jiff::Timestamp::now())
    }

    /// The time of a checkpoint; one that no clock can show is 1970.
    pub(crate) fn from_unix_ns(ns: i64) -> Self {
        Self(jiff::Timestamp::from_nanosecond(ns.into()).unwrap_or_default())
    }

    /// Nanoseconds since 1970, for checkpoints; within an i64 until the year 2262.
    pub(crate) fn unix_ns(self) -> i64 {
        i64::try_from(self.0.as_nanosecond()).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WallTime {
    type Err = InvalidWallTime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| InvalidWallTime { text: text.to_owned() })
    }
}

impl TryFrom<String> for WallTime {
    type Error = InvalidWallTime;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<WallTime> for String {
    fn from(time: WallTime) -> Self {
        time.to_string()
    }
}

impl From<WallTime> for SystemTime {
    fn from(time: WallTime) -> Self {
        let since_1970 = time.0.as_nanosecond().try_into().unwrap_or(0);
        Self::UNIX_EPOCH + Duration::from_nanos(since_1970)
    }
}

/// A text that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time in RFC 3339")]
#[non_exhaustive]
pub struct InvalidWallTime {
    /// As given.
    pub text: String,
}

/// One instant on both clocks: the wall's, which may be set back, and the kernel's monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For people and for other machines.
    pub time: WallTime,
    /// CLOCK_MONOTONIC, for differences.
    pub monotonic_ns: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        Self { time: WallTime::now(), monotonic_ns: linux::clock::monotonic_ns() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_to_the_microsecond_and_reads_back() {
        for text in ["2026-11-23T21:00:00.123456Z", "2026-11-23T21:00:00.000000Z"] {
            let time: WallTime = text.parse().expect("valid");
            assert_eq!(time.to_string(), text);
        }
        assert!("yesterday".parse::<WallTime>().is_err());
    }
}
