//! Opens the three streams that a container's configuration asks for.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::error::{Classified, ErrorKind};
use crate::launcher::Stdio;
use crate::linux;
use crate::linux::stream::{self, Owner, Standard};
use crate::model::{ContainerConfig, Output};

/// A stream that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open {name} of the container: {error}")]
pub(crate) struct IoError {
    /// `stdin`, `stdout` or `stderr`.
    name: &'static str,
    /// The caller named the file.
    named: bool,
    #[source]
    error: linux::Error,
}

impl Classified for IoError {
    fn kind(&self) -> ErrorKind {
        match self.error.errno {
            Errno::LOOP | Errno::PERM | Errno::NXIO if !self.named => ErrorKind::Conflict,
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::ACCESS
            | Errno::PERM
            | Errno::LOOP
            | Errno::NXIO
            | Errno::NAMETOOLONG
                if self.named =>
            {
                ErrorKind::InvalidRequest
            }
            _ => self.error.kind(),
        }
    }

    fn errno(&self) -> Option<String> {
        self.error.errno_name()
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
/// Repeatable: files are appended to. Blocks: open(2).
/// Errors: `InvalidRequest` (the caller's file), `Conflict` (the sandbox has something else under
/// the name of a stream), `Host`.
pub(crate) fn open_streams(config: &ContainerConfig, owner: Owner) -> Result<Stdio, IoError> {
    let output = |name, output: &Output, standard| {
        let opened = match output {
            Output::Null => stream::null(),
            Output::Sandbox => stream::append_owned(&config.sandbox, name, owner),
            Output::File(path) => stream::append(path),
            Output::Inherit => stream::inherit(standard),
        };
        opened.map_err(|error| failed(name, output, error))
    };
    Ok(Stdio {
        stdin: stdin(&config.stdin)?,
        stdout: output("stdout", &config.stdout, Standard::Output)?,
        stderr: output("stderr", &config.stderr, Standard::Error)?,
    })
}

/// Gives the sandbox and the streams in it to `owner`, who is known only when the image has been
/// looked into. Blocks. Errors: as [`open_streams`].
pub(crate) fn hand_over(config: &ContainerConfig, owner: Owner) -> Result<(), IoError> {
    let failed = |name| move |error| IoError { name, named: false, error };
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
    };
    opened.map_err(|error| failed("stdin", input, error))
}

fn failed(name: &'static str, output: &Output, error: linux::Error) -> IoError {
    IoError { name, named: matches!(output, Output::File(_)), error }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
