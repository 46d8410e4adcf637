//! A world: directories, a cgroups root and names that one test has for itself.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::leaks::{self, Marks};
use super::process::{self, Process};
use super::registry;

/// Worlds of this process that exist now.
static LIVING: Mutex<usize> = Mutex::new(0);

/// Everything one test makes on the host. Every root test has one, and ends with
/// [`World::assert_clean`]; dropping an unchecked one fails the test.
#[derive(Debug)]
pub(crate) struct World {
    directory: TempDir,
    marks: Marks,
    checked: Cell<bool>,
}

impl World {
    /// A world with empty work and runtime directories.
    pub(crate) fn new() -> Self {
        let mut living = living();
        // `.ci/run` sets this, so that it can tell its own worlds from those of others.
        let run = std::env::var("LONGSHORE_TEST_RUN").unwrap_or_default();
        let prefix = format!("longshore-test-{run}");
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir();
        let directory = directory.expect("the directory for temporary files can be written");
        let path = directory.path().canonicalize().expect("it was just made");
        let name = path.file_name().and_then(|name| name.to_str()).expect("tempfile uses ASCII");
        let marks = Marks { name: name.to_owned(), directory: path.clone() };
        for made in ["work", "run"] {
            fs::create_dir(path.join(made)).expect("the world's own directory can be written");
        }
        *living += 1;
        Self { directory, marks, checked: Cell::new(false) }
    }

    /// For the test's own files; gone with the world.
    pub(crate) fn path(&self) -> &Path {
        &self.marks.directory
    }

    /// `--work-dir`.
    pub(crate) fn work_dir(&self) -> PathBuf {
        self.path().join("work")
    }

    /// `--runtime-dir`.
    pub(crate) fn runtime_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    /// `--cgroups-root`: the name of a cgroup that no other world has.
    pub(crate) fn cgroups_root(&self) -> &str {
        &self.marks.name
    }

    /// A subcommand of the program that embeds an agent, with this world's directories.
    pub(crate) fn longshore(&self, subcommand: &str) -> Command {
        let mut command = self.program();
        command.arg(subcommand);
        command.arg("--work-dir").arg(self.work_dir());
        command.arg("--runtime-dir").arg(self.runtime_dir());
        command.arg("--cgroups-root").arg(self.cgroups_root());
        command
    }

    /// The bare program; its environment marks it as this world's.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        command.env("LONGSHORE_TEST_WORLD", &self.marks.name).current_dir(self.path());
        command
    }

    /// What is left, one line each; empty when the world is clean.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let marks = &self.marks;
        let mut found = Vec::new();
        let running = leaks::survivors(&leaks::processes(marks));
        found.extend(running);
        found.extend(leaks::mounts(marks).iter().map(|path| format!("mount {}", path.display())));
        found.extend(leaks::cgroups(marks).iter().map(|path| format!("cgroup {}", path.display())));
        found.extend(leaks::descriptors(marks).iter().map(|fd| format!("descriptor {fd}")));
        let files = leaks::files(&self.work_dir(), &self.runtime_dir());
        found.extend(files.iter().map(|path| format!("file {}", path.display())));
        found
    }

    /// Fails if anything of this world is left, and, in the last world that lives, if anything of
    /// the whole test program is: a descendant, a namespace held by a descriptor.
    pub(crate) fn assert_clean(&self) {
        self.checked.set(true);
        let mut found = self.leaks();
        let living = living();
        // No world can begin while the lock is held, so what is seen belongs to ended ones.
        if *living == 1 {
            let family = process::descendants(std::process::id() as i32);
            let helpers = registry::servers();
            let family = family.into_iter().map(|(pid, _)| pid);
            let family: Vec<i32> = family.filter(|pid| !helpers.contains(pid)).collect();
            found.extend(leaks::survivors(&family).into_iter().map(|line| format!("child {line}")));
            found.extend(leaks::held_namespaces().into_iter().map(|fd| format!("descriptor {fd}")));
        }
        drop(living);
        assert!(found.is_empty(), "left on the host:\n  {}", found.join("\n  "));
    }

    /// Ends, unmounts and removes whatever a failed test has left, so that it fails alone.
    fn clear(&self) {
        for process in leaks::processes(&self.marks).into_iter().filter_map(Process::find) {
            process.signal(Signal::KILL);
            process.ends_within(Duration::from_secs(10));
        }
        for mount in leaks::mounts(&self.marks) {
            if let Err(error) = rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::DETACH)
            {
                eprintln!("cannot unmount {}: {error}", mount.display());
            }
        }
        for cgroup in leaks::cgroups(&self.marks) {
            if let Err(error) = fs::remove_dir(&cgroup) {
                eprintln!("cannot remove {}: {error}", cgroup.display());
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        self.clear();
        *living() -= 1;
        if !failed {
            assert!(self.checked.get(), "{:?}: no assert_clean at its end", self.directory.path());
        }
    }
}

/// A test that failed while it held the lock has not made the count wrong.
fn living() -> MutexGuard<'static, usize> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}
