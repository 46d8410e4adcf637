//! BOTTOM: the kernel. System calls with types, and nothing that knows of containers.
//!
//! Takes descriptors, paths and flags. The only `unsafe` of the library is here and in
//! `launcher/init/`.

pub mod capabilities;
pub mod cgroups;
pub(crate) mod clock;
mod error;
pub mod fs;
pub(crate) mod memfd;
pub(crate) mod mount;
pub mod open_as;
pub mod overlay;
pub(crate) mod pidfd;
pub(crate) mod probe;
pub(crate) mod process;
pub mod processes;
pub(crate) mod root;
pub(crate) mod socket;
pub mod stream;
pub(crate) mod tree;
#[cfg(all(test, feature = "root-tests"))]
pub(crate) mod without;

pub use error::Error;
