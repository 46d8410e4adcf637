//! The kill group: every process of a container, to be ended at once.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::control::{is_missing, keyed, read, write};
use super::detect::{Controller, Version};
use super::group::Group;
use super::hierarchies::{Cgroups, Leftover};
use super::tree;
use crate::linux::Error;
use crate::linux::error::Called;

/// After this long without news the killing is repeated: a process may have been put into the
/// cgroup from outside in the meantime.
const AGAIN: Duration = Duration::from_millis(500);

/// The v1 freezer may hang on a process in uninterruptible sleep; SIGKILL works without it.
const FREEZE: Duration = Duration::from_millis(100);

impl Cgroups {
    /// Makes the kill group of a container and says which directory's `cgroup.procs` the first
    /// process must join: a v2 directory on v2 and hybrid hosts ([`Self::kill_group_version`]), so
    /// CLONE_INTO_CGROUP can be used.
    ///
    /// On a pure v2 host it is the cgroup of the limits as well; what an isolator made is joined.
    /// Undo: [`Self::kill_group_remove`]. Errors: ENODEV on a host with neither v2 nor a freezer;
    /// EEXIST where processes live in a cgroup of this name.
    pub fn kill_group_create(&self, path: &Path) -> Result<PathBuf, Error> {
        let (mount, group) = self.kill_group(path)?;
        self.make_below(mount, path, &group, Leftover::Join)?;
        Ok(group.processes())
    }

    /// The interface that kill groups have on this host.
    pub fn kill_group_version(&self) -> Option<Version> {
        self.kill_group(Path::new("any")).ok().map(|(_, group)| group.version())
    }

    /// Ends every process of the kill group with SIGKILL, those of nested containers included, and
    /// waits until none is left. A missing group is done. Repeatable.
    ///
    /// Blocks, at most for `deadline`: then ETIMEDOUT, with the processes that are left.
    pub fn kill_group_kill(&self, path: &Path, deadline: Duration) -> Result<(), Error> {
        let Ok((_, group)) = self.kill_group(path) else { return Ok(()) };
        if self.is_strangers(path, group.directory()) {
            return Ok(());
        }
        let until = Instant::now() + deadline;
        let result = match group.version() {
            Version::V2 => kill_v2(group.directory(), until),
            Version::V1 => kill_by_freezer(group.directory(), until),
        };
        match result {
            Err(error) if is_missing(&error) => Ok(()),
            other => other,
        }
    }

    /// Whether there is a kill group.
    pub fn kill_group_exists(&self, path: &Path) -> bool {
        self.kill_group(path).is_ok_and(|(_, group)| group.directory().is_dir())
    }

    /// The kill group is there, and no process is left in it, those of nested containers included:
    /// nothing has to be killed, and nothing to be waited for. False also where that is not known.
    pub fn kill_group_is_empty(&self, path: &Path) -> bool {
        let Ok((_, group)) = self.kill_group(path) else { return false };
        let events = read(&group.directory().join("cgroup.events"));
        events.is_ok_and(|text| keyed(&text, "populated") == Some(0))
    }

    /// Removes the kill group. The processes must be gone. Repeatable; a missing one is done.
    ///
    /// On a pure v2 host the isolators' figures go with it: read them before. Of a container that
    /// another process has made, every cgroup goes: it may have had isolators that we have not.
    pub fn kill_group_remove(&self, path: &Path) -> Result<(), Error> {
        let Ok((_, group)) = self.kill_group(path) else { return Ok(()) };
        let whole = !self.is_ours(group.directory());
        self.remove_group(path, &group)?;
        match whole {
            true => self.remove(&Controller::ALL, path),
            false => Ok(()),
        }
    }

    /// Processes of the kill group, those of nested containers included; empty if there is none.
    pub fn kill_group_processes(&self, path: &Path) -> Result<Vec<i32>, Error> {
        match self.kill_group(path) {
            Ok((_, group)) => tree::processes(group.directory()),
            Err(_) => Ok(Vec::new()),
        }
    }

    fn kill_group(&self, path: &Path) -> Result<(&Path, Group), Error> {
        let (version, mount) = match (self.unified(), self.freezer()) {
            (Some(mount), _) => (Version::V2, mount),
            (None, Some(mount)) => (Version::V1, mount),
            (None, None) => {
                return Err(Error::new("cgroup2 or the freezer hierarchy", Errno::NODEV));
            }
        };
        Ok((mount, self.group_below(version, mount, path)))
    }
}

