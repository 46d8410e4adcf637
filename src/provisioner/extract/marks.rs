//! What an entry says that can only be done when the whole layer is there, noted in a file, so that
//! memory does not grow with the layer.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::linux::fs::Time;

/// One note. Paths are relative to the layer, as written and cleaned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mark {
    /// This name of lower layers is hidden.
    Whiteout(PathBuf),
    /// What lower layers have in this directory is hidden.
    Opaque(PathBuf),
    /// The time of a directory; everything that is made in it changes it.
    DirectoryTime(PathBuf, Time),
    /// A hard link whose target was not in the layer when the entry came.
    Link {
        /// The new name.
        name: PathBuf,
        /// The existing one.
        target: PathBuf,
    },
}

/// Notes, in the order in which they were made.
#[derive(Debug)]
pub(crate) struct Marks {
    writer: BufWriter<File>,
}

impl Marks {
    pub(crate) fn new(file: File) -> Self {
        Self { writer: BufWriter::new(file) }
    }

    pub(crate) fn add(&mut self, mark: &Mark) -> io::Result<()> {
        let none = Path::new("");
        let (kind, time, first, second) = match mark {
            Mark::Whiteout(path) => (0, Time::default(), path.as_path(), none),
            Mark::Opaque(path) => (1, Time::default(), path.as_path(), none),
            Mark::DirectoryTime(path, time) => (2, *time, path.as_path(), none),
            Mark::Link { name, target } => (3, Time::default(), name.as_path(), target.as_path()),
        };
        self.writer.write_all(&[kind])?;
        self.writer.write_all(&time.seconds.to_le_bytes())?;
        self.writer.write_all(&time.nanoseconds.to_le_bytes())?;
        for path in [first, second] {
            let bytes = path.as_os_str().as_bytes();
            let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
            self.writer.write_all(&length.to_le_bytes())?;
            self.writer.write_all(bytes)?;
        }
        Ok(())
    }

    /// All notes from the first. Can be asked again.
    pub(crate) fn read(&mut self) -> io::Result<impl Iterator<Item = io::Result<Mark>> + use<>> {
        self.writer.flush()?;
        let mut file = self.writer.get_ref().try_clone()?;
        file.rewind()?;
        let mut reader = BufReader::new(file);
        Ok(std::iter::from_fn(move || read_one(&mut reader).transpose()))
    }
}

fn read_one(reader: &mut impl Read) -> io::Result<Option<Mark>> {
    let mut kind = [0];
    if reader.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let (mut seconds, mut nanoseconds) = ([0; 8], [0; 4]);
    reader.read_exact(&mut seconds)?;
    reader.read_exact(&mut nanoseconds)?;
    let time =
        Time { seconds: i64::from_le_bytes(seconds), nanoseconds: u32::from_le_bytes(nanoseconds) };
    let mut path = || -> io::Result<PathBuf> {
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(length)).unwrap_or(0)];
        reader.read_exact(&mut bytes)?;
        Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
    };
    let (first, second) = (path()?, path()?);
    Ok(Some(match kind[0] {
        0 => Mark::Whiteout(first),
        1 => Mark::Opaque(first),
        2 => Mark::DirectoryTime(first, time),
        _ => Mark::Link { name: first, target: second },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_read_back_in_order_and_as_often_as_wanted() {
        let mut marks = Marks::new(tempfile::tempfile().expect("temporary file"));
        let time = Time { seconds: -5, nanoseconds: 7 };
        let noted = [
            Mark::Whiteout("a/b".into()),
            Mark::DirectoryTime("d".into(), time),
            Mark::Link { name: "x".into(), target: "y".into() },
            Mark::Opaque("".into()),
        ];
        for mark in &noted {
            marks.add(mark).expect("written");
        }
        for _ in 0..2 {
            let read: io::Result<Vec<Mark>> = marks.read().expect("read").collect();
            assert_eq!(read.expect("whole"), noted);
        }
    }
}
