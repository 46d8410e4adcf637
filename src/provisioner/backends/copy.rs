//! `copy`: every container gets its own tree. Slow and large, and works everywhere; where the file
//! system shares blocks (`FICLONE`), neither.
//!
//! Kernel: nothing special. Layers are applied bottom first by directory descriptors: no link of an
//! image is followed, so nothing is written outside the tree.
//! Undo: remove the tree.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{Assembled, Assembly, Backend, BackendError, make};
use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Kind, Stat};
use crate::model::Rootfs;
use crate::provisioner::extract::is_opaque;
use crate::provisioner::replicate;

/// See the module.
#[derive(Debug)]
pub(super) struct Copy;

const NAME: &str = "copy";

impl Backend for Copy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn automatic(&self) -> bool {
        true
    }

    fn supported(&self, _directory: &Path) -> Result<(), BackendError> {
        Ok(())
    }

    fn provision(&self, assembly: &Assembly<'_>) -> Result<Assembled, BackendError> {
        let target = assembly.rootfs();
        let present = target.try_exists().map_err(|error| {
            BackendError::kernel(&target)(linux::Error::from_io(
                format!("stat({target:?})"),
                &error,
            ))
        })?;
        if present {
            let reason = format!("{} is already provisioned", target.display());
            return Err(BackendError::Image { backend: NAME, reason });
        }
        make(&target)?;
        for layer in assembly.layers {
            apply(layer, &target).map_err(BackendError::kernel(&target))?;
        }
        let rootfs = Rootfs::Directory(target.clone());
        Ok(Assembled { rootfs, ephemeral: vec![target], read_only: false })
    }

    fn destroy(&self, directory: &Path, id: &str) -> Result<(), BackendError> {
        let target = super::rootfs(directory, id);
        fs::remove_path(&target).map_err(BackendError::kernel(target))
    }
}

/// One layer on its way into the tree.
struct Walk {
    layer: Directory,
    target: Directory,
    /// Directories that are still to be done. Breadth costs memory, depth would cost descriptors.
    todo: Vec<PathBuf>,
    /// First names of files that have several, by inode.
    linked: HashMap<u64, PathBuf>,
}

fn apply(layer: &Path, target: &Path) -> Result<(), linux::Error> {
    let mut walk = Walk {
        layer: Directory::open(layer)?,
        target: Directory::open(target)?,
        todo: vec![PathBuf::new()],
        linked: HashMap::new(),
    };
    while let Some(path) = walk.todo.pop() {
        walk.directory(&path)?;
    }
    Ok(())
}

impl Walk {
    fn directory(&mut self, path: &Path) -> Result<(), linux::Error> {
        let (from, to) = (self.layer.descend(path)?, self.target.descend(path)?);
        if is_opaque(&from)? {
            for name in to.names()? {
                fs::remove_tree(&to, &name)?;
            }
        }
        for name in from.names()? {
            let Some(stat) = from.stat(&name)? else { continue };
            self.entry(path, &from, &to, &name, &stat)?;
        }
        // Last: what was made in it has changed its time.
        replicate::xattrs(&from, &to)?;
        fs::set_attributes(&to, &Attributes::of(&from.stat_self()?))
    }

    fn entry(
        &mut self,
        path: &Path,
        from: &Directory,
        to: &Directory,
        name: &OsStr,
        stat: &Stat,
    ) -> Result<(), linux::Error> {
        let kind = Kind::of(stat);
        if kind == Kind::Directory {
            if to.stat(name)?.as_ref().map(Kind::of) != Some(Kind::Directory) {
                fs::remove_tree(to, name)?;
                to.mkdir(name)?;
            }
            self.todo.push(path.join(name));
            return Ok(());
        }
        fs::remove_tree(to, name)?;
        if kind == Kind::WHITEOUT {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            if let Some(first) = self.linked.get(&stat.st_ino) {
                let (parent, source) = split(first);
                let parent = self.target.descend(parent)?;
                return to.hardlink(&parent, &source, name);
            }
            self.linked.insert(stat.st_ino, path.join(name));
        }
        replicate::inode(from, name, stat, to, name)
    }
}

fn split(path: &Path) -> (&Path, OsString) {
    let name = path.file_name().unwrap_or_default().to_owned();
    (path.parent().unwrap_or(Path::new("")), name)
}
