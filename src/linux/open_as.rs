//! Opens a file with somebody else's rights.
//!
//! Kernel: setfsuid(2), setfsgid(2): per thread, and a non-root file system uid takes the
//! capabilities over files from the effective set of that thread.

use std::fs::File;
use std::path::Path;
use std::thread;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::fs::{self as sys, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Error;
use super::error::Called;
use super::stream::Owner;

/// Opens the regular file at `path` to read, as `owner` could. Blocks.
///
/// The supplementary groups of this process stay in place, so the last component is checked again
/// without them. Everything that is no regular file is refused: reading it could wait for ever.
pub fn read_as(path: &Path, owner: Owner) -> Result<File, Error> {
    if owner.uid == 0 {
        return open(path, owner);
    }
    // A thread of its own: one that is used again must never keep the identity.
    let opened = thread::scope(|scope| {
        let opening = scope.spawn(|| {
            setfsgid(Gid::from_raw(owner.gid));
            setfsuid(Uid::from_raw(owner.uid));
            open(path, owner)
        });
        opening.join()
    });
    opened.unwrap_or_else(|_| Err(Error::new(call(path), Errno::NOMEM)))
}

fn open(path: &Path, owner: Owner) -> Result<File, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = sys::open(path, flags, Mode::empty()).called(|| call(path))?;
    let stat = sys::fstat(&file).called(|| format!("fstat({path:?})"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Error::new(call(path), Errno::ISDIR)),
        _ => return Err(Error::new(call(path), Errno::INVAL)),
    }
    if owner.uid != 0 && !may_read(&stat, owner) {
        return Err(Error::new(call(path), Errno::ACCESS));
    }
    Ok(File::from(file))
}

fn call(path: &Path) -> String {
    format!("open({path:?}, O_RDONLY)")
}

/// The permission bits alone, for a user in one group.
fn may_read(stat: &sys::Stat, owner: Owner) -> bool {
    let bit = match () {
        () if stat.st_uid == owner.uid => 0o400,
        () if stat.st_gid == owner.gid => 0o040,
        () => 0o004,
    };
    stat.st_mode & bit != 0
}
