//! Which files a container sees.

pub(super) mod linux;
pub(super) mod mounts;
pub(super) mod posix;
mod volumes;
