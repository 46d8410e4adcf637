//! What of Mesos' shapes of containers no launch could honour.

use super::validate::{InvalidSpec, check_environment, check_nul, check_words};
use crate::limits;
use crate::model::{ContainerConfig, ContainerType, ExecutorInfo, Shape, TaskInfo};

/// Whom the request is for. Another containerizer may take what is none of ours.
pub(super) fn check_type(asked: ContainerType) -> Result<(), InvalidSpec> {
    match asked {
        ContainerType::Mesos => Ok(()),
        ContainerType::Docker => Err(InvalidSpec::ContainerType),
    }
}

/// Executor and task, if there are any.
pub(super) fn check_shape(config: &ContainerConfig) -> Result<(), InvalidSpec> {
    check_environment(&config.agent_environment)?;
    match &config.shape {
        Shape::Standalone => Ok(()),
        Shape::Executor(executor) => check_executor(executor),
        Shape::CommandTask(executor, task) => {
            check_executor(executor)?;
            check_task(task)?;
            // A shell line has no place for the arguments that tell where the task's root is.
            match config.command.shell && config.image.is_some() {
                true => Err(InvalidSpec::ShellExecutor),
                false => Ok(()),
            }
        }
    }
}

fn check_executor(executor: &ExecutorInfo) -> Result<(), InvalidSpec> {
    check_id("framework id", &executor.framework_id)?;
    check_id("executor id", &executor.executor_id)?;
    check_id("agent id", &executor.agent_id)?;
    let token = executor.authentication_token.as_ref().map(crate::model::Secret::expose);
    match token.is_some_and(|token| token.contains('\0')) {
        // Not shown, unlike every other text with a NUL byte.
        true => Err(InvalidSpec::Nul { what: "authentication token", text: "…".to_owned() }),
        false => Ok(()),
    }
}

fn check_task(task: &TaskInfo) -> Result<(), InvalidSpec> {
    check_id("task id", &task.task_id)?;
    check_nul("task name", &task.name)?;
    if task.command.shell && task.command.value.is_none() {
        return Err(InvalidSpec::NoShellLine);
    }
    check_words(&task.command)
}

/// Ids become parts of paths.
fn check_id(what: &'static str, id: &str) -> Result<(), InvalidSpec> {
    let bad = id.is_empty()
        || matches!(id, "." | "..")
        || id.len() > limits::MESOS_ID_LENGTH_MAX
        || id.contains(|c: char| c == '/' || c == '\\' || c.is_control());
    match bad {
        true => Err(InvalidSpec::MesosId { what, id: id.to_owned() }),
        false => Ok(()),
    }
}

/// The task's environment, URIs and user are the container's: the executor starts the task in it.
pub(super) fn with_task(mut config: ContainerConfig) -> ContainerConfig {
    if let Some(task) = config.shape.task() {
        let command = &task.command;
        config.command.environment.extend(command.environment.clone());
        config.command.uris.extend(command.uris.clone());
        config.command.user = command.user.clone().or(config.command.user);
    }
    config
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
