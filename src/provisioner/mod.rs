//! ROOM: turns an image into a root file system.
//!
//! ```text
//! stores:   reference → layers on disk, bottom first, and the image's configuration
//! backends: layers → a root file system for one container
//! ```

pub(crate) mod actor;
mod assemble;
pub mod backends;
mod extract;
pub mod layer;
pub(crate) mod messages;
mod named_lock;
mod replicate;
pub mod stores;
mod targets;

pub use assemble::{ProvisionError, Provisioner};
pub use stores::docker::{DefaultRegistry, InvalidReference, Reference};
pub use targets::targets;
