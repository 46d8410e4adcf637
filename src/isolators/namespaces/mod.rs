//! Kernel name spaces of a container's own.

pub(super) mod ipc;
pub(super) mod pid;
mod require;

pub(super) use require::require;
