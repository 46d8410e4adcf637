//! The one store on disk for images of every type; everything in it is named by its content.
//!
//! ```text
//! <store>/
//!   lock                          flock: shared to pin, exclusive to change the table or to prune
//!   images.json                   normalised name -> digests of manifest, configuration, chain
//!   images.reserve                room for a new table, so that a full disk can be pruned
//!   blobs/<algorithm>/<hex>       manifests, indexes, configurations
//!   layers/<algorithm>/<hex>/fs/  one layer by its chain id, whiteouts in overlay's form
//!   layers/<algorithm>/<hex>/bytes  size of its files, decimal
//!   staging/<uuid>/               what one pull makes; <uuid>.lock is held while it lives
//!   leases/<uuid>                 what a living process uses; held while it lives
//!   leases/c-<hex>-<uuid>         what a container uses, for as long as its directory is there
//!   pulls/<hex>                   flock: one pull of an image at a time, over all processes; goes
//!                                 with the pull
//!   trash/<uuid>/                 on its way out; anybody may finish that
//! ```
//!
//! **Trust.** What stands under its final name in `blobs` and `layers` is complete: it was made in
//! `staging`, made durable by one syncfs(2), and only then renamed. The table names it last. So a
//! power cut leaves at most staging and trash, which the next open removes; nothing is repaired.
//!
//! **Several processes.** Who uses layers says so in a lease first and looks whether they exist
//! second, both under the shared lock. Who prunes reads leases and table and moves the rest into
//! the trash under the exclusive lock, and deletes after releasing it. So neither waits for a pull
//! or for a deletion, and nothing in use goes away.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use uuid::Uuid;

use super::StoreError;
use super::table::{Row, Table};
use crate::linux::fs::{self, Directory, Errno, FlockOperation};
use crate::model::Digest;
use crate::provisioner::layer;
use crate::provisioner::named_lock::NamedLock;

/// The store's directory.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
    /// How many directories of pulls exist now.
    staged: watch::Sender<usize>,
}

/// Holds the store's lock.
#[derive(Debug)]
pub(crate) struct Guard {
    _lock: File,
}

/// How the store is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Nobody prunes or changes the table meanwhile.
    Shared,
    /// Nobody else does anything meanwhile.
    Exclusive,
}

/// Bytes of a table of some hundred images.
const TABLE_ROOM: u64 = 256 << 10;

const PARTS: [&str; 8] = [
    "blobs/sha256",
    "blobs/sha512",
    "layers/sha256",
    "layers/sha512",
    "staging",
    "leases",
    "pulls",
    "trash",
];

