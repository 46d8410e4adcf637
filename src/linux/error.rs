//! A failed system call, with all its arguments.

use rustix::io::Errno;

use crate::error::{Classified, ErrorKind};

/// A system call that failed; prints the call as strace(1) would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{call} = {}", name(*errno))]
pub struct Error {
    /// Call and arguments, e.g. `mount("proc", "/proc", "proc", NOSUID)`.
    pub call: String,
    /// What the kernel said.
    pub errno: Errno,
}

impl Error {
    /// `call` failed with `errno`.
    pub fn new(call: impl Into<String>, errno: Errno) -> Self {
        Self { call: call.into(), errno }
    }

    /// An I/O error of std, met in `call`.
    pub fn from_io(call: impl Into<String>, error: &std::io::Error) -> Self {
        Self::new(call, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// `ENOENT`, `EPERM`, …
    pub fn errno_name(&self) -> Option<String> {
        Some(name(self.errno))
    }
}

/// The symbolic name of an error number and the text of strerror(3): `ENOENT (no such file …)`.
fn name(errno: Errno) -> String {
    // nix knows the symbolic names; its Debug form is exactly that.
    format!("{:?}", nix::errno::Errno::from_raw(errno.raw_os_error()))
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self.errno {
            Errno::NOSPC | Errno::DQUOT | Errno::MFILE | Errno::NFILE | Errno::AGAIN => {
                ErrorKind::Exhausted
            }
            _ => ErrorKind::Host,
        }
    }

    fn errno(&self) -> Option<String> {
        self.errno_name()
    }
}

/// `result`, or the error with the call that `describe` prints. The text is made on failure only.
pub(crate) trait Called<T> {
    /// Names the call.
    fn called(self, describe: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Called<T> for Result<T, Errno> {
    fn called(self, describe: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|errno| Error::new(describe(), errno))
    }
}

impl<T> Called<T> for Result<T, nix::errno::Errno> {
    fn called(self, describe: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|errno| Error::new(describe(), Errno::from_raw_os_error(errno as i32)))
    }
}

impl<T> Called<T> for std::io::Result<T> {
    fn called(self, describe: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|error| Error::from_io(describe(), &error))
    }
}
