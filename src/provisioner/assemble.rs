//! Images into root file systems of containers, and their removal.
//!
//! What is on disk is the only state: a container's directory below the provisioner's holds what each
//! backend made for it, so a destroy works as well after a restart, and again after a failure.

use std::ffi::OsString;
use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::backends::{self, Assembly, Backend, BackendError, Exposure};
use super::stores::{ImageStore, StoreError, StoredImage};
use crate::error::{Classified, ErrorKind};
use crate::linux;
use crate::linux::fs::{CLOSED, SHARED, make_closed, make_directories};
use crate::model::{ContainerId, Provisioned};
use crate::paths::Paths;

/// Makes and removes root file systems. All calls block.
#[derive(Debug, Clone)]
pub struct Provisioner {
    pub(super) paths: Paths,
    pub(super) store: ImageStore,
    pub(super) backend: &'static dyn Backend,
}

impl Provisioner {
    /// With the backend of this name, or the first that works here.
    ///
    /// Errors: `InvalidRequest` for an unknown backend, `Unsupported` for one that does not work.
    pub fn new(
        paths: Paths,
        store: ImageStore,
        backend: Option<&str>,
    ) -> Result<Self, ProvisionError> {
        let root = paths.provisioner();
        // What a container's root makes set-user-ID must not be within reach of the host's users.
        make_closed(&root, CLOSED).map_err(ProvisionError::file(&root))?;
        let backend = backends::choose(backend, &root)?;
        Ok(Self { paths, store, backend })
    }

    /// Name of the backend in use.
    pub fn backend(&self) -> &'static str {
        self.backend.name()
    }

    /// The store whose images are used.
    pub fn store(&self) -> &ImageStore {
        &self.store
    }

    /// Makes a root file system of `image` for a container; a container may have several.
    ///
    /// The image is held for the container before anything is made, so that no prune takes its
    /// layers, whichever process lives. Undo: [`Provisioner::destroy`], also after a failure.
    pub fn provision(
        &self,
        id: &ContainerId,
        image: &StoredImage,
        exposure: Exposure,
    ) -> Result<Provisioned, ProvisionError> {
        let owner = self.paths.provisioned(id);
        let directory = self.paths.backend(id, self.backend.name());
        self.provision_in(&owner, &directory, image, exposure)
    }

    pub(super) fn provision_in(
        &self,
        owner: &Path,
        directory: &Path,
        image: &StoredImage,
        exposure: Exposure,
    ) -> Result<Provisioned, ProvisionError> {
        make_directories(directory, SHARED).map_err(ProvisionError::file(directory))?;
        image.hold_for(owner)?;
        let name = Uuid::new_v4().to_string();
        let layers: Vec<PathBuf> = image.layers.iter().map(|layer| layer.path.clone()).collect();
        let assembly = Assembly { layers: &layers, directory, id: &name, exposure };
        match self.backend.provision(&assembly) {
            Ok(assembled) => Ok(Provisioned {
                reference: image.reference.clone(),
                digest: image.digest.clone(),
                config: image.config.clone(),
                rootfs: assembled.rootfs,
                backend: self.backend.name(),
                ephemeral: assembled.ephemeral,
                read_only: assembled.read_only,
            }),
            Err(error) => {
                // What cannot be removed now is found by the destroy; the first error counts.
                let _ = self.backend.destroy(directory, &name);
                Err(error.into())
            }
        }
    }

    /// Removes every root file system of a container, whatever backend made it. Unknown, or already
    /// done, is success. Goes on after a failure and names what remains; repeat it then.
    ///
    /// Directories of nested containers below are left alone: they have their own destroy.
    pub fn destroy(&self, id: &ContainerId) -> Result<(), ProvisionError> {
        let owner = self.paths.provisioned(id);
        remove_backends(&owner)?;
        self.store.release(&owner)?;
        remove_if_empty(&owner)?;
        // Parents that have ended before have left their directories for this one.
        let mut nested = Some(id.clone());
        while let Some(parent) = nested.and_then(|id| id.parent()) {
            let directory = self.paths.provisioned(&parent);
            remove_if_empty(&directory.join("containers"))?;
            remove_if_empty(&directory)?;
            nested = Some(parent);
        }
        Ok(())
    }

    /// Removes what backends have made for a container that has written nothing: a few calls, fit for
    /// a thread that serves others. `false`: there is more, and [`Self::destroy`] goes on from there.
    pub fn destroy_untouched(&self, id: &ContainerId) -> bool {
        let root = self.paths.provisioned(id).join("backends");
        let Ok(backends) = names(&root) else { return false };
        let done = backends.iter().all(|name| {
            let directory = root.join(name);
            let Ok(backend) = backends::find(&name.to_string_lossy()) else { return false };
            let Ok(made) = made(&directory) else { return false };
            made.iter().all(|id| backend.destroy_untouched(&directory, id))
                && backends::removed(&directory.join("scratch"))
                && backends::removed(&directory.join("rootfses"))
                && backends::removed(&directory)
        });
        done && backends::removed(&root)
    }

    /// The containers that have something on disk, for recovery.
    pub fn containers(&self) -> Result<Vec<ContainerId>, ProvisionError> {
        let mut found = Vec::new();
        let mut todo: Vec<(PathBuf, Option<ContainerId>)> = vec![(self.paths.provisioner(), None)];
        while let Some((directory, parent)) = todo.pop() {
            for name in names(&directory.join("containers"))? {
                let name = name.to_string_lossy().into_owned();
                let id = match &parent {
                    None => ContainerId::new(name),
                    Some(parent) => parent.child(name),
                };
                // What has no valid name was not made by us.
                let Ok(id) = id else { continue };
                todo.push((self.paths.provisioned(&id), Some(id.clone())));
                found.push(id);
            }
        }
        Ok(found)
    }
}

