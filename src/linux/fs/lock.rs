//! Locks on single bytes of a file.

use std::fs::File;

use nix::libc;

/// Locks one byte of `file`, which needs not be there, against every other opening of it; `false`:
/// somebody has it. Goes with the last descriptor of this opening.
///
/// Kernel: `F_OFD_SETLK`, fcntl(2), Linux 3.15.
pub(crate) fn lock_byte(file: &File, at: i64) -> std::io::Result<bool> {
    match byte_lock(file, at, libc::F_WRLCK) {
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        locked => Ok(locked.map(|()| true)?),
    }
}

/// Undoes [`lock_byte`].
pub(crate) fn unlock_byte(file: &File, at: i64) -> std::io::Result<()> {
    Ok(byte_lock(file, at, libc::F_UNLCK)?)
}

fn byte_lock(file: &File, at: i64, kind: i32) -> nix::Result<()> {
    let kind = i16::try_from(kind).expect("there are three kinds");
    let whence = i16::try_from(libc::SEEK_SET).expect("it is 0");
    let lock = libc::flock { l_type: kind, l_whence: whence, l_start: at, l_len: 1, l_pid: 0 };
    nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).map(drop)
}
