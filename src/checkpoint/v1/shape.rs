//! Version 1 of a container's shape. Frozen, as everything beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{CommandInfo, ExecutorInfo, Shape, TaskInfo, Uri};

/// [`Shape`], frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ShapeV1 {
    Standalone,
    Executor(ExecutorV1),
    CommandTask(ExecutorV1, TaskV1),
}

/// [`ExecutorInfo`], frozen. The token is not written: it is of use to nobody but the executor,
/// which has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ExecutorV1 {
    framework_id: String,
    executor_id: String,
    agent_id: String,
    checkpoint: bool,
    shutdown_grace_period_ns: Option<u64>,
}

/// [`TaskInfo`], frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskV1 {
    task_id: String,
    name: String,
    command: CommandV1,
}

/// [`CommandInfo`] of a task, frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct CommandV1 {
    shell: bool,
    value: Option<String>,
    arguments: Vec<String>,
    entrypoint: Option<Vec<String>>,
    arguments_replace_cmd: bool,
    environment: BTreeMap<String, String>,
    user: Option<String>,
    /// value, executable, extract, output file
    uris: Vec<(String, bool, bool, Option<String>)>,
}

impl From<&Shape> for ShapeV1 {
    fn from(shape: &Shape) -> Self {
        match shape {
            Shape::Standalone => Self::Standalone,
            Shape::Executor(executor) => Self::Executor(executor.into()),
            Shape::CommandTask(executor, task) => {
                let TaskInfo { task_id, name, command } = (**task).clone();
                let command = CommandV1::from(command);
                Self::CommandTask(executor.into(), TaskV1 { task_id, name, command })
            }
        }
    }
}

impl From<ShapeV1> for Shape {
    fn from(frozen: ShapeV1) -> Self {
        match frozen {
            ShapeV1::Standalone => Self::Standalone,
            ShapeV1::Executor(executor) => Self::Executor(executor.into()),
            ShapeV1::CommandTask(executor, task) => {
                let TaskV1 { task_id, name, command } = task;
                let task = TaskInfo { task_id, name, command: command.into() };
                Self::CommandTask(executor.into(), Box::new(task))
            }
        }
    }
}

impl From<&ExecutorInfo> for ExecutorV1 {
    fn from(executor: &ExecutorInfo) -> Self {
        let grace = executor.shutdown_grace_period;
        Self {
            framework_id: executor.framework_id.clone(),
            executor_id: executor.executor_id.clone(),
            agent_id: executor.agent_id.clone(),
            checkpoint: executor.checkpoint,
            shutdown_grace_period_ns: grace.and_then(|grace| u64::try_from(grace.as_nanos()).ok()),
        }
    }
}

impl From<ExecutorV1> for ExecutorInfo {
    fn from(frozen: ExecutorV1) -> Self {
        Self {
            framework_id: frozen.framework_id,
            executor_id: frozen.executor_id,
            agent_id: frozen.agent_id,
            checkpoint: frozen.checkpoint,
            shutdown_grace_period: frozen.shutdown_grace_period_ns.map(Duration::from_nanos),
            authentication_token: None,
        }
    }
}

impl From<CommandInfo> for CommandV1 {
    fn from(command: CommandInfo) -> Self {
        let uri = |uri: Uri| (uri.value, uri.executable, uri.extract, uri.output_file);
        Self {
            shell: command.shell,
            value: command.value,
            arguments: command.arguments,
            entrypoint: command.entrypoint,
            arguments_replace_cmd: command.arguments_replace_cmd,
            environment: command.environment,
            user: command.user,
            uris: command.uris.into_iter().map(uri).collect(),
        }
    }
}

impl From<CommandV1> for CommandInfo {
    fn from(frozen: CommandV1) -> Self {
        Self {
            shell: frozen.shell,
            value: frozen.value,
            arguments: frozen.arguments,
            entrypoint: frozen.entrypoint,
            arguments_replace_cmd: frozen.arguments_replace_cmd,
            environment: frozen.environment,
            user: frozen.user,
            uris: frozen.uris.into_iter().map(super::thaw_uri).collect(),
        }
    }
}

/// The shape of the container whose bytes are golden.
#[cfg(test)]
pub(super) fn example() -> Shape {
    let executor = ExecutorInfo {
        framework_id: "framework".into(),
        executor_id: "executor".into(),
        agent_id: "agent".into(),
        checkpoint: true,
        shutdown_grace_period: Some(Duration::from_secs(3)),
        authentication_token: None,
    };
    let command = CommandInfo {
        shell: false,
        value: Some("/bin/task".into()),
        arguments: vec!["task".into(), "x".into()],
        entrypoint: Some(vec!["/enter".into()]),
        arguments_replace_cmd: true,
        environment: [("T".to_owned(), "1".to_owned())].into(),
        user: Some("nobody".into()),
        uris: vec![Uri {
            value: "file:/z".into(),
            executable: false,
            extract: true,
            output_file: None,
        }],
    };
    let task = TaskInfo { task_id: "task".into(), name: "a task".into(), command };
    Shape::CommandTask(executor, Box::new(task))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    #[test]
    fn every_shape_survives_freezing_but_for_its_token() {
        let Shape::CommandTask(executor, task) = example() else {
            panic!("the example is a task");
        };
        for shape in [
            Shape::Standalone,
            Shape::Executor(executor.clone()),
            Shape::CommandTask(executor.clone(), task),
        ] {
            assert_eq!(Shape::from(ShapeV1::from(&shape)), shape);
        }
        let token = Some(Secret::new("token"));
        let with =
            Shape::Executor(ExecutorInfo { authentication_token: token, ..executor.clone() });
        assert_eq!(Shape::from(ShapeV1::from(&with)), Shape::Executor(executor));
    }
}
