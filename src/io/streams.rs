//! Opens the three streams that a container's configuration asks for.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::error::{Classified, ErrorKind};
use crate::launcher::Stdio;
use crate::linux;
use crate::linux::stream::{self, Owner, Standard};
use crate::model::{ContainerConfig, Output, StreamFd};

/// A stream that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IoError {
    /// The kernel refused.
    #[error("open {name} of the container: {error}")]
    Open {
        /// `stdin`, `stdout` or `stderr`.
        name: &'static str,
        /// The caller named the file.
        named: bool,
        /// Why.
        #[source]
        error: linux::Error,
    },
    /// The descriptor of a spec that was launched before.
    #[error("the descriptor for {name} was given to another launch")]
    Taken {
        /// `stdin`, `stdout` or `stderr`.
        name: &'static str,
    },
}

impl Classified for IoError {
    fn kind(&self) -> ErrorKind {
        let Self::Open { named, error, .. } = self else { return ErrorKind::InvalidRequest };
        match error.errno {
            Errno::LOOP | Errno::PERM | Errno::NXIO if !named => ErrorKind::Conflict,
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::ACCESS
            | Errno::PERM
            | Errno::LOOP
            | Errno::NXIO
            | Errno::NAMETOOLONG
                if *named =>
            {
                ErrorKind::InvalidRequest
            }
            _ => error.kind(),
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Open { error, .. } => error.errno_name(),
            Self::Taken { .. } => None,
        }
    }
}

/// Whose the files are that this process makes.
pub(crate) fn own_user() -> Owner {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Owner { uid: uid.as_raw(), gid: gid.as_raw() }
}

/// The streams of a payload, as its configuration asks; files in the sandbox belong to `owner`.
///
/// Shape: the sandbox exists. Undo: dropping them; files stay, they are the container's output.
/// Repeatable but for descriptors, which are taken: files are appended to. Blocks: open(2).
/// Errors: `InvalidRequest` (the caller's file), `Conflict` (the sandbox has something else under
/// the name of a stream), `Host`.
pub(crate) fn open_streams(config: &ContainerConfig, owner: Owner) -> Result<Stdio, IoError> {
    let output = |name, output: &Output, standard| {
        let opened = match output {
            Output::Null => stream::null(),
            Output::Sandbox => stream::append_owned(&config.sandbox, name, owner),
            Output::File(path) => stream::append(path),
            Output::Inherit => stream::inherit(standard),
            Output::Fd(fd) => return taken(name, fd),
        };
        opened.map_err(|error| failed(name, output, error))
    };
    let stdin = stdin(&config.stdin)?;
    let stdout = output("stdout", &config.stdout, Standard::Output)?;
    let stderr = match (&config.stdout, &config.stderr) {
        // One descriptor for both.
        (Output::Fd(out), Output::Fd(err)) if out == err => {
            stream::copy(&stdout).map_err(|error| failed("stderr", &config.stderr, error))?
        }
        _ => output("stderr", &config.stderr, Standard::Error)?,
    };
    Ok(Stdio { stdin, stdout, stderr })
}

/// Nothing of it stays with the configuration: with a copy here, a reader would never see its end.
fn taken(name: &'static str, fd: &StreamFd) -> Result<OwnedFd, IoError> {
    fd.take().ok_or(IoError::Taken { name })
}

/// Gives the sandbox and the streams in it to `owner`, who is known only when the image has been
/// looked into. Blocks. Errors: as [`open_streams`].
pub(crate) fn hand_over(config: &ContainerConfig, owner: Owner) -> Result<(), IoError> {
    let failed = |name| move |error| IoError::Open { name, named: false, error };
    stream::give_directory(&config.sandbox, owner).map_err(failed("the sandbox"))?;
    for (name, output) in [("stdout", &config.stdout), ("stderr", &config.stderr)] {
        if *output == Output::Sandbox {
            stream::append_owned(&config.sandbox, name, owner).map_err(failed(name))?;
        }
    }
    Ok(())
}

fn stdin(input: &Output) -> Result<OwnedFd, IoError> {
    let opened = match input {
        // A sandbox has no stdin; reading nothing is what everybody expects.
        Output::Null | Output::Sandbox => stream::null(),
        Output::File(path) => stream::read(path),
        Output::Inherit => stream::inherit(Standard::Input),
        Output::Fd(fd) => return taken("stdin", fd),
    };
    opened.map_err(|error| failed("stdin", input, error))
}

fn failed(name: &'static str, output: &Output, error: linux::Error) -> IoError {
    IoError::Open { name, named: matches!(output, Output::File(_)), error }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
