//! Hands a compiled launch to a spawner, whichever launcher it is of.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::child::{self, ChildControl, ChildReport, OnKill};
use super::compile::Compiled;
use super::ops::{FD_FIRST_FREE, FDS_MAX, LIFE_ENDS_TREE};
use super::spawner::{Request, Spawner};
use super::{ForkRequest, InitPid, LauncherError, steps};
use crate::linux::{self, memfd, pidfd, socket};

/// A new init, blocked, and the two ends by which it is told and tells. `opened` are the
/// descriptors that `compiled` wants, in its order; `life` is `ops::LIFE_…`.
pub(super) fn hand_over(
    spawner: &Spawner,
    request: &ForkRequest,
    compiled: Compiled,
    opened: &[BorrowedFd<'_>],
    life: u32,
) -> Result<(InitPid, ChildControl, ChildReport), LauncherError> {
    let (ours, theirs) = socket::packet_pair()?;
    let status = open_status(&request.status_file)?;
    let plan = steps::encode(&compiled.steps, life);
    let plan_fd = memfd::data("longshore-plan", &plan)?;
    let streams = &request.stdio;
    let mut fds = vec![plan_fd.as_fd(), theirs.as_fd(), status.as_fd()];
    fds.extend([streams.stdin.as_fd(), streams.stdout.as_fd(), streams.stderr.as_fd()]);
    fds.extend(opened);
    if fds.len() > FDS_MAX {
        return Err(LauncherError::TooManyMounts { limit: FDS_MAX - FD_FIRST_FREE });
    }
    let plan_size = u32::try_from(plan.len()).map_err(|_| LauncherError::PlanTooLarge)?;
    let (clone_flags, birthplace) = (compiled.clone_flags, compiled.birthplace);
    let (pid, pidfd) = spawner.spawn(Request { plan_size, clone_flags, birthplace }, &fds)?;
    let init = InitPid { pid, start_time: pidfd::start_time(pid)? };
    let file = request.status_file.clone();
    let on_kill = match life & LIFE_ENDS_TREE {
        0 => OnKill::Init,
        _ => OnKill::Payload,
    };
    let (control, report) = child::pair(ours, pidfd, compiled.steps, file, on_kill);
    Ok((init, control, report))
}

/// Empty from now on; the init writes into it once.
fn open_status(path: &Path) -> Result<OwnedFd, linux::Error> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let file = rustix::fs::open(path, flags, mode)
        .map_err(|errno| linux::Error::new(format!("open({path:?}, WRONLY|CREAT|TRUNC)"), errno))?;
    // The umask may be one that shuts out ourselves.
    rustix::fs::fchmod(&file, mode)
        .map_err(|errno| linux::Error::new(format!("fchmod({path:?}, 0600)"), errno))?;
    Ok(file)
}
