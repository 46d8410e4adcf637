//! Images shown at a directory of the operator's choice: `provision REF DIR`, `unprovision DIR`.
//!
//! ```text
//! <work_dir>/provisioner/targets/<hex of DIR>.lock    flock: one at a time for each DIR, while it is at work
//! <work_dir>/provisioner/targets/<hex of DIR>/target  what was made (JSON), before it is attached
//! <work_dir>/provisioner/targets/<hex of DIR>/backends/…
//! ```
//!
//! Only a mount that is the recorded one is ever unmounted.

use std::io::ErrorKind as IoKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::assemble::{ProvisionError, Provisioner, Target, remove_backends};
use super::backends::{BackendError, Exposure};
use super::named_lock::NamedLock;
use super::stores::StoredImage;
use crate::error::ErrorKind;
use crate::linux::fs;
use crate::linux::overlay;
use crate::model::Rootfs;
use crate::paths::Paths;

/// What was made for one directory.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    directory: PathBuf,
    /// The directory itself is ours too.
    made: bool,
    /// Of the mount; counts in this boot only.
    mount: u64,
    boot: String,
}

impl Provisioner {
    /// Shows exactly the tree of `image` at `directory`, which is absent or empty. Outlives this
    /// process. Undo: `unprovision`.
    pub fn provision_at(
        &self,
        image: &StoredImage,
        directory: &Path,
    ) -> Result<(), ProvisionError> {
        let directory = whole(directory)?;
        let owner = self.paths.provisioned_at(&directory);
        let _lock = lock(&owner)?;
        let refuse = |reason: &str, kind| {
            let (directory, reason) = (directory.clone(), reason.to_owned());
            Err(ProvisionError::Target { directory, reason, kind })
        };
        if is_ours(&owner, &directory)? {
            return refuse("an image is provisioned here already", ErrorKind::Conflict);
        }
        // What a command that died has left of an earlier attempt.
        clean(self, &owner)?;
        let made = match look(&directory)? {
            There::Nothing => true,
            There::Empty => false,
            There::Else(reason) => return refuse(reason, ErrorKind::InvalidRequest),
        };
        if made {
            fs::make_directories(&directory, fs::SHARED)
                .map_err(ProvisionError::file(&directory))?;
        }
        let shown = self.show(image, &owner, &directory, made);
        if shown.is_err() {
            // The first error counts; a repeated command, or unprovision, cleans what is left.
            let _ = clean(self, &owner);
            if made {
                // Without a record, nobody else knows whose it is.
                let _ = std::fs::remove_dir(&directory);
            }
        }
        shown
    }

    fn show(
        &self,
        image: &StoredImage,
        owner: &Path,
        directory: &Path,
        made: bool,
    ) -> Result<(), ProvisionError> {
        fs::make_directories(owner, fs::SHARED).map_err(ProvisionError::file(owner))?;
        let provisioned =
            self.provision_in(owner, image, &Target::new(image, Exposure::Private))?;
        let mount = match &provisioned.rootfs {
            Rootfs::Detached(mount) => {
                mount.as_fd().try_clone_to_owned().map_err(ProvisionError::file(directory))?
            }
            Rootfs::Directory(path) => {
                overlay::clone_mount(path).map_err(|error| kernel(path, error))?
            }
        };
        let id = overlay::mount_id(&mount).map_err(|error| kernel(directory, error))?;
        let record = Record { directory: directory.to_owned(), made, mount: id, boot: boot_id()? };
        let text = serde_json::to_vec(&record).expect("plain data");
        let path = owner.join("target");
        fs::replace_file(&path, &text).map_err(|error| kernel(&path, error))?;
        overlay::attach(&mount, directory)
            .and_then(|()| overlay::share_one_way(directory))
            .map_err(|error| kernel(directory, error))
    }

    /// Removes what [`Provisioner::provision_at`] has made at `directory`, and nothing else.
    ///
    /// Errors: `NotFound` if it has made nothing there; `Conflict` if something else is mounted over
    /// it. Repeatable after a failure.
    pub fn unprovision(&self, directory: &Path) -> Result<(), ProvisionError> {
        let directory = match whole(directory) {
            Err(ProvisionError::File { error, .. }) if error.kind() == IoKind::NotFound => {
                vanished(&self.paths, directory).ok_or_else(|| nothing_at(directory))?
            }
            directory => directory?,
        };
        let owner = self.paths.provisioned_at(&directory);
        let _lock = lock(&owner)?;
        match read(&owner)? {
            Some(_) => clean(self, &owner),
            None => {
                // A command that died before it had a record has left a lease at most.
                clean(self, &owner)?;
                Err(nothing_at(&directory))
            }
        }
    }
}

