//! `posix/cpu`: counts the CPU time of a container's processes; limits nothing.
//!
//! A process that left the tree of the init's children is missed; use `cgroups/cpu` to miss none.
//!
//! Kernel: proc(5). Undo: nothing.

use crate::isolators::{Host, InitPid, Isolator, IsolatorError};
use crate::linux::processes;
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Usage};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Cpu;

impl Isolator for Cpu {
    const NAME: &'static str = "posix/cpu";
    /// The init, once it is there.
    type Container = Option<InitPid>;

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        _: &LaunchContext,
    ) -> Result<(LaunchInfo, Self::Container), IsolatorError> {
        Ok((LaunchInfo::default(), None))
    }

    fn isolate(
        &self,
        _: &ContainerId,
        container: &mut Self::Container,
        init: InitPid,
    ) -> Result<(), IsolatorError> {
        *container = Some(init);
        Ok(())
    }

    fn usage(&self, _: &ContainerId, container: &Self::Container) -> Result<Usage, IsolatorError> {
        let Some(init) = container else { return Ok(Usage::default()) };
        let Some(tree) = processes::usage_of_tree(init.pid, init.start_time)? else {
            return Ok(Usage::default());
        };
        Ok(Usage {
            cpu_ns: Some(tree.user_ns.saturating_add(tree.system_ns)),
            cpu_user_ns: Some(tree.user_ns),
            cpu_system_ns: Some(tree.system_ns),
            ..Usage::default()
        })
    }
}
