//! A started init: released, watched, signalled.
//!
//! How the payload ended is known from, in this order: the init's report, the status file, what the
//! kernel tells of the init's own end. Reaping comes last and may find that somebody else did it:
//! SIGCHLD and waitpid(-1) belong to the embedder.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::ops::{REPORT_ENDED, REPORT_FAILED, REPORT_SIZE, REPORT_STARTED, SAY_KILL, SAY_RELEASE};
use super::steps::Step;
use super::{InitPid, LauncherError, StartFailure};
use crate::linux::{self, pidfd, socket};
use crate::model::WaitStatus;

/// A started, blocked init. Dropped before the release, it makes the init exit.
#[derive(Debug)]
pub struct Child {
    /// The init.
    pub init: InitPid,
    /// What will be executed.
    pub argv: Vec<String>,
    /// uid and gid of the payload.
    pub owner: (u32, u32),
    /// Says what the init is to do.
    pub control: ChildControl,
    /// Tells what the init has reached.
    pub report: ChildReport,
}

/// The channel to the init and its handle.
#[derive(Debug)]
struct Line {
    channel: OwnedFd,
    pidfd: OwnedFd,
    on_kill: OnKill,
}

/// Whom SIGKILL is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnKill {
    /// The init; the kernel takes the rest with it, or a cgroup has it.
    Init,
    /// The payload: nobody but the init finds what the payload has left.
    Payload,
}

/// Says what an init is to do.
#[derive(Debug, Clone)]
pub struct ChildControl(Arc<Line>);

impl ChildControl {
    /// Lets the init go on to the payload. An init that is gone is no error: the report tells why.
    pub fn release(&self) -> Result<(), LauncherError> {
        self.say(SAY_RELEASE)
    }

