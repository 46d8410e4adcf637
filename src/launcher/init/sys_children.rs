//! The calls about processes below this one.

use crate::sys::{at, call, nr};

/// What a look at the children finds.
pub enum Reaped {
    /// This one has ended, with this raw status; it is gone now.
    Child(i32, i32),
    /// None has ended.
    NoneReady,
    /// There is none.
    NoneLeft,
}

/// A child that ended, without waiting.
pub fn reap() -> Reaped {
    const WNOHANG: usize = 1;
    const WALL: usize = 0x4000_0000;
    let mut status = 0_i32;
    // SAFETY: the status is four writable bytes; no usage is asked for.
    match unsafe { call(nr::WAIT4, &[at(-1), &raw mut status as usize, WNOHANG | WALL, 0]) } {
        Ok(pid) if pid > 0 => Reaped::Child(pid as i32, status),
        Ok(_) => Reaped::NoneReady,
        Err(_) => Reaped::NoneLeft,
    }
}
