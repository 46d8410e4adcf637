//! Removes trees, however deep, however wide, whatever is in them. Never enters a mount: what is mounted
//! somewhere in a tree of ours is somebody's, and it may be all that he has.

use std::ffi::OsStr;
use std::path::Path;

use rustix::fs::{self as sys, Mode, ResolveFlags};
use rustix::io::Errno;

use super::{Directory, OPEN_DIRECTORY, show};
use crate::linux::Error;
use crate::linux::error::Called;

/// Removes `name` in `parent` and everything below; absent is success. Follows no link, enters no mount
/// (a mount point is EBUSY), and goes on after a failure: the first one is returned.
///
/// However deep the tree: a directory below `DEPTH_MAX` levels is first moved up.
pub fn remove_tree(parent: &Directory, name: &OsStr) -> Result<(), Error> {
    let Some(top) = remove_unless_full(parent, name)? else { return Ok(()) };
    let (mut first, mut moved) = (None, 0);
    loop {
        let before = moved;
        empty(&top, &top, 0, &mut moved, &mut first);
        // Directories that were moved up are removed in the next round.
        if moved == before || first.is_some() {
            break;
        }
    }
    match (first, parent.rmdir(name)) {
        (Some(error), _) => Err(error),
        (None, Err(error)) if error.errno == Errno::NOENT => Ok(()),
        (None, result) => result,
    }
}

/// Removes `name` in `parent`, unless it is a directory with something in it: that is opened.
fn remove_unless_full(parent: &Directory, name: &OsStr) -> Result<Option<Directory>, Error> {
    let refused = match parent.unlink(name) {
        Ok(()) => return Ok(None),
        Err(error) => match error.errno {
            Errno::NOENT => return Ok(None),
            // EISDIR on Linux, EPERM by POSIX; EPERM also of a file that must not be changed.
            Errno::ISDIR | Errno::PERM => error,
            _ => return Err(error),
        },
    };
    match parent.rmdir(name) {
        Ok(()) => return Ok(None),
        Err(error) => match error.errno {
            Errno::NOENT => return Ok(None),
            Errno::NOTDIR => return Err(refused),
            // Looked at only after it is known that nothing is mounted there, which is EBUSY.
            Errno::NOTEMPTY | Errno::EXIST => {}
            _ => return Err(error),
        },
    }
    match child_here(parent, name) {
        Err(error) if error.errno == Errno::NOENT => Ok(None),
        opened => opened.map(Some),
    }
}

/// Opens the directory `name` right below. One that was mounted there a moment ago is EXDEV.
fn child_here(parent: &Directory, name: &OsStr) -> Result<Directory, Error> {
    let how = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match sys::openat2(&parent.0, name, OPEN_DIRECTORY, Mode::empty(), how) {
        Err(Errno::NOSYS | Errno::PERM) => parent.child(name),
        opened => opened
            .map(Directory)
            .called(|| format!("openat2({}, O_DIRECTORY, RESOLVE_NO_XDEV)", show(name))),
    }
}

/// Levels of directories that [`remove_tree`] holds open.
const DEPTH_MAX: usize = 32;

fn empty(
    directory: &Directory,
    top: &Directory,
    depth: usize,
    moved: &mut u64,
    first: &mut Option<Error>,
) {
    let names = match directory.names() {
        Ok(names) => names,
        Err(error) => {
            first.get_or_insert(error);
            return;
        }
    };
    for name in names {
        if let Err(error) = remove_entry(directory, &name, top, depth, moved, first) {
            first.get_or_insert(error);
        }
    }
}

fn remove_entry(
    directory: &Directory,
    name: &OsStr,
    top: &Directory,
    depth: usize,
    moved: &mut u64,
    first: &mut Option<Error>,
) -> Result<(), Error> {
    let Some(child) = remove_unless_full(directory, name)? else { return Ok(()) };
    if depth == DEPTH_MAX {
        *moved += 1;
        let refuge = format!(".longshore-deep-{}-{moved}", std::process::id());
        return directory.rename(name, top, OsStr::new(&refuge));
    }
    empty(&child, top, depth + 1, moved, first);
    match directory.rmdir(name) {
        // What is in the way is known already.
        Err(error) if error.errno == Errno::NOTEMPTY && first.is_some() => Ok(()),
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        result => result,
    }
}

/// Removes `path` and everything below, unless that is more than `budget` entries: false, and what is
/// left is for [`remove_path`], on a thread that has the time.
pub fn remove_small(path: &Path, budget: usize) -> Result<bool, Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("unlinkat({path:?})"), Errno::INVAL));
    };
    match Directory::open(parent) {
        Err(error) if error.errno == Errno::NOENT => Ok(true),
        parent => remove_some(&parent?, name, 0, &mut { budget }),
    }
}

fn remove_some(
    parent: &Directory,
    name: &OsStr,
    depth: usize,
    budget: &mut usize,
) -> Result<bool, Error> {
    let Some(left) = budget.checked_sub(1).filter(|_| depth < DEPTH_MAX) else { return Ok(false) };
    *budget = left;
    let Some(directory) = remove_unless_full(parent, name)? else { return Ok(true) };
    for entry in directory.names()? {
        if !remove_some(&directory, &entry, depth + 1, budget)? {
            return Ok(false);
        }
    }
    parent.rmdir(name).map(|()| true)
}

/// [`remove_tree`] by the path of what is to be removed.
pub fn remove_path(path: &Path) -> Result<(), Error> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("unlinkat({path:?})"), Errno::INVAL));
    };
    match Directory::open(parent) {
        Err(error) if error.errno == Errno::NOENT => Ok(()),
        parent => remove_tree(&parent?, name),
    }
}
