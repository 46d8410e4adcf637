//! Opens what becomes the standard streams of somebody else.
//!
//! Every descriptor is close-on-exec, blocking, and no controlling terminal.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self as sys, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Error;
use super::error::Called;

/// Who a new file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl From<(u32, u32)> for Owner {
    fn from((uid, gid): (u32, u32)) -> Self {
        Self { uid, gid }
    }
}

/// What holds for all of them. `O_NONBLOCK` only while opening: a pipe without a reader is an error
/// at once instead of a wait.
const ALWAYS: OFlags = OFlags::CLOEXEC.union(OFlags::NOCTTY).union(OFlags::NONBLOCK);

const APPEND: OFlags = ALWAYS.union(OFlags::WRONLY).union(OFlags::APPEND);

/// One of the three descriptors that a process starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standard {
    /// 0
    Input,
    /// 1
    Output,
    /// 2
    Error,
}

/// `/dev/null`, to be read and written.
pub fn null() -> Result<OwnedFd, Error> {
    sys::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .called(|| "open(\"/dev/null\", O_RDWR)".to_owned())
}

/// A second descriptor of a stream of this process.
pub fn inherit(stream: Standard) -> Result<OwnedFd, Error> {
    let (fd, number) = match stream {
        Standard::Input => (rustix::stdio::stdin(), 0),
        Standard::Output => (rustix::stdio::stdout(), 1),
        Standard::Error => (rustix::stdio::stderr(), 2),
    };
    // Not below 3, where it could take the place of a stream that is closed.
    rustix::io::fcntl_dupfd_cloexec(fd, 3).called(|| format!("fcntl({number}, F_DUPFD_CLOEXEC, 3)"))
}

/// A second descriptor of the same stream.
pub fn copy(stream: &OwnedFd) -> Result<OwnedFd, Error> {
    rustix::io::fcntl_dupfd_cloexec(stream, 3).called(|| "fcntl(F_DUPFD_CLOEXEC, 3)".to_owned())
}

/// A file to be read.
pub fn read(path: &Path) -> Result<OwnedFd, Error> {
    let opened = sys::open(path, ALWAYS | OFlags::RDONLY, Mode::empty());
    blocking(opened.called(|| format!("open({path:?}, O_RDONLY)"))?)
}

/// A file to be appended to; made with mode 0644, less the umask, where there is none. Links are
/// followed: the path is the caller's own.
pub fn append(path: &Path) -> Result<OwnedFd, Error> {
    let opened = sys::open(path, APPEND | OFlags::CREATE, mode());
    blocking(opened.called(|| format!("open({path:?}, O_WRONLY|O_APPEND|O_CREAT, 0644)"))?)
}

/// Makes `directory` belong to `owner`; what is in it keeps its owners.
pub fn give_directory(directory: &Path, owner: Owner) -> Result<(), Error> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let opened = sys::open(directory, flags, Mode::empty())
        .called(|| format!("open({directory:?}, O_DIRECTORY|O_NOFOLLOW)"))?;
    let (uid, gid) = (sys::Uid::from_raw(owner.uid), sys::Gid::from_raw(owner.gid));
    sys::fchown(&opened, Some(uid), Some(gid))
        .called(|| format!("fchown({directory:?}, {}, {})", owner.uid, owner.gid))
}

/// The file `name` right in `directory`, to be appended to; made with mode 0644 whatever the umask;
/// it belongs to `owner` afterwards.
///
/// Whoever owned the directory before may have planted anything in it: a link, a pipe, a device or
/// another name of a file elsewhere is refused (`ELOOP`, `ENXIO`, `EPERM`).
pub fn append_owned(directory: &Path, name: &str, owner: Owner) -> Result<OwnedFd, Error> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let parent = sys::open(directory, flags, Mode::empty())
        .called(|| format!("open({directory:?}, O_DIRECTORY)"))?;
    let call = || format!("openat({directory:?}, {name:?}, O_WRONLY|O_APPEND|O_NOFOLLOW)");
    let safely = APPEND | OFlags::NOFOLLOW;
    let file = match sys::openat(&parent, name, safely | OFlags::CREATE | OFlags::EXCL, mode()) {
        Ok(file) => {
            sys::fchmod(&file, mode()).called(|| format!("fchmod({name:?}, 0644)"))?;
            file
        }
        Err(Errno::EXIST) => {
            let file = sys::openat(&parent, name, safely, Mode::empty()).called(call)?;
            let stat = sys::fstat(&file).called(|| format!("fstat({name:?})"))?;
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if !regular || stat.st_nlink != 1 {
                return Err(Error::new(call(), Errno::PERM));
            }
            file
        }
        Err(errno) => return Err(Error::new(call(), errno)),
    };
    let (uid, gid) = (sys::Uid::from_raw(owner.uid), sys::Gid::from_raw(owner.gid));
    sys::fchown(&file, Some(uid), Some(gid))
        .called(|| format!("fchown({name:?}, {}, {})", owner.uid, owner.gid))?;
    blocking(file)
}

fn mode() -> Mode {
    Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH
}

/// Programs do not expect `EAGAIN` on their streams.
fn blocking(file: OwnedFd) -> Result<OwnedFd, Error> {
    let flags = sys::fcntl_getfl(&file).called(|| "fcntl(F_GETFL)".to_owned())?;
    sys::fcntl_setfl(file.as_fd(), flags - OFlags::NONBLOCK)
        .called(|| "fcntl(F_SETFL, ~O_NONBLOCK)".to_owned())?;
    Ok(file)
}
