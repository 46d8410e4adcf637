//! ROOM: puts what a command names by URI into its sandbox, before the command runs.
//!
//! URIs are fetched in order, so that a later one may overwrite what an earlier one brought. Nothing
//! leaves the sandbox: every name is resolved by the kernel below it, links are never followed, and
//! what arrives belongs to the container's user. Does not cache, and knows no hadoop.

pub(crate) mod actor;
#[cfg(feature = "registry")]
mod download;
mod error;
mod fetch;
mod gate;
pub(crate) mod messages;
mod unpack;
mod uri;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use error::FetchError;
pub(crate) use fetch::{Fetcher, FetcherConfig};
pub(crate) use uri::validate;
