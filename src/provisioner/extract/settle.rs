//! The end of a layer, when the layers below it are complete: links to them, whiteouts in overlay's
//! form, owners and modes of directories that only they have, and times of directories.
//!
//! Done last, a whiteout hides lower layers only, wherever its marker stood in the tar, and hides
//! nothing that is not there: overlayfs would show such a whiteout as a name that cannot be opened.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::marks::Mark;
use super::tree::{Missing, Tree};
use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Kind, Stat};
use crate::provisioner::layer::LayerError;
use crate::provisioner::replicate;

/// Overlay's word for "nothing from below": the value `y` on a directory.
const OPAQUE: &str = "trusted.overlay.opaque";

/// The finished layers below one, the nearest first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Below<'a> {
    layers: &'a [PathBuf],
}

/// An inode of a lower layer.
#[derive(Debug)]
pub(crate) struct Found {
    /// Holds it.
    pub(crate) parent: Directory,
    /// Its name there.
    pub(crate) name: OsString,
    /// What it is.
    pub(crate) stat: Stat,
}

/// What one layer says of a path.
enum Says {
    /// There it is.
    Found(Found),
    /// Nothing; lower layers may have it.
    Nothing,
    /// Lower layers are hidden.
    Hidden,
}

impl<'a> Below<'a> {
    pub(crate) fn new(layers: &'a [PathBuf]) -> Self {
        Self { layers }
    }

    /// What a mount of these layers would show at `path` (no links followed).
    ///
    /// One layer after the other, so that no more than a few descriptors are open for 500 layers.
    fn find(&self, path: &Path) -> Result<Option<Found>, linux::Error> {
        for layer in self.layers {
            match look(Directory::open(layer)?, path)? {
                Says::Found(found) => return Ok(Some(found)),
                Says::Nothing => {}
                Says::Hidden => return Ok(None),
            }
        }
        Ok(None)
    }

    fn directory(&self, path: &Path) -> Result<Option<Found>, linux::Error> {
        let found = self.find(path)?;
        Ok(found.filter(|found| Kind::of(&found.stat) == Kind::Directory))
    }

    /// The names at the root of all layers; some may be whiteouts or hidden.
    fn root_names(&self) -> Result<BTreeSet<OsString>, linux::Error> {
        let mut names = BTreeSet::new();
        for layer in self.layers {
            names.extend(Directory::open(layer)?.names()?);
        }
        Ok(names)
    }
}

fn look(root: Directory, path: &Path) -> Result<Says, linux::Error> {
    let mut current = root;
    let mut hides = false;
    let mut rest = path.iter().peekable();
    while let Some(name) = rest.next() {
        let last = rest.peek().is_none();
        let Some(stat) = current.stat(name)? else {
            return Ok(if hides { Says::Hidden } else { Says::Nothing });
        };
        let kind = Kind::of(&stat);
        if kind == Kind::WHITEOUT || (kind != Kind::Directory && !last) {
            return Ok(Says::Hidden);
        }
        if last {
            return Ok(Says::Found(Found { parent: current, name: name.to_owned(), stat }));
        }
        current = current.child(name)?;
        hides |= is_opaque(&current)?;
    }
    // The empty path: the root of the layer.
    let stat = current.stat_self()?;
    Ok(Says::Found(Found { parent: current, name: OsString::from("."), stat }))
}

/// Whether a directory of a finished layer hides what lower layers have in it.
pub(crate) fn is_opaque(directory: &Directory) -> Result<bool, linux::Error> {
    Ok(fs::get_xattr(directory, OPAQUE)?.is_some_and(|value| value == b"y"))
}

impl Tree {
    /// Finishes the layer on top of `below`.
    pub(crate) fn settle(mut self, below: &Below<'_>) -> Result<(), LayerError> {
        self.links(below)?;
        let opaque = self.opaque_paths()?;
        // Names first: a directory that is hidden as a whole is not made to hide its content.
        for path in self.whiteouts()? {
            self.whiteout(&path, below, &opaque)?;
        }
        for mark in self.marks.read().map_err(LayerError::Notes)? {
            if let Mark::Opaque(path) = mark.map_err(LayerError::Notes)? {
                self.opaque(&path, below)?;
            }
        }
        self.imply_attributes(below)?;
        self.times()
    }