impl Cache {
    /// Opens the store in `root`, makes it if there is none, and removes what dead pulls left.
    pub(crate) fn open(root: &Path) -> Result<Arc<Self>, StoreError> {
        if let Some(parent) = root.parent() {
            // The work directory is not ours alone: its mode is as usual.
            fs::make_directories(parent, fs::SHARED).map_err(StoreError::file(parent))?;
        }
        for part in PARTS {
            // Layers hold setuid programs: no way in for the host's users.
            let path = root.join(part);
            let made = fs::make_directories(&path, 0o700);
            made.map_err(StoreError::file(&path))?;
        }
        let root = std::path::absolute(root).map_err(StoreError::file(root))?;
        let cache = Self { root, staged: watch::Sender::new(0) };
        // A table that cannot be read is told now, not at the first pull.
        cache.table()?;
        cache.sweep()?;
        Ok(Arc::new(cache))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Takes the store's lock. Held for moments only, so waiting for it is short.
    pub(crate) fn lock(&self, how: Lock) -> Result<Guard, StoreError> {
        let path = self.root.join("lock");
        let file = lock_file(&path)?;
        let operation = match how {
            Lock::Shared => FlockOperation::LockShared,
            Lock::Exclusive => FlockOperation::LockExclusive,
        };
        fs::lock(&file, operation).map_err(StoreError::kernel(&path))?;
        Ok(Guard { _lock: file })
    }

    fn table_path(&self) -> PathBuf {
        self.root.join("images.json")
    }

    /// What is known.
    pub(crate) fn table(&self) -> Result<Table, StoreError> {
        Table::read(&self.table_path())
    }

    /// Enters an image whose blobs and layers are in place.
    pub(crate) fn enter(&self, row: Row) -> Result<(), StoreError> {
        let _guard = self.lock(Lock::Exclusive)?;
        let mut table = self.table()?;
        if table.find(&row.reference) == Some(&row) {
            return Ok(());
        }
        table.put(row);
        table.write(&self.table_path())?;
        self.reserve_room();
        Ok(())
    }

    /// Replaces the table by a smaller one, also where the disk is full. The caller holds the exclusive
    /// lock.
    pub(super) fn replace_table(&self, _guard: &Guard, table: &Table) -> Result<(), StoreError> {
        let written = match table.write(&self.table_path()) {
            Err(error) if error.is_for_want_of_room() => {
                fs::remove_path(&self.reserve()).map_err(StoreError::kernel(&self.reserve()))?;
                table.write(&self.table_path())
            }
            written => written,
        };
        self.reserve_room();
        written
    }

    fn reserve(&self) -> PathBuf {
        self.root.join("images.reserve")
    }

    /// As well as can be: without it only a prune of a full disk fails.
    fn reserve_room(&self) {
        if let Err(error) = fs::reserve(&self.reserve(), TABLE_ROOM) {
            tracing::debug!(%error, "no room is reserved for the image table");
        }
    }

    /// Where a manifest or configuration is, or would be.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    /// Where a layer is, or would be.
    pub(crate) fn layer(&self, chain: &Digest) -> PathBuf {
        self.root.join("layers").join(chain.algorithm()).join(chain.hex())
    }

    /// The tree of a layer.
    pub(crate) fn tree(&self, chain: &Digest) -> PathBuf {
        self.layer(chain).join(layer::TREE)
    }

    /// Size of the files of a layer that is in the store; `None`: it is not.
    pub(crate) fn layer_bytes(&self, chain: &Digest) -> Result<Option<u64>, StoreError> {
        let path = self.layer(chain).join("bytes");
        match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file(&path)(error)),
            Ok(text) => text.trim().parse().map(Some).map_err(|_| StoreError::Damaged {
                path,
                reason: "is no decimal number".to_owned(),
            }),
        }
    }

    /// Whether the store has this blob and all these layers.
    pub(crate) fn has<'a>(
        &self,
        blob: &Digest,
        chains: impl Iterator<Item = &'a Digest>,
    ) -> Result<bool, StoreError> {
        let mut paths = std::iter::once(self.blob(blob)).chain(chains.map(|c| self.layer(c)));
        paths.try_fold(true, |all, path| {
            Ok(all && path.try_exists().map_err(StoreError::file(&path))?)
        })
    }

    /// A manifest, index or configuration that the store has, verified again: these are small.
    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blob(digest);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(StoreError::file(&path))?,
        };
        match super::verify::matches(digest, &bytes) {
            true => Ok(Some(bytes)),
            false => Err(StoreError::Damaged {
                path,
                reason: "does not have the digest that is its name".to_owned(),
            }),
        }
    }

    /// A new directory for one pull, on the same file system as the layers.
    pub(crate) fn stage(self: &Arc<Self>) -> Result<Staging, StoreError> {
        let _guard = self.lock(Lock::Shared)?;
        let name = Uuid::new_v4().simple().to_string();
        let path = self.root.join("staging").join(&name);
        let lock_path = path.with_extension("lock");
        let lock = lock_file(&lock_path)?;
        fs::lock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(StoreError::kernel(&lock_path))?;
        let made = DirBuilder::new().mode(0o700).create(&path);
        if made.is_err() {
            // A disk without room for the one should not be left with the other.
            let _ = fs::remove_path(&lock_path);
        }
        made.map_err(StoreError::file(&path))?;
        let counted = Counted::new(&self.staged);
        Ok(Staging { path, lock: Mutex::new(Some((lock_path, lock, counted))) })
    }

    /// Ends when no pull of this process has a directory any more.
    pub(crate) async fn settled(&self) {
        let mut staged = self.staged.subscribe();
        // An error means that the cache itself is gone, and we hold it.
        let _ = staged.wait_for(|count| *count == 0).await;
    }

    /// Makes everything that was staged durable, and moves it in place.
    ///
    /// A layer or blob that another process has put there meanwhile stays; ours goes with staging.
    pub(crate) fn commit(
        &self,
        layers: &[(PathBuf, Digest)],
        blobs: &[(PathBuf, Digest)],
    ) -> Result<(), StoreError> {
        let root = Directory::open(&self.root).map_err(StoreError::kernel(&self.root))?;
        root.sync_file_system().map_err(StoreError::kernel(&self.root))?;
        for (from, digest) in blobs {
            let to = self.blob(digest);
            std::fs::rename(from, &to).map_err(StoreError::file(&to))?;
        }
        for (from, chain) in layers {
            let to = self.layer(chain);
            match std::fs::rename(from, &to) {
                Err(error)
                    if matches!(
                        Errno::from_io_error(&error),
                        Some(Errno::NOTEMPTY | Errno::EXIST)
                    ) => {}
                result => result.map_err(StoreError::file(&to))?,
            }
        }
        for part in &PARTS[..4] {
            let path = self.root.join(part);
            let synced = Directory::open(&path).and_then(|directory| directory.sync());
            synced.map_err(StoreError::kernel(&path))?;
        }
        Ok(())
    }

    /// Removes staging, leases and locks of dead pulls, and trash.
    fn sweep(&self) -> Result<(), StoreError> {
        self.sweep_pulls()?;
        let staging = self.root.join("staging");
        if !names(&staging)?.is_empty() {
            let _guard = self.lock(Lock::Exclusive)?;
            for name in names(&staging)? {
                self.sweep_staging(&staging.join(name))?;
            }
        }
        self.empty_trash()
    }

    /// Who pulls, or uses an image for a moment, has a lease; who died has left it.
    fn sweep_pulls(&self) -> Result<(), StoreError> {
        if self.has_leases_of_processes()? || !names(&self.root.join("pulls"))?.is_empty() {
            let _guard = self.lock(Lock::Exclusive)?;
            self.leased()?;
            self.remove_dead_locks()?;
        }
        Ok(())
    }

    /// One name in staging: a lock file, with or without its directory, or a directory alone.
    fn sweep_staging(&self, path: &Path) -> Result<(), StoreError> {
        let is_lock = path.extension().is_some_and(|extension| extension == "lock");
        let lock_path = path.with_extension("lock");
        if !is_lock && lock_path.try_exists().map_err(StoreError::file(&lock_path))? {
            // Comes with its lock file.
            return Ok(());
        }
        if is_lock {
            let lock = match OpenOptions::new().read(true).open(&lock_path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                result => result.map_err(StoreError::file(&lock_path))?,
            };
            let free = fs::lock(&lock, FlockOperation::NonBlockingLockExclusive);
            if !free.map_err(StoreError::kernel(&lock_path))? {
                return Ok(());
            }
        }
        self.discard(&path.with_extension(""))?;
        fs::remove_path(&lock_path).map_err(StoreError::kernel(&lock_path))
    }

    /// Moves a directory or file into the trash; absent is success.
    pub(super) fn discard(&self, path: &Path) -> Result<(), StoreError> {
        let to = self.root.join("trash").join(Uuid::new_v4().simple().to_string());
        match std::fs::rename(path, &to) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(StoreError::file(path)),
        }
    }

    /// Deletes what is in the trash. Several may do so at a time.
    pub(super) fn empty_trash(&self) -> Result<(), StoreError> {
        let trash = self.root.join("trash");
        for name in names(&trash)? {
            let path = trash.join(name);
            fs::remove_path(&path).map_err(StoreError::kernel(&path))?;
        }
        Ok(())
    }

    /// The lock of the pull of one image; `None`: somebody pulls it.
    pub(crate) fn pull_lock(&self, reference: &str) -> Result<Option<NamedLock>, StoreError> {
        let path = self.root.join("pulls").join(Digest::of(reference.as_bytes()).hex());
        NamedLock::try_take(&path).map_err(StoreError::kernel(&path))
    }

    /// Removes the locks of pulls that were killed.
    pub(super) fn remove_dead_locks(&self) -> Result<(), StoreError> {
        let pulls = self.root.join("pulls");
        for name in names(&pulls)? {
            let path = pulls.join(name);
            // Taken and dropped, it is gone.
            drop(NamedLock::try_take(&path).map_err(StoreError::kernel(&path))?);
        }
        Ok(())
    }
}

