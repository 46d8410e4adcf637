//! What every Unix has: figures of processes, and their resource limits.

pub(super) mod cpu;
pub(super) mod mem;
pub(super) mod rlimits;
