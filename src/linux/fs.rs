//! Files by directory descriptor: nothing here follows a symbolic link out of where it was sent.
//!
//! Kernel: openat2(2) with `RESOLVE_IN_ROOT`, Linux 5.6; without it the walk by components does the
//! same with `O_NOFOLLOW`.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    self as sys, AtFlags, Dev, FileType, Mode, OFlags, ResolveFlags, Timestamps, XattrFlags,
};

use super::Error;
use super::error::Called;

mod copy;
mod lock;
mod make;
mod remove;

pub use copy::copy_content;
pub(crate) use lock::{lock_byte, unlock_byte};
pub use make::{
    CLOSED, PRIVATE, SANDBOX, SHARED, make_closed, make_directories, open_private, own_umask,
    reserve,
};
pub use remove::{remove_path, remove_small, remove_tree};
pub use rustix::fs::{FlockOperation, Stat};
pub use rustix::io::Errno;

/// A point in time, since 1970: seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Time {
    /// Whole seconds; negative before 1970.
    pub seconds: i64,
    /// 0..1,000,000,000.
    pub nanoseconds: u32,
}

/// What an inode is, besides its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of the content.
    pub mtime: Time,
}

impl Attributes {
    /// Those of a stat.
    pub fn of(stat: &Stat) -> Self {
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time {
                seconds: stat.st_mtime,
                nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            },
        }
    }
}

/// What is not a regular file, a directory or a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Named pipe.
    Fifo,
    /// Character device.
    Character(u32, u32),
    /// Block device.
    Block(u32, u32),
    /// Unix socket.
    Socket,
}

/// Whether this process may make files in `directory`; of root, only read-only file systems say no.
pub fn writable(directory: &Path) -> std::io::Result<()> {
    Ok(sys::access(directory, sys::Access::WRITE_OK)?)
}

/// The kind of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Anything else.
    Node(Node),
}

impl Kind {
    /// That of a stat.
    pub fn of(stat: &Stat) -> Self {
        let (major, minor) = (sys::major(stat.st_rdev), sys::minor(stat.st_rdev));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo => Self::Node(Node::Fifo),
            FileType::Socket => Self::Node(Node::Socket),
            FileType::CharacterDevice => Self::Node(Node::Character(major, minor)),
            FileType::BlockDevice => Self::Node(Node::Block(major, minor)),
            FileType::RegularFile | FileType::Unknown => Self::File,
        }
    }

    /// Overlayfs' whiteout: the character device 0/0.
    pub const WHITEOUT: Self = Self::Node(Node::Character(0, 0));
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedFd);

const OPEN_DIRECTORY: OFlags =
    OFlags::DIRECTORY.union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW).union(OFlags::RDONLY);

fn show(name: &OsStr) -> String {
    format!("{name:?}")
}

