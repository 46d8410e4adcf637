//! Making and removing cgroup directories.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::control;
use super::group::LEAF;
use crate::linux::Error;
use crate::linux::error::Called;

/// How long a cgroup may stay busy after its last process is gone: an exit holds on to its cgroup
/// for some more microseconds, and RCU for some milliseconds.
const BUSY: Duration = Duration::from_secs(5);

/// The first pause between two attempts at a busy cgroup.
const PAUSE: Duration = Duration::from_micros(200);

/// Marks a cgroup root as made by Longshore, so that whoever ends the last container may remove it.
/// It lives and dies with the cgroup, and every process that uses the same root sees it.
const MARK: &str = "trusted.longshore";

/// Whether a directory was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    Now,
    Before,
}

/// What a new cgroup needs before a process can join it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// Its parent's CPUs and memory nodes: the hierarchy has the v1 cpuset controller.
    Cpuset,
}

/// Makes one cgroup. An existing one is left as it is.
pub(super) fn make(directory: &Path, needs: Needs) -> Result<Made, Error> {
    let made = match rustix::fs::mkdir(directory, rustix::fs::Mode::from_raw_mode(0o755)) {
        Ok(()) => Made::Now,
        Err(Errno::EXIST) => Made::Before,
        Err(errno) => return Err(Error::new(format!("mkdir({})", quoted(directory)), errno)),
    };
    if made == Made::Now && needs == Needs::Cpuset {
        inherit_cpuset(directory)?;
    }
    Ok(made)
}

/// Makes the cgroups `root` below `mount`, and marks those that were not there.
pub(super) fn make_root(mount: &Path, root: &Path, needs: Needs) -> Result<(), Error> {
    let mut directory = mount.to_path_buf();
    for level in root {
        directory.push(level);
        if make(&directory, needs)? == Made::Now {
            mark(&directory);
        }
    }
    Ok(())
}

/// A new v1 cpuset has no CPU and no memory node, and no process can join it until it was given some.
fn inherit_cpuset(directory: &Path) -> Result<(), Error> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (own, from) = (directory.join(name), parent.join(name));
        if control::read(&own)?.trim().is_empty() {
            control::write(&own, control::read(&from)?.trim())?;
        }
    }
    Ok(())
}

