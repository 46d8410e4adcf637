//! Writes what must survive us, then publishes it: an event never tells what is not on disk.

pub(crate) mod actor;
pub(crate) mod files;
pub(crate) mod messages;
