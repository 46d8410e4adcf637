//! `overlay`: the layers stay where they are, the container writes into a directory of its own.
//!
//! Kernel: overlayfs, Linux 4.0. The mount is attached nowhere on the host unless that is asked for,
//! so the kernel unmounts it with the last process of the container. The upper directory is scratch:
//! `volatile` keeps the unmount from syncing it.
//! Undo: unmount (if on the host), remove the scratch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Assembled, Assembly, Backend, BackendError, Exposure, magic, make, tells_kinds};
use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Errno};
use crate::linux::overlay::{self, Durability, Stack};
use crate::model::Rootfs;
use crate::provisioner::replicate;

/// See the module.
#[derive(Debug)]
pub(super) struct Overlay;

const NAME: &str = "overlay";

impl Backend for Overlay {
    fn name(&self) -> &'static str {
        NAME
    }

    fn automatic(&self) -> bool {
        true
    }

    fn supported(&self, directory: &Path) -> Result<(), BackendError> {
        let unsupported = |reason: String| BackendError::Unsupported { backend: NAME, reason };
        if !nix::unistd::geteuid().is_root() {
            return Err(unsupported("it needs root".to_owned()));
        }
        overlay::supports_overlay()
            .map_err(|error| unsupported(format!("the kernel has no overlayfs: {error}")))?;
        let kind = fs::file_system_type(directory).map_err(BackendError::kernel(directory))?;
        let unusable = match kind {
            magic::AUFS => Some("aufs"),
            magic::BTRFS => Some("btrfs"),
            magic::ECRYPTFS => Some("ecryptfs"),
            magic::OVERLAY => Some("overlay"),
            magic::ZFS => Some("zfs"),
            _ => None,
        };
        let place = directory.display();
        if let Some(unusable) = unusable {
            return Err(unsupported(format!("{place} is on {unusable}")));
        }
        match tells_kinds(directory).map_err(BackendError::kernel(directory))? {
            true => Ok(()),
            false => Err(unsupported(format!("the file system of {place} has no d_type"))),
        }
    }

    fn provision(&self, assembly: &Assembly<'_>) -> Result<Assembled, BackendError> {
        let scratch = Scratch::of(assembly.directory, assembly.id);
        scratch.make()?;
        adorn(&scratch.upper, assembly.layers)?;
        let lower: Vec<PathBuf> = assembly.layers.iter().rev().cloned().collect();
        let stack = Stack { lower: &lower, upper: &scratch.upper, work: &scratch.work };
        let rootfs = match assembly.exposure {
            Exposure::Private => private(stack, &scratch)?,
            Exposure::Host => host(stack, assembly.rootfs())?,
        };
        let ephemeral = vec![scratch.upper, scratch.work];
        Ok(Assembled { rootfs, ephemeral, read_only: false })
    }

    fn destroy(&self, directory: &Path, id: &str) -> Result<(), BackendError> {
        let scratch = Scratch::of(directory, id);
        // Both are tried; the first failure is told.
        let unmounted = super::unmount(&super::rootfs(directory, id));
        let staged = super::unmount(&scratch.stage);
        let removed = fs::remove_path(&scratch.root).map_err(BackendError::kernel(scratch.root));
        unmounted.and(staged).and(removed)
    }

    fn destroy_untouched(&self, directory: &Path, ids: &[&str]) -> bool {
        ids.iter().all(|id| Scratch::of(directory, id).removed())
            && super::removed(&directory.join(SCRATCH))
            && super::removed(directory)
    }
}

const SCRATCH: &str = "scratch";

struct Scratch {
    root: PathBuf,
    upper: PathBuf,
    work: PathBuf,
    /// Where old kernels mount before the mount is detached.
    stage: PathBuf,
}

impl Scratch {
    fn of(directory: &Path, id: &str) -> Self {
        let root = directory.join(SCRATCH).join(id);
        let [upper, work, stage] = ["upperdir", "workdir", "stage"].map(|part| root.join(part));
        Self { root, upper, work, stage }
    }

