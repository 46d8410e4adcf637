//! The claim on an id among all who share a work directory.
//!
//! Two owners with different runtime directories do not see each other's locks, but the sandbox and the
//! writable layer of an id are one place on a shared work directory. A claim is a lock on one byte of
//! one of the files in `<work_dir>/claims`, both found by the id: nothing is written, and the kernel
//! lets go of it when its owner is dead. Several files, because the kernel keeps the locks of one in a
//! list.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use crate::linux;
use crate::model::{ContainerId, Digest};
use crate::paths::Paths;

/// Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    file: File,
    byte: i64,
}

impl Claim {
    /// `None`: somebody else has it.
    pub(super) fn take(paths: &Paths, id: &ContainerId) -> io::Result<Option<Self>> {
        let (file, byte) = place_of(id);
        let path = paths.claims().join(file);
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                linux::fs::make_closed(&paths.claims(), linux::fs::CLOSED)?;
                open()?
            }
            opened => opened?,
        };
        Ok(linux::fs::lock_byte(&file, byte)?.then_some(Self { file, byte }))
    }
}

impl Drop for Claim {
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
    fn an_id_is_claimed_once_on_a_work_directory_whoever_asks() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let paths =
            |runtime: &str| Paths::new(directory.path().join("w"), directory.path().join(runtime));
        let id = |text: &str| text.parse::<ContainerId>().expect("a valid id");
        let take = |runtime, name| Claim::take(&paths(runtime), &id(name)).expect("a lock");
        let first = take("r1", "a").expect("free");
        assert!(take("r2", "a").is_none(), "in use");
        let other = take("r2", "b").expect("another id");
        drop(first);
        let second = take("r2", "a").expect("free again");
        assert!(take("r1", "b").is_none() && take("r1", "a").is_none());
        drop((second, other));
        let files = fs::read_dir(paths("r1").claims()).expect("made");
        let sizes = files.map(|file| file.and_then(|file| file.metadata()).expect("a file").len());
        assert_eq!(sizes.sum::<u64>(), 0, "nothing is written");
    }
}
