//! Why an image is not there.

use std::path::PathBuf;
use std::sync::Arc;

use super::SourceError;
use crate::error::{Classified, ErrorKind};
use crate::linux;
use crate::model::Digest;
use crate::provisioner::layer::LayerError;

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The reference names no image that there could be.
    #[error("image {reference:?}: {reason}")]
    Reference {
        /// As given.
        reference: String,
        /// One line.
        reason: String,
    },
    /// What this build of Longshore leaves out.
    #[error("image {reference:?}: {reason}")]
    Unsupported {
        /// As given.
        reference: String,
        /// One line, with the feature.
        reason: &'static str,
    },
    /// Not in the store, and the policy forbids to look elsewhere.
    #[error("image {0} is not in the store")]
    Absent(String),
    /// The remote has no answer.
    #[error("image {reference}: {error}")]
    Source {
        /// Which image.
        reference: String,
        /// Why.
        #[source]
        error: SourceError,
    },
    /// What came is not what was asked for.
    #[error("{object} is corrupt: {reason}")]
    Corrupt {
        /// Digest or name.
        object: String,
        /// One line.
        reason: String,
    },
    /// A format that we do not read.
    #[error("{object} has the unsupported media type {media_type:?}{hint}")]
    MediaType {
        /// Digest or name.
        object: String,
        /// As written.
        media_type: String,
        /// What could be done, or nothing.
        hint: &'static str,
    },
    /// There is no variant for this host.
    #[error("image has no variant for {wanted}; it has {offered}")]
    Platform {
        /// Of this host.
        wanted: String,
        /// Of the image.
        offered: String,
    },
    /// A limit of ours.
    #[error("{object}: more than {limit} {what}")]
    Limit {
        /// Digest or name.
        object: String,
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: u64,
    },
    /// A layer does not unpack.
    #[error("layer {digest}: {error}")]
    Layer {
        /// Of the blob.
        digest: Digest,
        /// Why.
        #[source]
        error: LayerError,
    },
    /// A file of the store cannot be trusted.
    #[error("{path}: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// One line.
        reason: String,
    },
    /// A file of the store cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The kernel refused.
    #[error("{path}: {error}")]
    Kernel {
        /// What was worked on.
        path: PathBuf,
        /// The call.
        #[source]
        error: linux::Error,
    },
    /// Everybody who waited for the pull has gone, or the program ends.
    #[error("the pull was withdrawn")]
    Withdrawn,
    /// What another caller's pull met, which this one had joined.
    #[error(transparent)]
    Joined(Arc<StoreError>),
}

impl StoreError {
    pub(crate) fn corrupt(object: impl ToString, reason: impl ToString) -> Self {
        Self::Corrupt { object: object.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn kernel(path: impl Into<PathBuf>) -> impl FnOnce(linux::Error) -> Self {
        let path = path.into();
        |error| Self::Kernel { path, error }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |error| Self::File { path, error }
    }

    /// The file system has no room, or no inode.
    pub(super) fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Kernel { error, .. } if error.errno == linux::fs::Errno::NOSPC)
    }
}

impl Classified for StoreError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Reference { .. } | Self::MediaType { .. } | Self::Platform { .. } => {
                ErrorKind::InvalidRequest
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Absent(_) => ErrorKind::NotFound,
            Self::Source { error, .. } => match error {
                SourceError::Invalid(_) => ErrorKind::InvalidRequest,
                SourceError::NotFound(_) => ErrorKind::NotFound,
                SourceError::Denied { .. }
                | SourceError::Remote { .. }
                | SourceError::Corrupt { .. } => ErrorKind::Remote,
                SourceError::File { error, .. } => match error.kind() {
                    std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                    _ => ErrorKind::Host,
                },
            },
            Self::Corrupt { .. } => ErrorKind::Remote,
            Self::Limit { .. } => ErrorKind::Exhausted,
            Self::Layer { error, .. } => error.kind(),
            Self::Damaged { .. } => ErrorKind::Host,
            Self::File { error, .. } => linux::Error::from_io("", error).kind(),
            Self::Kernel { error, .. } => error.kind(),
            Self::Withdrawn => ErrorKind::Discarded,
            Self::Joined(error) => error.kind(),
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Layer { error, .. } => error.errno(),
            Self::File { error, .. } => linux::Error::from_io("", error).errno_name(),
            Self::Kernel { error, .. } => error.errno_name(),
            Self::Joined(error) => error.errno(),
            Self::Source { error: SourceError::File { error, .. }, .. } => {
                linux::Error::from_io("", error).errno_name()
            }
            Self::Source { .. }
            | Self::Reference { .. }
            | Self::Unsupported { .. }
            | Self::Absent(_)
            | Self::Corrupt { .. }
            | Self::MediaType { .. }
            | Self::Platform { .. }
            | Self::Limit { .. }
            | Self::Damaged { .. }
            | Self::Withdrawn => None,
        }
    }
}
