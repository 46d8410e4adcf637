//! The calls of the mount table.

use core::ffi::CStr;

use crate::sys::{
    AT_EMPTY_PATH, AT_RECURSIVE, O_CLOEXEC, Result, at, call, chdir, nr, plain, ptr,
};
use crate::sys_path::Links;

const MNT_DETACH: usize = 2;
const MS_REC: u64 = 1 << 14;
pub const MOUNT_ATTR_RDONLY: u64 = 1;
pub const MOUNT_ATTR_NOSUID: u64 = 2;
pub const MOUNT_ATTR_NODEV: u64 = 4;
pub const MOUNT_ATTR_NOEXEC: u64 = 8;
const NR_OPEN_TREE: usize = 428;
const NR_MOVE_MOUNT: usize = 429;
const NR_FSOPEN: usize = 430;
const NR_FSCONFIG: usize = 431;
const NR_FSMOUNT: usize = 432;
const NR_MOUNT_SETATTR: usize = 442;
pub const MS_PRIVATE: u64 = 1 << 18;

/// Exchanges the root for the current directory and leaves the old root without a name.
pub fn pivot_here() -> Result<()> {
    let here = c".";
    // SAFETY: both are C strings.
    unsafe { call(nr::PIVOT_ROOT, &[ptr(here), ptr(here)]) }?;
    // The old root now lies on the new one: unmounting it uncovers the new.
    // SAFETY: the path is a C string.
    unsafe { call(nr::UMOUNT2, &[ptr(here), MNT_DETACH]) }?;
    chdir(c"/")
}

/// Changes the propagation of every mount.
pub fn propagation(flag: u64) -> Result<()> {
    let args = [0, ptr(c"/"), 0, (flag | MS_REC) as usize, 0];
    // SAFETY: the path is a C string; source, type and data are not read for this change.
    unsafe { call(nr::MOUNT, &args) }.map(drop)
}

pub fn fs_open(kind: &CStr) -> Result<i32> {
    const FSOPEN_CLOEXEC: usize = 1;
    // SAFETY: the type is a C string.
    unsafe { call(NR_FSOPEN, &[ptr(kind), FSOPEN_CLOEXEC]) }.map(|fd| fd as i32)
}

/// Sets an option; a flag has the empty value.
pub fn fs_config(fd: i32, key: &CStr, value: &CStr) -> Result<()> {
    const SET_FLAG: usize = 0;
    const SET_STRING: usize = 1;
    let args = match value.is_empty() {
        true => [at(fd), SET_FLAG, ptr(key), 0, 0],
        false => [at(fd), SET_STRING, ptr(key), ptr(value), 0],
    };
    // SAFETY: key and value are C strings.
    unsafe { call(NR_FSCONFIG, &args) }.map(drop)
}

/// Makes the file system and a detached mount of it.
pub fn fs_mount(fd: i32, attributes: u64) -> Result<i32> {
    const CMD_CREATE: usize = 6;
    const FSMOUNT_CLOEXEC: usize = 1;
    plain(NR_FSCONFIG, &[at(fd), CMD_CREATE, 0, 0, 0])?;
    plain(NR_FSMOUNT, &[at(fd), FSMOUNT_CLOEXEC, attributes as usize]).map(|fd| fd as i32)
}

/// Makes the file system itself read-only, wherever it is mounted. After [`fs_mount`].
pub fn fs_read_only(fd: i32) -> Result<()> {
    const CMD_RECONFIGURE: usize = 7;
    fs_config(fd, c"ro", c"")?;
    plain(NR_FSCONFIG, &[at(fd), CMD_RECONFIGURE, 0, 0, 0]).map(drop)
}

/// A detached copy of the mounts at `fd` and below.
pub fn clone_tree(fd: i32) -> Result<i32> {
    open_tree(fd, c"", AT_EMPTY_PATH | AT_RECURSIVE)
}

/// A detached copy of the mounts at `name` in `place` and below.
pub fn clone_tree_at(place: i32, name: &CStr) -> Result<i32> {
    open_tree(place, name, AT_RECURSIVE)
}

/// A detached copy of what is at `name` in `place`, and of nothing below; a link is what it is.
pub fn clone_at(place: i32, name: &CStr) -> Result<i32> {
    const AT_SYMLINK_NOFOLLOW: u32 = 0x100;
    open_tree(place, name, AT_SYMLINK_NOFOLLOW)
}

fn open_tree(fd: i32, path: &CStr, flags: u32) -> Result<i32> {
    const OPEN_TREE_CLONE: u32 = 1;
    let flags = OPEN_TREE_CLONE | O_CLOEXEC | flags;
    // SAFETY: the path is a C string.
    unsafe { call(NR_OPEN_TREE, &[at(fd), ptr(path), flags as usize]) }.map(|fd| fd as i32)
}

/// Attaches the detached mount `from` at `to`.
pub fn attach(from: i32, to: i32) -> Result<()> {
    const TO_EMPTY_PATH: usize = 0x40;
    move_mount(from, to, c"", TO_EMPTY_PATH)
}

/// Attaches the detached mount `from` at `name` in `place`.
pub fn attach_at(from: i32, place: i32, name: &CStr, links: Links) -> Result<()> {
    const TO_SYMLINKS: usize = 0x10;
    move_mount(from, place, name, if links == Links::Follow { TO_SYMLINKS } else { 0 })
}

fn move_mount(from: i32, to: i32, path: &CStr, flags: usize) -> Result<()> {
    const FROM_EMPTY_PATH: usize = 0x04;
    let args = [at(from), ptr(c""), at(to), ptr(path), FROM_EMPTY_PATH | flags];
    // SAFETY: both paths are C strings.
    unsafe { call(NR_MOVE_MOUNT, &args) }.map(drop)
}

/// Adds attributes to the mount at `fd`, with `flags` `AT_RECURSIVE` also to those below.
pub fn add_attributes(fd: i32, attributes: u64, flags: u32) -> Result<()> {
    let wanted = [attributes, 0, 0, 0];
    let flags = (flags | AT_EMPTY_PATH) as usize;
    let args = [at(fd), ptr(c""), flags, wanted.as_ptr() as usize, size_of_val(&wanted)];
    // SAFETY: the path is a C string, the structure is readable for its size.
    unsafe { call(NR_MOUNT_SETATTR, &args) }.map(drop)
}
