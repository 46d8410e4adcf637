//! `posix/mem`: counts the resident memory of a container's processes; limits nothing.
//!
//! Pages that processes share are counted for each. A process that left the tree of the init's children
//! is missed; use `cgroups/mem` to miss none.
//!
//! Kernel: proc(5). Undo: nothing.

use crate::isolators::{Host, InitPid, Isolator, IsolatorError};
use crate::linux::processes;
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Usage};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Mem;

impl Isolator for Mem {
    const NAME: &'static str = "posix/mem";
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
        let tree = processes::usage_of_tree(init.pid, init.start_time)?;
        Ok(Usage { memory: tree.map(|tree| tree.resident_bytes), ..Usage::default() })
    }
}
