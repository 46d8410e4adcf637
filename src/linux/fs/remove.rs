//! Removes trees, however deep, however wide, whatever is in them.

use std::ffi::OsStr;
use std::path::Path;

use rustix::io::Errno;

use super::Directory;
use crate::linux::Error;

/// Removes `name` in `parent` and everything below; absent is success. Follows no link, crosses no
/// mount by itself (a mount point is EBUSY), and goes on after a failure: the first one is returned.
///
/// However deep the tree: a directory below `DEPTH_MAX` levels is first moved up.
pub fn remove_tree(parent: &Directory, name: &OsStr) -> Result<(), Error> {
    let mut first = None;
    match parent.unlink(name) {
        Ok(()) => return Ok(()),
        Err(error) => match error.errno {
            Errno::NOENT => return Ok(()),
            // EISDIR on Linux; EPERM by POSIX.
            Errno::ISDIR | Errno::PERM => {}
            _ => return Err(error),
        },
    }
    let top = match parent.child(name) {
        Err(error) if error.errno == Errno::NOENT => return Ok(()),
        result => result?,
    };
    let mut moved = 0;
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
    match directory.unlink(name) {
        Ok(()) => return Ok(()),
        Err(error) => match error.errno {
            Errno::NOENT => return Ok(()),
            Errno::ISDIR | Errno::PERM => {}
            _ => return Err(error),
        },
    }
    if depth == DEPTH_MAX {
        *moved += 1;
        let refuge = format!(".longshore-deep-{}-{moved}", std::process::id());
        return directory.rename(name, top, OsStr::new(&refuge));
    }
    empty(&directory.child(name)?, top, depth + 1, moved, first);
    match directory.rmdir(name) {
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
    match parent.unlink(name) {
        Ok(()) => return Ok(true),
        Err(error) if error.errno == Errno::NOENT => return Ok(true),
        Err(error) if matches!(error.errno, Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    match parent.rmdir(name) {
        Err(error) if matches!(error.errno, Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) if error.errno == Errno::NOENT => return Ok(true),
        done => return done.map(|()| true),
    }
    let directory = parent.child(name)?;
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
