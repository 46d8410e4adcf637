//! `cgroups/cpu`: the CPUs that a container gets when others want them too, and never more.
//!
//! `cpus` becomes a share (`cpu.shares`, `cpu.weight`) and a quota of exactly the same size
//! (`cpu.cfs_quota_us`, `cpu.max`). Without `cpus` nothing is limited; time is counted in any case.
//!
//! Kernel: cgroup controllers `cpu` and `cpuacct` (v1) or `cpu` (v2); no `cpuacct` where that is a
//! hierarchy of its own and the v2 cgroup of the container counts the same. Undo: the cgroups are removed.

use super::place::{Place, refused};
use crate::isolators::{Host, Isolator, IsolatorError};
use crate::linux::cgroups::Before;
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Resources, Usage};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Cpu {
    place: Place,
}

const CPU: usize = 0;

impl Isolator for Cpu {
    const NAME: &'static str = "cgroups/cpu";
    const NESTING: bool = true;
    type Container = ();

    fn create(host: &Host) -> Result<Self, IsolatorError> {
        Ok(Self { place: Place::new(host, host.cgroups.cpu_controllers())? })
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let cgroups = self.place.make(id)?;
        self.limit(id, &context.config.resources, Before::Defaults)?;
        Ok((LaunchInfo { cgroups, ..LaunchInfo::default() }, ()))
    }

    fn update(
        &self,
        id: &ContainerId,
        (): &mut (),
        resources: &Resources,
    ) -> Result<(), IsolatorError> {
        self.limit(id, resources, Before::Anything)
    }

    fn usage(&self, id: &ContainerId, (): &()) -> Result<Usage, IsolatorError> {
        let used = self.place.cpu_usage(id)?;
        Ok(Usage {
            cpu_ns: used.total,
            cpu_user_ns: used.user,
            cpu_system_ns: used.system,
            cpu_throttled_ns: used.throttled,
            ..Usage::default()
        })
    }

    fn cleanup(&self, id: &ContainerId, _: Option<&()>) -> Result<(), IsolatorError> {
        self.place.remove(id)
    }
}

impl Cpu {
    fn limit(
        &self,
        id: &ContainerId,
        resources: &Resources,
        before: Before,
    ) -> Result<(), IsolatorError> {
        let Some(cpus) = resources.cpus else { return Ok(()) };
        if !(cpus.is_finite() && cpus > 0.0) {
            return Err(IsolatorError::Invalid(format!("{cpus} cpus; more than 0 are needed")));
        }
        self.place.group(id, CPU)?.set_cpus(cpus, before).map_err(refused)
    }
}