    /// Hard links whose target was not there when they came.
    fn links(&mut self, below: &Below<'_>) -> Result<(), LayerError> {
        for mark in self.marks.read().map_err(LayerError::Notes)? {
            let Mark::Link { name, target } = mark.map_err(LayerError::Notes)? else { continue };
            if self.find(&target)?.is_none() {
                self.copy_up(&name, &target, below)?;
            }
            let Some((from, source, _)) = self.find(&target)? else {
                return Err(LayerError::MissingTarget { name, target });
            };
            let parent = self.parent(name.parent().unwrap_or(Path::new("")))?;
            let Some(base) = name.file_name() else { continue };
            let linked = self.fresh(&parent, base, || parent.hardlink(&from, &source, base));
            linked.map_err(|error| error.named(&name))?;
        }
        Ok(())
    }

    /// Brings a lower layer's file into this one, so that it can get a second name: what overlayfs
    /// itself does when a container links it.
    fn copy_up(&mut self, name: &Path, target: &Path, below: &Below<'_>) -> Result<(), LayerError> {
        let found = below.find(target)?;
        let Some(found) = found.filter(|found| Kind::of(&found.stat) != Kind::Directory) else {
            let (name, target) = (name.to_owned(), target.to_owned());
            return Err(LayerError::MissingTarget { name, target });
        };
        let parent = self.parent(target.parent().unwrap_or(Path::new("")))?;
        let Some(base) = target.file_name() else { return Ok(()) };
        Ok(replicate::inode(&found.parent, &found.name, &found.stat, &parent, base)?)
    }

    /// The directories that will hide what lower layers have in them.
    fn opaque_paths(&mut self) -> Result<HashSet<PathBuf>, LayerError> {
        let mut paths = HashSet::new();
        for mark in self.marks.read().map_err(LayerError::Notes)? {
            if let Mark::Opaque(path) = mark.map_err(LayerError::Notes)? {
                paths.insert(self.walk(&path, Missing::Stop)?.1);
            }
        }
        Ok(paths)
    }

    /// What is hidden, from the root downwards: a name in a directory that is hidden itself needs no
    /// whiteout of its own, which overlayfs would show.
    fn whiteouts(&mut self) -> Result<Vec<PathBuf>, LayerError> {
        let mut paths = Vec::new();
        for mark in self.marks.read().map_err(LayerError::Notes)? {
            if let Mark::Whiteout(path) = mark.map_err(LayerError::Notes)? {
                paths.push(path);
            }
        }
        paths.sort_by_cached_key(|path| path.components().count());
        Ok(paths)
    }

