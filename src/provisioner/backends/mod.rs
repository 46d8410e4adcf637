//! Backends: how layers become a root file system.
//!
//! ```text
//! <container>/backends/<backend>/rootfses/<uuid>/            copy: the tree; others: a mount point
//! <container>/backends/overlay/scratch/<uuid>/{upperdir,workdir}/
//! ```

mod bind;
mod copy;
mod overlay;

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use crate::error::{Classified, ErrorKind};
use crate::linux;
use crate::linux::fs::{self, Directory};
use crate::model::Rootfs;

/// Who sees a root file system that is a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposure {
    /// Its container alone: the mount is attached nowhere on the host.
    #[default]
    Private,
    /// Everybody: the mount is at `rootfses/<uuid>`.
    Host,
}

/// What to make a root file system of, and where.
#[derive(Debug, Clone, Copy)]
pub struct Assembly<'a> {
    /// Trees of the layers, bottom first, whiteouts in overlay's form; 1 to
    /// [`crate::limits::LAYERS_MAX`], absolute.
    pub layers: &'a [PathBuf],
    /// What the backend keeps of one container; exists where [`Backend::keeps`] anything.
    pub directory: &'a Path,
    /// Names the root file system among those of the container.
    pub id: &'a str,
    /// Who sees it.
    pub exposure: Exposure,
}

impl Assembly<'_> {
    fn rootfs(&self) -> PathBuf {
        rootfs(self.directory, self.id)
    }
}

/// A root file system.
#[derive(Debug)]
pub struct Assembled {
    /// Where it is.
    pub rootfs: Rootfs,
    /// Scratch that counts against the container's disk.
    pub ephemeral: Vec<PathBuf>,
    /// Nothing in it can be changed.
    pub read_only: bool,
}

/// One way to stack layers. Calls block.
pub trait Backend: Debug + Sync {
    /// As the operator writes it.
    fn name(&self) -> &'static str;

    /// Chosen when the operator names none.
    fn automatic(&self) -> bool;

    /// Whether it works with containers below `directory`, which exists.
    fn supported(&self, directory: &Path) -> Result<(), BackendError>;

    /// Whether a root file system leaves anything on disk or on the host.
    fn keeps(&self, _exposure: Exposure) -> bool {
        true
    }

    /// Stacks the layers. Undo: [`Backend::destroy`], also after a failure.
    fn provision(&self, assembly: &Assembly<'_>) -> Result<Assembled, BackendError>;

    /// Removes what `provision` made for `id`, whole or in part. Absent is success, so a failed
    /// destroy is repeated.
    fn destroy(&self, directory: &Path, id: &str) -> Result<(), BackendError>;

    /// The same in a few calls, for private root file systems of these names into which nothing was
    /// written, and with them the directory. `false`: there is more to do, and [`Backend::destroy`] does it.
    fn destroy_untouched(&self, _directory: &Path, _ids: &[&str]) -> bool {
        false
    }
}

/// All backends, the preferred first. Overlay is immediate and shares the layers' pages; a copy
/// works everywhere; bind is read-only, so only who asks for it gets it.
pub const TABLE: [&dyn Backend; 3] = [&overlay::Overlay, &copy::Copy, &bind::Bind];

/// The backend of this name, or the first that works with containers below `directory`.
///
/// Errors: an unknown name, one that does not work here, or none that does.
pub fn choose(name: Option<&str>, directory: &Path) -> Result<&'static dyn Backend, BackendError> {
    if let Some(name) = name {
        let backend = find(name)?;
        return backend.supported(directory).map(|()| backend);
    }
    let mut first = None;
    for backend in TABLE.into_iter().filter(|backend| backend.automatic()) {
        match backend.supported(directory) {
            Ok(()) => return Ok(backend),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.unwrap_or_else(|| BackendError::Unknown("no backend is automatic".to_owned())))
}

/// The backend of this name.
pub fn find(name: &str) -> Result<&'static dyn Backend, BackendError> {
    let found = TABLE.into_iter().find(|backend| backend.name() == name);
    found.ok_or_else(|| BackendError::Unknown(name.to_owned()))
}

/// Why there is no root file system, or why one stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// There is no such backend.
    #[error("unknown backend {0:?}")]
    Unknown(String),
    /// It does not work here.
    #[error("backend {backend} does not work: {reason}")]
    Unsupported {
        /// Which.
        backend: &'static str,
        /// One line.
        reason: String,
    },
    /// It cannot make a root file system of this image.
    #[error("backend {backend} cannot take this image: {reason}")]
    Image {
        /// Which.
        backend: &'static str,
        /// One line.
        reason: String,
    },
    /// The kernel refused.
    #[error("{path}: {error}")]
    Kernel {
        /// What was worked on.
        path: PathBuf,
        /// The call.
        #[source]
        error: linux::Error,
    },
}

impl BackendError {
    fn kernel(path: impl Into<PathBuf>) -> impl FnOnce(linux::Error) -> Self {
        let path = path.into();
        |error| Self::Kernel { path, error }
    }
}

impl Classified for BackendError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unknown(_) | Self::Image { .. } => ErrorKind::InvalidRequest,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Kernel { error, .. } => error.kind(),
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Kernel { error, .. } => error.errno_name(),
            Self::Unknown(_) | Self::Unsupported { .. } | Self::Image { .. } => None,
        }
    }
}

fn rootfs(directory: &Path, id: &str) -> PathBuf {
    directory.join("rootfses").join(id)
}

/// Makes a directory and its parents; one that is there is fine.
fn make(path: &Path) -> Result<(), BackendError> {
    let made = fs::make_directories(path, fs::SHARED);
    made.map_err(|error| linux::Error::from_io(format!("mkdir({path:?})"), &error))
        .map_err(BackendError::kernel(path))
}

/// Whether the directory `path` is not there any more.
pub(super) fn removed(path: &Path) -> bool {
    matches!(rustix::fs::rmdir(path), Ok(()) | Err(rustix::io::Errno::NOENT))
}

/// Unmounts what is at `path`, if anything is, and removes the then empty directory.
fn unmount(path: &Path) -> Result<(), BackendError> {
    use linux::overlay;
    while overlay::is_mount_point(path).map_err(BackendError::kernel(path))? {
        overlay::detach(path).map_err(BackendError::kernel(path))?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result
            .map_err(|error| linux::Error::from_io(format!("rmdir({path:?})"), &error))
            .map_err(BackendError::kernel(path)),
    }
}

/// File systems by their `f_type`, linux/magic.h.
mod magic {
    pub(super) const AUFS: u64 = 0x6175_6673;
    pub(super) const BTRFS: u64 = 0x9123_683e;
    pub(super) const ECRYPTFS: u64 = 0xf15f;
    pub(super) const OVERLAY: u64 = 0x794c_7630;
    pub(super) const ZFS: u64 = 0x2fc1_2fc1;
}

/// Whether readdir on the file system of `directory` tells the kinds of names: of the one that is
/// needed anyway, because a probe would stay where a command is killed.
fn tells_kinds(directory: &Path) -> Result<bool, linux::Error> {
    let some = directory.join("containers");
    fs::make_directories(&some, fs::SHARED)
        .map_err(|error| linux::Error::from_io(format!("mkdir({some:?})"), &error))?;
    Directory::open(directory)?.tells_kinds()
}
