//! ROOM: turns an image into a root file system.
//!
//! ```text
//! stores:   reference → layers on disk, bottom first, and the image's configuration
//! backends: layers → a root file system for one container
//! ```

pub mod backends;
pub(crate) mod messages;
mod extract;
pub mod layer;
mod replicate;
pub mod stores;

pub use stores::docker::{DefaultRegistry, InvalidReference};
