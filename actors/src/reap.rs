//! Ends of operating-system processes, noticed by handle: nothing polls, and no signal handler is needed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use nix::libc;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::eventual::Eventual;
use crate::outcome::Fault;
use crate::runtime::Runtime;

/// A call about a process failed.
#[derive(Debug, thiserror::Error)]
#[error("{call} of process {pid}")]
struct ReapError {
    pid: u32,
    call: &'static str,
    #[source]
    source: io::Error,
}

impl Runtime {
    /// Ends when the process `pid` has; then reaps it if it is a child of this process, and gives its status.
    ///
    /// `None`: it is gone and its status unknown, because it is nobody's or somebody else's child, or because somebody
    /// else has reaped it, such as another [`Runtime::reap`] of the same one: a status is given once. A number that
    /// belongs to no process is `None` too.
    ///
    /// The wait is on an arbiter of the first group, which hears of the exit when its turn is over. A discard ends the
    /// wait, and the child, if it is one, stays to be reaped.
    ///
    /// Kernel: pidfd_open(2) and `P_PIDFD`, Linux 5.4. Errors: the calls' own, as failures.
    pub fn reap(&self, pid: u32) -> Eventual<Option<ExitStatus>> {
        match open(pid) {
            Ok(Some(process)) => self.reap_by_handle(pid, Arc::new(process)),
            Ok(None) => Eventual::ready(None),
            Err(source) => {
                let call = "pidfd_open";
                Eventual::failed(Fault::from_error(ReapError { pid, call, source }))
            }
        }
    }

    pub(crate) fn reap_by_handle(
        &self,
        pid: u32,
        process: Arc<OwnedFd>,
    ) -> Eventual<Option<ExitStatus>> {
        let seats = self.inner.seats();
        let group = seats.first().map_or("main", |seat| seat.group);
        let ended = self.spawn_future(group, "reap", async move {
            let fault = |call| move |source| Fault::from_error(ReapError { pid, call, source });
            #[expect(deprecated, reason = "its replacement is unsafe; the handle is never another")]
            let process = AsyncFd::with_interest(process, Interest::READABLE);
            let process = process.map_err(fault("watch"))?;
            loop {
                let mut ready = process.readable().await.map_err(fault("watch"))?;
                match take_status(process.get_ref()).map_err(fault("waitid"))? {
                    Reaped::Status(status) => return Ok(Some(status)),
                    Reaped::NotOurs => return Ok(None),
                    Reaped::Alive => ready.clear_ready(),
                }
            }
        });
        ended.then(Eventual::from)
    }
}

/// A handle of the process; nothing if there is none.
pub(crate) fn open(pid: u32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
    match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => Ok(None),
        opened => Ok(opened.map(Some)?),
    }
}

enum Reaped {
    Status(ExitStatus),
    /// It is no child of this process, or not any more.
    NotOurs,
    Alive,
}

fn take_status(process: &OwnedFd) -> io::Result<Reaped> {
    // Children whose end sends no SIGCHLD are children too.
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | all;
    loop {
        match waitid(WaitId::PidFd(process.as_fd()), options) {
            Err(Errno::INTR) => {}
            Err(Errno::CHILD) => return Ok(Reaped::NotOurs),
            answer => {
                let status = answer?.and_then(|status| wait_status(&status));
                return Ok(status.map_or(Reaped::Alive, Reaped::Status));
            }
        }
    }
}

/// As wait(2) would have put it.
fn wait_status(status: &WaitIdStatus) -> Option<ExitStatus> {
    let core_dumped = if status.dumped() { 0x80 } else { 0 };
    let exited = status.exit_status().map(|code| code << 8);
    let raw = exited.or_else(|| status.terminating_signal().map(|signal| signal | core_dumped));
    raw.map(ExitStatus::from_raw)
}
