//! Writes entries into the directory of one layer.
//!
//! A name is first cleaned lexically (`..` above the root is refused), then its parent is found by
//! the kernel with the layer as root, so that no link of the layer leads out of it. Parents that the
//! tar does not have are made, and remembered: their owner and mode are those of the lower layers.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::marks::{Mark, Marks};
use super::tar_stream::{Entry, EntryKind, TarStream};
use crate::limits;
use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Errno, Kind, Stat};
use crate::provisioner::layer::LayerError;

/// Directories kept open; entries come mostly in the order of their directories.
const OPEN_PARENTS: usize = 64;

/// Links followed on the way to one parent, as the kernel has it (MAXSYMLINKS).
const LINKS_MAX: u32 = 40;

/// The longest path the kernel takes, less its NUL.
const PATH_MAX: usize = 4095;

/// The tree of one layer while it is written.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(super) root: Directory,
    parents: HashMap<PathBuf, Arc<Directory>>,
    pub(super) marks: Marks,
    /// Directories that no entry has named so far: inode and path below the root, no link in it.
    pub(super) implicit: HashMap<u64, PathBuf>,
    implicit_bytes: usize,
    /// Files that exist only to be linked to: aufs' pseudo links.
    plink: Directory,
}

/// What [`Tree::walk`] does where a directory is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Stop,
}

impl Tree {
    /// `root` and `plink` are empty directories on one file system.
    pub(crate) fn new(root: Directory, plink: Directory, marks: File) -> Result<Self, LayerError> {
        // The root is implicit too until an entry `./` comes.
        let inode = root.stat_self()?.st_ino;
        Ok(Self {
            root,
            parents: HashMap::new(),
            marks: Marks::new(marks),
            implicit: HashMap::from([(inode, PathBuf::new())]),
            implicit_bytes: 0,
            plink,
        })
    }