/// Undoes a provision of any progress.
fn clean(provisioner: &Provisioner, owner: &Path) -> Result<(), ProvisionError> {
    if let Some(record) = read(owner)? {
        let directory = &record.directory;
        let failed = |error| kernel(directory, error);
        if overlay::is_mount_point(directory).map_err(failed)? {
            if is_ours(owner, directory)? {
                overlay::detach(directory).map_err(failed)?;
            } else {
                return Err(ProvisionError::Target {
                    directory: directory.clone(),
                    reason: "something else is mounted here".to_owned(),
                    kind: ErrorKind::Conflict,
                });
            }
        }
        if record.made {
            match std::fs::remove_dir(directory) {
                // What somebody else has put in its place, or into it, is theirs.
                Err(error) if is_no_more_ours(error.kind()) => {}
                result => result.map_err(ProvisionError::file(directory))?,
            }
        }
    }
    remove_backends(owner)?;
    provisioner.store().release(owner)?;
    fs::remove_path(owner).map_err(|error| kernel(owner, error))
}

fn is_no_more_ours(kind: IoKind) -> bool {
    matches!(kind, IoKind::NotFound | IoKind::NotADirectory | IoKind::DirectoryNotEmpty)
}

/// What is at a directory that shall show an image.
enum There {
    Nothing,
    /// A directory with nothing in it.
    Empty,
    /// Something that is not to be covered, and what.
    Else(&'static str),
}

/// Links have been followed already: one that is left leads nowhere.
fn look(directory: &Path) -> Result<There, ProvisionError> {
    let kind = match directory.symlink_metadata() {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(There::Nothing),
        found => found.map_err(ProvisionError::file(directory))?.file_type(),
    };
    if kind.is_symlink() {
        return Ok(There::Else("is a link that leads nowhere"));
    }
    if !kind.is_dir() {
        return Ok(There::Else("is no directory"));
    }
    let mut entries = std::fs::read_dir(directory).map_err(ProvisionError::file(directory))?;
    Ok(match entries.next() {
        None => There::Empty,
        Some(_) => There::Else("is not empty"),
    })
}

fn kernel(path: &Path, error: crate::linux::Error) -> ProvisionError {
    BackendError::Kernel { path: path.to_owned(), error }.into()
}

/// Whether what is mounted at `directory` is the mount of the record.
fn is_ours(owner: &Path, directory: &Path) -> Result<bool, ProvisionError> {
    let Some(record) = read(owner)? else { return Ok(false) };
    let failed = |error| kernel(directory, error);
    if record.boot != boot_id()? || !overlay::is_mount_point(directory).map_err(failed)? {
        return Ok(false);
    }
    let root = fs::Directory::open(directory).map_err(failed)?;
    Ok(overlay::mount_id(&root).map_err(failed)? == record.mount)
}

fn read(owner: &Path) -> Result<Option<Record>, ProvisionError> {
    let path = owner.join("target");
    let bytes = match std::fs::read(&path) {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
        result => result.map_err(ProvisionError::file(&path))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| ProvisionError::Target {
        directory: path,
        reason: format!("the record does not parse: {error}"),
        kind: ErrorKind::Host,
    })
}

fn boot_id() -> Result<String, ProvisionError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(path).map_err(ProvisionError::file(path))?;
    Ok(text.trim().to_owned())
}

/// The directory by a path without links, whether it exists or not.
fn whole(directory: &Path) -> Result<PathBuf, ProvisionError> {
    match std::fs::canonicalize(directory) {
        Err(error) if error.kind() == IoKind::NotFound => {}
        result => return result.map_err(ProvisionError::file(directory)),
    }
    let absolute = std::path::absolute(directory).map_err(ProvisionError::file(directory))?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        return Ok(absolute);
    };
    let parent = std::fs::canonicalize(parent).map_err(ProvisionError::file(parent))?;
    Ok(parent.join(name))
}

fn nothing_at(directory: &Path) -> ProvisionError {
    ProvisionError::Target {
        directory: directory.to_owned(),
        reason: "no image was provisioned here".to_owned(),
        kind: ErrorKind::NotFound,
    }
}

/// A directory that is on record, though not even its parent is there any more.
fn vanished(paths: &Paths, directory: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(directory).ok()?;
    let mut recorded = targets(paths).ok()?.into_iter();
    recorded.find(|recorded| *recorded == absolute)
}

fn lock(owner: &Path) -> Result<NamedLock, ProvisionError> {
    let path = owner.with_extension("lock");
    if let Some(parent) = path.parent() {
        fs::make_directories(parent, fs::SHARED).map_err(ProvisionError::file(parent))?;
    }
    NamedLock::take(&path).map_err(|error| kernel(&path, error))
}

/// The directories at which images are shown, of this and earlier boots.
pub fn targets(paths: &Paths) -> Result<Vec<PathBuf>, ProvisionError> {
    let root = paths.provisioner().join("targets");
    let entries = match std::fs::read_dir(&root) {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(ProvisionError::file(&root))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let owner = entry.map_err(ProvisionError::file(&root))?.path();
        if owner.extension().is_none() {
            found.extend(read(&owner)?.map(|record| record.directory));
        }
    }
    Ok(found)
}
