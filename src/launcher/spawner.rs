//! The spawner as the launcher sees it: a process that is asked for inits, and replaced when it
//! dies.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use rustix::io::Errno;

use super::LauncherError;
use super::ops::{MAGIC, REPLY_SIZE, REQUEST_SIZE};
use crate::limits;
use crate::linux::{self, memfd, pidfd, process, socket};

/// The program of `init/`, compiled by the build script.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// What a request says besides its descriptors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) plan_size: u32,
    pub(crate) clone_flags: u64,
    pub(crate) birthplace: i32,
}

/// The spawner, started when it is first needed.
#[derive(Debug)]
pub(crate) struct Spawner {
    program: OwnedFd,
    /// argv[0], which says what kind of spawner it is.
    name: &'static CStr,
    running: Mutex<Option<Running>>,
}

/// A living spawner. Dropped, it sees the end of its socket and exits.
#[derive(Debug)]
struct Running {
    socket: OwnedFd,
    process: process::Process,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever else reaps it is welcome. A spawner holds nothing, so it may as well be killed:
        // then it is gone when this returns, and leaves no zombie behind.
        let gone = pidfd::kill(self.process.pidfd.as_fd())
            .and_then(|()| pidfd::has_ended(self.process.pidfd.as_fd(), 1000));
        if gone.is_ok() {
            let _ = pidfd::reap(self.process.pidfd.as_fd());
        }
    }
}

impl Spawner {
    /// Of the kind `ops::NAME_…`. Nothing is started yet.
    pub(crate) fn new(name: &'static CStr) -> Result<Self, linux::Error> {
        let program = memfd::program("longshore-init", PROGRAM)?;
        Ok(Self { program, name, running: Mutex::default() })
    }

    /// The pid of the spawner, if one runs.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> Option<i32> {
        self.lock().as_ref().map(|running| running.process.pid)
    }

    /// A new init, blocked: its pid and its pidfd. Blocks until the spawner has answered.
    ///
    /// A spawner that is dead or mute is replaced, and the request made once more: an init of which
    /// no answer told sees the end of its channel and exits.
    pub(crate) fn spawn(
        &self,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, OwnedFd), LauncherError> {
        let mut running = self.lock();
        if let Some(spawner) = running.as_ref() {
            match spawner.ask(request, fds) {
                Err(LauncherError::Kernel(error)) if lost(error.errno) => *running = None,
                answer => return answer,
            }
        }
        let spawner = running.insert(Running::start(&self.program, self.name)?);
        spawner.ask(request, fds)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        // A panic elsewhere cannot have left it half-changed: it is replaced as a whole.
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The spawner is gone, or did not answer in time.
fn lost(errno: Errno) -> bool {
    matches!(errno, Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN | Errno::AGAIN)
}

impl Running {
    fn start(program: &OwnedFd, name: &CStr) -> Result<Self, LauncherError> {
        let (ours, theirs) = socket::packet_pair()?;
        socket::set_timeout(&ours, limits::FORK)?;
        let process = process::start(program.as_fd(), name, theirs.as_fd())?;
        drop(theirs);
        let running = Self { socket: ours, process };
        match running.answer() {
            Ok(_) => Ok(running),
            Err(LauncherError::Spawn(errno)) => Err(LauncherError::Spawner(errno)),
            Err(error) => Err(error),
        }
    }

    fn ask(
        &self,
        request: Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(i32, OwnedFd), LauncherError> {
        socket::send(self.socket.as_fd(), &encode(request), fds)?;
        match self.answer()? {
            (pid, Some(pidfd)) => Ok((pid, pidfd)),
            (_, None) => Err(linux::Error::new("clone()", Errno::PROTO).into()),
        }
    }

    fn answer(&self) -> Result<(i32, Option<OwnedFd>), LauncherError> {
        let mut bytes = [0; REPLY_SIZE];
        let (size, fd) = socket::receive(self.socket.as_fd(), &mut bytes)?;
        if size != REPLY_SIZE {
            let call = format!("recvmsg(spawner {})", self.process.pid);
            return Err(linux::Error::new(call, Errno::CONNRESET).into());
        }
        let (pid, errno) = bytes.split_at(4);
        let word = |bytes: &[u8]| i32::from_ne_bytes(bytes.try_into().expect("four bytes"));
        match word(errno) {
            0 => Ok((word(pid), fd)),
            errno => Err(LauncherError::Spawn(Errno::from_raw_os_error(errno))),
        }
    }
}

fn encode(request: Request) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(REQUEST_SIZE);
    bytes.extend(MAGIC.to_ne_bytes());
    bytes.extend(request.plan_size.to_ne_bytes());
    bytes.extend(request.clone_flags.to_ne_bytes());
    bytes.extend(request.birthplace.to_ne_bytes());
    bytes.extend(0_i32.to_ne_bytes());
    bytes
}
