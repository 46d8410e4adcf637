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
        self.provision_as(id, image, &Target::new(image, exposure))
    }

    /// The same for who removes it with [`Provisioner::destroy_untouched`].
    pub(super) fn provision_as(
        &self,
        id: &ContainerId,
        image: &StoredImage,
        target: &Target,
    ) -> Result<Provisioned, ProvisionError> {
        self.provision_in(&self.paths.provisioned(id), image, target)
    }

    pub(super) fn provision_in(
        &self,
        owner: &Path,
        image: &StoredImage,
        target: &Target,
    ) -> Result<Provisioned, ProvisionError> {
        let backends = owner.join("backends");
        let directory = &*backends.join(self.backend.name());
        // From the top: from the bottom the first attempts would fail.
        let all = [owner, &backends, directory];
        let needed = match self.backend.keeps(target.exposure) {
            true => &all[..],
            false => &all[..usize::from(target.held)],
        };
        for level in needed {
            make_directories(level, SHARED).map_err(ProvisionError::file(*level))?;
        }
        image.hold_for(owner)?;
        let layers: Vec<PathBuf> = image.layers.iter().map(|layer| layer.path.clone()).collect();
        let Target { id, exposure, .. } = target;
        let assembly = Assembly { layers: &layers, directory, id, exposure: *exposure };
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
                let _ = self.backend.destroy(directory, id);
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
        self.remove_owner(id)
    }

    /// Removes what `targets` have made for a container that has written nothing: a few calls, fit for a
    /// thread that serves others. `false`: there is more, and [`Self::destroy`] goes on from there.
    ///
    /// `targets` is all that was begun for the container, by this process; what else is there is found
    /// to be in the way.
    pub(super) fn destroy_untouched(
        &self,
        id: &ContainerId,
        targets: &[Target],
    ) -> Result<bool, ProvisionError> {
        let kept = |target: &&Target| self.backend.keeps(target.exposure);
        let (ids, exposures): (Vec<&str>, Vec<Exposure>) =
            targets.iter().filter(kept).map(|target| (&*target.id, target.exposure)).unzip();
        let directory = self.paths.backend(id, self.backend.name());
        let gone = || {
            exposures.iter().all(|exposure| *exposure == Exposure::Private)
                && self.backend.destroy_untouched(&directory, &ids)
                && directory.parent().is_some_and(backends::removed)
        };
        if !ids.is_empty() && !gone() {
            return Ok(false);
        }
        let held = targets.iter().any(|target| target.held);
        if held {
            self.store.release(&self.paths.provisioned(id))?;
        }
        if held || !ids.is_empty() {
            self.remove_owner(id)?;
        }
        Ok(true)
    }

    /// Removes a container's directory, if nothing is in it any more.
    fn remove_owner(&self, id: &ContainerId) -> Result<(), ProvisionError> {
        remove_if_empty(&self.paths.provisioned(id))?;
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

    /// Whether it is certain that nothing is on disk of a container.
    pub(super) fn has_nothing(&self, id: &ContainerId) -> bool {
        matches!(self.paths.provisioned(id).try_exists(), Ok(false))
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

/// One root file system of a container, known before it is made: what its removal has to find.
#[derive(Debug, Clone)]
pub(super) struct Target {
    id: String,
    exposure: Exposure,
    /// The store holds the image for the container.
    held: bool,
}

impl Target {
    pub(super) fn new(image: &StoredImage, exposure: Exposure) -> Self {
        Self { id: Uuid::new_v4().to_string(), exposure, held: image.is_held() }
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
#[non_exhaustive]
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

#[cfg(all(test, feature = "root-tests"))]
mod root_tests {
    use super::*;
    use crate::model::{ImageReference, PullPolicy, Rootfs};
    use crate::provisioner::stores::StoreConfig;

    struct World {
        scratch: tempfile::TempDir,
        paths: Paths,
        store: ImageStore,
        image: StoredImage,
        id: ContainerId,
    }

    impl World {
        fn new() -> Self {
            let scratch = tempfile::tempdir().expect("a scratch directory");
            let paths = Paths::new(scratch.path().join("work"), scratch.path().join("run"));
            let store = ImageStore::open(StoreConfig::new(paths.store())).expect("the store opens");
            let rootfs = scratch.path().join("rootfs");
            std::fs::create_dir_all(rootfs.join("bin")).expect("made");
            let reference = format!("rootfs:{}", rootfs.display());
            let reference: ImageReference = reference.parse().expect("a reference");
            let image = store.get_here(&reference, PullPolicy::Missing).expect("looked");
            let image = image.expect("it is a directory of this host");
            let id = ContainerId::new("a").expect("valid").child("b").expect("valid");
            Self { scratch, paths, store, image, id }
        }

        fn provisioner(&self, backend: &str) -> Provisioner {
            Provisioner::new(self.paths.clone(), self.store.clone(), Some(backend))
                .expect("the backend works here")
        }

        /// What the provisioner has on disk.
        fn left(&self) -> Vec<OsString> {
            names(&self.paths.provisioner().join("containers")).expect("listed")
        }
    }

    #[test]
    fn what_is_known_and_untouched_goes_without_a_look_and_what_was_written_into_is_left_to_destroy()
     {
        let world = World::new();
        let provisioner = world.provisioner("overlay");
        for written in [false, true] {
            let targets = [(); 2].map(|()| Target::new(&world.image, Exposure::Private));
            let made = targets.each_ref().map(|target| {
                provisioner.provision_as(&world.id, &world.image, target).expect("provisioned")
            });
            if written {
                let upper = made[1].ephemeral.first().expect("it has scratch");
                std::fs::write(upper.join("file"), "").expect("written");
            }
            drop(made);
            let done = provisioner.destroy_untouched(&world.id, &targets).expect("looked");
            assert_eq!(done, !written);
            assert_eq!(world.left().is_empty(), !written);
            provisioner.destroy(&world.id).expect("destroyed");
            assert!(provisioner.has_nothing(&world.id));
            assert_eq!(world.left(), Vec::<OsString>::new());
        }
    }

    #[test]
    fn what_nobody_remembers_is_in_the_way_and_found_by_destroy() {
        let world = World::new();
        let provisioner = world.provisioner("overlay");
        let earlier = provisioner.provision(&world.id, &world.image, Exposure::Private);
        drop(earlier.expect("provisioned"));
        let target = Target::new(&world.image, Exposure::Private);
        let made = provisioner.provision_as(&world.id, &world.image, &target);
        drop(made.expect("provisioned"));
        assert!(!provisioner.destroy_untouched(&world.id, &[target]).expect("looked"));
        provisioner.destroy(&world.id).expect("destroyed");
        assert_eq!(world.left(), Vec::<OsString>::new());
    }

    #[test]
    fn a_private_bind_of_a_directory_leaves_nothing_on_disk() {
        let world = World::new();
        let provisioner = world.provisioner("bind");
        let target = Target::new(&world.image, Exposure::Private);
        let made = provisioner.provision_as(&world.id, &world.image, &target).expect("bound");
        assert!(matches!(made.rootfs, Rootfs::Detached(_)), "{made:?}");
        assert!(provisioner.has_nothing(&world.id));
        assert!(provisioner.destroy_untouched(&world.id, &[target]).expect("nothing to do"));
        assert!(world.scratch.path().join("rootfs/bin").is_dir());
    }

    #[test]
    fn what_is_mounted_on_the_host_is_unmounted_by_destroy() {
        let world = World::new();
        for backend in ["overlay", "bind"] {
            let provisioner = world.provisioner(backend);
            let target = Target::new(&world.image, Exposure::Host);
            let made = provisioner.provision_as(&world.id, &world.image, &target);
            let Rootfs::Directory(rootfs) = made.expect("mounted").rootfs else {
                unreachable!("it is on the host")
            };
            assert!(rootfs.join("bin").is_dir());
            assert!(!provisioner.destroy_untouched(&world.id, &[target]).expect("looked"));
            assert!(rootfs.join("bin").is_dir(), "nothing is touched");
            provisioner.destroy(&world.id).expect("destroyed");
            assert_eq!(world.left(), Vec::<OsString>::new());
        }
    }
}
