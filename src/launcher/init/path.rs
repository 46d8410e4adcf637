//! Paths of the container, resolved so that no link of an image leads out of it.
//!
//! When these run, the container's root is entered and the old one is gone, so that a link can lead
//! nowhere else but through a magic link of /proc; openat2(2) refuses those. Where the kernel or a
//! filter lacks openat2, [`walk`] does the same by hand.

use core::ffi::CStr;

use crate::sys::{
    self, AT_FDCWD, EEXIST, ELOOP, ENAMETOOLONG, ENOENT, ENOSYS, ENOTDIR, EPERM, O_CREAT,
    O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_PATH, O_WRONLY, Result, S_IFLNK, S_IFMT,
};
use crate::sys_path::{Links, open_in_root};

/// The longest path, its NUL included.
const PATH_MAX: usize = 4096;
/// Links followed in one path; the kernel's own bound.
const LINKS_MAX: usize = 40;

/// A path being built: always NUL-terminated.
struct Buffer {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Buffer {
    const fn new() -> Self {
        Self { bytes: [0; PATH_MAX], len: 0 }
    }

    fn push(&mut self, more: &[u8]) -> Result<()> {
        if self.len + more.len() >= PATH_MAX {
            return Err(ENAMETOOLONG);
        }
        for byte in more {
            self.bytes[self.len] = *byte;
            self.len += 1;
        }
        self.bytes[self.len] = 0;
        Ok(())
    }

    fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c"")
    }
}

/// What a missing target becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Fail,
    Directory,
    File,
}

/// How a path led to its target.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through no link: the text says where it is.
    Plain,
    /// Through links, or nobody looked.
    Linked,
}

/// Opens `path` below the root, as an `O_PATH` descriptor.
pub fn open(path: &CStr, flags: u32) -> Result<i32> {
    // The working directory is the root from the moment that the root is entered until the payload's
    // process has its own.
    match open_in_root(AT_FDCWD, path, flags | O_PATH, Links::Follow) {
        // EPERM is what filters older than the call answer; the call itself never does for O_PATH.
        Err(ENOSYS | EPERM) => walk(path, flags),
        answer => answer,
    }
}

/// Opens `path`, made if it is missing as `missing` says; its parents too.
pub fn open_or_make(
    path: &CStr,
    missing: impl FnOnce() -> Result<Missing>,
) -> Result<(i32, Way)> {
    match open_way(path) {
        Err(ENOENT) => {}
        answer => return answer,
    }
    let missing = missing()?;
    if missing == Missing::Fail {
        return Err(ENOENT);
    }
    let (parent, name) = parent_of(path, 0o755)?;
    let made = match missing {
        Missing::File => {
            sys::open_at(parent, name.text(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o644)
                .map(sys::close)
        }
        Missing::Fail | Missing::Directory => sys::mkdir_at(parent, name.text(), 0o755),
    };
    sys::close(parent);
    match made {
        Ok(()) | Err(EEXIST) => open_way(path),
        Err(errno) => Err(errno),
    }
}

/// [`open`], and whether there were links on the way: mostly there are none.
pub fn open_way(path: &CStr) -> Result<(i32, Way)> {
    match open_in_root(AT_FDCWD, path, O_PATH, Links::Refuse) {
        Err(ELOOP | ENOSYS | EPERM) => open(path, 0).map(|fd| (fd, Way::Linked)),
        answer => answer.map(|fd| (fd, Way::Plain)),
    }
}

/// Makes the directory `path` with `mode` and its missing parents with 0755.
pub fn make_directories(path: &CStr, mode: u32) -> Result<()> {
    match open(path, O_DIRECTORY) {
        Err(ENOENT) => {}
        answer => return answer.map(sys::close),
    }
    let (parent, name) = parent_of(path, 0o755)?;
    let made = match sys::mkdir_at(parent, name.text(), mode) {
        Err(EEXIST) => Ok(()),
        made => made,
    };
    sys::close(parent);
    made
}

/// Does `act` on the open parent directory of `path` and its last name. The parent is made.
pub fn in_parent(path: &CStr, act: impl FnOnce(i32, &CStr) -> Result<()>) -> Result<()> {
    let (parent, name) = parent_of(path, 0o755)?;
    let done = act(parent, name.text());
    sys::close(parent);
    done
}

/// The open parent of `path`, made with `mode` where it is missing, and the last name.
fn parent_of(path: &CStr, mode: u32) -> Result<(i32, Buffer)> {
    match existing_parent_of(path) {
        Err(ENOENT) => {}
        answer => return answer,
    }
    let mut name = Buffer::new();
    let mut sofar = Buffer::new();
    let mut directory = open(c"/", O_DIRECTORY)?;
    for component in path.to_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
        if name.len > 0 {
            // The name before this one was not the last: it is a directory on the way.
            sofar.push(b"/")?;
            sofar.push(&name.bytes[..name.len])?;
            let next = match open(sofar.text(), O_DIRECTORY) {
                Err(ENOENT) => sys::mkdir_at(directory, name.text(), mode)
                    .or_else(|errno| if errno == EEXIST { Ok(()) } else { Err(errno) })
                    .and_then(|()| open(sofar.text(), O_DIRECTORY)),
                answer => answer,
            };
            sys::close(directory);
            directory = next?;
        }
        name = Buffer::new();
        name.push(component)?;
    }
    if name.len == 0 {
        sys::close(directory);
        return Err(EEXIST);
    }
    Ok((directory, name))
}

