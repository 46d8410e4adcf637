//! The lock of one `longshore run` on the id of its container: `<runtime_dir>/run/<id>`.
//!
//! Held by flock(2), so that it is free the moment its owner is dead, however it died. The file gets
//! its name when it is locked: an unlocked file is always a dead owner's. Its owner removes it; what a
//! killed owner has left is claimed by whoever undoes the container, so that nobody can take the id
//! and launch while the old container of this id is still being buried.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::claim::Claim;
use crate::error::{Classified, ErrorKind, Stage};
use crate::linux;
use crate::linux::fs::{SHARED, make_directories, open_private};
use crate::model::ContainerId;
use crate::paths::Paths;

/// What a file says whose holder is no owner but undoes what a dead one has left.
const BURYING: &str = "burying";

/// Says to every other process that this one owns the container of an id.
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct RunLock {
    path: PathBuf,
    file: File,
    /// Given back first: who finds the id free here must find it free there as well.
    claim: Option<Claim>,
}

/// Why an id is not ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotLocked {
    /// Its owner lives.
    #[error("container {id} is in use by another process")]
    InUse {
        /// Which.
        id: ContainerId,
    },
    /// An earlier container of this id has left its sandbox, which somebody may still want to read.
    #[error("container {id} has left its sandbox {}, which has to be removed first", path.display())]
    SandboxLeft {
        /// Which.
        id: ContainerId,
        /// Where.
        path: PathBuf,
    },
    /// The file cannot be used.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

impl Classified for NotLocked {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse { .. } | Self::SandboxLeft { .. } => ErrorKind::Conflict,
            Self::File { error, .. } => linux::Error::from_io("", error).kind(),
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::InUse { .. } | Self::SandboxLeft { .. } => None,
            Self::File { error, .. } => linux::Error::from_io("", error).errno_name(),
        }
    }

    fn stage(&self) -> Option<Stage> {
        Some(Stage::Configure)
    }
}

impl RunLock {
    /// Takes the lock of `id`, to be held until nothing of its container is left. Take it when the
    /// containerizer has started, for its start buries what dead owners of the id have left.
    ///
    /// Waits for a burial that somebody else is at, not for an owner. Blocks.
    pub fn take(paths: &Paths, id: &ContainerId) -> Result<Self, NotLocked> {
        let path = paths.run_lock(id);
        let failed = |error| NotLocked::File { path: path.clone(), error };
        loop {
            if !fs::exists(&path).unwrap_or(true) {
                Self::refuse_left(paths, id)?;
            }
            if let Some(file) = create(&path, &std::process::id().to_string()).map_err(failed)? {
                return Self { path, file, claim: None }.claimed(paths, id);
            }
            let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
                // Its owner has just removed it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(failed)?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.read_to_string(&mut holder).map_err(failed)?;
                    if holder != BURYING {
                        return Err(NotLocked::InUse { id: id.clone() });
                    }
                    file.lock().map_err(failed)?;
                    continue;
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Its owner may have removed it between our open and our lock: then this lock is of a
            // file that nobody else will find.
            if is_at(&file, &path) {
                write(&file, &std::process::id().to_string()).map_err(failed)?;
                return Self { path, file, claim: None }.claimed(paths, id);
            }
        }
    }

    /// Before there is a lock: who finds that of a dead run takes the sandbox for the run's.
    fn refuse_left(paths: &Paths, id: &ContainerId) -> Result<(), NotLocked> {
        let left = no_sandbox(paths, id);
        match left.is_err().then(|| Claim::take(paths, id)) {
            Some(Ok(None)) => Err(NotLocked::InUse { id: id.clone() }),
            Some(Err(error)) => Err(NotLocked::File { path: paths.work_claims(), error }),
            Some(Ok(Some(_))) | None => left,
        }
    }

    /// With the claim, which agents have.
    fn claimed(mut self, paths: &Paths, id: &ContainerId) -> Result<Self, NotLocked> {
        match Claim::take(paths, id) {
            Ok(Some(claim)) => {
                self.claim = Some(claim);
                Ok(self)
            }
            Ok(None) => Err(NotLocked::InUse { id: id.clone() }),
            Err(error) => Err(NotLocked::File { path: paths.work_claims(), error }),
        }
    }

