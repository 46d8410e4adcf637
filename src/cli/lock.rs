//! The lock of one `longshore run` on the id of its container: `<runtime_dir>/run/<id>`.
//!
//! Held by flock(2), so that it is free the moment its owner is dead, however it died. The file is
//! removed by its owner; what a killed owner has left is taken over by the next.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use longshore::model::ContainerId;
use longshore::paths::Paths;

/// Says to every other process that this one owns the container of an id.
#[derive(Debug)]
pub(crate) struct RunLock {
    path: PathBuf,
    file: File,
}

/// Why the id is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotLocked {
    #[error("container {id} is in use by another process")]
    InUse { id: ContainerId },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
}

impl RunLock {
    /// Takes the lock of `id`; never waits.
    pub(crate) fn take(paths: &Paths, id: &ContainerId) -> Result<Self, NotLocked> {
        let path = paths.run_lock(id);
        let failed = |error| NotLocked::File { path: path.clone(), error };
        fs::create_dir_all(paths.run_locks()).map_err(failed)?;
        loop {
            if let Some(file) = create(&path).map_err(failed)? {
                return Ok(Self { path, file });
            }
            let mut file = match OpenOptions::new().write(true).open(&path) {
                // Its owner has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(NotLocked::InUse { id: id.clone() }),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Its owner may have removed it between our open and our lock: then this lock is of a
            // file that nobody else will find.
            if !is_at(&file, &path) {
                continue;
            }
            let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
            written.map_err(failed)?;
            return Ok(Self { path, file });
        }
    }
}

/// Makes the file with the lock already on it; `None`: there is one of this name.
///
/// It gets its name when it is locked, so that an unlocked file is always a dead owner's.
fn create(path: &Path) -> io::Result<Option<File>> {
    // No container id begins with a dot, so a sweep leaves it alone.
    let unnamed = path.with_file_name(format!(".{}", uuid::Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unnamed)?;
    let named = write!(file, "{}", std::process::id())
        .and_then(|()| file.try_lock().map_err(io::Error::from))
        .and_then(|()| fs::hard_link(&unnamed, path));
    fs::remove_file(&unnamed)?;
    match named {
        Ok(()) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // Removed while it is held, so that nobody else's file is. A failure leaves an unlocked
        // file, which the next run takes over.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the locks of dead owners that had no container yet, or none any more.
pub(crate) fn sweep(paths: &Paths) {
    for entry in fs::read_dir(paths.run_locks()).into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // Those with a container are removed with it.
        if !fs::exists(paths.container(&id)).unwrap_or(true) {
            drop(RunLock::take_dead(entry.path()));
        }
    }
}

impl RunLock {
    /// The lock of a dead owner, if it is one.
    fn take_dead(path: PathBuf) -> Option<Self> {
        let file = File::open(&path).ok()?;
        file.try_lock().ok()?;
        Some(Self { path, file })
    }
}

/// Whether the file of this name is the one that is open.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        (Ok(_), Err(_)) | (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> (tempfile::TempDir, Paths) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let paths = Paths::new(directory.path().join("w"), directory.path().join("r"));
        (directory, paths)
    }

    fn id(text: &str) -> ContainerId {
        text.parse().expect("a valid id")
    }

    #[test]
    fn an_id_has_one_owner_and_is_free_when_that_is_gone() {
        let (_directory, paths) = paths();
        let first = RunLock::take(&paths, &id("a")).expect("free");
        let second = RunLock::take(&paths, &id("a"));
        assert!(matches!(second, Err(NotLocked::InUse { .. })));
        let other = RunLock::take(&paths, &id("b")).expect("another id");
        drop((first, other));
        assert_eq!(fs::read_dir(paths.run_locks()).expect("made").count(), 0);
        drop(RunLock::take(&paths, &id("a")).expect("free again"));
    }

    #[test]
    fn what_a_killed_owner_left_is_taken_over() {
        let (_directory, paths) = paths();
        fs::create_dir_all(paths.run_locks()).expect("made");
        fs::write(paths.run_lock(&id("a")), "4711").expect("written");
        let lock = RunLock::take(&paths, &id("a")).expect("nobody holds it");
        let pid = fs::read_to_string(paths.run_lock(&id("a"))).expect("written");
        assert_eq!(pid, std::process::id().to_string());
        drop(lock);
    }

    #[test]
    fn a_sweep_removes_dead_locks_without_a_container_only() {
        let (_directory, paths) = paths();
        let living = RunLock::take(&paths, &id("living")).expect("free");
        for dead in ["dead", "unburied"] {
            fs::write(paths.run_lock(&id(dead)), "").expect("written");
        }
        fs::create_dir_all(paths.container(&id("unburied"))).expect("made");
        sweep(&paths);
        assert!(!fs::exists(paths.run_lock(&id("dead"))).expect("readable"));
        assert!(fs::exists(paths.run_lock(&id("unburied"))).expect("readable"));
        assert!(fs::exists(paths.run_lock(&id("living"))).expect("readable"));
        drop(living);
    }
}
