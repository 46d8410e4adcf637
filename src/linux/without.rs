//! For tests: a thread, and all it starts, on a kernel that lacks some system calls.

use nix::libc;

use super::Error;

/// What a call that is not there answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// `ENOSYS`: an old kernel.
    Missing,
    /// `EPERM`: the filter of a sandbox.
    Refused,
}

impl Answer {
    const fn errno(self) -> i32 {
        match self {
            Self::Missing => libc::ENOSYS,
            Self::Refused => libc::EPERM,
        }
    }
}

/// From now on the calling thread and its children get no other answer to `calls`.
///
/// Needs `CAP_SYS_ADMIN`. There is no undo: use a thread that ends.
#[expect(unsafe_code, reason = "seccomp(2)")]
pub(crate) fn answering(answer: Answer, calls: &[libc::c_long]) -> Result<(), Error> {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ERRNO: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = vec![step(LOAD_NUMBER, 0, 0)];
    for call in calls {
        filter.push(step(JUMP_IF_EQUAL, 1, u32::try_from(*call).expect("a small number")));
        filter.push(step(RETURN, 0, ERRNO | answer.errno().cast_unsigned()));
    }
    filter.push(step(RETURN, 0, ALLOW));
    let length = u16::try_from(filter.len()).expect("a short filter");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the program points to as many instructions as it says; both are readable.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    match answer {
        0 => Ok(()),
        _ => Err(Error::from_io("seccomp(SET_MODE_FILTER)", &std::io::Error::last_os_error())),
    }
}
