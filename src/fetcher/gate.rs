//! The only way into a sandbox while it is being fetched into; shut when the fetch is dropped.
//!
//! Files are written by a thread that may block, which nobody can stop from outside. So every change
//! of the sandbox happens under one lock, in small steps, and dropping the fetch takes that lock
//! once: when the drop returns, no further step can begin.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::linux;
use crate::linux::fs::Directory;

/// Why a step was not taken.
#[derive(Debug)]
pub(super) enum Stop {
    /// The fetch was dropped.
    Withdrawn,
    /// The kernel refused.
    Failed(linux::Error),
}

impl From<linux::Error> for Stop {
    fn from(error: linux::Error) -> Self {
        Self::Failed(error)
    }
}

/// The writer's side.
#[derive(Debug, Clone)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    open: bool,
    sandbox: Directory,
    /// A file in the sandbox that has not its final name yet.
    temporary: Option<OsString>,
}

/// The fetch's side: shuts the gate when it is dropped, and removes what was not complete.
#[derive(Debug)]
pub(super) struct Keeper(Gate);

impl Gate {
    /// An open gate to `sandbox`.
    pub(super) fn new(sandbox: Directory) -> (Self, Keeper) {
        let state = State { open: true, sandbox, temporary: None };
        let gate = Self(Arc::new(Mutex::new(state)));
        (gate.clone(), Keeper(gate))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A writer that panicked leaves a state that is still true: the flag and a name.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless the gate is shut.
    fn enter(&self) -> Result<MutexGuard<'_, State>, Stop> {
        let state = self.lock();
        if state.open { Ok(state) } else { Err(Stop::Withdrawn) }
    }

    /// Takes one step; a short one, since a drop of the fetch waits for it.
    pub(super) fn step<T, E: Into<Stop>>(
        &self,
        step: impl FnOnce(&Directory) -> Result<T, E>,
    ) -> Result<T, Stop> {
        step(&self.enter()?.sandbox).map_err(Into::into)
    }

    /// Makes a file that is removed unless it is placed. One at a time: an earlier one goes.
    pub(super) fn begin(&self, name: OsString) -> Result<File, Stop> {
        let mut state = self.enter()?;
        state.discard();
        let file = state.sandbox.create(&name)?;
        state.temporary = Some(name);
        Ok(file)
    }

    /// Gives the file its final name, in a directory that `find` opens. What had the name is
    /// replaced in one step; a link is replaced, not followed.
    pub(super) fn place(
        &self,
        name: &OsStr,
        find: impl FnOnce(&Directory) -> Result<Directory, linux::Error>,
    ) -> Result<(), Stop> {
        let mut state = self.enter()?;
        let directory = find(&state.sandbox)?;
        if let Some(temporary) = &state.temporary {
            state.sandbox.rename(temporary, &directory, name)?;
            state.temporary = None;
        }
        Ok(())
    }
}

impl State {
    fn discard(&mut self) {
        if let Some(name) = self.temporary.take() {
            // The sandbox goes with its container; a leftover in it is not worth another failure.
            let _ = self.sandbox.unlink(&name);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open = false;
        state.discard();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn gate() -> (tempfile::TempDir, Gate, Keeper) {
        let sandbox = tempfile::tempdir().expect("a directory");
        let (gate, keeper) = Gate::new(Directory::open(sandbox.path()).expect("just made"));
        (sandbox, gate, keeper)
    }

    #[test]
    fn a_shut_gate_takes_no_step_and_keeps_nothing_incomplete() {
        let (sandbox, gate, keeper) = gate();
        gate.begin("temporary".into()).expect("open");
        gate.place("placed".as_ref(), |sandbox| sandbox.again()).expect("open");
        gate.begin("other".into()).expect("open");
        drop(keeper);
        assert!(matches!(gate.begin("late".into()), Err(Stop::Withdrawn)));
        let late = gate.step(|sandbox| sandbox.mkdir("late".as_ref()));
        assert!(matches!(late, Err(Stop::Withdrawn)));
        let names: Vec<_> = std::fs::read_dir(sandbox.path()).expect("listed").collect();
        assert_eq!(names.len(), 1, "only what was placed");
    }

    #[test]
    fn shutting_waits_for_the_step_that_has_begun() {
        let (sandbox, gate, keeper) = gate();
        let (begun, wait_begun) = mpsc::channel();
        let (go_on, wait_go_on) = mpsc::channel::<()>();
        let writer = std::thread::spawn(move || {
            gate.step(|sandbox| {
                begun.send(()).expect("the test listens");
                wait_go_on.recv().expect("the test says so");
                sandbox.mkdir("made".as_ref())
            })
        });
        wait_begun.recv().expect("the step begins");
        let made = sandbox.path().join("made");
        let shutter = std::thread::spawn(move || {
            drop(keeper);
            made.is_dir()
        });
        go_on.send(()).expect("the step waits");
        assert!(shutter.join().expect("no panic"), "the step was over when the drop returned");
        writer.join().expect("no panic").expect("the gate was open");
    }
}
