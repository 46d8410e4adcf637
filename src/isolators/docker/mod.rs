//! What the configuration of an image says of running it.

pub(super) mod runtime;
