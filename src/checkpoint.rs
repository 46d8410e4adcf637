//! What we write to disk about containers: frozen, versioned, checked.
//!
//! A file is a sequence of frames, of which the last whole one counts:
//!
//! ```text
//! "LONGSHOR"  kind:u8  version:u8  reserved:u16  length:u32  sha256(payload)[..16]  payload
//! ```
//!
//! The first frame is written under another name, which is then renamed; a [`Journal`] appends those
//! that follow, each with one write. Whoever dies in the middle of one has left the beginning of a
//! frame, and the one before it counts.
//!
//! Numbers are little-endian; the payload is bincode 2 with its standard configuration. bincode does
//! not describe itself, so a new field is a new version: `checkpoint/v1.rs` never changes, and its
//! golden bytes are tested. A file with anything in it that is no frame of its kind, or has another
//! sum, is refused; nothing of it is believed.
//!
//! Nothing here is fsynced: the runtime directory does not survive a reboot anyway.

mod v1;

use std::fs;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    replace(path, &encode(path, value)?).map(drop)
}

/// Puts `frame` in the place of the file, and returns it open.
fn replace(path: &Path, frame: &[u8]) -> Result<File, CheckpointError> {
    let temporary = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let written = open_private(options.write(true).create(true).truncate(true), &temporary)
        .and_then(|mut file| file.write_all(frame).map(|()| file))
        .and_then(|file| fs::rename(&temporary, path).map(|()| file));
    written.map_err(|error| {
        // What is left of a write that failed is of no use; the error tells the rest.
        drop(fs::remove_file(&temporary));
        unwritten(path, error)
    })
}

fn unwritten(path: &Path, error: io::Error) -> CheckpointError {
    CheckpointError::File { action: "write", path: path.to_owned(), error }
}

/// The file of one container, written again with every change of its state.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    begins: Begins,
    open: Mutex<Option<Open>>,
}

/// Where the first frame of a journal is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// In the place of what is there.
    Anew,
    /// Behind what is there, if it can be read.
    Behind,
}

/// The file that is there, and where its next frame begins.
#[derive(Debug)]
struct Open {
    file: File,
    end: u64,
}

impl Journal {
    /// Frames that nobody needs any more are given up when the file has grown to this, in bytes.
    const GROWN: u64 = 64 << 10;

    /// Touches nothing yet: the first [`Journal::write`] replaces what is at `path`.
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, begins: Begins::Anew, open: Mutex::new(None) }
    }

    /// Goes on where an owner that is gone has ended: how far its container came stays readable.
    pub(crate) const fn behind(path: PathBuf) -> Self {
        Self { path, begins: Begins::Behind, open: Mutex::new(None) }
    }

    /// Makes `value` what [`read`] reads. Blocks: one write, no fsync.
    pub(crate) fn write<T: Frozen>(&self, value: &T) -> Result<(), CheckpointError> {
        let frame = encode(&self.path, value)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let left = || (self.begins == Begins::Behind).then(|| self.left::<T>()).flatten();
        let next = match open.take().or_else(left) {
            Some(Open { file, end }) if end < Self::GROWN => {
                file.write_all_at(&frame, end).map_err(|error| {
                    // The next write replaces the file in any case.
                    drop(file.set_len(end));
                    unwritten(&self.path, error)
                })?;
                Open { file, end: end + frame.len() as u64 }
            }
            _ => Open { file: replace(&self.path, &frame)?, end: frame.len() as u64 },
        };
        *open = Some(next);
        Ok(())
    }

    /// What somebody else has left; what cannot be read is replaced.
    fn left<T: Frozen>(&self) -> Option<Open> {
        let file = File::options().read(true).write(true).open(&self.path).ok()?;
        let frames = fs::read(&self.path).ok()?;
        let (_, end) = decode_all::<T>(&self.path, &frames).ok()?;
        // Of a frame that was cut no byte may be left behind the next one.
        file.set_len(end as u64).ok()?;
        Some(Open { file, end: end as u64 })
    }
}

/// Reads what [`write`] or a [`Journal`] wrote last; `None` if there is no file.
pub(crate) fn read<T: Frozen>(path: &Path) -> Result<Option<T>, CheckpointError> {
    Ok(read_all(path)?.pop())
}

/// Reads all that a [`Journal`] has not given up yet, the oldest first; nothing if there is no file.
pub(crate) fn read_all<T: Frozen>(path: &Path) -> Result<Vec<T>, CheckpointError> {
    match fs::read(path) {
        Ok(frames) => decode_all(path, &frames).map(|(values, _)| values),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(CheckpointError::File { action: "read", path: path.to_owned(), error }),
    }
}

