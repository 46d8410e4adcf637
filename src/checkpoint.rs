//! What we write to disk about containers: frozen, versioned, checked.
//!
//! One frame per file, written to a temporary name and renamed:
//!
//! ```text
//! "LONGSHOR"  kind:u8  version:u8  reserved:u16  length:u32  sha256(payload)[..16]  payload
//! ```
//!
//! Numbers are little-endian; the payload is bincode 2 with its standard configuration. bincode does
//! not describe itself, so a new field is a new version: `checkpoint/v1.rs` never changes, and its
//! golden bytes are tested. A file that is short, long, of another kind or with another sum is
//! refused; nothing of it is believed.
//!
//! Nothing here is fsynced: the runtime directory does not survive a reboot anyway.

mod v1;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::error::{Classified, ErrorKind};
use crate::linux::fs::open_private;

pub(crate) use v1::{ConfigV1, ContainerV1, OwnerV1, RecordV1};

const MAGIC: &[u8; 8] = b"LONGSHOR";
const HEADER: usize = 8 + 1 + 1 + 2 + 4 + 16;

/// What a file holds.
pub(crate) trait Frozen: Serialize + DeserializeOwned {
    /// Tells files of different kinds apart.
    const KIND: u8;
    /// The one version that this program writes.
    const VERSION: u8;
}

impl Frozen for ContainerV1 {
    const KIND: u8 = 1;
    const VERSION: u8 = 1;
}

impl Frozen for RecordV1 {
    const KIND: u8 = 2;
    const VERSION: u8 = 1;
}

/// Why a checkpoint cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointError {
    /// The file system refused.
    #[error("{action} {path}: {error}")]
    File {
        /// `write` or `read`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The file is damaged, or of another kind.
    #[error("{path} is corrupt: {reason}")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A newer Longshore has written it.
    #[error("{path} has version {version}, this program reads version {known}")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        version: u8,
        /// Ours.
        known: u8,
    },
    /// A value that the format cannot hold.
    #[error("cannot encode {path}: {reason}")]
    Encode {
        /// Which file.
        path: PathBuf,
        /// The encoder's words.
        reason: String,
    },
}

impl Classified for CheckpointError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                ErrorKind::Exhausted
            }
            Self::File { .. } | Self::Corrupt { .. } | Self::Newer { .. } => ErrorKind::Host,
            Self::Encode { .. } => ErrorKind::Internal,
        }
    }
}

/// Writes `value` to `path`, whole or not at all.
///
/// For this process' user alone: what a container is given may be secret. Blocks: one write and one
/// rename, no fsync.
pub(crate) fn write<T: Frozen>(path: &Path, value: &T) -> Result<(), CheckpointError> {
    let frame = encode(path, value)?;
    let temporary = path.with_extension("new");
    let file = |error| CheckpointError::File { action: "write", path: path.to_owned(), error };
    let mut options = fs::OpenOptions::new();
    let written = open_private(options.write(true).create(true).truncate(true), &temporary)
        .and_then(|mut out| out.write_all(&frame))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| {
        // What is left of a write that failed is of no use; the error tells the rest.
        drop(fs::remove_file(&temporary));
        file(error)
    })
}

/// Reads what [`write`] wrote; `None` if there is no file.
pub(crate) fn read<T: Frozen>(path: &Path) -> Result<Option<T>, CheckpointError> {
    match fs::read(path) {
        Ok(frame) => decode(path, &frame).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CheckpointError::File { action: "read", path: path.to_owned(), error }),
    }
}

fn encode<T: Frozen>(path: &Path, value: &T) -> Result<Vec<u8>, CheckpointError> {
    let unencodable = |reason: String| CheckpointError::Encode { path: path.to_owned(), reason };
    let payload = bincode::serde::encode_to_vec(value, bincode::config::standard())
        .map_err(|error| unencodable(error.to_string()))?;
    let length =
        u32::try_from(payload.len()).map_err(|_| unencodable("more than 4 GiB".to_owned()))?;
    let mut frame = Vec::with_capacity(HEADER + payload.len());
    frame.extend_from_slice(MAGIC);
    frame.extend_from_slice(&[T::KIND, T::VERSION, 0, 0]);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&Sha256::digest(&payload)[..16]);
    frame.extend_from_slice(&payload);
    Ok(frame)
}

fn decode<T: Frozen>(path: &Path, frame: &[u8]) -> Result<T, CheckpointError> {
    let corrupt = |reason| CheckpointError::Corrupt { path: path.to_owned(), reason };
    let (header, payload) = frame.split_at_checked(HEADER).ok_or(corrupt("too short"))?;
    if !header.starts_with(MAGIC) {
        return Err(corrupt("not a checkpoint"));
    }
    if header[8] != T::KIND {
        return Err(corrupt("of another kind"));
    }
    if header[9] > T::VERSION {
        let (version, known) = (header[9], T::VERSION);
        return Err(CheckpointError::Newer { path: path.to_owned(), version, known });
    }
    let length = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    if usize::try_from(length) != Ok(payload.len()) {
        return Err(corrupt("cut or grown"));
    }
    if header[16..32] != Sha256::digest(payload)[..16] {
        return Err(corrupt("the sum does not match"));
    }
    match bincode::serde::decode_from_slice(payload, bincode::config::standard()) {
        Ok((value, used)) if used == payload.len() => Ok(value),
        Ok(_) => Err(corrupt("bytes are left over")),
        Err(_) => Err(corrupt("the payload cannot be decoded")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path() -> PathBuf {
        PathBuf::from("checkpoint")
    }

    #[test]
    fn the_bytes_of_version_one_never_change() {
        let golden = include_str!("../tests/golden/checkpoint-v1.hex");
        let frame = encode(&path(), &v1::example()).expect("encodes");
        let hex: String = frame.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, golden.trim(), "a change of the format is a new version");
        let read: ContainerV1 = decode(&path(), &frame).expect("decodes");
        assert_eq!(read, v1::example());
    }

    #[test]
    fn a_frame_cut_anywhere_is_refused() {
        let frame = encode(&path(), &v1::example()).expect("encodes");
        for length in 0..frame.len() {
            assert!(decode::<ContainerV1>(&path(), &frame[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_frame_with_any_byte_changed_is_refused() {
        let frame = encode(&path(), &v1::example()).expect("encodes");
        // The reserved bytes mean nothing yet; everything else is covered.
        for index in (0..frame.len()).filter(|i| !(9..12).contains(i)) {
            let mut damaged = frame.clone();
            damaged[index] ^= 0x40;
            assert!(decode::<ContainerV1>(&path(), &damaged).is_err(), "{index}");
        }
    }

    #[test]
    fn a_newer_version_is_named_as_such() {
        let mut frame = encode(&path(), &v1::example()).expect("encodes");
        frame[9] = 2;
        let error = decode::<ContainerV1>(&path(), &frame).expect_err("from the future");
        assert_eq!(error.to_string(), "checkpoint has version 2, this program reads version 1");
    }

    #[test]
    fn a_record_is_no_container() {
        let frame = encode(&path(), &v1::example()).expect("encodes");
        let error = decode::<RecordV1>(&path(), &frame).expect_err("another kind");
        assert_eq!(error.to_string(), "checkpoint is corrupt: of another kind");
    }

    #[test]
    fn what_is_written_is_read_and_what_is_absent_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("checkpoint");
        assert!(read::<ContainerV1>(&path).expect("absent is fine").is_none());
        write(&path, &v1::example()).expect("written");
        assert_eq!(read(&path).expect("read"), Some(v1::example()));
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    }
}