    /// From the top: from the bottom the first attempts would fail.
    fn make(&self) -> Result<(), BackendError> {
        let all = self.root.parent().into_iter().chain([&*self.root, &self.upper, &self.work]);
        all.into_iter().try_for_each(make)
    }

    /// Removes what is there after a container that has written nothing. `false`: there is more.
    fn removed(&self) -> bool {
        // What overlayfs leaves of a volatile mount: kernel Documentation/filesystems/overlayfs.rst.
        let work = self.work.join("work");
        let mark = work.join("incompat/volatile");
        // Without it, the directory it is in can go.
        let _ = rustix::fs::unlink(mark.join("dirty"));
        let left = [&mark, &work.join("incompat"), &work, &self.work, &self.upper, &self.root];
        left.into_iter().all(|directory| super::removed(directory))
    }
}

/// The root of an overlay has owner and mode of the upper directory: make them the image's.
fn adorn(upper: &Path, layers: &[PathBuf]) -> Result<(), BackendError> {
    let Some(top) = layers.last() else {
        let reason = "it has no layers".to_owned();
        return Err(BackendError::Image { backend: NAME, reason });
    };
    let copied = (|| {
        let (wanted, made) = (Attributes::of(&fs::stat_at(top)?), fs::stat_at(upper)?);
        if wanted == (Attributes { mtime: wanted.mtime, ..Attributes::of(&made) })
            && !fs::has_xattrs(top)?
        {
            return fs::set_time_at(upper, wanted.mtime);
        }
        let (from, to) = (Directory::open(top)?, Directory::open(upper)?);
        replicate::xattrs(&from, &to)?;
        fs::set_attributes(&to, &wanted)
    })();
    copied.map_err(BackendError::kernel(upper))
}

/// What older kernels answer where a newer call or key is missing.
fn lacks(error: &linux::Error) -> bool {
    matches!(error.errno, Errno::NOSYS | Errno::INVAL)
}

fn private(stack: Stack<'_>, scratch: &Scratch) -> Result<Rootfs, BackendError> {
    match overlay::overlay(stack, Durability::Volatile) {
        Err(error) if lacks(&error) => staged(stack, scratch),
        result => {
            let detached = result.map_err(BackendError::kernel(&scratch.root))?;
            Ok(Rootfs::Detached(Arc::new(detached)))
        }
    }
}

/// For kernels without `lowerdir+`: mounted in a private place, cloned from there, and unmounted.
fn staged(stack: Stack<'_>, scratch: &Scratch) -> Result<Rootfs, BackendError> {
    let at = &scratch.stage;
    make(at)?;
    overlay::overlay_at(stack, Durability::Volatile, at).map_err(BackendError::kernel(at))?;
    let cloned = overlay::clone_mount(at);
    super::unmount(at)?;
    Ok(Rootfs::Detached(Arc::new(cloned.map_err(BackendError::kernel(at))?)))
}

fn host(stack: Stack<'_>, target: PathBuf) -> Result<Rootfs, BackendError> {
    make(&target)?;
    let mounted = match overlay::overlay(stack, Durability::Volatile) {
        Err(error) if lacks(&error) => overlay::overlay_at(stack, Durability::Volatile, &target),
        result => result.and_then(|detached| overlay::attach(detached, &target)),
    };
    mounted
        .and_then(|()| overlay::share_one_way(&target))
        .map_err(BackendError::kernel(&target))?;
    Ok(Rootfs::Directory(target))
}

#[cfg(all(test, feature = "root-tests"))]
mod root_tests {
    use super::*;

    fn layers(root: &Path, count: usize) -> Vec<PathBuf> {
        let layer = |n: usize| {
            let path = root.join(format!("layer-{n}"));
            std::fs::create_dir(&path).expect("made");
            std::fs::write(path.join("last"), n.to_string()).expect("written");
            std::fs::write(path.join(n.to_string()), "").expect("written");
            path
        };
        (0..count).map(layer).collect()
    }

