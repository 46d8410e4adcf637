//! Reading and writing control files.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

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

/// The whole file.
pub(super) fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).called(|| format!("read({:?})", file.display().to_string()))
}

/// A file with one number.
pub(super) fn read_number(file: &Path) -> Result<u64, Error> {
    let text = read(file)?;
    text.trim().parse().map_err(|_| {
        let what =
            format!("read({:?}): {:?} is no number", file.display().to_string(), text.trim());
        Error::new(what, rustix::io::Errno::INVAL)
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
    matches!(error.errno, rustix::io::Errno::NOENT | rustix::io::Errno::NODEV)
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
    fn a_missing_control_file_is_never_created() {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let file = directory.path().join("cpu.max");
        let error = write(&file, "max").expect_err("no such file");
        assert!(is_missing(&error), "{error}");
        assert!(!file.is_file());
        assert_eq!(read_number_if_any(&file).expect("absent is no failure"), None);
    }
}
