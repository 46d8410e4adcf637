//! `linux/capabilities`: a container has the capabilities that container engines grant, and those it
//! was given, and no other.
//!
//! What this process lacks itself cannot be granted: of the default set it is left out, of what was
//! asked for it is refused. A payload that is not root gets what was added, as ambient capabilities.
//!
//! Kernel: capabilities(7); ambient ones since Linux 4.3. Undo: none needed, they die with the process.

use crate::isolators::{Host, Isolator, IsolatorError};
use crate::linux::capabilities::{self, Set};
use crate::model::{
    CapabilitySets, ContainerConfig, ContainerId, LaunchContext, LaunchInfo, TaskLaunch,
};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Capabilities {
    held: Set,
}

/// Granted unless dropped: enough for a package manager and a web server, and nothing that reaches
/// beyond the container.
const DEFAULT: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Stands for all capabilities.
const ALL: &str = "ALL";

impl Isolator for Capabilities {
    const NAME: &'static str = "linux/capabilities";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self { held: capabilities::held()? })
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let sets = sets(&context.config, self.held)?;
        Ok((contribution(sets, context), ()))
    }
}

/// A command executor needs its own to change the root for its task; it sets the task's.
fn contribution(sets: CapabilitySets, context: &LaunchContext) -> LaunchInfo {
    match (context.config.shape.task(), &context.provisioned) {
        (Some(_), Some(_)) => LaunchInfo {
            task: TaskLaunch { capabilities: Some(sets), ..TaskLaunch::default() },
            ..LaunchInfo::default()
        },
        (Some(_) | None, _) => LaunchInfo { capabilities: Some(sets), ..LaunchInfo::default() },
    }
}

fn sets(config: &ContainerConfig, held: Set) -> Result<CapabilitySets, IsolatorError> {
    let added = named(&config.capabilities_add, held)?;
    let dropped = named(&config.capabilities_drop, Set::ALL)?;
    let lacking = added.without(held);
    if let Some(name) = lacking.names().next() {
        return Err(IsolatorError::Unsupported {
            feature: "capabilities",
            detail: format!("{name} cannot be added, this process does not have it"),
        });
    }
    let drops_all = config.capabilities_drop.iter().any(|name| is_all(name));
    let default: Set = DEFAULT.iter().filter_map(|name| capabilities::by_name(name)).collect();
    let granted = match drops_all {
        true => added,
        false => default.and(held).or(added).without(dropped),
    };
    // Dropping by name wins over adding; `ALL` is meant as "only what is added".
    let ambient = added.and(granted);
    Ok(CapabilitySets {
        bounding: granted.bits(),
        effective: granted.bits(),
        ambient: ambient.bits(),
    })
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case(ALL)
}

fn named(names: &[String], all: Set) -> Result<Set, IsolatorError> {
    let mut set = Set::NONE;
    for name in names {
        set = match (is_all(name), capabilities::by_name(name)) {
            (true, _) => set.or(all),
            (false, Some(capability)) => set.with(capability),
            (false, None) => {
                return Err(IsolatorError::Invalid(format!("there is no capability {name:?}")));
            }
        };
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(add: &[&str], drop: &[&str], held: Set) -> Result<CapabilitySets, String> {
        let mut config = crate::isolators::tests::config(None);
        config.capabilities_add = add.iter().map(|name| (*name).to_owned()).collect();
        config.capabilities_drop = drop.iter().map(|name| (*name).to_owned()).collect();
        sets(&config, held).map_err(|error| error.to_string())
    }

    fn set(names: &[&str]) -> u64 {
        names
            .iter()
            .map(|name| capabilities::by_name(name).expect("a capability"))
            .collect::<Set>()
            .bits()
    }

    #[test]
    fn by_default_it_is_what_engines_grant() {
        let sets = granted(&[], &[], Set::ALL).expect("granted");
        assert_eq!(sets.effective, set(DEFAULT));
        assert_eq!(sets.effective.count_ones(), 14);
        assert_eq!((sets.bounding, sets.ambient), (sets.effective, 0));
        // The same as a mask of proc_pid_status(5).
        assert_eq!(sets.effective, 0xa804_25fb);
    }

    #[test]
    fn adding_and_dropping_change_the_default() {
        let sets = granted(&["CAP_SYS_ADMIN"], &["CAP_CHOWN"], Set::ALL).expect("granted");
        assert_eq!(sets.effective, set(DEFAULT) - set(&["CAP_CHOWN"]) + set(&["CAP_SYS_ADMIN"]));
        assert_eq!(sets.ambient, set(&["CAP_SYS_ADMIN"]));
        let both = granted(&["CAP_KILL"], &["CAP_KILL"], Set::ALL).expect("granted");
        assert_eq!(both.effective & set(&["CAP_KILL"]), 0, "dropping wins");
    }

    #[test]
    fn dropping_all_leaves_what_was_added() {
        let sets = granted(&["CAP_KILL"], &["ALL"], Set::ALL).expect("granted");
        assert_eq!(sets.effective, set(&["CAP_KILL"]));
        let none = granted(&[], &["all"], Set::ALL).expect("granted");
        assert_eq!((none.bounding, none.effective), (0, 0));
    }

    #[test]
    fn what_this_process_lacks_is_left_out_of_the_default_and_refused_when_asked_for() {
        let held = Set::ALL.without(
            ["CAP_MKNOD", "CAP_SYS_RESOURCE"]
                .iter()
                .filter_map(|name| capabilities::by_name(name))
                .collect(),
        );
        let sets = granted(&[], &[], held).expect("granted");
        assert_eq!(sets.effective, set(DEFAULT) - set(&["CAP_MKNOD"]));
        let error = granted(&["CAP_SYS_RESOURCE"], &[], held).expect_err("refused");
        assert!(error.contains("CAP_SYS_RESOURCE"), "{error}");
        let all = granted(&["ALL"], &[], held).expect("all that can be had");
        assert_eq!(all.effective, held.bits());
    }

    #[test]
    fn an_unknown_name_is_the_callers_mistake() {
        assert!(granted(&["CAP_FLY"], &[], Set::ALL).is_err());
        assert!(granted(&[], &["CAP_FLY"], Set::ALL).is_err());
        assert!(granted(&["kill"], &[], Set::ALL).is_ok(), "CAP_ may be left out");
    }

    #[test]
    fn a_command_executor_keeps_its_own_and_is_told_its_tasks() {
        use crate::isolators::tests::{config, context, provisioned};
        use crate::model::{ExecutorInfo, Shape};

        let shape = Shape::CommandTask(ExecutorInfo::default(), Box::default());
        let isolator = Capabilities { held: Set::ALL };
        let id = ContainerId::new("a").expect("valid");
        let info = |shape: Shape, image: Option<&str>| {
            let config = ContainerConfig { shape, ..config(image.map(|_| "rootfs:/srv")) };
            let context = context(config, image.map(provisioned));
            isolator.prepare(&id, &context).expect("prepared").0
        };
        let task = info(shape.clone(), Some("/srv"));
        assert!(task.capabilities.is_none() && task.task.capabilities.is_some());
        for (shape, image) in [
            (shape, None),
            (Shape::Executor(ExecutorInfo::default()), Some("/srv")),
            (Shape::Standalone, Some("/srv")),
        ] {
            let own = info(shape, image);
            assert!(own.capabilities.is_some() && own.task.capabilities.is_none());
        }
    }
}
