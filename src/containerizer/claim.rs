//! The claim on an id among all who share a work directory or a runtime directory.
//!
//! Sandbox and writable layer of an id are one place on a work directory, checkpoint and record on a
//! runtime directory, and two owners may share either without the other. A claim is a lock on one byte
//! of one of the files in `<work_dir>/claims`, and the same in `<runtime_dir>/claims`, found by the id:
//! nothing is written, and the kernel lets go of it when its owner is dead. Several files, because the
//! kernel keeps the locks of one in a list.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::linux;
use crate::model::{ContainerId, Digest};
use crate::paths::Paths;

/// Given back when it is dropped.
#[derive(Debug)]
#[must_use = "the claim is given back when this is dropped"]
pub(crate) struct Claim {
    _locks: [ByteLock; 2],
}

impl Claim {
    /// `None`: somebody else has it.
    pub(super) fn take(paths: &Paths, id: &ContainerId) -> io::Result<Option<Self>> {
        let (file, byte) = place_of(id);
        let Some(work) = ByteLock::take(&paths.work_claims(), &file, byte)? else {
            return Ok(None);
        };
        let runtime = ByteLock::take(&paths.runtime_claims(), &file, byte)?;
        Ok(runtime.map(|runtime| Self { _locks: [work, runtime] }))
    }
}

/// A lock on one byte of a file, held by this opening of it.
#[derive(Debug)]
struct ByteLock {
    file: File,
    byte: i64,
}

impl ByteLock {
    fn take(directory: &Path, name: &str, byte: i64) -> io::Result<Option<Self>> {
        let path = directory.join(name);
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                linux::fs::make_closed(directory, linux::fs::CLOSED)?;
                open()?
            }
            opened => opened?,
        };
        Ok(linux::fs::lock_byte(&file, byte)?.then_some(Self { file, byte }))
    }
}

impl Drop for ByteLock {
    fn drop(&mut self) {
        // Not by closing alone: a process that is being forked may have the file for a moment longer.
        let _ = linux::fs::unlock_byte(&self.file, self.byte);
    }
}

/// One of 256 files, and 60 bits of a digest: no two ids of one host meet.
fn place_of(id: &ContainerId) -> (String, i64) {
    let digest = Digest::of(id.to_string().as_bytes());
    let (byte, rest) = digest.hex().split_at(15);
    let byte = i64::from_str_radix(byte, 16).expect("hexadecimal digits, 60 bits");
    (rest[..2].to_owned(), byte)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_id_is_claimed_once_on_a_directory_whoever_asks() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let paths =
            |runtime: &str| Paths::new(directory.path().join("w"), directory.path().join(runtime));
        let id = |text: &str| text.parse::<ContainerId>().expect("a valid id");
        let take = |runtime, name| Claim::take(&paths(runtime), &id(name)).expect("a lock");
        let elsewhere = Paths::new(directory.path().join("w2"), directory.path().join("r1"));
        let first = take("r1", "a").expect("free");
        assert!(
            Claim::take(&elsewhere, &id("a")).expect("a lock").is_none(),
            "one runtime directory"
        );
        assert!(take("r2", "a").is_none(), "in use");
        let other = take("r2", "b").expect("another id");
        drop(first);
        let second = take("r2", "a").expect("free again");
        assert!(take("r1", "b").is_none() && take("r1", "a").is_none());
        drop((second, other));
        let files = fs::read_dir(paths("r1").work_claims()).expect("made");
        let sizes = files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len());
        assert_eq!(sizes.sum::<u64>(), 0, "nothing is written");
    }
}
