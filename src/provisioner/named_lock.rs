//! Locks with a name, whose files are there only while somebody holds them.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::linux::Error;
use crate::linux::fs::{self, Errno, FlockOperation};

/// Held until it is dropped, which removes its file. The file of a process that was killed stays, and
/// goes with the next one that takes the lock.
#[derive(Debug)]
pub(super) struct NamedLock {
    path: PathBuf,
    _file: File,
}

impl NamedLock {
    /// Waits for the lock. Blocks.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let taken = Self::with(path, FlockOperation::LockExclusive)?;
        taken.ok_or_else(|| Error::new(called("flock", path), Errno::AGAIN))
    }

    /// `None`: another holds it.
    pub(super) fn try_take(path: &Path) -> Result<Option<Self>, Error> {
        Self::with(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn with(path: &Path, how: FlockOperation) -> Result<Option<Self>, Error> {
        loop {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = fs::open_private(&mut options, path).map_err(failed("open", path))?;
            if !fs::lock(&file, how)? {
                return Ok(None);
            }
            // Its last holder may have removed it meanwhile: then this is nobody's lock any more.
            if is_at(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
    }
}

impl Drop for NamedLock {
    fn drop(&mut self) {
        // Still held: who waits for it finds out that the file has gone, and makes another.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> Result<bool, Error> {
    let held = file.metadata().map_err(failed("stat", path))?;
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        named => {
            let named = named.map_err(failed("stat", path))?;
            Ok((named.dev(), named.ino()) == (held.dev(), held.ino()))
        }
    }
}

fn called(call: &str, path: &Path) -> String {
    format!("{call}({path:?})")
}

fn failed(call: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::from_io(called(call, &path), &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_file_is_there_only_while_it_is_held() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("lock");
        let held = NamedLock::take(&path).expect("taken");
        assert!(path.is_file());
        assert!(NamedLock::try_take(&path).expect("asked").is_none());
        drop(held);
        assert!(!path.try_exists().expect("looked"));
        // As a process leaves it that was killed.
        std::fs::write(&path, "").expect("written");
        drop(NamedLock::try_take(&path).expect("asked").expect("nobody holds it"));
        assert!(!path.try_exists().expect("looked"));
    }

    #[test]
    fn one_at_a_time_holds_it_although_its_file_comes_and_goes() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let (path, inside) = (directory.path().join("lock"), directory.path().join("inside"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _held = NamedLock::take(&path).expect("taken");
                        std::fs::create_dir(&inside).expect("nobody else is in here");
                        std::fs::remove_dir(&inside).expect("it was just made");
                    }
                });
            }
        });
        assert!(!path.try_exists().expect("looked"));
    }
}