    /// The lock of a container whose owner, if it had one, is dead; held while it is buried. `None`:
    /// its owner lives, or somebody else buries it.
    pub(crate) fn claim(paths: &Paths, id: &ContainerId) -> Option<Self> {
        let path = paths.run_lock(id);
        if let Some(file) = create(&path, BURYING).ok()? {
            return Self { path, file, claim: None }.claimed(paths, id).ok();
        }
        let lock = Self::dead(path)?;
        write(&lock.file, BURYING).ok()?;
        lock.claimed(paths, id).ok()
    }

    /// The claim without the lock, for a container that was an agent's: what it leaves is no run's.
    pub(crate) fn into_claim(mut self) -> Option<Claim> {
        self.claim.take()
    }

    /// Removes the locks of dead owners that had no container yet, or none any more, and what a run
    /// that died between its container's end and its own has left: record and sandbox.
    pub(crate) fn sweep(paths: &Paths) {
        for entry in fs::read_dir(paths.run_locks()).into_iter().flatten().flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // Those with a container are removed with it.
            let gone = |id: &ContainerId| !fs::exists(paths.container(id)).unwrap_or(true);
            let Some(id) = id.filter(gone) else { continue };
            let Some(lock) = Self::dead(entry.path()) else { continue };
            let Ok(lock) = lock.claimed(paths, &id) else { continue };
            remove_rest(paths, &id);
            drop(lock);
        }
    }

    /// The lock of a dead owner, if it is one.
    fn dead(path: PathBuf) -> Option<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path).ok()?;
        file.try_lock().ok()?;
        is_at(&file, &path).then_some(Self { path, file, claim: None })
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        drop(self.claim.take());
        // Removed while it is held, so that nobody else's file is. A failure leaves an unlocked
        // file, which the next run takes over.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The id, for an agent's container: `InUse` also where a burial of it is going on. An agent has the
