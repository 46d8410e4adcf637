//! Images in registries: Docker's names, the distribution protocol, credentials.
//!
//! Offers [`Reference`] (pure: what a name means and what it is called in the cache) and, with the
//! feature `registry`, `Registry`: the client whose `source` is one image's `Source`.
//! Does not verify, unpack or keep anything: that is the store's work, the same for every source.

pub(crate) mod archive;
mod reference;

#[cfg(feature = "registry")]
mod auth;
#[cfg(feature = "registry")]
mod blob;
#[cfg(feature = "registry")]
mod challenge;
#[cfg(feature = "registry")]
mod credentials;
#[cfg(feature = "registry")]
mod fetch;
#[cfg(feature = "registry")]
mod request;
#[cfg(all(test, feature = "registry"))]
mod tests;

pub use reference::{DefaultRegistry, InvalidReference, Reference, Scheme};

#[cfg(feature = "registry")]
pub use credentials::{Credentials, CredentialsError, DockerConfig};
#[cfg(feature = "registry")]
pub use fetch::{Registry, RegistryConfig, RegistrySource};
