//! `cgroups/pids`: the most processes and threads that a container may have.
//!
//! The payload gets exactly what was asked for: the init is counted beside it. A fork beyond the limit
//! fails with EAGAIN in the payload, and nothing is killed. What is counted is without the init, too.
//!
//! Kernel: cgroup controller `pids`, Linux 4.3. Undo: the cgroup is removed.

use super::place::{Place, refused};
use crate::isolators::{Host, Isolator, IsolatorError};
use crate::linux::cgroups::Controller;
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Limitation, Resources, Usage};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Pids {
    place: Place,
}

/// Processes of ours in every container.
const INIT: u64 = 1;

impl Isolator for Pids {
    const NAME: &'static str = "cgroups/pids";
    const NESTING: bool = true;
    type Container = ();

    fn create(host: &Host) -> Result<Self, IsolatorError> {
        Ok(Self { place: Place::new(host, &[Controller::Pids])? })
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let cgroups = self.place.make(id)?;
        self.limit(id, &context.config.resources)?;
        Ok((LaunchInfo { cgroups, ..LaunchInfo::default() }, ()))
    }

    fn update(
        &self,
        id: &ContainerId,
        (): &mut (),
        resources: &Resources,
    ) -> Result<(), IsolatorError> {
        self.limit(id, resources)
    }

    fn usage(&self, id: &ContainerId, (): &()) -> Result<Usage, IsolatorError> {
        let pids = self.place.group(id, 0)?.pids()?;
        Ok(Usage { pids: Some(pids.saturating_sub(INIT)), ..Usage::default() })
    }

    /// Nobody is left to be counted.
    fn last(&self, _: &ContainerId, (): &()) -> Result<(Usage, Option<Limitation>), IsolatorError> {
        Ok((Usage::default(), None))
    }

    fn cleanup(&self, id: &ContainerId, _: Option<&()>) -> Result<(), IsolatorError> {
        self.place.remove(id)
    }
}

impl Pids {
    fn limit(&self, id: &ContainerId, resources: &Resources) -> Result<(), IsolatorError> {
        match resources.pids {
            Some(pids) => {
                self.place.group(id, 0)?.set_pids(pids.saturating_add(INIT)).map_err(refused)
            }
            None => Ok(()),
        }
    }
}