impl Directory {
    /// Opens a directory of ours by path. Links on the way are followed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        sys::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())
            .map(Self)
            .called(|| format!("open({path:?}, O_DIRECTORY)"))
    }

    /// Opens the directory `name` right below; a link is refused.
    pub fn child(&self, name: &OsStr) -> Result<Self, Error> {
        sys::openat(&self.0, name, OPEN_DIRECTORY, Mode::empty())
            .map(Self)
            .called(|| format!("openat({}, O_DIRECTORY|O_NOFOLLOW)", show(name)))
    }

    /// Opens the directory at the relative `path`, and follows no link on the way.
    pub fn descend(&self, path: &Path) -> Result<Self, Error> {
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if path.as_os_str().is_empty() {
            return self.again();
        }
        match sys::openat2(&self.0, path, OPEN_DIRECTORY, Mode::empty(), how) {
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path),
            result => result
                .map(Self)
                .called(|| format!("openat2({path:?}, O_DIRECTORY, RESOLVE_NO_SYMLINKS)")),
        }
    }

    /// Opens the directory at `path` as a process would that has this directory as its root: links
    /// and `..` cannot lead out. `None` where the kernel lacks openat2.
    pub fn resolve(&self, path: &Path) -> Option<Result<Self, Error>> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        match sys::openat2(&self.0, path, flags, Mode::empty(), how) {
            Err(Errno::NOSYS | Errno::PERM) => None,
            result => Some(
                result
                    .map(Self)
                    .called(|| format!("openat2({path:?}, O_DIRECTORY, RESOLVE_IN_ROOT)")),
            ),
        }
    }

    /// [`Self::descend`] on kernels before 5.6.
    fn walk(&self, path: &Path) -> Result<Self, Error> {
        let mut current = self.again()?;
        for component in path.components() {
            match component {
                Component::Normal(name) => current = current.child(name)?,
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    return Err(Error::new(format!("openat({path:?})"), Errno::XDEV));
                }
            }
        }
        Ok(current)
    }

    /// The same directory, opened again.
    pub fn again(&self) -> Result<Self, Error> {
        self.child(OsStr::new("."))
    }

    /// Makes the directory `name`, mode 0700.
    pub fn mkdir(&self, name: &OsStr) -> Result<(), Error> {
        sys::mkdirat(&self.0, name, Mode::RWXU).called(|| format!("mkdirat({}, 0700)", show(name)))
    }

    /// Makes a new regular file, mode 0600.
    pub fn create(&self, name: &OsStr) -> Result<File, Error> {
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        sys::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .called(|| format!("openat({}, O_CREAT|O_EXCL)", show(name)))
    }

    /// Opens a regular file to read; links are refused, and a pipe or device is not waited for.
    pub fn read(&self, name: &OsStr) -> Result<File, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        sys::openat(&self.0, name, flags, Mode::empty())
            .map(File::from)
            .called(|| format!("openat({}, O_RDONLY|O_NOFOLLOW)", show(name)))
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &OsStr, name: &OsStr) -> Result<(), Error> {
        sys::symlinkat(target, &self.0, name)
            .called(|| format!("symlinkat({}, {})", show(target), show(name)))
    }

    /// Makes `name` here another name of `source` in `from`; a link itself, not what it names.
    pub fn hardlink(&self, from: &Self, source: &OsStr, name: &OsStr) -> Result<(), Error> {
        sys::linkat(&from.0, source, &self.0, name, AtFlags::empty())
            .called(|| format!("linkat({}, {})", show(source), show(name)))
    }

    /// Makes a device, pipe or socket, mode 0600.
    pub fn node(&self, name: &OsStr, node: Node) -> Result<(), Error> {
        let (kind, device): (FileType, Dev) = match node {
            Node::Fifo => (FileType::Fifo, 0),
            Node::Socket => (FileType::Socket, 0),
            Node::Character(major, minor) => {
                (FileType::CharacterDevice, sys::makedev(major, minor))
            }
            Node::Block(major, minor) => (FileType::BlockDevice, sys::makedev(major, minor)),
        };
        sys::mknodat(&self.0, name, kind, Mode::RUSR | Mode::WUSR, device)
            .called(|| format!("mknodat({}, {node:?})", show(name)))
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, name: &OsStr) -> Result<(), Error> {
        sys::unlinkat(&self.0, name, AtFlags::empty())
            .called(|| format!("unlinkat({})", show(name)))
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: &OsStr) -> Result<(), Error> {
        sys::unlinkat(&self.0, name, AtFlags::REMOVEDIR)
            .called(|| format!("unlinkat({}, AT_REMOVEDIR)", show(name)))
    }

    /// Moves a name.
    pub fn rename(&self, name: &OsStr, to: &Self, new: &OsStr) -> Result<(), Error> {
        sys::renameat(&self.0, name, &to.0, new)
            .called(|| format!("renameat({}, {})", show(name), show(new)))
    }

    /// What `name` is; a link itself, not what it names. `None`: there is none.
    pub fn stat(&self, name: &OsStr) -> Result<Option<Stat>, Error> {
        match sys::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            result => {
                result.map(Some).called(|| format!("fstatat({}, AT_SYMLINK_NOFOLLOW)", show(name)))
            }
        }
    }

    /// What this directory is.
    pub fn stat_self(&self) -> Result<Stat, Error> {
        sys::fstat(&self.0).called(|| "fstat(directory)".to_owned())
    }

    /// What the link `name` says.
    pub fn read_link(&self, name: &OsStr) -> Result<PathBuf, Error> {
        sys::readlinkat(&self.0, name, Vec::new())
            .map(|target| PathBuf::from(OsStr::from_bytes(target.to_bytes())))
            .called(|| format!("readlinkat({})", show(name)))
    }

    /// The names in this directory, in no order, without `.` and `..`.
    pub fn names(&self) -> Result<Vec<std::ffi::OsString>, Error> {
        let called = || "getdents64(directory)".to_owned();
        let mut names = Vec::new();
        for entry in sys::Dir::read_from(&self.0).called(called)? {
            let entry = entry.called(called)?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }

    /// Whether readdir tells the kinds of names, as overlayfs needs it.
    pub fn tells_kinds(&self) -> Result<bool, Error> {
        let called = || "getdents64(directory)".to_owned();
        for entry in sys::Dir::read_from(&self.0).called(called)? {
            if entry.called(called)?.file_type() == FileType::Unknown {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sets owner, mode and time of `name`, which is not a directory's link. Order matters: chown(2)
    /// clears the setuid bits.
    pub fn set_attributes(
        &self,
        name: &OsStr,
        kind: Kind,
        attributes: &Attributes,
    ) -> Result<(), Error> {
        let (uid, gid) = owner(attributes);
        sys::chownat(&self.0, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .called(|| format!("fchownat({}, {uid:?}, {gid:?})", show(name)))?;
        if kind != Kind::Symlink {
            // The caller has just seen or made `name`; nobody else writes here.
            sys::chmodat(&self.0, name, Mode::from_raw_mode(attributes.mode), AtFlags::empty())
                .called(|| format!("fchmodat({}, {:o})", show(name), attributes.mode))?;
        }
        self.set_mtime(name, attributes.mtime)
    }

    /// Sets the time of `name`.
    pub fn set_mtime(&self, name: &OsStr, mtime: Time) -> Result<(), Error> {
        sys::utimensat(&self.0, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .called(|| format!("utimensat({}, {mtime:?})", show(name)))
    }

    /// Makes everything of this file system durable.
    pub fn sync_file_system(&self) -> Result<(), Error> {
        sys::syncfs(&self.0).called(|| "syncfs(store)".to_owned())
    }

    /// Makes the names in this directory durable.
    pub fn sync(&self) -> Result<(), Error> {
        sys::fsync(&self.0).called(|| "fsync(directory)".to_owned())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn owner(attributes: &Attributes) -> (sys::Uid, sys::Gid) {
    (sys::Uid::from_raw(attributes.uid), sys::Gid::from_raw(attributes.gid))
}

fn timestamps(mtime: Time) -> Timestamps {
    let time = sys::Timespec {
        tv_sec: mtime.seconds,
        tv_nsec: i64::from(mtime.nanoseconds.min(999_999_999)),
    };
    Timestamps { last_access: time, last_modification: time }
}

/// Sets owner, mode and time of an open file or directory, in the order that keeps the setuid bits.
pub fn set_attributes(fd: impl AsFd, attributes: &Attributes) -> Result<(), Error> {
    set_owner_and_mode(&fd, attributes)?;
    set_time(&fd, attributes.mtime)
}

/// What the file or directory at `path` is; links are followed.
pub fn stat_at(path: &Path) -> Result<Stat, Error> {
    sys::stat(path).called(|| format!("stat({path:?})"))
}

/// Sets the time of the file or directory at `path`; links are followed.
pub fn set_time_at(path: &Path, mtime: Time) -> Result<(), Error> {
    sys::utimensat(sys::CWD, path, &timestamps(mtime), AtFlags::empty())
        .called(|| format!("utimensat({path:?}, {mtime:?})"))
}

/// Sets the time of an open file or directory.
pub fn set_time(fd: impl AsFd, mtime: Time) -> Result<(), Error> {
    sys::futimens(&fd, &timestamps(mtime)).called(|| format!("futimens({mtime:?})"))
}

/// Sets owner and mode of an open file or directory.
pub fn set_owner_and_mode(fd: impl AsFd, attributes: &Attributes) -> Result<(), Error> {
    let (uid, gid) = owner(attributes);
    sys::fchown(&fd, Some(uid), Some(gid)).called(|| format!("fchown({uid:?}, {gid:?})"))?;
    sys::fchmod(&fd, Mode::from_raw_mode(attributes.mode))
        .called(|| format!("fchmod({:o})", attributes.mode))
}

/// What an open file is.
pub fn stat(fd: impl AsFd) -> Result<Stat, Error> {
    sys::fstat(&fd).called(|| "fstat()".to_owned())
}

/// Sets an extended attribute of an open file or directory.
pub fn set_xattr(fd: impl AsFd, name: &str, value: &[u8]) -> Result<(), Error> {
    sys::fsetxattr(&fd, name, value, XattrFlags::empty())
        .called(|| format!("fsetxattr({name:?}, {} bytes)", value.len()))
}

/// The value of an extended attribute of an open file or directory; `None`: it has none.
pub fn get_xattr(fd: impl AsFd, name: &str) -> Result<Option<Vec<u8>>, Error> {
    // XATTR_SIZE_MAX is 64 KiB; attributes of images are tens of bytes.
    let mut value = Vec::with_capacity(256);
    loop {
        match sys::fgetxattr(&fd, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => return Ok(Some(value)),
            Err(Errno::RANGE) if value.capacity() <= 65536 => value.reserve(65537),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(errno) => return Err(Error::new(format!("fgetxattr({name:?})"), errno)),
        }
    }
}

/// Whether what is at `path` has an extended attribute.
pub fn has_xattrs(path: &Path) -> Result<bool, Error> {
    // Without a buffer the kernel tells how large one must be.
    match sys::listxattr(path, &mut [0_u8; 0][..]) {
        Ok(length) => Ok(length > 0),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(errno) => Err(Error::new(format!("listxattr({path:?})"), errno)),
    }
}

/// The names of the extended attributes of an open file or directory.
pub fn list_xattrs(fd: impl AsFd) -> Result<Vec<String>, Error> {
    let mut list = Vec::with_capacity(256);
    loop {
        match sys::flistxattr(&fd, rustix::buffer::spare_capacity(&mut list)) {
            Ok(_) => break,
            Err(Errno::RANGE) if list.capacity() <= 65536 => list.reserve(65537),
            Err(Errno::OPNOTSUPP) => break,
            Err(errno) => return Err(Error::new("flistxattr()", errno)),
        }
    }
    let names = list.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Takes or releases a lock on an open file, flock(2). `false`: another holds it.
pub fn lock(fd: impl AsFd, operation: FlockOperation) -> Result<bool, Error> {
    loop {
        match sys::flock(&fd, operation) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("flock()", errno)),
        }
    }
}

/// The type of the file system that holds `path` (`f_type` of statfs(2)).
pub fn file_system_type(path: &Path) -> Result<u64, Error> {
    sys::statfs(path).map(|stat| stat.f_type.cast_unsigned()).called(|| format!("statfs({path:?})"))
}

/// Tells apart the temporary files of this process.
static REPLACED: AtomicU64 = AtomicU64::new(0);

/// Replaces the file at `path`: written beside it, made durable, renamed.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    use std::io::Write;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(format!("open({path:?})"), Errno::INVAL));
    };
    let parent = Directory::open(parent)?;
    let count = REPLACED.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(".{}.{}.{count}", name.to_string_lossy(), std::process::id());
    let temporary = OsStr::new(&temporary);
    let written = (|| {
        let mut file = parent.create(temporary)?;
        file.write_all(content).called(|| format!("write({path:?})"))?;
        sys::fsync(&file).called(|| format!("fsync({path:?})"))?;
        parent.rename(temporary, &parent, name)?;
        parent.sync()
    })();
    if written.is_err() {
        // The error counts; what is left is removed as well as can be.
        let _ = parent.unlink(temporary);
    }
    written
}
