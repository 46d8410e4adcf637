//! What a dead owner has left, and what is to be done with it. Pure.
//!
//! Containers of a `longshore run` die with it, so all of theirs are buried by whoever comes next, and
//! nothing stays of them. An agent's are buried by the next agent on the same runtime directory, and
//! leave their record and their sandbox, as if they had ended while it was there: taking living ones
//! over again comes with the recovery of agents.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::supervisor::state::{Cause, Ending, Why};
use crate::checkpoint::{ContainerV1, OwnerV1};
use crate::error::Stage;
use crate::launcher::InitPid;
use crate::model::{
    CommandInfo, ContainerConfig, ContainerId, Output, PullPolicy, Record, Resources, Shape, State,
};

/// A container without an owner.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) config: Arc<ContainerConfig>,
    pub(crate) left: Left,
    pub(crate) remains: Remains,
}

/// What is known of a container that has lost its owner or its supervisor.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) init: Option<InitPid>,
    pub(crate) remembered: Arc<[(String, Vec<u8>)]>,
    pub(crate) created_ns: Option<i64>,
    pub(crate) stop_deadline_ns: Option<i64>,
    /// How it ends, as far as is known.
    pub(crate) ending: Ending,
    /// How it has ended, where that was written down and not everything was gone yet.
    pub(crate) recorded: Option<Record>,
}

/// What stays of a container when everything is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remains {
    /// Its record and its sandbox, until somebody has read them.
    Record,
    /// Nothing: nobody will ask for it.
    Nothing,
}

/// What was found of one container on disk.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) container_id: ContainerId,
    pub(crate) checkpoints: Checkpoints,
    /// Somebody holds the lock `run/<id>`.
    pub(crate) run_lock_held: bool,
}

/// What the file of a container says.
#[derive(Debug)]
pub(crate) enum Checkpoints {
    /// There is none: nobody ever heard of this container.
    Absent,
    /// It cannot be read. Everything is undone by the id alone then.
    Unreadable,
    /// Those that are kept, the oldest first.
    Read(Vec<ContainerV1>),
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
    match &found.checkpoints {
        Checkpoints::Read(all) => all.last().map(|checkpoint| checkpoint.owner),
        Checkpoints::Absent | Checkpoints::Unreadable => None,
    }
}

fn orphan(found: Found, sandbox: &Path) -> Orphan {
    let owner = owner(&found);
    let id = found.container_id;
    let (mut all, remains) = match (found.checkpoints, owner) {
        (Checkpoints::Absent, _) => (Vec::new(), Remains::Nothing),
        (Checkpoints::Unreadable, _) => (Vec::new(), Remains::Record),
        (Checkpoints::Read(all), Some(OwnerV1::Run)) => (all, Remains::Nothing),
        (Checkpoints::Read(all), Some(OwnerV1::Agent) | None) => (all, Remains::Record),
    };
    let ending = ending(&all);
    let last = all.pop();
    // A configuration that makes no sense is not needed to undo things by id.
    let config = last.as_ref().and_then(|last| last.config.as_ref().clone().thaw(id.clone()).ok());
    let config = Arc::new(config.unwrap_or_else(|| bare(id, sandbox)));
    Orphan { config, left: Left::of(last, ending), remains }
}

impl Left {
    /// What the last checkpoint says, if there is one that can be read.
    pub(crate) fn of(checkpoint: Option<ContainerV1>, ending: Ending) -> Self {
        let last = checkpoint.as_ref();
        let init = last.and_then(|last| last.init);
        Self {
            init: init.map(|(pid, start_time)| InitPid { pid, start_time }),
            created_ns: last.map(|last| last.created_ns),
            stop_deadline_ns: last.and_then(|last| last.stop_deadline_ns),
            remembered: checkpoint.map(|last| last.isolators).unwrap_or_default(),
            ending,
            recorded: None,
        }
    }
}

/// The end of a container that was left, unless its status says that the payload has ended by itself.
/// How far it had come is what the last of its launch says: DESTROYING comes after anything.
fn ending(checkpoints: &[ContainerV1]) -> Ending {
    let stage = checkpoints.iter().rev().find_map(|checkpoint| launched(&checkpoint.state));
    let ending = Ending::left(stage.unwrap_or(Stage::Destroy));
    // Whoever was asked to end and did, or was about to be made to.
    let asked = checkpoints.last().is_some_and(|checkpoint| checkpoint.stop_deadline_ns.is_some());
    match asked {
        true => Ending { cause: Cause::Wanted(Why::Requested), ..ending },
        false => ending,
    }
}

