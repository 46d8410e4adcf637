//! Writes one fetched file into the sandbox, and does with it what was asked. Blocks.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path};

use flate2::read::MultiGzDecoder;
use rustix::io::Errno;
use uuid::Uuid;

use super::FetchError;
use super::gate::{Gate, Stop};
use super::unpack;
use super::uri::{Compression, Item, Then};
use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Time};
use crate::linux::stream::Owner;

/// Bytes of one step: what a drop of the fetch may have to wait for.
const STEP: usize = 64 << 10;

/// What the writer of one URI needs.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub(super) item: Item,
    pub(super) owner: Owner,
    pub(super) gate: Gate,
    /// Bytes of the file, and of what it unpacks to.
    pub(super) bytes_max: u64,
    pub(super) entries_max: u64,
}

/// What a fetched file may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Permissions(pub(super) u32);

impl Permissions {
    const EXECUTABLE: Self = Self(0o755);
    pub(super) const PLAIN: Self = Self(0o644);

    /// As cp(1) would with the usual umask: the source's, writable by nobody else.
    pub(super) fn of_source(file: &File) -> Self {
        let mode = fs::stat(file).map_or(Self::PLAIN.0, |stat| stat.st_mode);
        Self(mode & 0o755 | 0o600)
    }
}

impl Work {
    /// Writes everything that `from` has, and makes it executable or unpacks it.
    ///
    /// The target appears complete or not at all. What an archive unpacks to appears entry by entry.
    pub(super) fn deliver(
        &self,
        from: &mut dyn Read,
        permissions: Permissions,
    ) -> Result<(), FetchError> {
        let permissions = match self.item.then {
            Then::Execute => Permissions::EXECUTABLE,
            Then::Keep | Then::Unpack(_) | Then::Inflate(_) => permissions,
        };
        let mut file = self.write(&self.item.target, from, permissions)?;
        match &self.item.then {
            Then::Keep | Then::Execute => Ok(()),
            Then::Unpack(compression) => {
                self.rewind(&mut file)?;
                self.unpack(file, *compression)
            }
            Then::Inflate(target) => {
                self.rewind(&mut file)?;
                self.write(target, &mut MultiGzDecoder::new(file), permissions).map(|_| ())
            }
        }
    }

    fn unpack(&self, file: File, compression: Compression) -> Result<(), FetchError> {
        let file = io::BufReader::with_capacity(STEP, file);
        match compression {
            Compression::None => unpack::unpack(self, file),
            Compression::Gzip => unpack::unpack(self, MultiGzDecoder::new(file)),
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(file);
                unpack::unpack(self, decoder.map_err(|error| self.unreadable(&error))?)
            }
        }
    }

    fn rewind(&self, file: &mut File) -> Result<(), FetchError> {
        file.rewind().map_err(|error| self.refused(linux::Error::from_io("lseek(0)", &error)))
    }

    /// A complete file under its name, and still open.
    fn write(
        &self,
        target: &Path,
        from: &mut dyn Read,
        permissions: Permissions,
    ) -> Result<File, FetchError> {
        let temporary = format!(".longshore-fetch-{}", Uuid::new_v4().simple());
        let file = self.gate.begin(OsString::from(temporary)).map_err(|s| self.stopped(s))?;
        self.copy(from, &file, self.bytes_max)?;
        let attributes = self.attributes(permissions.0, Time::default());
        self.step(|_| fs::set_owner_and_mode(&file, &attributes))?;
        let name = target.file_name().expect("checked: a target ends in a name");
        let parent = target.parent().unwrap_or(Path::new(""));
        let placed = self.gate.place(name, |sandbox| self.make_path(sandbox, parent));
        placed.map_err(|stop| self.stopped(stop))?;
        Ok(file)
    }

    /// Copies `from` to its end in small steps; returns how many bytes it had.
    pub(super) fn copy(
        &self,
        from: &mut dyn Read,
        mut to: &File,
        limit: u64,
    ) -> Result<u64, FetchError> {
        let mut buffer = vec![0; STEP];
        let mut total = 0;
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.unreadable(&error)),
            };
            total += count as u64;
            if total > limit {
                return Err(self.too_large(self.bytes_max, "bytes"));
            }
            self.step(|_| {
                let written = to.write_all(&buffer[..count]);
                written.map_err(|error| linux::Error::from_io("write(file in the sandbox)", &error))
            })?;
        }
    }

    /// The directory at `path`, made where it is missing; a link on the way is refused.
    pub(super) fn make_path(
        &self,
        sandbox: &Directory,
        path: &Path,
    ) -> Result<Directory, linux::Error> {
        let mut current = sandbox.again()?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(linux::Error::new(format!("openat({path:?})"), Errno::XDEV));
            };
            current = match current.child(name) {
                Err(error) if error.errno == Errno::NOENT => {
                    current.mkdir(name)?;
                    let made = current.child(name)?;
                    fs::set_owner_and_mode(&made, &self.attributes(0o755, Time::default()))?;
                    made
                }
                found => found?,
            };
        }
        Ok(current)
    }

    pub(super) fn attributes(&self, mode: u32, mtime: Time) -> Attributes {
        Attributes { mode, uid: self.owner.uid, gid: self.owner.gid, mtime }
    }

    pub(super) fn step<T, E: Into<Stop>>(
        &self,
        step: impl FnOnce(&Directory) -> Result<T, E>,
    ) -> Result<T, FetchError> {
        self.gate.step(step).map_err(|stop| self.stopped(stop))
    }

    fn uri(&self) -> String {
        self.item.shown.clone()
    }

    fn stopped(&self, stop: Stop) -> FetchError {
        match stop {
            Stop::Withdrawn => FetchError::Withdrawn { uri: self.uri() },
            Stop::Failed(error) => self.refused(error),
        }
    }

    fn refused(&self, error: linux::Error) -> FetchError {
        FetchError::Sandbox { uri: self.uri(), error }
    }

    /// The source's bytes end badly: damaged, or a disk of the host's.
    pub(super) fn unreadable(&self, error: &io::Error) -> FetchError {
        match error.raw_os_error() {
            Some(_) => {
                let error = linux::Error::from_io("read()", error);
                FetchError::Source { uri: self.uri(), error }
            }
            None => self.damaged(error.to_string()),
        }
    }

    pub(super) fn damaged(&self, reason: impl Into<String>) -> FetchError {
        FetchError::Archive { uri: self.uri(), reason: reason.into() }
    }

    pub(super) fn too_large(&self, limit: u64, unit: &'static str) -> FetchError {
        FetchError::TooLarge { uri: self.uri(), limit, unit }
    }
}
