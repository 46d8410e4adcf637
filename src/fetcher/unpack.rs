//! Unpacks a tar into the sandbox.
//!
//! Names are walked by the kernel, one component at a time, without following a link, from the
//! sandbox down: an archive cannot write where it is not unpacked, whatever its names and links say.
//! Everything belongs to the container's user; the archive's owners, setuid bits and devices do not
//! come along. What a name had before is replaced.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use super::FetchError;
use super::write::Work;
use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Kind, Time};

/// Unpacks the tar that `from` has.
pub(super) fn unpack(work: &Work, from: impl Read) -> Result<(), FetchError> {
    let mut archive = Archive::new(from);
    let entries = archive.entries().map_err(|error| work.unreadable(&error))?;
    let mut left = work.bytes_max;
    let mut count = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| work.unreadable(&error))?;
        count += 1;
        if count > work.entries_max {
            return Err(work.too_large(work.entries_max, "entries"));
        }
        let written = one(work, &mut entry, left)?;
        left = left.saturating_sub(written);
    }
    Ok(())
}

/// One entry; returns the bytes of its content.
fn one<R: Read>(work: &Work, entry: &mut Entry<'_, R>, left: u64) -> Result<u64, FetchError> {
    let raw = entry.path_bytes().into_owned();
    let kind = entry.header().entry_type();
    if kind == EntryType::XGlobalHeader {
        // git archive puts a comment there.
        return Ok(0);
    }
    let path = inside(&raw).map_err(|reason| work.damaged(say(&raw, reason)))?;
    let directory = kind.is_dir() || (kind == EntryType::Regular && raw.ends_with(b"/"));
    let Some(place) = Place::of(&path) else {
        // `./`: the sandbox itself, which stays as it is.
        return if directory {
            Ok(0)
        } else {
            Err(work.damaged(say(&raw, "is the sandbox itself")))
        };
    };
    let attributes = attributes(work, entry);
    let explain = |error| explain(work, &raw, error);
    match kind {
        _ if directory => make_directory(work, &path, &attributes).map(|()| 0).map_err(explain),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let file = work.step(|sandbox| {
                let parent = place.cleared(work, sandbox)?;
                parent.create(place.name)
            });
            let file = file.map_err(explain)?;
            let written = work.copy(entry, &file, left)?;
            work.step(|_| fs::set_attributes(&file, &attributes))?;
            Ok(written)
        }
        EntryType::Symlink => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let link = work.step(|sandbox| {
                let parent = place.cleared(work, sandbox)?;
                parent.symlink(OsStr::from_bytes(&target), place.name)?;
                parent.set_attributes(place.name, Kind::Symlink, &attributes)
            });
            link.map(|()| 0).map_err(explain)
        }
        EntryType::Link => {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = inside(&target).map_err(|reason| work.damaged(say(&raw, reason)))?;
            hard_link(work, &place, &target).map(|()| 0).map_err(explain)
        }
        _ => Err(work.damaged(say(&raw, "is neither file, directory nor link"))),
    }
}

/// A name in its directory.
struct Place<'a> {
    parent: &'a Path,
    name: &'a OsStr,
}

impl<'a> Place<'a> {
    fn of(path: &'a Path) -> Option<Self> {
        Some(Self { parent: path.parent()?, name: path.file_name()? })
    }

    /// The directory, in which the name is free now.
    fn cleared(&self, work: &Work, sandbox: &Directory) -> Result<Directory, linux::Error> {
        let parent = work.make_path(sandbox, self.parent)?;
        match parent.unlink(self.name) {
            Err(error) if error.errno != Errno::NOENT => Err(error),
            Ok(()) | Err(_) => Ok(parent),
        }
    }
}

fn make_directory(work: &Work, path: &Path, attributes: &Attributes) -> Result<(), FetchError> {
    // Its owner can always write: the next entries are made in it.
    let attributes = Attributes { mode: attributes.mode | 0o700, ..*attributes };
    work.step(|sandbox| {
        let directory = work.make_path(sandbox, path)?;
        fs::set_owner_and_mode(&directory, &attributes)
    })
}

fn hard_link(work: &Work, place: &Place<'_>, target: &Path) -> Result<(), FetchError> {
    work.step(|sandbox| {
        let source = Place::of(target);
        let source = source.ok_or_else(|| linux::Error::new("linkat(\"\")", Errno::NOENT))?;
        if source.parent == place.parent && source.name == place.name {
            return Ok(());
        }
        let from = sandbox.descend(source.parent)?;
        let parent = place.cleared(work, sandbox)?;
        parent.hardlink(&from, source.name, place.name)
    })
}

fn attributes<R: Read>(work: &Work, entry: &Entry<'_, R>) -> Attributes {
    let header = entry.header();
    let seconds = header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or(0);
    let mode = header.mode().unwrap_or(0o644) & 0o777;
    work.attributes(mode, Time { seconds, nanoseconds: 0 })
}

/// The path of a name below the sandbox; empty for the sandbox itself.
fn inside(raw: &[u8]) -> Result<PathBuf, &'static str> {
    let path = Path::new(OsStr::from_bytes(raw));
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            Component::RootDir | Component::ParentDir | Component::Prefix(_) => {
                return Err("leaves the sandbox");
            }
        }
    }
    match ["stdout", "stderr"].iter().any(|name| plain == Path::new(name)) {
        true => Err("would replace a stream of the container"),
        false => Ok(plain),
    }
}

fn say(raw: &[u8], what: &str) -> String {
    format!("entry {:?} {what}", String::from_utf8_lossy(raw))
}

/// What the archive itself brings about is the archive's fault, and names the entry.
fn explain(work: &Work, raw: &[u8], error: FetchError) -> FetchError {
    match &error {
        FetchError::Sandbox { error, .. } => match error.errno {
            Errno::NOTDIR | Errno::LOOP => work.damaged(say(raw, "goes through a link or a file")),
            Errno::ISDIR | Errno::EXIST | Errno::NOENT | Errno::NAMETOOLONG | Errno::PERM => {
                work.damaged(say(raw, &error.to_string()))
            }
            _ => FetchError::Sandbox { uri: work.item.shown.clone(), error: error.clone() },
        },
        _ => error,
    }
}