/// What a state of a launch means by its name; `None` for the others.
fn launched(state: &str) -> Option<Stage> {
    [
        (State::Provisioning, Stage::Provision),
        (State::Preparing, Stage::Prepare),
        (State::Forking, Stage::Fork),
        (State::Isolating, Stage::Isolate),
        (State::Fetching, Stage::Fetch),
        (State::Starting, Stage::Start),
        (State::Running, Stage::Run),
    ]
    .into_iter()
    .find_map(|(named, stage)| (named.to_string() == state).then_some(stage))
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

    fn sandbox() -> std::path::PathBuf {
        "/w/containers/x".into()
    }

    fn checkpoint(owner: OwnerV1, state: &str) -> ContainerV1 {
        let config = bare(ContainerId::new("x").expect("valid"), &sandbox());
        ContainerV1 {
            container_id: "x".into(),
            created_ns: 5,
            owner,
            config: Arc::new(ConfigV1::from(&config)),
            state: state.into(),
            init: Some((7, 8)),
            isolators: Arc::default(),
            image: None,
            stop_deadline_ns: None,
        }
    }

    fn found(checkpoints: Checkpoints, run_lock_held: bool) -> Found {
        let container_id = ContainerId::new("x").expect("valid");
        Found { container_id, checkpoints, run_lock_held }
    }

    /// What stays of the one that was found, if it is buried.
    fn buried(checkpoints: Checkpoints, held: bool, looker: Looker) -> Option<Remains> {
        let orphans = orphans(vec![found(checkpoints, held)], looker, &|_| sandbox());
        orphans.first().map(|orphan| orphan.remains)
    }

    #[test]
    fn a_live_owner_is_left_alone_and_a_dead_one_is_buried() {
        use OwnerV1::{Agent, Run};
        let read = |owner| Checkpoints::Read(vec![checkpoint(owner, "RUNNING")]);
        for (checkpoints, held, looker, expected) in [
            (read(Run), true, Looker::Run, None),
            (read(Run), true, Looker::Agent, None),
            (read(Run), false, Looker::Run, Some(Remains::Nothing)),
            (read(Run), false, Looker::Agent, Some(Remains::Nothing)),
            (read(Agent), false, Looker::Run, None),
            (read(Agent), false, Looker::Agent, Some(Remains::Record)),
            (Checkpoints::Unreadable, false, Looker::Run, None),
            (Checkpoints::Unreadable, false, Looker::Agent, Some(Remains::Record)),
            (Checkpoints::Absent, false, Looker::Run, None),
            (Checkpoints::Absent, false, Looker::Agent, Some(Remains::Nothing)),
        ] {
            let told = format!("{checkpoints:?} {held} {looker:?}");
            assert_eq!(buried(checkpoints, held, looker), expected, "{told}");
        }
    }

    #[test]
    fn how_far_a_container_had_come_is_what_the_last_of_its_launch_says() {
        for (states, stage, ran) in [
            (&["PROVISIONING"][..], Stage::Provision, false),
            (&["ISOLATING", "FETCHING", "DESTROYING"], Stage::Fetch, false),
            (&["FETCHING", "STARTING", "DESTROYING"], Stage::Start, false),
            (&["STARTING", "RUNNING"], Stage::Run, true),
            (&["STARTING", "RUNNING", "DESTROYING", "STUCK"], Stage::Run, true),
            (&["DESTROYING"], Stage::Destroy, false),
        ] {
            let all = states.iter().map(|state| checkpoint(OwnerV1::Agent, state)).collect();
            let orphan = orphan(found(Checkpoints::Read(all), false), &sandbox());
            assert_eq!((orphan.left.ending.stage, orphan.left.ending.ran), (stage, ran));
            assert_eq!(orphan.left.ending.cause, Cause::Wanted(Why::Orphaned), "{states:?}");
            assert_eq!(orphan.left.created_ns, Some(5));
        }
    }

    #[test]
    fn one_that_was_asked_to_stop_was_stopped() {
        let running = checkpoint(OwnerV1::Agent, "RUNNING");
        let asked = ContainerV1 { stop_deadline_ns: Some(1), ..running };
        let orphan = orphan(found(Checkpoints::Read(vec![asked]), false), &sandbox());
        assert_eq!(orphan.left.ending.cause, Cause::Wanted(Why::Requested));
        assert!(orphan.left.ending.ran);
    }
}