/// claim alone, for nobody waits for it, and its records outlive its containers.
pub(crate) fn claim_for_agent(paths: &Paths, id: &ContainerId) -> Result<Claim, NotLocked> {
    let failed = |path, error| NotLocked::File { path, error };
    let claim = Claim::take(paths, id).map_err(|error| failed(paths.work_claims(), error))?;
    let claim = claim.ok_or(NotLocked::InUse { id: id.clone() })?;
    let path = paths.run_lock(id);
    match fs::remove_file(&path) {
        // A dead run's, whose record would be taken for what this container will leave.
        Ok(()) => {
            if !fs::exists(paths.container(id)).unwrap_or(true) {
                remove_rest(paths, id);
            }
            Ok(claim)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(claim),
        Err(error) => Err(failed(path, error)),
    }
}

/// What a run that died between its container's end and its own has left. Absent is fine; what cannot
/// be removed now is found by the next one.
fn remove_rest(paths: &Paths, id: &ContainerId) {
    let _ = fs::remove_file(paths.records().join(id.to_string()));
    let _ = linux::fs::remove_path(&paths.sandbox(id));
}

/// The sandbox of an id that is free is not there, or was left on purpose.
pub(crate) fn no_sandbox(paths: &Paths, id: &ContainerId) -> Result<(), NotLocked> {
    let path = paths.sandbox(id);
    match fs::symlink_metadata(&path) {
        Ok(_) => Err(NotLocked::SandboxLeft { id: id.clone(), path }),
        // What cannot be looked at cannot be made either, which is told then.
        Err(_) => Ok(()),
    }
}

/// Makes the file with the lock already on it; `None`: there is one of this name.
fn create(path: &Path, text: &str) -> io::Result<Option<File>> {
    // No container id begins with a dot, so a sweep leaves it alone.
    let unnamed = path.with_file_name(format!(".{}", uuid::Uuid::new_v4().simple()));
    let open = || open_private(OpenOptions::new().write(true).create_new(true), &unnamed);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_directories(unnamed.parent().expect("a file is in a directory"), SHARED)?;
            open()?
        }
        opened => opened?,
    };
    let named = file
        .try_lock()
        .map_err(io::Error::from)
        .and_then(|()| file.write_all(text.as_bytes()))
        .and_then(|()| fs::hard_link(&unnamed, path));
    fs::remove_file(&unnamed)?;
    match named {
        Ok(()) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces what the file says; at no moment it says nothing.
fn write(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
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
    fn whoever_wants_an_id_waits_for_its_burial_and_not_for_its_owner() {
        let (_directory, paths) = paths();
        fs::create_dir_all(paths.run_locks()).expect("made");
        fs::write(paths.run_lock(&id("a")), "4711").expect("written");
        let burial = RunLock::claim(&paths, &id("a")).expect("its owner is dead");
        assert!(RunLock::claim(&paths, &id("a")).is_none(), "one buries it");
        let waiting = paths.clone();
        let waiter = std::thread::spawn(move || RunLock::take(&waiting, &id("a")));
        drop(burial);
        let lock = waiter.join().expect("no panic").expect("free when it is buried");
        assert!(RunLock::claim(&paths, &id("a")).is_none(), "its owner lives");
        drop(lock);
        assert!(RunLock::claim(&paths, &id("b")).is_some(), "it never had an owner");
    }

    #[test]
    fn an_agent_takes_an_id_that_a_dead_run_had_and_no_living_ones() {
        let (_directory, paths) = paths();
        fs::create_dir_all(paths.run_locks()).expect("made");
        fs::write(paths.run_lock(&id("a")), "4711").expect("written");
        let claim = claim_for_agent(&paths, &id("a")).expect("its run is dead");
        fs::create_dir_all(paths.sandbox(&id("a"))).expect("made");
        assert!(matches!(RunLock::take(&paths, &id("a")), Err(NotLocked::InUse { .. })));
        drop(claim);
        RunLock::sweep(&paths);
        assert!(fs::exists(paths.sandbox(&id("a"))).expect("readable"), "an agent's outlives it");
        fs::remove_dir(paths.sandbox(&id("a"))).expect("it is empty");
        let lock = RunLock::take(&paths, &id("a")).expect("free");
        assert!(matches!(claim_for_agent(&paths, &id("a")), Err(NotLocked::InUse { .. })));
        assert!(fs::exists(paths.run_lock(&id("a"))).expect("readable"), "its owner lives");
        drop(lock);
    }

    #[test]
    fn a_sandbox_that_was_left_on_purpose_keeps_its_id_and_one_of_a_dead_run_does_not() {
        let (_directory, paths) = paths();
        let sandbox = paths.sandbox(&id("a"));
        fs::create_dir_all(&sandbox).expect("made");
        let left = RunLock::take(&paths, &id("a")).expect_err("it is somebody's");
        let (text, path) = (left.to_string(), sandbox.display().to_string());
        assert!(text.starts_with("container a has left its sandbox") && text.contains(&path));
        assert!(!fs::exists(paths.run_lock(&id("a"))).expect("readable"), "no lock to sweep it by");
        fs::create_dir_all(paths.run_locks()).expect("made");
        fs::write(paths.run_lock(&id("a")), "4711").expect("written");
        let claim = claim_for_agent(&paths, &id("a")).expect("its run is dead");
        assert!(no_sandbox(&paths, &id("a")).is_ok());
        drop(claim);
    }

    #[test]
    fn a_sweep_removes_dead_locks_without_a_container_only() {
        let (_directory, paths) = paths();
        let living = RunLock::take(&paths, &id("living")).expect("free");
        for dead in ["dead", "unburied"] {
            fs::write(paths.run_lock(&id(dead)), "").expect("written");
        }
        fs::create_dir_all(paths.container(&id("unburied"))).expect("made");
        RunLock::sweep(&paths);
        assert!(!fs::exists(paths.run_lock(&id("dead"))).expect("readable"));
        assert!(fs::exists(paths.run_lock(&id("unburied"))).expect("readable"));
        assert!(fs::exists(paths.run_lock(&id("living"))).expect("readable"));
        drop(living);
    }
}
