//! ROOM: what a command needs, from URIs into the sandbox.

pub(crate) mod messages;
