//! `namespaces/pid`: a container sees its own processes only, numbered from 1.
//!
//! Its init is process 1 there: when the init dies, the kernel ends all others. `/proc` shows the new
//! namespace, also on the host's file system, where it is mounted over the host's in the container's
//! own mount namespace.
//!
//! Kernel: pid_namespaces(7), `CONFIG_PID_NS`. Undo: none needed, the namespace dies with its init.

use std::collections::BTreeSet;

use crate::isolators::filesystem::mounts;
use crate::isolators::{Host, Isolator, IsolatorError};
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Namespace};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Pid;

impl Isolator for Pid {
    const NAME: &'static str = "namespaces/pid";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        super::require("pid")?;
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        // In a root file system of its own `filesystem/linux` mounts /proc, and hides parts of it.
        let mounts = match context.provisioned {
            Some(_) => Vec::new(),
            None => vec![mounts::proc()],
        };
        let namespaces = BTreeSet::from([Namespace::Pid, Namespace::Mnt]);
        Ok((LaunchInfo { mounts, namespaces, ..LaunchInfo::default() }, ()))
    }
}