/// Removes a cgroup and all below it, once their processes are gone. Nothing there: done.
///
/// Blocks while the kernel says EBUSY, at most [`BUSY`].
pub(super) fn remove(directory: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + BUSY;
    let mut pause = PAUSE;
    loop {
        match remove_now(directory) {
            Err(error) if error.errno == Errno::BUSY && Instant::now() < deadline => {
                wait(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            other => return other,
        }
    }
}

/// The same, without patience.
pub(super) fn remove_now(directory: &Path) -> Result<(), Error> {
    // Most have nothing below, or just a leaf: listing a cgroup costs more than removing it.
    let is_in_use = |error: &Error| matches!(error.errno, Errno::BUSY | Errno::NOTEMPTY);
    match remove_one(directory) {
        Err(error) if is_in_use(&error) => {}
        other => return other,
    }
    if rustix::fs::rmdir(directory.join(LEAF)).is_ok() {
        match remove_one(directory) {
            Err(error) if is_in_use(&error) => {}
            other => return other,
        }
    }
    for child in children(directory)? {
        remove_now(&child)?;
    }
    remove_one(directory)
}

/// Removes the marked cgroups of `root` below `mount`, innermost first. One that is in use, or that
/// Longshore did not make, stays.
pub(super) fn remove_root(mount: &Path, root: &Path) -> Result<(), Error> {
    for level in root.ancestors().filter(|level| !level.as_os_str().is_empty()) {
        let directory = mount.join(level);
        if !is_marked(&directory) {
            return Ok(());
        }
        match remove_one(&directory) {
            Err(error) if matches!(error.errno, Errno::BUSY | Errno::NOTEMPTY) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}

/// Removes a cgroup that has none below. Nothing there: done.
pub(super) fn remove_one(directory: &Path) -> Result<(), Error> {
    match rustix::fs::rmdir(directory) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::new(format!("rmdir({})", quoted(directory)), errno)),
    }
}

/// The cgroups directly below; empty where `directory` is not there.
pub(super) fn children(directory: &Path) -> Result<Vec<std::path::PathBuf>, Error> {
    let gone = |error: &std::io::Error| {
        matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NODEV))
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if gone(&error) => return Ok(Vec::new()),
        other => other.called(|| format!("readdir({})", quoted(directory)))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = match entry {
            Err(error) if gone(&error) => return Ok(found),
            other => other.called(|| format!("readdir({})", quoted(directory)))?,
        };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Every process in `directory` and below.
pub(super) fn processes(directory: &Path) -> Result<Vec<i32>, Error> {
    let mut found: Vec<i32> = match control::read(&directory.join("cgroup.procs")) {
        Err(error) if control::is_missing(&error) => return Ok(Vec::new()),
        // A threaded cgroup lists no processes; its domain above does.
        Err(error) if error.errno == Errno::OPNOTSUPP => Vec::new(),
        other => other?.lines().filter_map(|line| line.parse().ok()).collect(),
    };
    for child in children(directory)? {
        found.extend(processes(&child)?);
    }
    // 0 is a process that this PID namespace cannot see.
    found.retain(|pid| *pid > 0);
    Ok(found)
}

/// Without xattrs (a kernel or a container that refuses them) the root stays when we leave: a
/// leftover empty cgroup is better than removing one that is not ours.
fn mark(directory: &Path) {
    let _ = rustix::fs::setxattr(directory, MARK, b"1", rustix::fs::XattrFlags::empty());
}

fn is_marked(directory: &Path) -> bool {
    let mut value = [0u8; 8];
    rustix::fs::getxattr(directory, MARK, &mut value[..]).is_ok()
}

/// Does nothing for a while. Where the kernel can tell when something is over, ask it instead.
pub(super) fn wait(pause: Duration) {
    let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) };
    // An interrupted pause is a shorter one: the callers look again and again anyway.
    let _ = rustix::event::poll(&mut [], Some(&timeout));
}

pub(super) fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Plain directories behave like cgroups for these: no control files, so rmdir works.
    #[test]
    fn a_tree_is_removed_from_the_bottom_and_a_missing_one_is_done() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let top = scratch.path().join("a");
        fs::create_dir_all(top.join("b/c")).expect("directories");
        remove(&top).expect("removed");
        assert!(children(scratch.path()).expect("readable").is_empty());
        remove(&top).expect("nothing left to remove");
    }

    #[test]
    fn a_root_that_longshore_did_not_make_stays() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        fs::create_dir(scratch.path().join("mine")).expect("a directory");
        remove_root(scratch.path(), Path::new("mine")).expect("nothing to do");
        assert!(scratch.path().join("mine").is_dir());
    }

    #[test]
    fn making_a_cgroup_twice_says_so() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let directory = scratch.path().join("a");
        assert_eq!(make(&directory, Needs::Nothing).expect("made"), Made::Now);
        assert_eq!(make(&directory, Needs::Nothing).expect("there"), Made::Before);
    }

    #[test]
    fn a_new_cpuset_takes_its_parents_cpus() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let child = scratch.path().join("a");
        fs::create_dir(&child).expect("a directory");
        for (file, text) in [("cpuset.cpus", "0-1\n"), ("cpuset.mems", "0\n")] {
            fs::write(scratch.path().join(file), text).expect("written");
            fs::write(child.join(file), "\n").expect("written");
        }
        inherit_cpuset(&child).expect("copied");
        // A plain file keeps the newline that was there behind what is written over it.
        assert!(control::read(&child.join("cpuset.cpus")).expect("read").starts_with("0-1"));
    }
}
