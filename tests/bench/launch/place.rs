//! Where a run keeps its files: a tmpfs in a mount namespace of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::Failure;

/// A tmpfs that nobody else sees. Gone when it is dropped; should the process be killed, the kernel
/// takes the tmpfs with it and an empty directory stays.
#[derive(Debug)]
pub(crate) struct Place {
    directory: PathBuf,
}

impl Place {
    /// Moves this thread, and all that it starts later, to a mount namespace of its own with a tmpfs.
    ///
    /// To be called before there are other threads.
    pub(crate) fn make() -> Result<Self, Failure> {
        own_namespace()?;
        let kept = tempfile::Builder::new().prefix("longshore-bench-").tempdir()?;
        mount(Some("tmpfs"), kept.path(), Some("tmpfs"), MsFlags::empty(), Some("mode=755"))?;
        Ok(Self { directory: kept.keep() })
    }

    /// The top of it.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// A directory in it.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let directory = self.directory.join(name);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// A root file system with one small static program, `/bin/payload`, and the mount points that a
    /// container needs.
    pub(crate) fn root(&self) -> Result<PathBuf, Failure> {
        let root = self.directory.join("root");
        for name in ["bin", "proc", "dev", "sys", "tmp", "mnt/mesos/sandbox"] {
            fs::create_dir_all(root.join(name))?;
        }
        let program = root.join("bin/payload");
        fs::write(&program, longshore::launcher::payload())?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(root)
    }

    /// Adds mounts to this namespace, each a bind of one directory.
    pub(crate) fn crowd(&self, mounts: usize) -> Result<(), Failure> {
        let source = self.directory("mounts/source")?;
        for number in 0..mounts {
            let target = self.directory(&format!("mounts/{number}"))?;
            mount(Some(&source), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Lazily: what is mounted below goes along.
        let gone = umount2(&self.directory, MntFlags::MNT_DETACH);
        if gone.is_err() || fs::remove_dir(&self.directory).is_err() {
            eprintln!("launch: {} stays", self.directory.display());
        }
    }
}

/// Nothing that is mounted from here on is seen by others.
pub(crate) fn own_namespace() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let all = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, all, None::<&str>)?;
    Ok(())
}
