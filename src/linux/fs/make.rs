//! Files and directories whose mode is what was asked for: the umask belongs to the embedder, who may
//! change it at any moment.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Mode of directories that others may look into and pass: payloads of other users do.
pub const SHARED: u32 = 0o755;

/// Mode of directories for our own user alone.
pub const CLOSED: u32 = 0o700;

/// Mode of sandboxes: for the payload's user and group alone.
pub const SANDBOX: u32 = 0o750;

/// Mode of files that are nobody else's business.
pub const PRIVATE: u32 = 0o600;

/// Makes `path`, and the parents that it lacks, with `mode`. What is there stays as it is.
pub fn make_directories(path: &Path, mode: u32) -> io::Result<()> {
    match make(path, mode) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
                return Err(error);
            };
            make_directories(parent, mode)?;
            make(path, mode)
        }
        made => made,
    }
}

/// Makes `path` with `mode`, and the parents that it lacks as [`SHARED`]: what is below is closed by
/// this one directory. What is there stays as it is.
pub fn make_closed(path: &Path, mode: u32) -> io::Result<()> {
    match make(path, mode) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make_directories(path.parent().ok_or(error)?, SHARED)?;
            make(path, mode)
        }
        made => made,
    }
}

fn make(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file as `options` say, which may make it: then with [`PRIVATE`].
pub fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(PRIVATE).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != PRIVATE {
        file.set_permissions(Permissions::from_mode(PRIVATE))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it was made").permissions().mode() & 0o777
    }

    #[test]
    fn directories_have_their_mode_and_those_that_are_there_keep_theirs() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let before = mode(scratch.path());
        // Another mode than any usual umask leaves.
        make_directories(&scratch.path().join("a/b/c"), 0o777).expect("made");
        for made in ["a", "a/b", "a/b/c"] {
            assert_eq!(mode(&scratch.path().join(made)), 0o777, "{made}");
        }
        make_directories(&scratch.path().join("a"), 0o700).expect("it is there");
        assert_eq!((mode(scratch.path()), mode(&scratch.path().join("a"))), (before, 0o777));
        fs::write(scratch.path().join("file"), "").expect("written");
        let error = make_directories(&scratch.path().join("file"), SHARED).expect_err("a file");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn one_directory_is_closed_and_its_parents_can_be_passed() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        make_closed(&scratch.path().join("a/b"), CLOSED).expect("made");
        let modes = ["a", "a/b"].map(|made| mode(&scratch.path().join(made)));
        assert_eq!(modes, [SHARED, CLOSED]);
    }

    #[test]
    fn a_private_file_is_private_also_when_it_was_there() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().join("file");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("ours");
        open_private(OpenOptions::new().append(true), &path).expect("opened");
        assert_eq!(mode(&path), PRIVATE);
        let path = scratch.path().join("new");
        open_private(OpenOptions::new().write(true).create_new(true), &path).expect("made");
        assert_eq!(mode(&path), PRIVATE);
    }
}
