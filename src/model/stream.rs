//! Where the standard streams of a payload go.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Where a stream of the payload goes, or comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Output {
    /// `/dev/null`.
    Null,
    /// The file `stdout` or `stderr` in the sandbox.
    #[default]
    Sandbox,
    /// Appended to this file; stdin is read from it.
    File(PathBuf),
    /// What the embedding process has itself.
    Inherit,
    /// A descriptor of the embedder's: see [`Output::fd`].
    #[serde(skip)]
    Fd(StreamFd),
}

impl Output {
    /// A pipe, a socket, a file: whatever is open. It goes to the payload as it is, flags and offset
    /// included, and this process keeps nothing of it once the payload has it: a reader of the other
    /// end of a pipe sees its end with the payload's, whatever becomes of this process.
    ///
    /// It is for one launch. Both stdout and stderr of that launch may have clones of one `Output`. It
    /// is not part of a checkpoint: a number would mean nothing to another process.
    ///
    /// ```
    /// use longshore::model::Output;
    /// use longshore::spec::ContainerSpec;
    ///
    /// let (reader, writer) = std::io::pipe()?;
    /// let spec = ContainerSpec::image("a", "alpine")?.stdout(Output::fd(writer));
    /// # drop((reader, spec));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fd(descriptor: impl Into<OwnedFd>) -> Self {
        Self::Fd(StreamFd(Arc::new(Mutex::new(Some(descriptor.into())))))
    }

    /// The same with a copy of a descriptor that the caller keeps.
    ///
    /// Errors: those of fcntl(2) `F_DUPFD_CLOEXEC`.
    pub fn copy_of(descriptor: &impl AsFd) -> io::Result<Self> {
        Ok(Self::fd(descriptor.as_fd().try_clone_to_owned()?))
    }
}

/// A descriptor until a launch takes it.
#[derive(Clone)]
pub struct StreamFd(Arc<Mutex<Option<OwnedFd>>>);

impl StreamFd {
    /// The descriptor; `None` if a launch has taken it already.
    pub(crate) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The same descriptor, not one of the same number.
impl PartialEq for StreamFd {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for StreamFd {}

impl fmt::Debug for StreamFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("StreamFd").field(&*held).finish()
    }
}