    /// Does what one entry says.
    pub(crate) fn place<R: BufRead>(
        &mut self,
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<(), LayerError> {
        let path = clean(&entry.name)?;
        match meaning(&path)? {
            Meaning::Ordinary => self.entry(entry, &path, stream),
            Meaning::Whiteout(hidden) => self.note(&Mark::Whiteout(hidden)),
            Meaning::Opaque(directory) => self.note(&Mark::Opaque(directory)),
            Meaning::Plink(name) => match entry.kind {
                EntryKind::File => {
                    fs::remove_tree(&self.plink, &name)?;
                    let file = self.plink.create(&name)?;
                    fill(file, entry, stream)
                }
                EntryKind::Directory
                | EntryKind::Symlink(_)
                | EntryKind::Hardlink(_)
                | EntryKind::Node(_) => Ok(()),
            },
            Meaning::Metadata => Ok(()),
        }
    }

    pub(super) fn note(&mut self, mark: &Mark) -> Result<(), LayerError> {
        self.marks.add(mark).map_err(LayerError::Notes)
    }

    fn entry<R: BufRead>(
        &mut self,
        entry: &Entry,
        path: &Path,
        stream: &mut TarStream<R>,
    ) -> Result<(), LayerError> {
        let Some(name) = path.file_name() else { return self.root_entry(entry) };
        // In overlay's own form a whiteout is this device: what it says is the same.
        if entry.kind == EntryKind::Node(fs::Node::Character(0, 0)) {
            return self.note(&Mark::Whiteout(path.to_owned()));
        }
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        match &entry.kind {
            EntryKind::Directory => self.directory(entry, path, &parent, name),
            EntryKind::File => {
                let file = self.fresh(&parent, name, || parent.create(name))?;
                fill(file, entry, stream)
            }
            EntryKind::Symlink(target) => {
                let target = OsStr::from_bytes(target);
                self.fresh(&parent, name, || parent.symlink(target, name))?;
                Ok(parent.set_attributes(name, Kind::Symlink, &entry.attributes)?)
            }
            EntryKind::Node(node) => {
                self.fresh(&parent, name, || parent.node(name, *node))?;
                Ok(parent.set_attributes(name, Kind::Node(*node), &entry.attributes)?)
            }
            EntryKind::Hardlink(target) => self.hardlink(&clean(target)?, path, &parent, name),
        }
    }

    /// `./`: the root of the layer itself.
    fn root_entry(&mut self, entry: &Entry) -> Result<(), LayerError> {
        if entry.kind != EntryKind::Directory {
            return Err(LayerError::Name {
                name: String::from_utf8_lossy(&entry.name).into_owned(),
                reason: "names the root, which is a directory",
            });
        }
        let inode = self.root.stat_self()?.st_ino;
        self.implicit.remove(&inode);
        fs::set_owner_and_mode(&self.root, &entry.attributes)?;
        set_xattrs(&self.root, &entry.xattrs)?;
        self.note(&Mark::DirectoryTime(PathBuf::new(), entry.attributes.mtime))
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        let made = match parent.mkdir(name) {
            Err(error) if error.errno == Errno::EXIST => {
                let there = parent.stat(name)?.as_ref().map(Kind::of);
                if there != Some(Kind::Directory) {
                    self.fresh(parent, name, || parent.mkdir(name))?;
                    // What stood here hid lower layers' directory for good.
                    self.note(&Mark::Whiteout(path.to_owned()))?;
                }
                there == Some(Kind::Directory)
            }
            result => result.map(|()| false)?,
        };
        let directory = parent.child(name)?;
        // An entry that names a directory after its content came: it was implicit until now.
        if made || self.implicit.len() > 1 {
            self.implicit.remove(&directory.stat_self()?.st_ino);
        }
        fs::set_owner_and_mode(&directory, &entry.attributes)?;
        set_xattrs(&directory, &entry.xattrs)?;
        self.note(&Mark::DirectoryTime(path.to_owned(), entry.attributes.mtime))
    }

    /// Makes a name with `make`; what has the name already is removed first: a later entry wins.
    pub(super) fn fresh<T>(
        &mut self,
        parent: &Directory,
        name: &OsStr,
        mut make: impl FnMut() -> Result<T, linux::Error>,
    ) -> Result<T, LayerError> {
        match make() {
            Err(error) if error.errno == Errno::EXIST => {
                // What is removed may be a kept directory, or a link on the way to one.
                self.parents.clear();
                fs::remove_tree(parent, name)?;
                Ok(make()?)
            }
            result => Ok(result?),
        }
    }

    fn hardlink(
        &mut self,
        target: &Path,
        path: &Path,
        parent: &Directory,
        name: &OsStr,
    ) -> Result<(), LayerError> {
        if target == path {
            return Ok(());
        }
        if let Meaning::Plink(source) = meaning(target)? {
            if self.plink.stat(&source)?.is_some() {
                let plink = self.plink.again()?;
                return self.fresh(parent, name, || parent.hardlink(&plink, &source, name));
            }
        } else if let Some((from, source, _)) = self.find(target)? {
            // A directory has no second name; the kernel would say EPERM.
            let linked = self.fresh(parent, name, || parent.hardlink(&from, &source, name));
            return linked.map_err(|error| error.named(path));
        }
        // The target comes later, or lies in a lower layer.
        let name = path.to_owned();
        self.note(&Mark::Link { name, target: target.to_owned() })
    }

    /// The inode at `path`, with the directory and the name that hold it.
    pub(super) fn find(
        &mut self,
        path: &Path,
    ) -> Result<Option<(Directory, OsString, Stat)>, LayerError> {
        let Some(name) = path.file_name() else { return Ok(None) };
        let parent = path.parent().unwrap_or(Path::new(""));
        let (Some(directory), _) = self.walk(parent, Missing::Stop)? else { return Ok(None) };
        let stat = directory.stat(name)?;
        Ok(stat.map(|stat| (directory, name.to_owned(), stat)))
    }

    /// The directory at `path` (cleaned); missing ones are made.
    pub(super) fn parent(&mut self, path: &Path) -> Result<Arc<Directory>, LayerError> {
        if let Some(directory) = self.parents.get(path) {
            return Ok(Arc::clone(directory));
        }
        let resolved = match path.as_os_str().is_empty() {
            true => Some(self.root.again()?),
            false => self.root.resolve(path).and_then(Result::ok),
        };
        let directory = match resolved {
            Some(directory) => directory,
            None => match self.walk(path, Missing::Make)? {
                (Some(directory), _) => directory,
                (None, _) => unreachable!("a walk that makes what is missing ends in a directory"),
            },
        };
        if self.parents.len() >= OPEN_PARENTS {
            self.parents.clear();
        }
        let directory = Arc::new(directory);
        self.parents.insert(path.to_owned(), Arc::clone(&directory));
        Ok(directory)
    }

    /// Walks to the directory at `path`, following the layer's own links with the layer as root.
    /// Also answers with the path without links, as far as it had to be known.
    pub(super) fn walk(
        &mut self,
        path: &Path,
        missing: Missing,
    ) -> Result<(Option<Directory>, PathBuf), LayerError> {
        let mut todo: VecDeque<OsString> = names(path);
        let mut current = self.root.again()?;
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                done.pop();
                current = self.root.descend(&done)?;
                continue;
            }
            match current.stat(&name)?.as_ref().map(Kind::of) {
                Some(Kind::Directory) => {}
                Some(Kind::Symlink) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(LayerError::name(path, "goes through too many links"));
                    }
                    let target = current.read_link(&name)?;
                    if target.is_absolute() {
                        done = PathBuf::new();
                        current = self.root.again()?;
                    }
                    let mut front = names(&target);
                    front.append(&mut todo);
                    todo = front;
                    continue;
                }
                None if missing == Missing::Make => self.imply(&current, &name, &done)?,
                Some(Kind::File | Kind::Node(_)) if missing == Missing::Make => {
                    // A file that turns out to be a directory: the later entry wins.
                    self.parents.clear();
                    current.unlink(&name)?;
                    self.imply(&current, &name, &done)?;
                    self.note(&Mark::Whiteout(done.join(&name)))?;
                }
                None | Some(Kind::File | Kind::Node(_)) => {
                    done.push(name);
                    done.extend(todo);
                    return Ok((None, done));
                }
            }
            current = current.child(&name)?;
            done.push(name);
        }
        Ok((Some(current), done))
    }

    /// Makes a directory that no entry has named.
    fn imply(&mut self, parent: &Directory, name: &OsStr, at: &Path) -> Result<(), LayerError> {
        let path = at.join(name);
        self.implicit_bytes += path.as_os_str().len();
        if self.implicit_bytes > limits::LAYER_IMPLICIT_BYTES_MAX {
            return Err(LayerError::Limit("paths of directories that the layer does not have"));
        }
        parent.mkdir(name)?;
        let directory = parent.child(name)?;
        let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: fs::Time::default() };
        fs::set_owner_and_mode(&directory, &attributes)?;
        self.implicit.insert(directory.stat_self()?.st_ino, path);
        Ok(())
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