/// What the whole frames hold, at least one, and where they end. Each must be sound, but the last may
/// have been cut while it was written.
fn decode_all<T: Frozen>(path: &Path, frames: &[u8]) -> Result<(Vec<T>, usize), CheckpointError> {
    let mut rest = frames;
    let mut values = Vec::new();
    while !rest.is_empty() {
        let (frame, next) = rest.split_at(frame_size(rest).min(rest.len()));
        match decode(path, frame) {
            Ok(value) => values.push(value),
            Err(_) if !values.is_empty() && is_cut(frame) => break,
            Err(error) => return Err(error),
        }
        rest = next;
    }
    match values.is_empty() {
        false => Ok((values, frames.len() - rest.len())),
        true => Err(CheckpointError::Corrupt { path: path.to_owned(), reason: "too short" }),
    }
}

/// What the header of the first frame says, header included; what is there if it is cut itself.
fn frame_size(bytes: &[u8]) -> usize {
    let length = bytes.get(12..HEADER).and_then(|header| header.first_chunk::<4>());
    length.map_or(bytes.len(), |length| HEADER.saturating_add(u32::from_le_bytes(*length) as usize))
}

/// Whether these are the first bytes of a frame, and not all.
fn is_cut(frame: &[u8]) -> bool {
    let magic = frame.len().min(MAGIC.len());
    frame[..magic] == MAGIC[..magic] && (frame.len() < HEADER || frame.len() < frame_size(frame))
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
    fn of_several_frames_the_last_whole_one_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("checkpoint");
        let journal = Journal::new(path.clone());
        let named = |state: &str| ContainerV1 { state: state.to_owned(), ..v1::example() };
        for state in ["PROVISIONING", "PREPARING", "RUNNING"] {
            journal.write(&named(state)).expect("written");
            assert_eq!(read(&path).expect("read"), Some(named(state)));
        }
        let whole = fs::read(&path).expect("read");
        let last = encode(&path, &named("RUNNING")).expect("encodes").len();
        for cut in 1..=last {
            let read = decode_all::<ContainerV1>(&path, &whole[..whole.len() - cut]);
            let (values, end) = read.expect("two are whole");
            let two = [named("PROVISIONING"), named("PREPARING")];
            assert_eq!((&values[..], end), (&two[..], whole.len() - last), "{cut}");
        }
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    }

    #[test]
    fn whoever_goes_on_behind_a_dead_owner_keeps_what_that_has_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("checkpoint");
        let named = |state: &str| ContainerV1 { state: state.to_owned(), ..v1::example() };
        let dead = Journal::new(path.clone());
        dead.write(&named("RUNNING")).expect("written");
        dead.write(&named("CUT, AND LONGER THAN THE NEXT ONE")).expect("written");
        let whole = fs::read(&path).expect("read");
        fs::write(&path, &whole[..whole.len() - 1]).expect("writable");
        let next = Journal::behind(path.clone());
        for state in ["STUCK", "DESTROYING"] {
            next.write(&named(state)).expect("written");
        }
        let all = ["RUNNING", "STUCK", "DESTROYING"].map(named);
        assert_eq!(read_all::<ContainerV1>(&path).expect("read"), all);
        // What nobody can read is in nobody's way.
        fs::write(&path, "nonsense").expect("writable");
        Journal::behind(path.clone()).write(&named("STUCK")).expect("written");
        assert_eq!(read_all::<ContainerV1>(&path).expect("read"), [named("STUCK")]);
    }

    #[test]
    fn a_file_with_one_frame_damaged_is_refused() {
        let frame = encode(&path(), &v1::example()).expect("encodes");
        let whole = [&frame[..], &frame, &frame].concat();
        for index in (0..whole.len()).filter(|i| !(9..12).contains(&(i % frame.len()))) {
            // The high bytes of a length: what is damaged there looks like a frame that was cut.
            let length = (12..16).contains(&(index % frame.len()));
            let mut damaged = whole.clone();
            damaged[index] ^= 0x40;
            let read = decode_all::<ContainerV1>(&path(), &damaged);
            assert!(read.is_err() || (length && index > frame.len()), "{index}");
        }
    }

    #[test]
    fn a_journal_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("checkpoint");
        let journal = Journal::new(path.clone());
        let frame = encode(&path, &v1::example()).expect("encodes").len() as u64;
        for _ in 0..2 * Journal::GROWN / frame {
            journal.write(&v1::example()).expect("written");
        }
        assert!(fs::metadata(&path).expect("there").len() <= Journal::GROWN + frame);
        assert_eq!(read(&path).expect("read"), Some(v1::example()));
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
