//! `posix/rlimits`: resource limits of a container's processes, as they were asked for.
//!
//! Raising a hard limit above this process's own needs CAP_SYS_RESOURCE. Every limit here was asked
//! for, so what cannot be given fails the launch before anything is started.
//!
//! Kernel: setrlimit(2). Undo: none needed, limits die with the process.

use rustix::process::{Resource, getrlimit};

use crate::isolators::{Host, Isolator, IsolatorError};
use crate::linux::capabilities;
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Rlimit, RlimitKind};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Rlimits;

impl Isolator for Rlimits {
    const NAME: &'static str = "posix/rlimits";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let rlimits = context.config.rlimits.clone();
        if rlimits.is_empty() {
            return Ok((LaunchInfo::default(), ()));
        }
        let may_raise = capabilities::held()?.contains(capabilities::SYS_RESOURCE);
        for rlimit in &rlimits {
            check(rlimit, getrlimit(resource(rlimit.kind)).maximum, may_raise)?;
        }
        Ok((LaunchInfo { rlimits, ..LaunchInfo::default() }, ()))
    }
}

/// `None` is without a limit, and more than every limit.
fn exceeds(value: Option<u64>, bound: Option<u64>) -> bool {
    match (value, bound) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(value), Some(bound)) => value > bound,
    }
}

fn check(rlimit: &Rlimit, own: Option<u64>, may_raise: bool) -> Result<(), IsolatorError> {
    let name = format!("rlimit {}", rlimit.kind);
    if exceeds(rlimit.soft, rlimit.hard) {
        return Err(IsolatorError::Invalid(format!("{name}: the soft limit exceeds the hard one")));
    }
    if exceeds(rlimit.hard, own) && !may_raise {
        let own = own.map_or_else(|| "unlimited".to_owned(), |own| own.to_string());
        return Err(IsolatorError::Unsupported {
            feature: "CAP_SYS_RESOURCE",
            detail: format!("{name} cannot be raised above the hard limit of this process, {own}"),
        });
    }
    Ok(())
}

fn resource(kind: RlimitKind) -> Resource {
    match kind {
        RlimitKind::As => Resource::As,
        RlimitKind::Core => Resource::Core,
        RlimitKind::Cpu => Resource::Cpu,
        RlimitKind::Data => Resource::Data,
        RlimitKind::Fsize => Resource::Fsize,
        RlimitKind::Locks => Resource::Locks,
        RlimitKind::Memlock => Resource::Memlock,
        RlimitKind::Msgqueue => Resource::Msgqueue,
        RlimitKind::Nice => Resource::Nice,
        RlimitKind::Nofile => Resource::Nofile,
        RlimitKind::Nproc => Resource::Nproc,
        RlimitKind::Rss => Resource::Rss,
        RlimitKind::Rtprio => Resource::Rtprio,
        RlimitKind::Rttime => Resource::Rttime,
        RlimitKind::Sigpending => Resource::Sigpending,
        RlimitKind::Stack => Resource::Stack,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(soft: Option<u64>, hard: Option<u64>) -> Rlimit {
        Rlimit { kind: RlimitKind::Nofile, soft, hard }
    }

    #[test]
    fn raising_needs_the_capability_and_lowering_does_not() {
        for (hard, own, may_raise, allowed) in [
            (Some(10), Some(20), false, true),
            (Some(20), Some(20), false, true),
            (Some(21), Some(20), false, false),
            (Some(21), Some(20), true, true),
            (None, Some(20), false, false),
            (None, None, false, true),
        ] {
            let result = check(&limit(Some(1), hard), own, may_raise);
            assert_eq!(result.is_ok(), allowed, "{hard:?} of {own:?}: {result:?}");
        }
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        assert!(check(&limit(Some(2), Some(1)), None, true).is_err());
        assert!(check(&limit(None, Some(1)), None, true).is_err());
        assert!(check(&limit(None, None), None, true).is_ok());
    }
}
