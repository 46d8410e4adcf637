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
    interrupt: Signal,
    terminate: Signal,
    /// Not there under nohup(1).
    hangup: Option<Signal>,
}

impl Signals {
    /// From now on these signals do nothing by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        let hangup = match is_ignored(HANGUP) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    /// The number of the next one. Dropping the future loses none.
    pub(crate) async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => TERMINATE,
            _ = hangup => HANGUP,
        }
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
