//! Limits and figures by cgroups, on v1, v2 and hybrid hosts.

pub(super) mod cpu;
pub(super) mod mem;
pub(super) mod pids;
mod place;
#[cfg(all(test, feature = "root-tests"))]
mod root_tests;
