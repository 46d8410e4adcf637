//! Files below a directory that is somebody else's root: no link leads out of it.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::Error;
use super::error::Called;

/// Opens `path` as a directory, to be used as a root.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).called(|| format!("open({path:?}, PATH|DIRECTORY)"))
}

/// What is at a path below a root.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing, or only a link that leads nowhere.
    Missing,
    /// A directory, a FIFO, a device: nothing to be read.
    NoFile,
    /// Of a file.
    Bytes(Vec<u8>),
}

/// The file `path` below `root`, at most `limit` bytes of it. Only files are ever opened: a FIFO has
/// nothing to say, and a device might do something.
pub(crate) fn read_file(root: impl AsFd, path: &str, limit: u64) -> Result<Content, Error> {
    let call = || format!("openat2(root, {path:?}, IN_ROOT|NO_MAGICLINKS)");
    let found = match open(root.as_fd(), path, OFlags::PATH | OFlags::CLOEXEC) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Content::Missing),
        opened => opened.called(call)?,
    };
    let stat = rustix::fs::fstat(&found).called(|| format!("fstat(root, {path:?})"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Symlink => return Ok(Content::Missing),
        _ => return Ok(Content::NoFile),
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = open(root.as_fd(), path, flags).called(call)?;
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(limit)
        .read_to_end(&mut bytes)
        .called(|| format!("read(root, {path:?})"))?;
    Ok(Content::Bytes(bytes))
}

/// Kernel: openat2(2), Linux 5.6. Where it is hidden by a filter, links are not followed at all:
/// what is read this way is hardly ever a link.
fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => return open_without_links(root, path, flags),
            opened => return opened,
        }
    }
}

fn open_without_links(root: impl AsFd, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        let flags = match names.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            None => flags,
        };
        let from = at.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        at = Some(openat(from, name, flags | OFlags::NOFOLLOW, Mode::empty())?);
    }
    at.ok_or(Errno::NOENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_the_host_reads_the_image() {
        let image = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(image.path().join("etc")).expect("mkdir");
        std::fs::write(image.path().join("etc/real"), "inside").expect("write");
        std::os::unix::fs::symlink("/etc/real", image.path().join("etc/passwd")).expect("link");
        std::os::unix::fs::symlink("../../../etc/hostname", image.path().join("etc/group"))
            .expect("link");
        let root = open_directory(image.path()).expect("open");
        let read = |path| read_file(&root, path, 100).expect("read");
        assert_eq!(read("etc/passwd"), Content::Bytes(b"inside".to_vec()));
        assert_eq!(read("etc/group"), Content::Missing);
        assert_eq!(read("etc"), Content::NoFile);
        let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR);
        rustix::fs::mknodat(CWD, image.path().join("fifo"), fifo, mode, 0).expect("a FIFO");
        assert_eq!(read("fifo"), Content::NoFile);
        assert!(open_without_links(&root, "etc/passwd", OFlags::RDONLY).is_err());
        assert!(open_without_links(&root, "etc/real", OFlags::RDONLY).is_ok());
    }
}