    /// An init that is gone hears nothing, which is no error.
    fn say(&self, word: u8) -> Result<(), LauncherError> {
        match socket::send(self.0.channel.as_fd(), &[word], &[]) {
            Err(error) if matches!(error.errno, Errno::PIPE | Errno::CONNRESET) => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// Sends a signal to the init, which forwards it to the payload. SIGKILL kills the init, or,
    /// with the posix launcher, the payload. One that is gone gets nothing.
    pub fn signal(&self, signal: i32) -> Result<(), LauncherError> {
        const SIGKILL: i32 = 9;
        if signal == SIGKILL && self.0.on_kill == OnKill::Payload {
            return self.say(SAY_KILL);
        }
        match pidfd::send_signal(self.0.pidfd.as_fd(), signal) {
            Err(error) if error.errno == Errno::SRCH => Ok(()),
            sent => Ok(sent?),
        }
    }
}

/// Tells what an init has reached. Its futures may be dropped and asked for again.
pub struct ChildReport {
    line: Arc<Line>,
    steps: Vec<Step>,
    status_file: PathBuf,
    /// What the init has said so far.
    started: Option<Result<(), StartFailure>>,
    ended: Option<WaitStatus>,
}

impl fmt::Debug for ChildReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildReport")
            .field("started", &self.started)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

pub(crate) fn pair(
    channel: OwnedFd,
    pidfd: OwnedFd,
    steps: Vec<Step>,
    status_file: PathBuf,
    on_kill: OnKill,
) -> (ChildControl, ChildReport) {
    let line = Arc::new(Line { channel, pidfd, on_kill });
    let control = ChildControl(Arc::clone(&line));
    (control, ChildReport { line, steps, status_file, started: None, ended: None })
}

impl ChildReport {
    /// Ends when exec has succeeded, or with what failed before it.
    pub async fn started(&mut self) -> Result<(), StartFailure> {
        loop {
            if let Some(answer) = &self.started {
                return answer.clone();
            }
            if let Err(error) = readable(&self.line.channel).await {
                return Err(lost(error.raw_os_error()));
            }
            self.read();
        }
    }

    /// Ends when the init is gone, with the payload's status: in a PID namespace of its own every
    /// process of the container is gone as well.
    pub async fn ended(&mut self) -> WaitStatus {
        // An error here means that no event loop can be had; the truth is then read at once.
        let _ = readable(&self.line.pidfd).await;
        self.read();
        let pidfd = self.line.pidfd.as_fd();
        let seen = pidfd::exit_status(pidfd);
        let reaped = pidfd::reap(pidfd);
        let told = self.ended.or_else(|| read_status(&self.status_file));
        *self.ended.insert(told.unwrap_or_else(|| from_init(seen.or(reaped))))
    }

    /// Takes every report that is there. The end of the channel without a word about the start
    /// means that the init was killed.
    fn read(&mut self) {
        loop {
            let mut bytes = [0; REPORT_SIZE];
            match socket::receive_now(self.line.channel.as_fd(), &mut bytes) {
                Ok((REPORT_SIZE, _)) => self.hear(bytes),
                Err(error) if error.errno == Errno::AGAIN => return,
                Ok(_) | Err(_) => {
                    self.started.get_or_insert_with(|| Err(lost(None)));
                    return;
                }
            }
        }
    }

    fn hear(&mut self, bytes: [u8; REPORT_SIZE]) {
        let word = |at: usize| {
            i32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes of sixteen"))
        };
        match word(0).cast_unsigned() {
            REPORT_STARTED => self.started = Some(Ok(())),
            REPORT_FAILED => {
                let status = Some(WaitStatus(word(12))).filter(|_| word(8) == 0);
                let failure = self.failure(word(4).cast_unsigned(), word(8), status);
                self.started = Some(Err(failure));
            }
            REPORT_ENDED => {
                let status = WaitStatus(word(12));
                self.started.get_or_insert_with(|| Err(killed(status)));
                self.ended = Some(status);
            }
            _ => {}
        }
    }

    fn failure(&self, op: u32, errno: i32, status: Option<WaitStatus>) -> StartFailure {
        let step = usize::try_from(op).ok().and_then(|op| self.steps.get(op));
        StartFailure {
            step: step.map_or_else(|| "read the plan".to_owned(), Step::to_string),
            exec: matches!(step, Some(Step::Exec { .. })),
            callers: matches!(step, Some(Step::Exec { .. } | Step::Chdir(_))),
            errno,
            status,
        }
    }
}

/// A signal ended the init before there was a payload.
fn killed(status: WaitStatus) -> StartFailure {
    let signal = status.signal().unwrap_or_default();
    let errno = Errno::INTR.raw_os_error();
    StartFailure {
        step: format!("wait for the release (signal {signal})"),
        exec: false,
        callers: false,
        errno,
        status: None,
    }
}

/// The init is gone, and said nothing.
fn lost(errno: Option<i32>) -> StartFailure {
    let errno = errno.unwrap_or_else(|| Errno::SRCH.raw_os_error());
    let step = "hear from the init".to_owned();
    StartFailure { step, exec: false, callers: false, errno, status: None }
}

/// What the init's own end says of a payload of which nothing is known: killed, or a shell's code.
fn from_init(status: Option<i32>) -> WaitStatus {
    status.map_or(WaitStatus::KILLED, WaitStatus)
}

/// The raw status that the init wrote; `None` when it could not.
pub(super) fn read_status(path: &Path) -> Option<WaitStatus> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().map(WaitStatus)
}

/// Registered for this one wait, with whatever event loop the caller is on.
#[expect(deprecated, reason = "a borrowed descriptor cannot change under the registration")]
async fn readable(fd: &OwnedFd) -> std::io::Result<()> {
    let fd = AsyncFd::with_interest(fd.as_fd(), Interest::READABLE)?;
    fd.readable().await.map(drop)
}

/// An init that an earlier process started, found again by pid and start time.
#[derive(Debug)]
pub struct Adopted {
    pidfd: OwnedFd,
    status_file: PathBuf,
}

impl Adopted {
    /// The init, if it still lives. `status_file` is what [`super::ForkRequest`] named.
    pub fn find(init: InitPid, status_file: PathBuf) -> Result<Option<Self>, LauncherError> {
        Ok(open(init)?.map(|pidfd| Self { pidfd, status_file }))
    }

    /// As [`ChildControl::signal`].
    pub fn signal(&self, signal: i32) -> Result<(), LauncherError> {
        match pidfd::send_signal(self.pidfd.as_fd(), signal) {
            Err(error) if error.errno == Errno::SRCH => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// As [`ChildReport::ended`].
    pub async fn ended(&mut self) -> WaitStatus {
        let _ = readable(&self.pidfd).await;
        ended_status(&self.pidfd, &self.status_file)
    }
}

/// The status of an init that has ended, by file or by handle.
fn ended_status(pidfd: &OwnedFd, status_file: &Path) -> WaitStatus {
    read_status(status_file).unwrap_or_else(|| from_init(pidfd::exit_status(pidfd.as_fd())))
}

/// Whether `init` is there and has not ended.
pub(super) fn lives(init: InitPid) -> bool {
    let handle = open(init).ok().flatten();
    handle.is_some_and(|pidfd| !pidfd::has_ended(pidfd.as_fd(), 0).unwrap_or(false))
}

/// A handle of `init`; `None` when it is gone, also when its number belongs to another by now.
pub(crate) fn open(init: InitPid) -> Result<Option<OwnedFd>, linux::Error> {
    pidfd::find(init.pid, init.start_time)
}
