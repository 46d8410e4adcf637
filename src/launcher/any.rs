//! The launcher in use: one of two.

use std::sync::Arc;
use std::time::Duration;

use super::{Child, ForkRequest, InitPid, LauncherError, LinuxLauncher, PosixLauncher};
use crate::isolators::LauncherKind;
use crate::linux::cgroups::Cgroups;
use crate::linux::{capabilities, tree};
use crate::model::ContainerId;
use crate::paths;

/// Starts inits and ends containers. One for all containers; shared by threads.
#[derive(Debug)]
pub enum AnyLauncher {
    /// With namespaces and cgroups.
    Linux(LinuxLauncher),
    /// With nothing but a session; and the cgroups, for what a dead owner that had them has left.
    Posix(PosixLauncher, Arc<Cgroups>),
}

impl AnyLauncher {
    /// A launcher of this kind. Starts nothing yet.
    pub fn new(kind: LauncherKind, cgroups: Arc<Cgroups>) -> Result<Self, LauncherError> {
        Ok(match kind {
            LauncherKind::Linux => Self::Linux(LinuxLauncher::new(cgroups)?),
            LauncherKind::Posix => Self::Posix(PosixLauncher::new()?, cgroups),
        })
    }

    /// As [`LinuxLauncher::fork`].
    pub fn fork(&self, request: ForkRequest) -> Result<Child, LauncherError> {
        match self {
            Self::Linux(linux) => linux.fork(request),
            Self::Posix(posix, _) => posix.fork(request),
        }
    }

    /// As [`LinuxLauncher::kill`]. Also ends what the other launcher has started for an owner that is
    /// dead now: of posix, there is no cgroup, and the init must not be killed before its tree.
    pub fn kill(
        &self,
        id: &ContainerId,
        init: Option<InitPid>,
        deadline: Duration,
    ) -> Result<(), LauncherError> {
        match self {
            Self::Linux(linux) => {
                if let Some(init) = init.filter(|_| !linux.has_group(id)) {
                    tree::end(init.pid, init.start_time, deadline)?;
                }
                linux.kill(id, init, deadline)
            }
            Self::Posix(posix, cgroups) => {
                posix.kill(init, deadline)?;
                Ok(cgroups.kill_group_kill(&paths::cgroup(id), deadline)?)
            }
        }
    }

    /// As [`LinuxLauncher::is_gone`].
    pub(crate) fn is_gone(&self, id: &ContainerId, init: Option<InitPid>) -> bool {
        match self {
            Self::Linux(linux) => linux.is_gone(id, init),
            Self::Posix(..) => false,
        }
    }

    /// As [`LinuxLauncher::forget`].
    pub fn forget(&self, id: &ContainerId) -> Result<(), LauncherError> {
        match self {
            Self::Linux(linux) => linux.forget(id),
            Self::Posix(_, cgroups) => Ok(cgroups.kill_group_remove(&paths::cgroup(id))?),
        }
    }
}

/// The launcher that is taken where none is named: linux for a process with CAP_SYS_ADMIN on a
/// kernel with the namespaces that containers have, otherwise posix.
pub fn automatic() -> LauncherKind {
    let admin = capabilities::held().is_ok_and(|held| held.contains(capabilities::SYS_ADMIN));
    let known = |name: &str| std::fs::exists(format!("/proc/self/ns/{name}")).unwrap_or(false);
    match admin && ["mnt", "pid", "ipc", "uts"].into_iter().all(known) {
        true => LauncherKind::Linux,
        false => LauncherKind::Posix,
    }
}
