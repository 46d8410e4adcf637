//! Why a fetch has failed. Every text names the URI, without user, password and query.

use crate::error::{Classified, ErrorKind};
use crate::linux;

/// Why a fetch has failed.
#[derive(Debug, thiserror::Error)]
#[cfg_attr(
    not(feature = "registry"),
    expect(dead_code, reason = "only a remote is not found or fails")
)]
pub(crate) enum FetchError {
    /// The URI or its target cannot be used.
    #[error("uri {uri:?}: {reason}")]
    Invalid { uri: String, reason: &'static str },
    /// Another build or another tool could.
    #[error("uri {uri:?}: {reason}")]
    Unsupported { uri: String, reason: &'static str },
    /// The server has no such file.
    #[error("fetch {uri}: not found")]
    NotFound { uri: String },
    /// The server fails, cannot be reached, or stalls.
    #[error("fetch {uri}: {reason}")]
    Remote { uri: String, reason: String },
    /// A local file that the container's user cannot read.
    #[error("fetch {uri}: {error}")]
    Source {
        uri: String,
        #[source]
        error: linux::Error,
    },
    /// The sandbox does not take it.
    #[error("fetch {uri} into the sandbox: {error}")]
    Sandbox {
        uri: String,
        #[source]
        error: linux::Error,
    },
    /// More than a fetch may bring.
    #[error("fetch {uri}: more than {limit} {unit}")]
    TooLarge { uri: String, limit: u64, unit: &'static str },
    /// The archive is damaged, or reaches out of the sandbox.
    #[error("unpack {uri}: {reason}")]
    Archive { uri: String, reason: String },
    /// The fetch was dropped.
    #[error("fetch {uri}: withdrawn")]
    Withdrawn { uri: String },
    /// Our own thread is gone.
    #[error("fetch {uri}: the writer panicked")]
    Lost { uri: String },
}

impl Classified for FetchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Source { .. } | Self::Archive { .. } => {
                ErrorKind::InvalidRequest
            }
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Remote { .. } => ErrorKind::Remote,
            Self::Sandbox { error, .. } => error.kind(),
            Self::TooLarge { .. } => ErrorKind::Exhausted,
            Self::Withdrawn { .. } => ErrorKind::Discarded,
            Self::Lost { .. } => ErrorKind::Internal,
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Source { error, .. } | Self::Sandbox { error, .. } => error.errno_name(),
            Self::Invalid { .. }
            | Self::Unsupported { .. }
            | Self::NotFound { .. }
            | Self::Remote { .. }
            | Self::TooLarge { .. }
            | Self::Archive { .. }
            | Self::Withdrawn { .. }
            | Self::Lost { .. } => None,
        }
    }
}