/// Removes what backends have made below `<owner>/backends`.
pub(super) fn remove_backends(owner: &Path) -> Result<(), ProvisionError> {
    let root = owner.join("backends");
    let (mut remaining, mut first) = (Vec::new(), None);
    for name in names(&root)? {
        let directory = root.join(&name);
        let backend = match backends::find(&name.to_string_lossy()) {
            Ok(backend) => backend,
            Err(error) => {
                remaining.push(directory.display().to_string());
                first.get_or_insert(error);
                continue;
            }
        };
        for id in made(&directory)? {
            if let Err(error) = backend.destroy(&directory, &id) {
                remaining.push(directory.join("rootfses").join(&id).display().to_string());
                first.get_or_insert(error);
            }
        }
        if remaining.is_empty() {
            linux::fs::remove_path(&directory).map_err(|error| ProvisionError::Remaining {
                remaining: vec![directory.display().to_string()],
                error: BackendError::Kernel { path: directory.clone(), error },
            })?;
        }
    }
    if let Some(error) = first {
        return Err(ProvisionError::Remaining { remaining, error });
    }
    remove_if_empty(&root)
}

/// Everything that a backend has begun in its directory of one container.
fn made(directory: &Path) -> Result<Vec<String>, ProvisionError> {
    let mut ids = Vec::new();
    for part in ["rootfses", "scratch"] {
        for name in names(&directory.join(part))? {
            ids.push(name.to_string_lossy().into_owned());
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

fn names(directory: &Path) -> Result<Vec<OsString>, ProvisionError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == IoKind::NotFound => return Ok(Vec::new()),
        result => result.map_err(ProvisionError::file(directory))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<Result<_, _>>().map_err(ProvisionError::file(directory))
}

/// Removes a directory unless something is in it, such as nested containers.
fn remove_if_empty(directory: &Path) -> Result<(), ProvisionError> {
    match std::fs::remove_dir(directory) {
        Err(error) if matches!(error.kind(), IoKind::NotFound | IoKind::DirectoryNotEmpty) => {
            Ok(())
        }
        result => result.map_err(ProvisionError::file(directory)),
    }
}

/// Why a root file system is not there, or still is.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backend.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A destroy that has not removed everything.
    #[error("{error}")]
    Remaining {
        /// What is left.
        remaining: Vec<String>,
        /// The first failure.
        #[source]
        error: BackendError,
    },
    /// A directory of ours.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// The directory where an image is to be shown.
    #[error("{directory}: {reason}")]
    Target {
        /// As given.
        directory: PathBuf,
        /// One line.
        reason: String,
        /// Who must act.
        kind: ErrorKind,
    },
}

impl ProvisionError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |error| Self::File { path, error }
    }

    /// What a failed destroy has left; empty for other errors.
    pub fn remaining(&self) -> &[String] {
        match self {
            Self::Remaining { remaining, .. } => remaining,
            Self::Store(_) | Self::Backend(_) | Self::File { .. } | Self::Target { .. } => &[],
        }
    }
}

impl Classified for ProvisionError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Backend(error) | Self::Remaining { error, .. } => error.kind(),
            Self::File { error, .. } => linux::Error::from_io("", error).kind(),
            Self::Target { kind, .. } => *kind,
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.errno(),
            Self::Backend(error) | Self::Remaining { error, .. } => error.errno(),
            Self::File { error, .. } => linux::Error::from_io("", error).errno_name(),
            Self::Target { .. } => None,
        }
    }
}
