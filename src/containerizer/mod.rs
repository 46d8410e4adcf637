//! ROOM: who exists. One actor routes by id; one supervisor actor per container owns its state.

pub(crate) mod supervisor;