    fn whiteout(
        &mut self,
        path: &Path,
        below: &Below<'_>,
        opaque: &HashSet<PathBuf>,
    ) -> Result<(), LayerError> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = path.parent().unwrap_or(Path::new(""));
        // The marker's parent may be reached through a link of this layer.
        let (_, parent) = self.walk(parent, Missing::Stop)?;
        // Overlayfs merges nothing into an opaque directory, so a whiteout in it would be shown.
        let root = parent.as_os_str().is_empty();
        if !root && parent.ancestors().any(|above| opaque.contains(above)) {
            return Ok(());
        }
        self.hide(&parent, name, below, Hide::Name)
    }

    /// Hides `name` of the lower layers' directory `parent`, but nothing of this layer.
    fn hide(
        &mut self,
        parent: &Path,
        name: &OsStr,
        below: &Below<'_>,
        hide: Hide,
    ) -> Result<(), LayerError> {
        let path = parent.join(name);
        let Some(lower) = below.find(&path)? else { return Ok(()) };
        if self.hidden(parent)? {
            return Ok(());
        }
        if let Some((directory, _, stat)) = self.find(&path)? {
            // Anything but a directory hides the lower name by being there.
            if Kind::of(&stat) == Kind::Directory && Kind::of(&lower.stat) == Kind::Directory {
                let directory = directory.child(name)?;
                fs::set_xattr(&directory, OPAQUE, b"y")?;
                if hide == Hide::Name {
                    // The lower directory itself is gone, so it lends no mode either.
                    self.implicit.remove(&stat.st_ino);
                }
            }
            return Ok(());
        }
        let directory = self.parent(parent)?;
        let whiteout = || directory.node(name, fs::Node::Character(0, 0));
        self.fresh(&directory, name, whiteout)
    }

    fn opaque(&mut self, path: &Path, below: &Below<'_>) -> Result<(), LayerError> {
        if path.as_os_str().is_empty() {
            // Overlayfs stacks the roots of all layers, whatever they say.
            for name in below.root_names()? {
                self.hide(Path::new(""), &name, below, Hide::Content)?;
            }
            return Ok(());
        }
        let (directory, path) = self.walk(path, Missing::Stop)?;
        if below.directory(&path)?.is_none() || self.hidden(&path)? {
            return Ok(());
        }
        if directory.is_none() && self.find(&path)?.is_some() {
            // This layer has something else of that name.
            return Ok(());
        }
        let directory = self.parent(&path)?;
        Ok(fs::set_xattr(&*directory, OPAQUE, b"y")?)
    }

    /// Whether this layer itself hides the lower layers' directory `path`.
    fn hidden(&self, path: &Path) -> Result<bool, LayerError> {
        let mut current = self.root.again()?;
        for name in path {
            match current.stat(name)?.as_ref().map(Kind::of) {
                Some(Kind::Directory) => current = current.child(name)?,
                // Something that is no directory stands in the way of everything below.
                Some(Kind::File | Kind::Symlink | Kind::Node(_)) => return Ok(true),
                None => return Ok(false),
            }
            if is_opaque(&current)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Directories that the tar does not have look as they did before this layer.
    fn imply_attributes(&mut self, below: &Below<'_>) -> Result<(), LayerError> {
        let mut implicit: Vec<(PathBuf, u64)> =
            self.implicit.drain().map(|(inode, path)| (path, inode)).collect();
        // Deepest first: what is set below changes no time above that is set later.
        implicit.sort_by(|a, b| b.cmp(a));
        for (path, inode) in implicit {
            let Ok(directory) = self.root.descend(&path) else { continue };
            if directory.stat_self()?.st_ino != inode {
                continue;
            }
            let parent = path.parent().unwrap_or(Path::new(""));
            let lower = match path.as_os_str().is_empty() || !self.hidden(parent)? {
                true => below.directory(&path)?,
                false => None,
            };
            match lower {
                Some(found) => {
                    let from = found.parent.child(&found.name)?;
                    replicate::xattrs(&from, &directory)?;
                    fs::set_attributes(&directory, &Attributes::of(&found.stat))?;
                }
                None => {
                    let mtime = fs::Time::default();
                    let plain = Attributes { mode: 0o755, uid: 0, gid: 0, mtime };
                    fs::set_attributes(&directory, &plain)?;
                }
            }
        }
        Ok(())
    }

    fn times(&mut self) -> Result<(), LayerError> {
        for mark in self.marks.read().map_err(LayerError::Notes)? {
            let Mark::DirectoryTime(path, time) = mark.map_err(LayerError::Notes)? else {
                continue;
            };
            let directory = match path.as_os_str().is_empty() {
                true => Some(self.root.again()?),
                // Replaced by something else since: then there is no time to set.
                false => match self.walk(&path, Missing::Stop)? {
                    (directory, real) if real == path => directory,
                    _ => None,
                },
            };
            if let Some(directory) = directory {
                fs::set_time(&directory, time)?;
            }
        }
        Ok(())
    }
}

/// How much of a lower name is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hide {
    /// The name: `.wh.name`.
    Name,
    /// What is below the name of a directory that itself stays: an opaque root.
    Content,
}
