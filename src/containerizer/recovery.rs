//! What a dead owner has left, and what is to be done with it. Pure.
//!
//! Containers of a `longshore run` die with it, so all of theirs are buried by whoever comes next. An
//! agent's are buried by the next agent on the same runtime directory: taking living ones over
//! again comes with the recovery of agents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::checkpoint::{ContainerV1, OwnerV1};
use crate::launcher::InitPid;
use crate::model::{
    CommandInfo, ContainerConfig, ContainerId, Output, PullPolicy, Resources, Shape,
};

/// A container without an owner.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) init: Option<InitPid>,
    pub(crate) remembered: Arc<[(String, Vec<u8>)]>,
}

/// What was found of one container on disk.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) container_id: ContainerId,
    /// `None`: it cannot be read. Everything is undone by the id alone then.
    pub(crate) checkpoint: Option<ContainerV1>,
    /// Somebody holds the lock `run/<id>`.
    pub(crate) run_lock_held: bool,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looker {
    /// An agent, which holds the lock of the runtime directory: no other agent lives.
    Agent,
    /// A `longshore run`; an agent may live beside it.
    Run,
}

/// Who of those found has no owner.
pub(crate) fn orphans(
    found: Vec<Found>,
    looker: Looker,
    sandbox: &dyn Fn(&ContainerId) -> std::path::PathBuf,
) -> Vec<Orphan> {
    found
        .into_iter()
        .filter(|found| !found.run_lock_held)
        .filter(|found| looker == Looker::Agent || owner(found) == Some(OwnerV1::Run))
        .map(|found| {
            let directory = sandbox(&found.container_id);
            orphan(found, &directory)
        })
        .collect()
}

/// Unknown where the checkpoint cannot be read: only an agent, which is alone, may touch it then.
fn owner(found: &Found) -> Option<OwnerV1> {
    found.checkpoint.as_ref().map(|checkpoint| checkpoint.owner)
}

fn orphan(found: Found, sandbox: &Path) -> Orphan {
    let id = found.container_id;
    let Some(checkpoint) = found.checkpoint else {
        let config = Arc::new(bare(id, sandbox));
        return Orphan { config, init: None, remembered: Arc::default() };
    };
    let init = checkpoint.init.map(|(pid, start_time)| InitPid { pid, start_time });
    // A configuration that makes no sense is not needed to undo things by id.
    let config = Arc::unwrap_or_clone(checkpoint.config)
        .thaw(id.clone())
        .unwrap_or_else(|_| bare(id, sandbox));
    Orphan { config: Arc::new(config), init, remembered: checkpoint.isolators }
}

/// What is known of a container whose checkpoint is lost.
fn bare(container_id: ContainerId, sandbox: &Path) -> ContainerConfig {
    ContainerConfig {
        container_id,
        command: CommandInfo::default(),
        image: None,
        pull: PullPolicy::Never,
        working_directory: None,
        hostname: None,
        unmasked: false,
        resources: Resources::default(),
        rlimits: Vec::new(),
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        volumes: Vec::new(),
        stdin: Output::Null,
        stdout: Output::Null,
        stderr: Output::Null,
        stop_signal: None,
        timeout: None,
        shape: Shape::default(),
        agent_environment: BTreeMap::new(),
        labels: BTreeMap::new(),
        data: Vec::new(),
        sandbox: sandbox.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::ConfigV1;

    fn found(owner: Option<OwnerV1>, run_lock_held: bool) -> Found {
        let container_id = ContainerId::new("x").expect("valid");
        let config =
            Arc::new(ConfigV1::from(&bare(container_id.clone(), Path::new("/w/containers/x"))));
        let checkpoint = owner.map(|owner| ContainerV1 {
            container_id: "x".into(),
            created_ns: 0,
            owner,
            config,
            state: "RUNNING".into(),
            init: Some((7, 8)),
            isolators: Arc::default(),
            image: None,
            stop_deadline_ns: None,
        });
        Found { container_id, checkpoint, run_lock_held }
    }

    fn buried(owner: Option<OwnerV1>, held: bool, looker: Looker) -> bool {
        let sandbox = |_: &ContainerId| "/w/containers/x".into();
        !orphans(vec![found(owner, held)], looker, &sandbox).is_empty()
    }

    #[test]
    fn a_live_owner_is_left_alone_and_a_dead_one_is_buried() {
        use OwnerV1::{Agent, Run};
        for (owner, held, looker, expected) in [
            (Some(Run), true, Looker::Run, false),
            (Some(Run), true, Looker::Agent, false),
            (Some(Run), false, Looker::Run, true),
            (Some(Run), false, Looker::Agent, true),
            (Some(Agent), false, Looker::Run, false),
            (Some(Agent), false, Looker::Agent, true),
            (None, false, Looker::Run, false),
            (None, false, Looker::Agent, true),
        ] {
            assert_eq!(buried(owner, held, looker), expected, "{owner:?} {held} {looker:?}");
        }
    }
}
