//! A container's cgroup for some controllers: made, found and removed in one way for all.

use std::path::PathBuf;
use std::sync::Arc;

use rustix::io::Errno;

use crate::isolators::{Host, IsolatorError};
use crate::linux::Error;
use crate::linux::cgroups::{Cgroups, Controller, CpuUsage, Group};
use crate::model::ContainerId;
use crate::paths;

/// Where the cgroups of one isolator are.
#[derive(Debug)]
pub(super) struct Place {
    cgroups: Arc<Cgroups>,
    controllers: &'static [Controller],
}

impl Place {
    /// Errors: `Unsupported` where the host does not have one of the controllers.
    pub(super) fn new(
        host: &Host,
        controllers: &'static [Controller],
    ) -> Result<Self, IsolatorError> {
        let missing = |controller: &&Controller| host.cgroups.version(**controller).is_none();
        match controllers.iter().find(missing) {
            Some(controller) => Err(IsolatorError::Unsupported {
                feature: "cgroup controllers",
                detail: format!("no hierarchy with {} is mounted", controller.name()),
            }),
            None => Ok(Self { cgroups: Arc::clone(&host.cgroups), controllers }),
        }
    }

    /// Makes the container's cgroups; undone by [`Self::remove`]. Answers with what the first
    /// process must join, each directory once.
    pub(super) fn make(&self, id: &ContainerId) -> Result<Vec<PathBuf>, IsolatorError> {
        let groups = self.cgroups.create(self.controllers, &paths::cgroup(id)).map_err(refused)?;
        let mut directories: Vec<PathBuf> = groups.iter().map(Group::processes).collect();
        directories.sort();
        directories.dedup();
        Ok(directories)
    }

    /// The container's cgroup for the `index`th controller.
    pub(super) fn group(&self, id: &ContainerId, index: usize) -> Result<Group, IsolatorError> {
        let controller = self.controllers[index];
        self.cgroups.group(controller, &paths::cgroup(id)).ok_or_else(|| {
            IsolatorError::Unsupported {
                feature: "cgroup controllers",
                detail: format!("no hierarchy with {} is mounted", controller.name()),
            }
        })
    }

    /// What the container has used of the CPUs.
    pub(super) fn cpu_usage(&self, id: &ContainerId) -> Result<CpuUsage, IsolatorError> {
        Ok(self.cgroups.cpu_usage(&paths::cgroup(id))?)
    }

    pub(super) fn remove(&self, id: &ContainerId) -> Result<(), IsolatorError> {
        Ok(self.cgroups.remove(self.controllers, &paths::cgroup(id))?)
    }
}

/// A limit or a name that the kernel does not take *now* is the caller's to change.
pub(super) fn refused(error: Error) -> IsolatorError {
    match error.errno {
        Errno::BUSY | Errno::EXIST => IsolatorError::Conflict(error.to_string()),
        Errno::INVAL | Errno::RANGE => IsolatorError::Invalid(error.to_string()),
        _ => IsolatorError::Kernel(error),
    }
}
