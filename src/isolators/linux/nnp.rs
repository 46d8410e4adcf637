//! `linux/nnp`: no process in the container can gain privileges through exec.
//!
//! Kernel: prctl(2) `PR_SET_NO_NEW_PRIVS`, Linux 3.5. Undo: none needed, the bit dies with the process.

use crate::isolators::{Host, Isolator, IsolatorError};
use crate::model::{ContainerId, LaunchContext, LaunchInfo};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct NoNewPrivileges;

impl Isolator for NoNewPrivileges {
    const NAME: &'static str = "linux/nnp";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        _: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        Ok((LaunchInfo { no_new_privileges: true, ..LaunchInfo::default() }, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolators::tests::{config, context};

    #[test]
    fn every_container_gets_the_bit() {
        let id = ContainerId::new("a").expect("valid");
        let (info, ()) =
            NoNewPrivileges.prepare(&id, &context(config(None), None)).expect("prepared");
        assert_eq!(info, LaunchInfo { no_new_privileges: true, ..LaunchInfo::default() });
    }
}