/// What the name of an entry says.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    Ordinary,
    Whiteout(PathBuf),
    Opaque(PathBuf),
    /// A file below `.wh..wh.plnk`: content that hard links of this layer name.
    Plink(OsString),
    /// aufs' own bookkeeping.
    Metadata,
}

fn meaning(path: &Path) -> Result<Meaning, LayerError> {
    let reserved = |name: &OsStr| name.as_bytes().starts_with(b".wh..wh.");
    let Some(name) = path.file_name() else { return Ok(Meaning::Ordinary) };
    let parent = path.parent().unwrap_or(Path::new(""));
    if parent.iter().any(reserved) {
        return Ok(match parent == Path::new(".wh..wh.plnk") {
            true => Meaning::Plink(name.to_owned()),
            false => Meaning::Metadata,
        });
    }
    if name == ".wh..wh..opq" {
        return Ok(Meaning::Opaque(parent.to_owned()));
    }
    if reserved(name) {
        return Ok(Meaning::Metadata);
    }
    match name.as_bytes().strip_prefix(b".wh.") {
        None => Ok(Meaning::Ordinary),
        Some(b"" | b"." | b"..") => Err(LayerError::name(path, "hides no name")),
        Some(hidden) => Ok(Meaning::Whiteout(parent.join(OsStr::from_bytes(hidden)))),
    }
}

