//! `namespaces/ipc`: System V IPC, POSIX message queues and shared memory of a container's own.
//!
//! With a root file system of its own the container gets a new `/dev/shm`; on the host's file system it
//! keeps the host's.
//!
//! Kernel: ipc_namespaces(7), `CONFIG_IPC_NS`. Undo: none needed, the namespace and the tmpfs die with
//! the last process.

use std::collections::BTreeSet;

use crate::isolators::filesystem::mounts;
use crate::isolators::{Host, Isolator, IsolatorError};
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Namespace};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Ipc;

impl Isolator for Ipc {
    const NAME: &'static str = "namespaces/ipc";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        super::require("ipc")?;
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let mounts = match context.provisioned {
            Some(_) => vec![mounts::shm()],
            None => Vec::new(),
        };
        let namespaces = BTreeSet::from([Namespace::Ipc]);
        Ok((LaunchInfo { mounts, namespaces, ..LaunchInfo::default() }, ()))
    }
}
