//! Starting a program of ours without copying this process.

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::libc;
use rustix::io::Errno;

use super::Error;

/// A process that this one started.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its handle.
    pub(crate) pidfd: OwnedFd,
    /// In this process' PID namespace.
    pub(crate) pid: i32,
}

/// Where [`start`] puts the socket.
pub(crate) const SOCKET_FD: RawFd = 3;

/// Room for the few calls between clone and exec.
const STACK_BYTES: usize = 64 << 10;

/// What the child reads and writes in the memory it shares with us.
struct Shared {
    program: RawFd,
    socket: RawFd,
    argv: [*const libc::c_char; 2],
    errno: c_int,
}

/// Executes the file behind `program` with `socket` as its descriptor 3 and an empty environment.
/// Every signal is blocked in it.
///
/// Between clone and exec the child shares our memory and this thread stands still, so neither the
/// size of this process nor its other threads matter; it makes four system calls and nothing else.
/// Descriptors without close-on-exec are inherited: the program has to close what it does not know.
///
/// Kernel: clone(2) with `CLONE_PIDFD`, Linux 5.2; execveat(2), 3.19.
pub(crate) fn start(
    program: BorrowedFd<'_>,
    name: &CStr,
    socket: BorrowedFd<'_>,
) -> Result<Process, Error> {
    let mut shared = Shared {
        program: program.as_raw_fd(),
        socket: socket.as_raw_fd(),
        argv: [name.as_ptr(), ptr::null()],
        errno: 0,
    };
    let before = block_all_signals();
    let cloned = clone_and_wait(&mut shared);
    restore_signals(&before);
    let process = cloned?;
    match shared.errno {
        0 => Ok(process),
        errno => {
            // It has exited; nobody else knows of it.
            let _ = super::pidfd::reap(std::os::fd::AsFd::as_fd(&process.pidfd));
            let errno = Errno::from_raw_os_error(errno);
            Err(Error::new(format!("execveat({})", name.to_string_lossy()), errno))
        }
    }
}

#[expect(unsafe_code, reason = "clone(2) with a stack of our own")]
fn clone_and_wait(shared: &mut Shared) -> Result<Process, Error> {
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let mut pidfd: RawFd = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: one past the end of the allocation, aligned to 16 as the ABI wants it.
    let top = unsafe { stack.as_mut_ptr().add(stack.len()) };
    // SAFETY: CLONE_VFORK stops this thread until the child has executed or exited, so that stack,
    // `shared` and `pidfd` outlive it and are not touched by two at once; `child` makes system calls
    // only; all signals are blocked, so that no handler of this process runs in the child.
    let pid = unsafe {
        libc::clone(child, top.cast(), flags, ptr::from_mut(shared).cast(), &raw mut pidfd)
    };
    if pid < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Error::from_io("clone(VM|VFORK|PIDFD)", &error));
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Process { pidfd, pid })
}

/// The child, in our memory, on its own stack.
#[expect(unsafe_code, reason = "system calls between clone and exec")]
extern "C" fn child(arg: *mut c_void) -> c_int {
    // SAFETY: `start` passes its own `Shared` and stands still.
    let shared = unsafe { &mut *arg.cast::<Shared>() };
    // The program may itself be descriptor 3: out of the way first.
    // SAFETY: numbers only.
    let program = unsafe { libc::fcntl(shared.program, libc::F_DUPFD_CLOEXEC, SOCKET_FD + 1) };
    let placed = match shared.socket == SOCKET_FD {
        // dup2 to itself would leave close-on-exec set.
        // SAFETY: numbers only.
        true => unsafe { libc::fcntl(shared.socket, libc::F_SETFD, 0) },
        // SAFETY: numbers only.
        false => unsafe { libc::dup2(shared.socket, SOCKET_FD) },
    };
    if program >= 0 && placed >= 0 {
        let environment: [*const libc::c_char; 1] = [ptr::null()];
        // SAFETY: path and argv are C strings, both arrays end with a null pointer.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                program,
                c"".as_ptr(),
                shared.argv.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
    }
    // SAFETY: the calling thread's errno, which the child shares with the one that stands still.
    shared.errno = unsafe { *libc::__errno_location() };
    // SAFETY: ends the child only, without running anything of this process.
    unsafe { libc::_exit(127) }
}

/// Also those that the C library keeps for itself: hence not sigprocmask(3).
#[expect(unsafe_code, reason = "rt_sigprocmask(2) with every signal")]
fn block_all_signals() -> u64 {
    let (all, mut before) = (u64::MAX, 0_u64);
    let how = libc::SIG_SETMASK;
    // SAFETY: both masks are eight bytes, one readable, one writable.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const all, &raw mut before, 8) };
    before
}

#[expect(unsafe_code, reason = "rt_sigprocmask(2) with the mask that was there")]
fn restore_signals(before: &u64) {
    let none = ptr::null_mut::<u64>();
    let how = libc::SIG_SETMASK;
    // SAFETY: the mask is eight readable bytes.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, ptr::from_ref(before), none, 8) };
}
