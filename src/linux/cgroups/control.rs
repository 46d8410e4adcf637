//! Reading and writing control files.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::linux::Error;
use crate::linux::error::Called;

/// Writes `value`. The file is never created: a missing one is ENOENT.
pub(super) fn write(file: &Path, value: &str) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(value.as_bytes()))
        .called(|| format!("write({:?}, {value:?})", file.display().to_string()))
}

/// The kernel fills the buffer with whole lines, so an answer that leaves room for another line is
/// the last one.
const LINE_MAX: usize = 1024;

/// The whole file. Most have a line or two: one open, one read.
pub(super) fn read(file: &Path) -> Result<String, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open = rustix::fs::open(file, flags, Mode::empty()).map_err(failed(file))?;
    read_open(&open, file)
}

/// The same of `open`, which nobody has read yet.
pub(super) fn read_open(open: impl AsFd, file: &Path) -> Result<String, Error> {
    let mut buffer = [0; 4096];
    let mut bytes = Vec::new();
    loop {
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&open, &mut buffer));
        let length = length.map_err(failed(file))?;
        bytes.extend_from_slice(&buffer[..length]);
        if length < buffer.len() - LINE_MAX {
            return String::from_utf8(bytes).map_err(|_| failed(file)(Errno::ILSEQ));
        }
    }
}

fn failed(file: &Path) -> impl Fn(Errno) -> Error {
    move |errno| Error::new(format!("read({:?})", file.display().to_string()), errno)
}

/// A file with one number.
pub(super) fn read_number(file: &Path) -> Result<u64, Error> {
    let text = read(file)?;
    text.trim().parse().map_err(|_| {
        let what =
            format!("read({:?}): {:?} is no number", file.display().to_string(), text.trim());
        Error::new(what, Errno::INVAL)
    })
}

/// A file with one number; absent where this kernel has no such file.
pub(super) fn read_number_if_any(file: &Path) -> Result<Option<u64>, Error> {
    match read_number(file) {
        Ok(number) => Ok(Some(number)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The value of `key` in a flat keyed file (`key value` on each line).
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
}

/// The file or its cgroup is not there. A control file of a cgroup that is being removed is ENODEV.
pub(super) fn is_missing(error: &Error) -> bool {
    matches!(error.errno, Errno::NOENT | Errno::NODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyed_file_answers_by_whole_key() {
        let text = "oom 1\noom_kill 3\n";
        assert_eq!(keyed(text, "oom_kill"), Some(3));
        assert_eq!(keyed(text, "oom"), Some(1));
        assert_eq!(keyed(text, "oom_group_kill"), None);
    }

    #[test]
    fn a_file_is_read_to_its_end_whatever_its_length() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let file = directory.path().join("cgroup.procs");
        for length in [0, 1, 3071, 3072, 4095, 4096, 4097, 20_000] {
            let text: String = ('0'..='9').cycle().take(length).collect();
            std::fs::write(&file, &text).expect("written");
            assert_eq!(read(&file).expect("read"), text, "{length}");
        }
    }

    #[test]
    fn a_missing_control_file_is_never_created() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let file = directory.path().join("cpu.max");
        let error = write(&file, "max").expect_err("no such file");
        assert!(is_missing(&error), "{error}");
        assert!(!file.is_file());
        assert_eq!(read_number_if_any(&file).expect("absent is no failure"), None);
    }
}