/// Opens a file to lock, and makes it if it is missing.
pub(super) fn lock_file(path: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    fs::open_private(&mut options, path).map_err(StoreError::file(path))
}

/// The names in one directory of the store.
pub(super) fn names(path: &Path) -> Result<Vec<std::ffi::OsString>, StoreError> {
    Directory::open(path).and_then(|d| d.names()).map_err(StoreError::kernel(path))
}

/// The directory of one pull. Dropped without [`Staging::remove`], a thread of its own removes it:
/// who drops a future must not wait for a disk.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    /// Its name and, until it is removed, the lock that says that it lives.
    lock: Mutex<Option<(PathBuf, File, Counted)>>,
}

/// One directory of a pull, as long as it exists.
#[derive(Debug)]
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(staged: &watch::Sender<usize>) -> Self {
        staged.send_modify(|count| *count += 1);
        Self(staged.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory. Blocks.
    pub(crate) fn remove(&self) {
        if let Some((lock_path, _lock, _counted)) = self.take() {
            remove_staging(&self.path, &lock_path);
        }
    }

    fn take(&self) -> Option<(PathBuf, File, Counted)> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some((lock_path, lock, counted)) = self.take() {
            let path = std::mem::take(&mut self.path);
            // Without a thread to be had, the next open sweeps.
            let _ =
                std::thread::Builder::new().name("longshore-sweep".to_owned()).spawn(move || {
                    remove_staging(&path, &lock_path);
                    drop((lock, counted));
                });
        }
    }
}

fn remove_staging(path: &Path, lock_path: &Path) {
    // What stays behind is swept by the next open.
    if fs::remove_path(path).is_ok() {
        let _ = fs::remove_path(lock_path);
    }
}
