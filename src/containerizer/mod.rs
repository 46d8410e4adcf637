//! ROOM: who exists. One actor routes by id; one supervisor actor per container owns its state.

pub(crate) mod actor;
mod claim;
pub(crate) mod messages;
pub(crate) mod recorder;
pub(crate) mod recovery;
pub(crate) mod rooms;
mod run_lock;
pub(crate) mod supervisor;

pub use run_lock::{NotLocked, RunLock};
pub(crate) use run_lock::{claim_for_agent, no_sandbox};

#[cfg(test)]
mod tests;
