//! Ends a tree of processes that neither a namespace nor a cgroup holds together.
//!
//! The root of the tree must be a subreaper (`PR_SET_CHILD_SUBREAPER`, Linux 3.4): then whoever loses
//! its parent stays below it, and the tree is complete.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::Signal;

use super::processes::{self, Identity};
use super::{Error, pidfd};

/// How long a root whose tree is gone may take to end by itself, so that it can say how its payload
/// ended; it has nothing left to wait for.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Ends every descendant of the process, then the process itself; waits until all are gone.
///
/// First all are stopped, until nobody new is found: what is stopped does not fork. Then all are
/// killed, and it begins anew until there is nobody. Each is signalled by a handle that was compared
/// with its start time. Repeatable; nothing there is success.
///
/// Blocks, at most for `deadline`: then ETIMEDOUT. Errors: EPERM for a process of another user; the
/// root lives on then, so that the rest can still be found.
pub(crate) fn end(pid: i32, start_time: u64, deadline: Duration) -> Result<(), Error> {
    let until = Instant::now() + deadline;
    let root = Identity { pid, start_time };
    let mut had_any = false;
    loop {
        let Some(living) = living(root)? else { return Ok(()) };
        if living.is_empty() {
            return end_root(root, had_any, until);
        }
        had_any = true;
        stop(root, living, until)?;
        kill(root, until)?;
    }
}

/// The descendants that have not ended; `None`: the root is gone.
fn living(root: Identity) -> Result<Option<Vec<Identity>>, Error> {
    let Some(all) = processes::descendants(root)? else { return Ok(None) };
    let mut living = Vec::new();
    for process in all {
        if let Some(handle) = pidfd::find(process.pid, process.start_time)?
            && !pidfd::has_ended(handle.as_fd(), 0)?
        {
            living.push(process);
        }
    }
    Ok(Some(living))
}

fn stop(root: Identity, found: Vec<Identity>, until: Instant) -> Result<(), Error> {
    let mut stopped = HashSet::new();
    let mut fresh = found;
    while !fresh.is_empty() {
        in_time(until, root)?;
        for process in fresh.drain(..) {
            // One that may not be signalled is told of when it is to be killed.
            let _ = signal(process, Signal::STOP);
            stopped.insert(process);
        }
        fresh = living(root)?.unwrap_or_default();
        fresh.retain(|process| !stopped.contains(process));
    }
    Ok(())
}

/// Everybody, also those who may not be: the first refusal is reported when all others are gone.
fn kill(root: Identity, until: Instant) -> Result<(), Error> {
    let mut refused = Ok(());
    let mut dying = Vec::new();
    for process in living(root)?.unwrap_or_default() {
        match signal(process, Signal::KILL) {
            Ok(()) => dying.push(process),
            Err(error) => refused = refused.and(Err(error)),
        }
    }
    for process in dying {
        wait(process, until)?;
    }
    refused
}

fn end_root(root: Identity, had_any: bool, until: Instant) -> Result<(), Error> {
    // A stopped one would neither hear nor tell.
    let _ = signal(root, Signal::CONT);
    if had_any {
        // Nobody is left to whom it would forward this; it wakes up and sees that it is alone.
        signal(root, Signal::TERM)?;
        let patience = until.min(Instant::now() + LAST_WORD);
        if wait(root, patience).is_ok() {
            return Ok(());
        }
    }
    signal(root, Signal::KILL)?;
    wait(root, until)
}

/// One that is gone gets nothing.
fn signal(process: Identity, signal: Signal) -> Result<(), Error> {
    let Some(handle) = pidfd::find(process.pid, process.start_time)? else { return Ok(()) };
    match pidfd::send_signal(handle.as_fd(), signal.as_raw()) {
        Err(error) if error.errno == Errno::SRCH => Ok(()),
        Err(error) => Err(Error::new(format!("kill process {}", process.pid), error.errno)),
        Ok(()) => Ok(()),
    }
}

fn wait(process: Identity, until: Instant) -> Result<(), Error> {
    let Some(handle) = pidfd::find(process.pid, process.start_time)? else { return Ok(()) };
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    match pidfd::has_ended(handle.as_fd(), u32::try_from(left).unwrap_or(u32::MAX))? {
        true => Ok(()),
        false => Err(late(process)),
    }
}

fn in_time(until: Instant, root: Identity) -> Result<(), Error> {
    if Instant::now() < until { Ok(()) } else { Err(late(root)) }
}

fn late(process: Identity) -> Error {
    Error::new(format!("wait for process {}", process.pid), Errno::TIMEDOUT)
}
