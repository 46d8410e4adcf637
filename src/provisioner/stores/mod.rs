//! Image stores: one folder for each way in which images are kept elsewhere; one cache for all.

mod cache;
pub mod docker;
mod error;
mod image_store;
mod lease;
mod manifest;
pub mod oci;
mod origin;
mod pipeline;
mod prune;
mod pull;
mod table;
mod verify;

#[cfg(all(test, feature = "root-tests", feature = "registry"))]
mod root_tests;

pub use error::StoreError;
pub use image_store::{ImageStore, LayerDir, StoreConfig, StoredImage};
pub use lease::Lease;
pub use manifest::Platform;
pub use prune::{ImageRow, Pruned};
pub use pull::{Progress, ProgressFn};

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use crate::model::Digest;

/// A manifest or index as the remote gave it.
#[derive(Debug, Clone)]
pub struct RawManifest {
    /// The exact bytes; their digest is the manifest's.
    pub bytes: Bytes,
    /// `Content-Type`, or the `mediaType` of the descriptor that named it.
    pub media_type: String,
}

/// What a manifest says of one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Digest of the bytes as they are transferred.
    pub digest: Digest,
    /// Bytes as they are transferred.
    pub size: u64,
}

/// A boxed future, so that sources are objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The bytes of a blob, in order, from the first to the last. Dropping it stops the transfer.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, SourceError>> + Send>>;

/// Where manifests and blobs come from: a registry, a layout directory, an archive.
///
/// A source answers with bytes; digests, sizes and formats are verified by whoever asked.
pub trait Source: Send + Sync + 'static {
    /// The manifest or index that the reference names.
    fn top(&self) -> BoxFuture<'_, Result<RawManifest, SourceError>>;

    /// A manifest that an index names.
    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<RawManifest, SourceError>>;

    /// A configuration or layer. Resumes by itself where the transfer is cut.
    fn blob<'a>(&'a self, blob: &'a Blob) -> BoxFuture<'a, Result<BlobStream, SourceError>>;
}

/// Why a source has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The reference cannot be read.
    #[error("{0}")]
    Invalid(String),
    /// There is no such image or blob.
    #[error("{0} not found")]
    NotFound(String),
    /// The remote wants credentials, or better ones.
    #[error("{registry} refused access to {object}: {reason}")]
    Denied {
        /// Host and port.
        registry: String,
        /// Repository.
        object: String,
        /// The remote's words, one line.
        reason: String,
    },
    /// The remote failed, cannot be reached, or stalled.
    #[error("{url}: {reason}")]
    Remote {
        /// What was asked, without credentials.
        url: String,
        /// One line.
        reason: String,
    },
    /// What came is not what the digest or the size says.
    #[error("{object} is corrupt: {reason}")]
    Corrupt {
        /// Digest or path.
        object: String,
        /// One line.
        reason: String,
    },
    /// A file of ours or the caller's.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}
