//! Unpacks one layer: a plain tar stream into a directory in overlay's form.
//!
//! Two steps. `unpack` needs nothing but the stream, so that layers unpack side by side;
//! `Unpacked::finish` needs the finished layers below. Digests are verified between the two, by
//! `stores/pull.rs`, and nothing is trusted before.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::extract::{Below, TarError, TarStream, Tree};
use crate::error::{Classified, ErrorKind};
use crate::limits;
use crate::linux;
use crate::linux::fs::{self, Directory};

/// Below a layer's directory: its tree.
pub(crate) const TREE: &str = "fs";

/// A layer whose tree is there, and whose last touches wait for the layers below.
#[derive(Debug)]
pub(crate) struct Unpacked {
    tree: Tree,
    directory: Directory,
    /// Bytes of its files.
    pub(crate) bytes: u64,
}

/// Writes the tar that `stream` has to its end into the new directory `into`, whose tree is then
/// `into/fs`. Reads the stream to its end, so that the caller's digest covers all of it.
///
/// Blocks: reads and writes. Undo: remove `into`.
pub(crate) fn unpack(stream: impl BufRead, into: &Path) -> Result<Unpacked, LayerError> {
    let (Some(parent), Some(name)) = (into.parent(), into.file_name()) else {
        return Err(LayerError::name(into, "is no directory for a layer"));
    };
    let parent = Directory::open(parent)?;
    parent.mkdir(name)?;
    let directory = parent.child(name)?;
    for part in [TREE, "plink"] {
        directory.mkdir(part.as_ref())?;
    }
    let root = directory.child(TREE.as_ref())?;
    let plink = directory.child("plink".as_ref())?;
    let mut tree = Tree::new(root, plink, directory.create("marks".as_ref())?)?;
    let mut stream = TarStream::new(stream);
    let (mut entries, mut bytes) = (0, 0u64);
    while let Some(entry) = stream.next()? {
        entries += 1;
        bytes = bytes.saturating_add(entry.size);
        if entries > limits::LAYER_ENTRIES_MAX {
            return Err(LayerError::Limit("entries of a layer"));
        }
        if bytes > limits::LAYER_BYTES_MAX {
            return Err(LayerError::Limit("unpacked bytes of a layer"));
        }
        let placed = tree.place(&entry, &mut stream);
        placed.map_err(|error| error.named(Path::new(&*String::from_utf8_lossy(&entry.name))))?;
    }
    stream.drain()?;
    Ok(Unpacked { tree, directory, bytes })
}

impl Unpacked {
    /// Does what needs the trees of the layers below, the nearest first. The layer is then complete.
    pub(crate) fn finish(self, below: &[PathBuf]) -> Result<(), LayerError> {
        self.tree.settle(&Below::new(below))?;
        fs::remove_tree(&self.directory, "plink".as_ref())?;
        Ok(fs::remove_tree(&self.directory, "marks".as_ref())?)
    }
}

/// Why a layer cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// The stream failed, or is no tar.
    #[error("{0}")]
    Stream(String, #[source] Option<std::io::Error>),
    /// A name that no layer may have.
    #[error("entry {name:?} {reason}")]
    Name {
        /// As written.
        name: String,
        /// One line.
        reason: &'static str,
    },
    /// A hard link to what is in no layer.
    #[error("entry {name:?} links to {target:?}, which does not exist")]
    MissingTarget {
        /// The link.
        name: PathBuf,
        /// What it names.
        target: PathBuf,
    },
    /// A limit of ours.
    #[error("too many {0}")]
    Limit(&'static str),
    /// Writing the content of a file.
    #[error("write {name:?}: {error}")]
    Write {
        /// The entry.
        name: String,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Our own notes beside the layer.
    #[error("notes of a layer: {0}")]
    Notes(#[source] std::io::Error),
    /// The kernel refused.
    #[error("entry {name:?}: {error}")]
    Entry {
        /// The entry.
        name: PathBuf,
        /// The call.
        #[source]
        error: linux::Error,
    },
    /// The kernel refused, with no entry at hand.
    #[error(transparent)]
    Kernel(#[from] linux::Error),
}

impl LayerError {
    pub(super) fn name(path: &Path, reason: &'static str) -> Self {
        Self::Name { name: path.display().to_string(), reason }
    }

    /// Names the entry of a failed call.
    pub(super) fn named(self, path: &Path) -> Self {
        match self {
            Self::Kernel(error) => Self::Entry { name: path.to_owned(), error },
            other => other,
        }
    }
}

impl From<TarError> for LayerError {
    fn from(error: TarError) -> Self {
        match error {
            TarError::Read(error) => Self::Stream(error.to_string(), Some(error)),
            malformed @ (TarError::Malformed { .. } | TarError::Unsupported { .. }) => {
                Self::Stream(malformed.to_string(), None)
            }
        }
    }
}

impl Classified for LayerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stream(..) => ErrorKind::Remote,
            Self::Name { .. } | Self::MissingTarget { .. } => ErrorKind::InvalidRequest,
            Self::Limit(_) => ErrorKind::Exhausted,
            Self::Write { error, .. } | Self::Notes(error) => {
                linux::Error::from_io("write", error).kind()
            }
            Self::Entry { error, .. } | Self::Kernel(error) => match error.errno {
                fs::Errno::NAMETOOLONG | fs::Errno::LOOP => ErrorKind::InvalidRequest,
                _ => error.kind(),
            },
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Entry { error, .. } | Self::Kernel(error) => error.errno_name(),
            Self::Write { error, .. } | Self::Notes(error) => {
                linux::Error::from_io("write", error).errno_name()
            }
            Self::Stream(..) | Self::Name { .. } | Self::MissingTarget { .. } | Self::Limit(_) => {
                None
            }
        }
    }
}

#[cfg(all(test, feature = "root-tests"))]
pub(super) mod root_tests;
