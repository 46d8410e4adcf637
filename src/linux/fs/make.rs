//! Files and directories whose mode is what was asked for: the umask belongs to the embedder, who may
//! change it at any moment.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::sched::CloneFlags;
use nix::sys::stat::Mode;

/// Mode of directories that others may look into and pass: payloads of other users do.
pub const SHARED: u32 = 0o755;

/// Mode of directories for our own user alone.
pub const CLOSED: u32 = 0o700;

/// Mode of sandboxes: for the payload's user and group alone.
pub const SANDBOX: u32 = 0o750;

/// Mode of files that are nobody else's business.
pub const PRIVATE: u32 = 0o600;

/// What other users may not do with what a thread with [`own_umask`] makes.
const UMASK: u32 = 0o022;

thread_local! {
    static OWN_UMASK: Cell<bool> = const { Cell::new(false) };
}

/// Gives the calling thread a umask of its own, 022, which no other thread can change, and with it a
/// working directory of its own: what it makes has its mode at once. For threads of ours only.
///
/// Kernel: `unshare(CLONE_FS)`, unshare(2), Linux 2.6.16. Where a filter refuses it, every mode is set
/// by a call of its own, as on other threads.
pub fn own_umask() {
    if nix::sched::unshare(CloneFlags::CLONE_FS).is_ok() {
        nix::sys::stat::umask(Mode::from_bits_truncate(UMASK));
        OWN_UMASK.set(true);
    }
}

/// Makes a file of at least `length` bytes that takes its room on the file system, unless it is there.
///
/// Kernel: fallocate(2). Errors: `StorageFull`; `Unsupported`, on file systems that cannot say so.
pub fn reserve(path: &Path, length: u64) -> io::Result<()> {
    let file = open_private(OpenOptions::new().write(true).create(true).truncate(false), path)?;
    if file.metadata()?.len() >= length {
        return Ok(());
    }
    let reserved = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length);
    reserved.map_err(|errno| {
        // Half of it is of no use.
        let _ = fs::remove_file(path);
        io::Error::from(errno)
    })
}

/// Whether what is made with `mode` has it already.
fn is_exact(mode: u32) -> bool {
    OWN_UMASK.get() && mode & UMASK == 0
}

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
        Ok(()) if is_exact(mode) => Ok(()),
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a file of ours as `options` say, which may make it: then with [`PRIVATE`].
pub fn open_private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(PRIVATE).open(path)?;
    if !is_exact(PRIVATE) && file.metadata()?.permissions().mode() & 0o777 != PRIVATE {
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
    fn a_thread_with_its_own_umask_makes_what_is_asked_for_whatever_the_umask_of_others() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let path = scratch.path().to_owned();
        let modes = std::thread::spawn(move || {
            own_umask();
            make_directories(&path.join("a"), SHARED).expect("made");
            make_directories(&path.join("b"), 0o777).expect("made");
            make_closed(&path.join("c"), CLOSED).expect("made");
            let mut options = OpenOptions::new();
            open_private(options.write(true).create_new(true), &path.join("d")).expect("made");
            ["a", "b", "c", "d"].map(|made| mode(&path.join(made)))
        });
        assert_eq!(modes.join().expect("no panic"), [SHARED, 0o777, CLOSED, PRIVATE]);
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
