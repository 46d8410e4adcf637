//! One container: its state, decided in `state.rs`, performed by `actor.rs`.

pub(crate) mod actor;
pub(crate) mod messages;
pub(crate) mod state;
pub(crate) mod termination;
