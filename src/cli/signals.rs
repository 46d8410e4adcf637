//! The signals by which people and init systems end a program.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGHUP, signal(7).
const HANGUP: i32 = 1;
const INTERRUPT: i32 = 2;
const TERMINATE: i32 = 15;

/// SIGINT, SIGTERM and SIGHUP of this process, as they come.
#[derive(Debug)]
pub(crate) struct Signals {
    /// Not there in the background of a script, sh(1).
    interrupt: Option<Signal>,
    terminate: Signal,
    /// Not there under nohup(1).
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on these signals do nothing by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        let unless_ignored = |number, kind| match is_ignored(number) {
            true => Ok(None),
            false => signal(kind).map(Some),
        };
        Ok(Self {
            interrupt: unless_ignored(INTERRUPT, SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: unless_ignored(HANGUP, SignalKind::hangup())?,
        })
    }

    /// The number of the next one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            () = came(self.interrupt.as_mut()) => INTERRUPT,
            () = came(Some(&mut self.terminate)) => TERMINATE,
            () = came(self.hangup.as_mut()) => HANGUP,
        }
    }
}

/// Ends when the signal comes; never, where it is ignored.
async fn came(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether whoever started us wants this signal ignored, proc_pid_status(5).
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_programs_ignore_sigpipe_and_do_not_ignore_sigterm() {
        assert!(is_ignored(13));
        assert!(!is_ignored(TERMINATE));
    }
}
