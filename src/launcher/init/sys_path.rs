//! openat2(2): a path that leaves the root through no link.

use core::ffi::CStr;

use crate::sys::{EAGAIN, O_CLOEXEC, Result, at, call, ptr};

const NR_OPENAT2: usize = 437;

/// What happens at a link.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Links {
    Follow,
    Refuse,
}

/// Opens with the directory `fd` as the root of every link, and through no magic link.
pub fn open_in_root(fd: i32, path: &CStr, flags: u32, links: Links) -> Result<i32> {
    const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
    const RESOLVE_NO_SYMLINKS: u64 = 0x04;
    const RESOLVE_IN_ROOT: u64 = 0x10;
    let resolve = match links {
        Links::Follow => RESOLVE_NO_MAGICLINKS | RESOLVE_IN_ROOT,
        Links::Refuse => RESOLVE_NO_SYMLINKS | RESOLVE_IN_ROOT,
    };
    let how = [u64::from(flags | O_CLOEXEC), 0, resolve];
    loop {
        let args = [at(fd), ptr(path), how.as_ptr() as usize, size_of_val(&how)];
        // SAFETY: the path is a C string, the structure is readable for its size.
        match unsafe { call(NR_OPENAT2, &args) } {
            // The tree was renamed under the walk; rare, and never for ever.
            Err(EAGAIN) => {}
            answer => return answer.map(|fd| fd as i32),
        }
    }
}
