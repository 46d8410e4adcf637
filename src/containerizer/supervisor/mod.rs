//! One container: its state, decided in `state.rs`, performed by `actor.rs`.

pub(crate) mod state;
