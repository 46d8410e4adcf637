//! Leases: who uses which layers and blobs, so that a prune by anybody leaves them alone.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::cache::{Cache, Lock, names};
use crate::linux::fs::{self, FlockOperation};
use crate::model::Digest;

/// What is used: digests of blobs and chain ids of layers alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    /// The directory for whose life a container's lease counts; `None`: the process' own.
    owner: Option<PathBuf>,
    digests: Vec<Digest>,
}

/// Held while this process uses an image. Dropped, or when the process ends, it is void.
#[derive(Debug)]
pub struct Lease {
    path: PathBuf,
    _lock: File,
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A lease that cannot be removed is void all the same once its lock is gone.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Cache {
    /// Says that this process uses `digests`, whether they are in the store yet or not.
    pub(crate) fn lease(&self, digests: Vec<Digest>) -> Result<Arc<Lease>, StoreError> {
        let path = self.leases().join(Uuid::new_v4().simple().to_string());
        let _guard = self.lock(Lock::Shared)?;
        let mut lock = create(&path)?;
        fs::lock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(StoreError::kernel(&path))?;
        let pins = serde_json::to_vec(&Pins { owner: None, digests }).expect("plain data");
        lock.write_all(&pins).map_err(StoreError::file(&path))?;
        Ok(Arc::new(Lease { path, _lock: lock }))
    }

    /// Says that the container whose directory is `owner` uses `digests` until that is gone.
    pub(crate) fn lease_for(&self, owner: &Path, digests: Vec<Digest>) -> Result<(), StoreError> {
        let name = format!("{}{}", prefix(owner), Uuid::new_v4().simple());
        let path = self.leases().join(name);
        let pins = Pins { owner: Some(owner.to_owned()), digests };
        let pins = serde_json::to_vec(&pins).expect("plain data");
        let _guard = self.lock(Lock::Shared)?;
        // Nothing waits for the disk on a launch: after a power cut no container lives that would
        // need its layers, and a lease that is not whole is void.
        let written = create(&path)
            .and_then(|mut file| file.write_all(&pins).map_err(StoreError::file(&path)));
        if written.is_err() {
            let _ = std::fs::remove_file(&path);
        }
        written
    }

    /// Ends all leases of the container whose directory is `owner`.
    pub(crate) fn release(&self, owner: &Path) -> Result<(), StoreError> {
        let prefix = prefix(owner);
        for name in names(&self.leases())? {
            if name.to_string_lossy().starts_with(&prefix) {
                remove(&self.leases().join(name))?;
            }
        }
        Ok(())
    }

    /// Everything that a valid lease names; void ones are removed. Asked under the exclusive lock.
    pub(super) fn leased(&self) -> Result<HashSet<Digest>, StoreError> {
        let mut leased = HashSet::new();
        for name in names(&self.leases())? {
            let path = self.leases().join(name);
            match valid(&path)? {
                Some(pins) => leased.extend(pins.digests),
                None => remove(&path)?,
            }
        }
        Ok(leased)
    }

    /// Whether there are others than those of containers, which go with their containers.
    pub(super) fn has_leases_of_processes(&self) -> Result<bool, StoreError> {
        let of_container = |name: &std::ffi::OsString| name.to_string_lossy().starts_with("c-");
        Ok(names(&self.leases())?.iter().any(|name| !of_container(name)))
    }

    fn leases(&self) -> PathBuf {
        self.root().join("leases")
    }
}

fn prefix(owner: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    format!("c-{}-", Digest::of(owner.as_os_str().as_bytes()).hex())
}

fn create(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    fs::open_private(&mut options, path).map_err(StoreError::file(path))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(StoreError::file(path)),
    }
}

/// What the lease at `path` pins; `None`: it is void.
fn valid(path: &Path) -> Result<Option<Pins>, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.map_err(StoreError::file(path))?,
    };
    // The exclusive lock of the store is held: no lease is being written now.
    let Ok(pins) = serde_json::from_reader::<_, Pins>(&file) else { return Ok(None) };
    let alive = match &pins.owner {
        Some(owner) => owner.symlink_metadata().is_ok(),
        None => !fs::lock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(StoreError::kernel(path))?,
    };
    Ok(alive.then_some(pins))
}
