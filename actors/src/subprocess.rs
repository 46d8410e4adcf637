//! Children of this process.
//!
//! How a child is set up (arguments, environment, directory, standard streams) is said by [`std::process::Command`].
//! What std lacks is here: an end that is awaited without a thread, and signals that cannot hit a stranger. Setting up
//! a child between fork and exec is not: a library that needs that starts it by itself and gives its number to
//! [`Runtime::reap`].

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::Arc;

use rustix::process::{Signal, pidfd_send_signal};

use crate::eventual::{Eventual, SharedEventual};
use crate::reap;
use crate::runtime::Runtime;

/// A child that was started by [`Runtime::subprocess`].
///
/// Dropping it leaves the child alone, which is reaped when it ends all the same, as long as the runtime lives.
pub struct Subprocess {
    /// Where the child reads, if that was to be a pipe. Blocks; its descriptor can be had for use elsewhere.
    pub stdin: Option<ChildStdin>,
    /// Where the child writes, if that was to be a pipe.
    pub stdout: Option<ChildStdout>,
    /// Where the child complains, if that was to be a pipe.
    pub stderr: Option<ChildStderr>,
    pid: u32,
    /// Absent if it was gone before there was a handle.
    process: Option<Arc<OwnedFd>>,
    status: SharedEventual<Option<ExitStatus>>,
}

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
pub enum SubprocessError {
    /// Neither fork nor exec leaves a child then.
    #[error("start {program}")]
    Start {
        /// What was to be run.
        program: String,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// There is no handle to be had. The child was killed and reaped.
    #[error("open a handle of process {pid}")]
    Handle {
        /// Its number.
        pid: u32,
        /// Why there is none.
        #[source]
        source: io::Error,
    },
}

impl Runtime {
    /// Starts a child. Its end is awaited on an arbiter of the first group.
    ///
    /// Blocks: fork(2) and execve(2). Errors: those of [`Command::spawn`]; no descriptor left for a handle.
    pub fn subprocess(&self, command: &mut Command) -> Result<Subprocess, SubprocessError> {
        let mut child = command.spawn().map_err(|source| {
            let program = command.get_program().to_string_lossy().into_owned();
            SubprocessError::Start { program, source }
        })?;
        let pid = child.id();
        // Nobody else reaps a child of ours, so the number is still its own; where somebody does, it may be gone.
        let process = match reap::open(pid) {
            Ok(process) => process.map(Arc::new),
            Err(source) => {
                // Both fail only where it is gone already.
                let _ = child.kill();
                let _ = child.wait();
                return Err(SubprocessError::Handle { pid, source });
            }
        };
        let status = match &process {
            Some(process) => self.reap_by_handle(pid, Arc::clone(process)),
            None => Eventual::ready(None),
        };
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        Ok(Subprocess { stdin, stdout, stderr, pid, process, status: status.share() })
    }
}

impl Subprocess {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends when the child has, with its status; `None` where somebody else reaped it. Any number may wait.
    pub fn status(&self) -> Eventual<Option<ExitStatus>> {
        self.status.wait()
    }

    /// Sends SIGKILL. A child that has ended is fine.
    pub fn kill(&self) -> io::Result<()> {
        self.send(Signal::KILL)
    }

    /// Sends the signal of this number, which is none of the real-time signals. A child that has ended is fine.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(number);
        self.send(signal.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?)
    }

    fn send(&self, signal: Signal) -> io::Result<()> {
        let Some(process) = &self.process else { return Ok(()) };
        match pidfd_send_signal(process, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

impl fmt::Debug for Subprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subprocess")
            .field("pid", &self.pid)
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
