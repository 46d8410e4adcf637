//! Processes by handle: ended and waited for without polling.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::cli::DEADLINE;

/// A process that exists, or existed when it was found.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    handle: OwnedFd,
}

impl Process {
    /// `None` when there is no such process any more.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, handle })
    }

    /// Sends `signal`; a process that is gone already is as good.
    pub(crate) fn signal(&self, signal: Signal) {
        match pidfd_send_signal(&self.handle, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("pidfd_send_signal({}, {signal:?}) = {error}", self.pid),
        }
    }

    /// Whether the process has ended before `deadline` is over.
    pub(crate) fn ends_within(&self, deadline: Duration) -> bool {
        readable_within(&self.handle, deadline)
    }
}

/// Whether `descriptor` becomes readable, or its other end is closed, before `deadline` is over.
pub(crate) fn readable_within(descriptor: impl AsFd, deadline: Duration) -> bool {
    let end = std::time::Instant::now() + deadline;
    loop {
        let left = end.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec::try_from(left).expect("deadlines of tests fit a timespec");
        let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll = {error}"),
        }
    }
}

/// Whether `one` ends before `other`; fails when neither does.
pub(crate) fn first_to_end(one: &Process, other: &Process) -> bool {
    let timeout = Timespec::try_from(DEADLINE).expect("deadlines of tests fit a timespec");
    let mut watched = [&one.handle, &other.handle].map(|fd| PollFd::new(fd, PollFlags::IN));
    let ready = poll(&mut watched, Some(&timeout)).expect("pidfds can be polled");
    assert!(ready > 0, "neither process {} nor {} ends", one.pid, other.pid);
    watched[0].revents().contains(PollFlags::IN)
}

/// Every pid of the host's PID namespace.
pub(crate) fn all() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is mounted");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Parent and state letter; `None` when the process is gone.
pub(crate) fn parent_and_state(pid: i32) -> Option<(i32, char)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, parentheses too.
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// The processes that descend from `ancestor`, with their state letters.
pub(crate) fn descendants(ancestor: i32) -> Vec<(i32, char)> {
    let table: Vec<(i32, i32, char)> = all()
        .into_iter()
        .filter_map(|pid| parent_and_state(pid).map(|(parent, state)| (pid, parent, state)))
        .collect();
    let mut family = vec![ancestor];
    let mut found = Vec::new();
    while let Some(parent) = family.pop() {
        for (pid, _, state) in table.iter().filter(|(_, of, _)| *of == parent) {
            family.push(*pid);
            found.push((*pid, *state));
        }
    }
    found
}

/// Program and arguments, for messages.
pub(crate) fn describe(pid: i32) -> String {
    let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let arguments = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
    let name = String::from_utf8_lossy(&read("comm")).trim_end().to_owned();
    format!("process {pid} ({name}) {}", arguments.trim_end())
}
