//! Processes by handle.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use super::Error;
use super::error::Called;

/// Opens `pid`, which must not have been reaped meanwhile: compare [`start_time`] afterwards.
///
/// Kernel: pidfd_open(2), Linux 5.3.
pub(crate) fn open(pid: i32) -> Result<OwnedFd, Error> {
    let call = || format!("pidfd_open({pid})");
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH).called(call)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).called(call)
}

/// A handle of the process that has this number and start time; `None` when it is gone, also when its
/// number belongs to another by now.
pub(crate) fn find(pid: i32, started: u64) -> Result<Option<OwnedFd>, Error> {
    let pidfd = match open(pid) {
        Err(error) if error.errno == Errno::SRCH => return Ok(None),
        opened => opened?,
    };
    // The handle first: what the number says afterwards is said of the process that it holds.
    match start_time(pid) {
        Ok(start_time) if start_time == started => Ok(Some(pidfd)),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.errno, Errno::NOENT | Errno::SRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends `signal`. A process that is gone is `ESRCH`.
#[expect(unsafe_code, reason = "rustix has no word for real-time signals")]
pub(crate) fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Error> {
    let fd = pidfd.as_raw_fd();
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: without a siginfo the kernel reads nothing but numbers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, no_info, 0) };
    match answer {
        0 => Ok(()),
        _ => Err(last_error(format!("pidfd_send_signal({signal})"))),
    }
}

/// SIGKILL; a process that is gone is fine.
pub(crate) fn kill(pidfd: BorrowedFd<'_>) -> Result<(), Error> {
    match send_signal(pidfd, Signal::KILL.as_raw()) {
        Err(error) if error.errno == Errno::SRCH => Ok(()),
        sent => sent,
    }
}

/// Whether the process has ended, waiting at most `timeout_ms` for it.
pub(crate) fn has_ended(pidfd: BorrowedFd<'_>, timeout_ms: u32) -> Result<bool, Error> {
    let timeout = Timespec {
        tv_sec: i64::from(timeout_ms / 1000),
        tv_nsec: i64::from(timeout_ms % 1000) * 1_000_000,
    };
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            answer => return answer.map(|ready| ready > 0).called(|| "poll(pidfd)".to_owned()),
        }
    }
}

/// Reaps our child behind `pidfd` without waiting; its raw wait status. `None`: it lives, or it is
/// not ours to reap.
///
/// `__WALL` because the children that a spawner clones for us send no SIGCHLD.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | all;
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options) {
            Err(Errno::INTR) => {}
            answer => break answer.ok()??,
        }
    };
    if let Some(code) = status.exit_status() {
        return Some(code << 8);
    }
    let core = if status.dumped() { 0x80 } else { 0 };
    status.terminating_signal().map(|signal| signal | core)
}

/// The raw wait status of a process that has ended, whoever reaped it.
///
/// Kernel: `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`, Linux 6.15. `None` on older kernels.
#[expect(unsafe_code, reason = "an ioctl that no crate has")]
pub(crate) fn exit_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info) with the structure's first published size.
    const PIDFD_GET_INFO: libc::c_ulong = 0xc040_ff0b;
    // The mask, the cgroup's id, then the ids, and the exit code in the last word.
    let mut info = [0_u64; 8];
    info[0] = PIDFD_INFO_EXIT;
    // SAFETY: the structure is 64 writable bytes, the size that the call's number states.
    let answer = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as _, info.as_mut_ptr()) };
    let known = answer == 0 && info[0] & PIDFD_INFO_EXIT != 0;
    known.then_some(((info[7] >> 32) & 0xffff) as i32)
}

/// Field 22 of proc_pid_stat(5): when the process started, in clock ticks since boot.
pub(crate) fn start_time(pid: i32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/stat");
    let failed = |errno| Error::new(format!("read({path:?})"), errno);
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).map_err(failed)?;
    // One line of at most some 400 bytes, made anew by each read from the start: one read has it all.
    let mut buffer = [0_u8; 4096];
    let count = rustix::io::read(&file, &mut buffer).map_err(failed)?;
    let stat = String::from_utf8_lossy(&buffer[..count]);
    parse_start_time(&stat).ok_or_else(|| Error::new(format!("parse({path:?})"), Errno::BADMSG))
}

/// The name in the second field may hold spaces and parentheses: the last one ends it.
fn parse_start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

fn last_error(call: String) -> Error {
    Error::from_io(call, &std::io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_an_odd_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(parse_start_time(stat), Some(4242));
        assert!(start_time(i32::try_from(std::process::id()).expect("a pid")).is_ok());
    }

    #[test]
    fn a_number_that_another_process_has_now_is_not_found() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let started = start_time(own).expect("it is us");
        assert!(find(own, started).expect("asked").is_some());
        assert!(find(own, started + 1).expect("asked").is_none(), "the number of a dead one");
        assert!(find(i32::MAX, started).expect("asked").is_none(), "no such number");
    }

    #[test]
    fn an_end_is_seen_and_known_even_after_it_was_reaped() {
        let mut child =
            std::process::Command::new("/bin/sh").args(["-c", "exit 3"]).spawn().expect("sh");
        let pidfd = open(i32::try_from(child.id()).expect("a pid")).expect("pidfd");
        assert!(has_ended(pidfd.as_fd(), 10_000).expect("poll"));
        child.wait().expect("reaped");
        assert_eq!(reap(pidfd.as_fd()), None, "somebody else reaped it");
        assert!(matches!(exit_status(pidfd.as_fd()), None | Some(0x300)));
        assert_eq!(send_signal(pidfd.as_fd(), 15).expect_err("gone").errno, Errno::SRCH);
        kill(pidfd.as_fd()).expect("a process that is gone is fine");
    }
}
