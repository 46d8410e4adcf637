//! Longshore: an embeddable containerizer for Rust schedulers.

mod checkpoint;
pub mod config;
pub mod containerizer;
pub mod error;
pub mod events;
mod fetcher;
mod handle;
#[cfg(feature = "registry")]
pub mod http;
mod io;
pub mod isolators;
pub mod launcher;
pub mod limits;
pub mod linux;
mod messages;
pub mod model;
pub mod paths;
pub mod provisioner;
pub mod spec;
mod start;

pub use handle::{Builder, Containerizer, Containers, Job, Stop};
pub use start::open_store;
