//! Files below a directory that is somebody else's root: no link leads out of it.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use super::Error;
use super::error::Called;

/// Opens `path` as a directory, to be used as a root.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).called(|| format!("open({path:?}, PATH|DIRECTORY)"))
}

/// The file `path` below `root`, at most `limit` bytes of it; `None` when there is none, or only a
/// link that leads nowhere.
///
/// Kernel: openat2(2), Linux 5.6. Where it is hidden by a filter, links are not followed at all:
/// what is read this way is hardly ever a link.
pub(crate) fn read_file(root: impl AsFd, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let opened = loop {
        match openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => break open_without_links(root.as_fd(), path, flags),
            opened => break opened,
        }
    };
    let fd = match opened {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
        opened => opened.called(|| format!("openat2(root, {path:?}, IN_ROOT|NO_MAGICLINKS)"))?,
    };
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .take(limit)
        .read_to_end(&mut bytes)
        .called(|| format!("read(root, {path:?})"))?;
    Ok(Some(bytes))
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
        assert_eq!(
            read_file(&root, "etc/passwd", 100).expect("read").as_deref(),
            Some(&b"inside"[..])
        );
        assert_eq!(read_file(&root, "etc/group", 100).expect("read"), None);
        assert!(open_without_links(&root, "etc/passwd", OFlags::RDONLY).is_err());
        assert!(open_without_links(&root, "etc/real", OFlags::RDONLY).is_ok());
    }
}
