//! Capabilities by name and by number, and which of them this process has.
//!
//! Source: kernel `include/uapi/linux/capability.h`.

use crate::linux::Error;
use crate::linux::error::Called;

/// All capabilities, at the place of their number.
const NAMES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// To switch the group.
pub const SETGID: u8 = 6;

/// To switch the user.
pub const SETUID: u8 = 7;

/// To have namespaces and mounts.
pub const SYS_ADMIN: u8 = 21;

/// To raise resource limits.
pub const SYS_RESOURCE: u8 = 24;

/// The number of a capability; upper or lower case, with or without `CAP_`.
pub fn by_name(name: &str) -> Option<u8> {
    let upper = name.to_ascii_uppercase();
    let wanted = upper.strip_prefix("CAP_").unwrap_or(&upper);
    let found = NAMES.iter().position(|known| known.strip_prefix("CAP_") == Some(wanted))?;
    u8::try_from(found).ok()
}

/// A set of capabilities; bit N is capability N.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// Every capability known here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// What is known of a mask.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// The mask.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Has this one.
    pub const fn contains(self, capability: u8) -> bool {
        self.0 & (1 << capability) != 0
    }

    /// With this one.
    #[must_use]
    pub const fn with(self, capability: u8) -> Self {
        Self(self.0 | 1 << capability)
    }

    /// What is in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names of its members, by number.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(n, _)| self.0 & (1 << n) != 0).map(|(_, name)| *name)
    }
}

impl FromIterator<u8> for Set {
    fn from_iter<I: IntoIterator<Item = u8>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::NONE, Self::with)
    }
}

/// What this thread can pass on to a child: its permitted capabilities, within its bounding set.
pub fn held() -> Result<Set, Error> {
    let file = "/proc/thread-self/status";
    let text = std::fs::read_to_string(file).called(|| format!("read({file:?})"))?;
    let mask = |field| {
        mask_of(&text, field).ok_or_else(|| {
            Error::new(format!("read({file:?}): no {field}"), rustix::io::Errno::INVAL)
        })
    };
    Ok(Set(mask("CapPrm")?).and(Set(mask("CapBnd")?)))
}

fn mask_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_leniently_and_numbers_are_the_kernels() {
        assert_eq!(by_name("CAP_CHOWN"), Some(0));
        assert_eq!(by_name("sys_admin"), Some(21));
        assert_eq!(by_name("CAP_SYS_RESOURCE"), Some(SYS_RESOURCE));
        assert_eq!(by_name("CAP_CHECKPOINT_RESTORE"), Some(40));
        assert_eq!(by_name("CAP_"), None);
        assert_eq!(by_name("CAP_FLY"), None);
    }

    #[test]
    fn the_masks_of_a_status_file_are_read() {
        let status = "Name:\tx\nCapPrm:\t000001fffeffffff\nCapBnd:\t00000000a80425fb\n";
        assert_eq!(mask_of(status, "CapBnd"), Some(0xa804_25fb));
        assert_eq!(mask_of(status, "CapPrm").map(|m| Set(m).contains(SYS_RESOURCE)), Some(false));
        assert_eq!(mask_of(status, "CapAmb"), None);
    }

    #[test]
    fn this_process_knows_what_it_holds() {
        let held = held().expect("readable");
        assert_eq!(held.names().count(), held.and(Set::ALL).bits().count_ones() as usize);
    }
}