    #[test]
    fn without_the_newer_calls_the_mount_is_just_as_detached() {
        let root = tempfile::tempdir().expect("temporary directory");
        let layers = layers(root.path(), 60);
        let scratch = Scratch::of(root.path(), "x");
        scratch.make().expect("made");
        let lower: Vec<PathBuf> = layers.iter().rev().cloned().collect();
        let stack = Stack { lower: &lower, upper: &scratch.upper, work: &scratch.work };
        let Rootfs::Detached(mount) = staged(stack, &scratch).expect("mounted") else {
            unreachable!("a staged mount is detached")
        };
        use std::os::fd::AsRawFd;
        let view = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        assert_eq!(std::fs::read_to_string(view.join("last")).expect("read"), "59");
        assert_eq!(std::fs::read_dir(&view).expect("listed").count(), 61);
        assert!(!scratch.stage.try_exists().expect("looked"), "the private place is gone");
        drop(mount);
        Overlay.destroy(root.path(), "x").expect("destroyed");
        assert!(!scratch.root.try_exists().expect("looked"));
    }

    #[test]
    fn what_nothing_was_written_into_goes_in_a_few_calls_and_anything_else_stays_whole() {
        let root = tempfile::tempdir().expect("temporary directory");
        let layers = layers(root.path(), 1);
        let directory = root.path().join("overlay");
        for written in [false, true] {
            std::fs::create_dir(&directory).expect("made");
            let made = ["y", "z"].map(|id| {
                let exposure = Exposure::Private;
                let assembly = Assembly { layers: &layers, directory: &directory, id, exposure };
                Overlay.provision(&assembly).expect("provisioned")
            });
            let upper = Scratch::of(&directory, "z").upper;
            if written {
                std::fs::write(upper.join("file"), "").expect("written");
            }
            drop(made);
            assert_eq!(Overlay.destroy_untouched(&directory, &["y", "z"]), !written);
            assert_eq!(upper.join("file").is_file(), written);
            assert_eq!(directory.is_dir(), written);
            Overlay.destroy(&directory, "z").expect("destroyed");
            assert!(!upper.try_exists().expect("looked"));
        }
    }

    #[test]
    fn the_root_has_owner_mode_and_time_of_the_top_layer_whether_they_are_usual_or_not() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let root = tempfile::tempdir().expect("temporary directory");
        let layers = layers(root.path(), 1);
        let top = &layers[0];
        let upper = Scratch::of(root.path(), "x").upper;
        let modes = [(0o755, 0), (0o1777, 0), (0o700, 7)];
        for (mode, owner) in modes {
            std::fs::set_permissions(top, PermissionsExt::from_mode(mode)).expect("ours");
            std::os::unix::fs::chown(top, Some(owner), Some(owner)).expect("root");
            let time = linux::fs::Time { seconds: 1_000_000 + i64::from(mode), nanoseconds: 5 };
            fs::set_time_at(top, time).expect("set");
            let exposure = Exposure::Private;
            let assembly = Assembly { layers: &layers, directory: root.path(), id: "x", exposure };
            drop(Overlay.provision(&assembly).expect("provisioned"));
            let (made, wanted) = (upper.metadata().expect("made"), top.metadata().expect("ours"));
            assert_eq!((made.mode(), made.uid(), made.gid()), (wanted.mode(), owner, owner));
            assert_eq!((made.mtime(), made.mtime_nsec()), (wanted.mtime(), 5));
            Overlay.destroy(root.path(), "x").expect("destroyed");
        }
    }

    #[test]
    fn the_newer_calls_take_500_layers_and_long_paths() {
        let root = tempfile::tempdir().expect("temporary directory");
        let deep = root.path().join("d".repeat(200)).join("e".repeat(200));
        std::fs::create_dir_all(&deep).expect("made");
        let layers = layers(&deep, 500);
        let exposure = Exposure::Private;
        let assembly = Assembly { layers: &layers, directory: &deep, id: "y", exposure };
        let made = Overlay.provision(&assembly).expect("provisioned");
        let Rootfs::Detached(mount) = &made.rootfs else {
            unreachable!("a private root is detached")
        };
        use std::os::fd::AsRawFd;
        let view = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        assert_eq!(std::fs::read_to_string(view.join("last")).expect("read"), "499");
        drop(made);
        Overlay.destroy(&deep, "y").expect("destroyed");
    }
}