/// A name of a tar as a path below the root: no leading `/`, no `.`, no `..`.
fn clean(name: &[u8]) -> Result<PathBuf, LayerError> {
    let refuse =
        |reason| Err(LayerError::Name { name: String::from_utf8_lossy(name).into_owned(), reason });
    let mut path: Vec<&[u8]> = Vec::new();
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                if path.pop().is_none() {
                    return refuse("leaves the layer");
                }
            }
            component if component.contains(&0) => return refuse("contains a NUL"),
            component => path.push(component),
        }
    }
    let path = path.join(&b'/');
    match path.len() > PATH_MAX {
        true => refuse("is longer than the kernel's limit"),
        false => Ok(PathBuf::from(OsString::from_vec(path))),
    }
}

/// Writes the content of a new file and then its attributes.
fn fill<R: BufRead>(
    mut file: File,
    entry: &Entry,
    stream: &mut TarStream<R>,
) -> Result<(), LayerError> {
    let written = (|| -> io::Result<Option<LayerError>> {
        match &entry.ranges {
            None => {
                if let Some(error) = copy(&mut file, entry.size, stream)? {
                    return Ok(Some(error));
                }
            }
            Some(ranges) => {
                file.set_len(entry.size)?;
                for (offset, length) in ranges {
                    file.seek(SeekFrom::Start(*offset))?;
                    if let Some(error) = copy(&mut file, *length, stream)? {
                        return Ok(Some(error));
                    }
                }
            }
        }
        Ok(None)
    })();
    match written {
        Ok(None) => {}
        Ok(Some(error)) => return Err(error),
        Err(error) => {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            return Err(LayerError::Write { name, error });
        }
    }
    fs::set_owner_and_mode(&file, &entry.attributes)?;
    set_xattrs(&file, &entry.xattrs)?;
    Ok(fs::set_time(&file, entry.attributes.mtime)?)
}

/// `Ok(Some(_))`: the tar failed; `Err`: the file did.
fn copy<R: BufRead>(
    file: &mut File,
    mut length: u64,
    stream: &mut TarStream<R>,
) -> io::Result<Option<LayerError>> {
    while length > 0 {
        let piece = match stream.data() {
            Ok(piece) => piece,
            Err(error) => return Ok(Some(error.into())),
        };
        let used = usize::try_from(length).unwrap_or(usize::MAX).min(piece.len());
        if used == 0 {
            return Ok(Some(LayerError::Limit("a file has less data than it claims")));
        }
        file.write_all(&piece[..used])?;
        stream.consume(used);
        length -= used as u64;
    }
    Ok(None)
}

/// Sets what an image may set. `trusted.*` would let a layer speak to overlayfs, and security labels
/// are the host's to give.
fn set_xattrs(fd: &impl std::os::fd::AsFd, xattrs: &[(String, Vec<u8>)]) -> Result<(), LayerError> {
    for (name, value) in xattrs {
        let capability = name == "security.capability";
        let optional = name.starts_with("user.") || name.starts_with("system.posix_acl_");
        if !capability && !optional {
            continue;
        }
        match fs::set_xattr(fd, name, value) {
            // A file system without this kind of attribute, or an ACL that it cannot keep.
            Err(error) if optional && matches!(error.errno, Errno::OPNOTSUPP | Errno::INVAL) => {}
            result => result?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_the_layer_is_refused_and_an_absolute_one_is_relative_to_it() {
        assert_eq!(clean(b"./a//b/../c/").expect("clean"), Path::new("a/c"));
        assert_eq!(clean(b"/etc/passwd").expect("clean"), Path::new("etc/passwd"));
        for bad in [b"../x".as_slice(), b"a/../../x", b"a\0b", &[b'a'; 5000]] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn markers_are_told_from_names() {
        let of = |path: &str| meaning(Path::new(path));
        assert_eq!(of("a/.wh.b").expect("ok"), Meaning::Whiteout("a/b".into()));
        assert_eq!(of(".wh..wh..opq").expect("ok"), Meaning::Opaque("".into()));
        assert_eq!(of("a/.wh..wh.aufs").expect("ok"), Meaning::Metadata);
        assert_eq!(of(".wh..wh.plnk/1.2").expect("ok"), Meaning::Plink("1.2".into()));
        assert_eq!(of(".wh..wh.orph/x/y").expect("ok"), Meaning::Metadata);
        assert_eq!(of("a/.what").expect("ok"), Meaning::Ordinary);
        for bad in [".wh.", "a/.wh..", "a/.wh..."] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
