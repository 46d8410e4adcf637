//! The directories and files of a container, and their removal.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::checkpoint::{self, CheckpointError, ContainerV1, Journal, RecordV1};
use crate::error::{Classified, ErrorKind};
use crate::limits;
use crate::linux;
use crate::linux::fs::{
    CLOSED, SANDBOX, SHARED, make_closed, make_directories, own_umask, remove_path, remove_small,
};
use crate::model::{ContainerId, Record};
use crate::paths::Paths;

/// What is kept of containers on disk. A seam: simulations keep it in memory.
///
/// All of it blocks, but nothing for long; only [`Files::remove_doomed`] may take its time.
pub(crate) trait Files: fmt::Debug + Send + Sync {
    /// Prepares the thread of a recorder, which is ours: everything of its lane is made there.
    fn own_thread(&self);

    /// Makes everything that a container needs before anything else of it exists.
    fn make_container(&self, id: &ContainerId) -> Result<(), RecordError>;

    /// Makes `checkpoint` what [`Files::checkpoint`] reads.
    fn save(&self, journal: &Journal, checkpoint: &ContainerV1) -> Result<(), CheckpointError>;

    /// What was saved last of a container, if anything is there.
    fn checkpoint(&self, id: &ContainerId) -> Result<Option<ContainerV1>, CheckpointError>;

    /// Writes the record of an end.
    fn write_record(&self, record: &Record) -> Result<(), CheckpointError>;

    /// Removes the record of an end; none is fine.
    fn remove_record(&self, id: &ContainerId) -> Result<(), RecordError>;

    /// Removes the runtime directory of a container, its checkpoint included; none is fine.
    fn remove_container(&self, id: &ContainerId) -> Result<(), RecordError>;

    /// Removes a sandbox that holds little. One that holds more is taken out of the way: what is
    /// returned is to be removed on a thread that has the time.
    fn remove_sandbox(&self, id: &ContainerId) -> Result<Option<PathBuf>, RecordError>;

    /// Removes what [`Files::remove_sandbox`] took out of the way.
    fn remove_doomed(&self, doomed: &Path) -> Result<(), RecordError>;
}

/// The files where they belong.
#[derive(Debug)]
pub(crate) struct Disk {
    paths: Paths,
}

impl Disk {
    pub(crate) const fn new(paths: Paths) -> Self {
        Self { paths }
    }
}

/// A directory or file of ours that cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The file system refused.
    #[error("{action} {path}: {error}")]
    File {
        /// `create` or `remove`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Something in it, such as a mount of somebody's.
    #[error("remove {path}: {error}")]
    Tree {
        /// The tree.
        path: PathBuf,
        /// Why.
        #[source]
        error: linux::Error,
    },
}

impl Classified for RecordError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::File { error, .. } => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                _ => ErrorKind::Host,
            },
            Self::Tree { .. } => ErrorKind::Host,
        }
    }

    fn errno(&self) -> Option<String> {
        let errno = match self {
            Self::File { error, .. } => error.raw_os_error()?,
            Self::Tree { error, .. } => error.errno.raw_os_error(),
        };
        Some(format!("{:?}", nix::errno::Errno::from_raw(errno)))
    }
}

fn uncreated(path: &Path, error: io::Error) -> RecordError {
    RecordError::File { action: "create", path: path.to_owned(), error }
}

fn remove_file(path: &Path) -> Result<(), RecordError> {
    absent_is_fine(path, fs::remove_file(path))
}

fn remove_tree(path: &Path) -> Result<(), RecordError> {
    remove_path(path).map_err(|error| RecordError::Tree { path: path.to_owned(), error })
}

fn absent_is_fine(path: &Path, result: io::Result<()>) -> Result<(), RecordError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RecordError::File { action: "remove", path: path.to_owned(), error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Files for Disk {
    fn own_thread(&self) {
        own_umask();
    }

    fn make_container(&self, id: &ContainerId) -> Result<(), RecordError> {
        let runtime = self.paths.container(id);
        make_directories(&runtime, SHARED).map_err(|error| uncreated(&runtime, error))?;
        // Whoever had this name before has left its status here only if we died in between.
        remove_file(&self.paths.status(id))?;
        // For its payload's user and group alone, who may make set-user-ID files in it.
        let sandbox = self.paths.sandbox(id);
        make_closed(&sandbox, SANDBOX).map_err(|error| uncreated(&sandbox, error))
    }

    fn save(&self, journal: &Journal, checkpoint: &ContainerV1) -> Result<(), CheckpointError> {
        journal.write(checkpoint)
    }

    fn checkpoint(&self, id: &ContainerId) -> Result<Option<ContainerV1>, CheckpointError> {
        checkpoint::read(&self.paths.checkpoint(id))
    }

    fn write_record(&self, record: &Record) -> Result<(), CheckpointError> {
        let path = self.paths.records().join(record.container_id.to_string());
        let frozen = RecordV1::freeze(record);
        match checkpoint::write(&path, &frozen) {
            Err(CheckpointError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                // Made by every start; somebody has tidied up.
                let made = make_directories(&self.paths.records(), SHARED);
                made.map_err(|error| CheckpointError::File {
                    action: "write",
                    path: path.clone(),
                    error,
                })?;
                checkpoint::write(&path, &frozen)
            }
            written => written,
        }
    }

    fn remove_record(&self, id: &ContainerId) -> Result<(), RecordError> {
        remove_file(&self.paths.records().join(id.to_string()))
    }

    /// Two files, and whatever else somebody has put there.
    fn remove_container(&self, id: &ContainerId) -> Result<(), RecordError> {
        let directory = self.paths.container(id);
        for file in [self.paths.checkpoint(id), self.paths.status(id)] {
            remove_file(&file)?;
        }
        match fs::remove_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                remove_tree(&directory)
            }
            removed => absent_is_fine(&directory, removed),
        }
    }

    fn remove_sandbox(&self, id: &ContainerId) -> Result<Option<PathBuf>, RecordError> {
        match remove_small(&self.paths.sandbox(id), limits::SMALL_TREE) {
            Ok(true) => Ok(None),
            Ok(false) | Err(_) => doom(&self.paths, id),
        }
    }

    fn remove_doomed(&self, doomed: &Path) -> Result<(), RecordError> {
        let removed = remove_tree(doomed);
        // The last one out removes the trash; a failure says that it was not the last.
        let _ = fs::remove_dir(self.paths.trash());
        removed
    }
}

/// How often the last one out can be met before it is no accident any more.
const DOOM_ATTEMPTS: u32 = 100;

/// Takes the sandbox out of the way at once: the id may have a new container before it is gone.
fn doom(paths: &Paths, id: &ContainerId) -> Result<Option<PathBuf>, RecordError> {
    let (sandbox, trash) = (paths.sandbox(id), paths.trash());
    let doomed = trash.join(uuid::Uuid::new_v4().to_string());
    let mut moved = Ok(());
    for _ in 0..DOOM_ATTEMPTS {
        moved = make_closed(&trash, CLOSED).and_then(|()| fs::rename(&sandbox, &doomed));
        // Somebody's last one out may remove the directory between the two steps, and also while it
        // is being made: then std finds a name that is taken by no directory.
        let raced = moved.as_ref().is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
        });
        if !raced || !fs::exists(&sandbox).unwrap_or(false) {
            break;
        }
    }
    match moved {
        Ok(()) => Ok(Some(doomed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = fs::remove_dir(&trash);
            Ok(None)
        }
        Err(error) => Err(RecordError::File { action: "remove", path: sandbox, error }),
    }
}
