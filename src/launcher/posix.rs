//! The launcher without namespaces and cgroups: a session, and a tree of processes. Any user may.
//!
//! The init is the subreaper of everything that its payload starts, so the tree below it is the
//! container: what daemonised out of its session is in it as well. When the payload ends, the init
//! ends the rest before it ends itself; a destroy stops the tree, kills it, and looks again until
//! nobody is left. Processes are signalled by handle, never by number.
//!
//! What is lost: a container whose *init* somebody else kills (its user may) takes its payload along,
//! but not what the payload has started.

use std::time::Duration;

use super::child::{self, Child};
use super::compile::{Facts, compile};
use super::credentials::{credentials, owner};
use super::handover::hand_over;
use super::ops::{LIFE_ENDS_TREE, LIFE_WITH_AGENT, NAME_POSIX};
use super::spawner::Spawner;
use super::user::Credentials;
use super::{ForkRequest, InitPid, LauncherError, Lifetime};
use crate::linux::{self, capabilities, tree};
use crate::model::LaunchInfo;

/// By which an init finds its children.
const CHILDREN: &str = "/proc/thread-self/children";

/// Starts inits and ends trees of processes. One for all containers; shared by threads.
#[derive(Debug)]
pub struct PosixLauncher {
    spawner: Spawner,
}

impl PosixLauncher {
    /// Starts nothing yet. Errors: `Unsupported` where /proc does not tell a process its children;
    /// `Host`, where no file can be made in memory.
    pub fn new() -> Result<Self, LauncherError> {
        match std::fs::exists(CHILDREN) {
            Ok(true) => Ok(Self { spawner: Spawner::new(NAME_POSIX)? }),
            Ok(false) | Err(_) => Err(LauncherError::NoChildren(CHILDREN)),
        }
    }

    /// Starts the init of a container; it waits to be released.
    ///
    /// Undo, also of a failure: [`Self::kill`]. Blocks until the init exists.
    /// Errors: `InvalidRequest` (unknown user, something that only the linux launcher can do),
    /// `Unsupported` (a user that this process may not switch to), `Host`, `Exhausted`.
    pub fn fork(&self, request: ForkRequest) -> Result<Child, LauncherError> {
        if request.rootfs.is_some() || request.task_root.is_some() {
            return Err(LauncherError::NeedsLinux("a root file system"));
        }
        refuse_what_needs_linux(&request.launch)?;
        let credentials = switch(credentials(&request.launch, None)?)?;
        let owner = owner(credentials.as_ref());
        let facts = Facts { posix: true, credentials, ..Facts::default() };
        let compiled = compile(&request.launch, &facts)?;
        let life = LIFE_ENDS_TREE
            | match request.lifetime {
                Lifetime::Independent => 0,
                Lifetime::WithAgent => LIFE_WITH_AGENT,
            };
        let (init, control, report) = hand_over(&self.spawner, &request, compiled, &[], life)?;
        let argv = request.launch.command.map(|command| command.argv).unwrap_or_default();
        Ok(Child { init, argv, owner, control, report })
    }

    /// Ends every process of a container and waits until all are gone, at most `deadline`.
    ///
    /// Repeatable; nothing there is success. Errors: `Host`, with a process that is left.
    pub fn kill(&self, init: Option<InitPid>, deadline: Duration) -> Result<(), LauncherError> {
        let Some(init) = init else { return Ok(()) };
        // Ours to reap once it is gone, unless somebody else has.
        let handle = child::open(init)?;
        tree::end(init.pid, init.start_time, deadline)?;
        if let Some(handle) = handle {
            let _status = linux::pidfd::reap(std::os::fd::AsFd::as_fd(&handle));
        }
        Ok(())
    }

    /// The spawner, if one runs.
    #[cfg(test)]
    pub(super) fn spawner_pid(&self) -> Option<i32> {
        self.spawner.pid()
    }
}

/// Isolators that ask for these are refused when they are chosen; one of the embedder's may not be.
fn refuse_what_needs_linux(launch: &LaunchInfo) -> Result<(), LauncherError> {
    let asked = [
        (!launch.namespaces.is_empty(), "a namespace"),
        (!launch.cgroups.is_empty(), "a cgroup"),
        (launch.hostname.is_some(), "a hostname"),
        (launch.readonly_rootfs, "a read-only root file system"),
        (!launch.file_operations.is_empty(), "a file operation"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(LauncherError::NeedsLinux(what)),
        None => Ok(()),
    }
}

/// The switch that has to be made: none to the user that this process is.
fn switch(wanted: Option<Credentials>) -> Result<Option<Credentials>, LauncherError> {
    let Some(wanted) = wanted else { return Ok(None) };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let held = capabilities::held()?;
    if held.contains(capabilities::SETUID) && held.contains(capabilities::SETGID) {
        return Ok(Some(wanted));
    }
    match (wanted.uid, wanted.gid) == (uid, gid) {
        true => Ok(None),
        false => Err(LauncherError::OtherUser { uid: wanted.uid, gid: wanted.gid }),
    }
}