/// `cgroup.kill` (Linux 5.14) beats every fork; before it, signals until nobody is left.
fn kill_v2(directory: &Path, until: Instant) -> Result<(), Error> {
    let (kill, events) = (directory.join("cgroup.kill"), directory.join("cgroup.events"));
    let watched = File::open(&events).called(|| format!("open({})", tree::quoted(&events)))?;
    loop {
        // Who is not there cannot fork.
        if !is_populated(&watched, &events)? {
            return Ok(());
        }
        match write(&kill, "1") {
            Err(error) if is_missing(&error) && directory.is_dir() => {
                return kill_by_signals(directory, until);
            }
            other => other?,
        }
        if !wait_for_change(&watched, &events, until)? {
            return Err(timed_out(directory));
        }
    }
}

/// Waits until `populated` is 0 or it is time to kill again; `false` at the deadline.
fn wait_for_change(watched: &File, events: &Path, until: Instant) -> Result<bool, Error> {
    // The kernel tells of changes since the last read: read first, then wait.
    if !is_populated(watched, events)? {
        return Ok(true);
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(false);
    }
    let mut fds = [PollFd::new(watched, PollFlags::PRI)];
    wait_on(&mut fds, left.min(AGAIN))?;
    Ok(true)
}

fn is_populated(watched: &File, events: &Path) -> Result<bool, Error> {
    let mut buffer = [0u8; 256];
    let length =
        watched.read_at(&mut buffer, 0).called(|| format!("read({})", tree::quoted(events)))?;
    let text = String::from_utf8_lossy(&buffer[..length]);
    Ok(keyed(&text, "populated") == Some(1))
}

/// Stops everything first, so that nobody forks while the signals are sent.
pub(super) fn kill_by_freezer(directory: &Path, until: Instant) -> Result<(), Error> {
    let state = directory.join("freezer.state");
    loop {
        write(&state, "FROZEN")?;
        await_frozen(&state)?;
        let killed = signal_all(directory);
        // Thaw whatever happened: a frozen process does not die.
        write(&state, "THAWED")?;
        let killed = killed?;
        if killed.is_empty() {
            return Ok(());
        }
        await_deaths(directory, &killed, until)?;
    }
}

fn await_frozen(state: &Path) -> Result<(), Error> {
    let until = Instant::now() + FREEZE;
    while read(state)?.trim() != "FROZEN" && Instant::now() < until {
        tree::wait(Duration::from_millis(1));
    }
    Ok(())
}

pub(super) fn kill_by_signals(directory: &Path, until: Instant) -> Result<(), Error> {
    loop {
        let killed = signal_all(directory)?;
        if killed.is_empty() {
            return Ok(());
        }
        await_deaths(directory, &killed, until)?;
    }
}

/// SIGKILL for every process below `directory`, by handle. Answers with the handles.
fn signal_all(directory: &Path) -> Result<Vec<OwnedFd>, Error> {
    let opened: Vec<(i32, OwnedFd)> = tree::processes(directory)?
        .into_iter()
        .filter_map(|pid| Some((pid, pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?)))
        .collect();
    // A number may have passed to a stranger between reading and opening. A handle that was open
    // while its number is still listed belongs to the process that is listed.
    let still = tree::processes(directory)?;
    let ours = opened.into_iter().filter(|(pid, _)| still.contains(pid));
    ours.map(|(pid, pidfd)| match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(pidfd),
        Err(errno) => Err(Error::new(format!("pidfd_send_signal({pid}, SIGKILL)"), errno)),
    })
    .collect()
}

fn await_deaths(directory: &Path, killed: &[OwnedFd], until: Instant) -> Result<(), Error> {
    for pidfd in killed {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        if left.is_zero() || !wait_on(&mut fds, left)? {
            return Err(timed_out(directory));
        }
    }
    Ok(())
}

/// Polls; an interruption counts as news, since the callers look for themselves.
fn wait_on(fds: &mut [PollFd<'_>], at_most: Duration) -> Result<bool, Error> {
    let timeout = Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(at_most.subsec_nanos()),
    };
    match poll(fds, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(Error::new("poll", errno)),
    }
}

fn timed_out(directory: &Path) -> Error {
    let left = tree::processes(directory).unwrap_or_default();
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    let call = format!("kill all in {}, left are {}", tree::quoted(directory), left.join(" "));
    Error::new(call, Errno::TIMEDOUT)
}
