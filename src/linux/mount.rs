//! The mount API by descriptor: detached mounts that appear in no table until they are attached.
//!
//! Kernel: open_tree(2), Linux 5.2; mount_setattr(2), 5.12.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::libc;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::Error;
use super::error::Called;

/// A detached copy of the mount that `path` lies on, seen from `path`, with all mounts below it.
pub(crate) fn copy_tree(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).called(|| format!("open_tree({path:?}, CLONE|RECURSIVE)"))
}

/// A detached copy of the mount that `path` lies on, seen from `path`, without the mounts below it.
pub(crate) fn copy(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).called(|| format!("open_tree({path:?}, CLONE)"))
}

/// A detached copy that is read-only and on which no device opens, without the mounts below it.
pub(crate) fn copy_read_only(path: &Path) -> Result<OwnedFd, Error> {
    let copy = copy(path)?;
    settle(&copy, MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    Ok(copy)
}

/// The kernel's `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Adds `attributes` to the detached mount `mount` and all below it, and makes them private: a copy
/// of a shared mount would otherwise carry what is mounted on it back to where it came from.
#[expect(unsafe_code, reason = "rustix has no mount_setattr")]
pub(crate) fn settle(mount: impl AsFd, attributes: MountAttrFlags) -> Result<(), Error> {
    let set = u64::from(attributes.bits());
    let attr = MountAttr { set, clear: 0, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    let fd = mount.as_fd().as_raw_fd();
    // SAFETY: the path is a C string, the structure is readable for its size.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    match answer {
        0 => Ok(()),
        _ => Err(Error::from_io(
            format!("mount_setattr(RECURSIVE, {attributes:?}, PRIVATE)"),
            &std::io::Error::last_os_error(),
        )),
    }
}

/// What mount_setattr(2) answers to nothing at all: EINVAL, where it is there.
#[expect(unsafe_code, reason = "rustix has no mount_setattr")]
pub(super) fn probe_setattr() -> Result<(), Errno> {
    let nothing = std::ptr::null::<MountAttr>();
    // SAFETY: of a structure of no bytes none is read.
    let answer =
        unsafe { libc::syscall(libc::SYS_mount_setattr, -1, c"".as_ptr(), 0, nothing, 0_usize) };
    match answer {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