/// The open parent of `path` and the last name, if the parent is there: mostly it is.
fn existing_parent_of(path: &CStr) -> Result<(i32, Buffer)> {
    let bytes = path.to_bytes();
    let mut end = bytes.len();
    while end > 0 && bytes[end - 1] == b'/' {
        end -= 1;
    }
    let mut start = end;
    while start > 0 && bytes[start - 1] != b'/' {
        start -= 1;
    }
    if start == end {
        return Err(EEXIST);
    }
    let (mut parent, mut name) = (Buffer::new(), Buffer::new());
    parent.push(b"/")?;
    parent.push(&bytes[..start])?;
    name.push(&bytes[start..end])?;
    Ok((open(parent.text(), O_DIRECTORY)?, name))
}

/// [`open`] without openat2: one name at a time, no link followed by the kernel.
///
/// `..` is taken literally from the names so far, which is right because every name so far is the
/// place itself and no link.
fn walk(path: &CStr, flags: u32) -> Result<i32> {
    let mut rest = Buffer::new();
    rest.push(path.to_bytes())?;
    let mut place = Buffer::new();
    let mut links = 0;
    'restart: loop {
        let mut from = 0;
        while let Some((start, end)) = next_name(&rest.bytes[..rest.len], from) {
            from = end;
            let name = &rest.bytes[start..end];
            if name == b"." {
                continue;
            }
            if name == b".." {
                drop_last(&mut place);
                continue;
            }
            let before = place.len;
            place.push(b"/")?;
            place.push(name)?;
            let last = next_name(&rest.bytes[..rest.len], end).is_none();
            let fd = sys::open_at(AT_FDCWD, place.text(), O_PATH | O_NOFOLLOW, 0)?;
            let link = sys::stat(fd)?.mode & S_IFMT == S_IFLNK;
            if !link || (last && flags & O_NOFOLLOW != 0) {
                sys::close(fd);
                continue;
            }
            links += 1;
            if links > LINKS_MAX || on_proc(fd) {
                return Err(ELOOP);
            }
            let mut target = Buffer::new();
            target.len = sys::readlink_at(fd, c"", &mut target.bytes[..PATH_MAX - 1])?;
            sys::close(fd);
            // What the link says, then what was still to come.
            let absolute = target.bytes[0] == b'/';
            target.push(b"/")?;
            target.push(&rest.bytes[end..rest.len])?;
            place.len = if absolute { 0 } else { before };
            place.bytes[place.len] = 0;
            rest = target;
            continue 'restart;
        }
        break;
    }
    if place.len == 0 {
        place.push(b"/")?;
    }
    match sys::open_at(AT_FDCWD, place.text(), flags | O_PATH | O_NOFOLLOW, 0) {
        // O_NOFOLLOW with O_DIRECTORY on a link.
        Err(ELOOP) => Err(ENOTDIR),
        answer => answer,
    }
}

/// The next name at or after `from`: start and end.
fn next_name(path: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut start = from;
    while start < path.len() && path[start] == b'/' {
        start += 1;
    }
    let mut end = start;
    while end < path.len() && path[end] != b'/' {
        end += 1;
    }
    if start == end { None } else { Some((start, end)) }
}

/// Takes the last name off.
fn drop_last(place: &mut Buffer) {
    while place.len > 0 {
        place.len -= 1;
        if place.bytes[place.len] == b'/' {
            break;
        }
    }
    place.bytes[place.len] = 0;
}

/// Whether a link lies on a /proc, where a link need not be what it says.
fn on_proc(fd: i32) -> bool {
    const PROC_SUPER_MAGIC: u64 = 0x9fa0;
    sys::file_system(fd) == Ok(PROC_SUPER_MAGIC)
}
