//! Mesos' shapes of a container: on its own, an executor's, or a command executor's with its task.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{CapabilitySets, Command, CommandInfo, User};

/// Whose container it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Shape {
    /// Nobody's: tied to no executor.
    #[default]
    Standalone,
    /// An executor's. An image is its root file system.
    Executor(ExecutorInfo),
    /// A command executor's, which runs exactly one task. The executor works on the host's file
    /// system; an image is the task's root file system, and the executor is told where that is.
    CommandTask(ExecutorInfo, Box<TaskInfo>),
}

impl Shape {
    /// The executor, unless it is a container on its own.
    pub fn executor(&self) -> Option<&ExecutorInfo> {
        match self {
            Self::Standalone => None,
            Self::Executor(executor) | Self::CommandTask(executor, _) => Some(executor),
        }
    }

    /// The task of a command executor.
    pub fn task(&self) -> Option<&TaskInfo> {
        match self {
            Self::Standalone | Self::Executor(_) => None,
            Self::CommandTask(_, task) => Some(task),
        }
    }
}

/// An executor: Mesos' `ExecutorInfo` and what else its environment tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExecutorInfo {
    /// `MESOS_FRAMEWORK_ID`.
    pub framework_id: String,
    /// `MESOS_EXECUTOR_ID`.
    pub executor_id: String,
    /// `MESOS_SLAVE_ID`.
    pub agent_id: String,
    /// The framework wants to survive restarts of the agent: `MESOS_CHECKPOINT`, and with it
    /// `MESOS_RECOVERY_TIMEOUT` and `MESOS_SUBSCRIPTION_BACKOFF_MAX`.
    pub checkpoint: bool,
    /// `MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD`; `None`: the agent's.
    pub shutdown_grace_period: Option<Duration>,
    /// `MESOS_EXECUTOR_AUTHENTICATION_TOKEN`. Never written to disk.
    #[serde(skip)]
    pub authentication_token: Option<Secret>,
}

/// What a command executor is to run: Mesos' `TaskInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub task_id: String,
    /// Its name, for people.
    pub name: String,
    /// What runs in the image, by the truth table of `docker/runtime`. Environment, URIs and user
    /// count for the container of the executor.
    pub command: CommandInfo,
}

impl TaskInfo {
    /// A task by its id, and what it runs.
    pub fn new(task_id: impl Into<String>, command: CommandInfo) -> Self {
        Self { task_id: task_id.into(), name: String::new(), command }
    }
}

/// Which containerizer a request is meant for: Mesos' `ContainerInfo.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ContainerType {
    /// This one.
    #[default]
    Mesos,
    /// One that talks to a Docker daemon. Refused as `Unsupported`, so that a caller with several
    /// containerizers asks the next.
    Docker,
}

/// A text that no log shows and no checkpoint keeps.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an agent tells every executor, by its environment. Nothing of the agent's own environment
/// is inherited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AgentInfo {
    /// Variables of every executor, below those that follow (`--executor-environment-variables`).
    pub executor_environment_variables: BTreeMap<String, String>,
    /// `MESOS_SLAVE_PID`: `slave(1)@10.0.0.1:5051`.
    pub pid: Option<String>,
    /// `MESOS_AGENT_ENDPOINT`: `10.0.0.1:5051`.
    pub endpoint: Option<String>,
    /// `MESOS_DOMAIN_SOCKET`: the agent's API on a Unix socket, shown at the same path in executors
    /// with a root file system of their own.
    pub domain_socket: Option<PathBuf>,
    /// `MESOS_HTTP_COMMAND_EXECUTOR`.
    pub http_command_executor: bool,
    /// `MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD` of executors without their own.
    pub executor_shutdown_grace_period: Duration,
    /// `MESOS_RECOVERY_TIMEOUT`: how long an executor waits for the agent to come back.
    pub recovery_timeout: Duration,
    /// `MESOS_SUBSCRIPTION_BACKOFF_MAX`: how long the agent waits for executors when it is back.
    pub executor_reregistration_timeout: Duration,
    /// `LIBPROCESS_IP`: the address that executors bind.
    pub libprocess_ip: Option<IpAddr>,
    /// `MESOS_NATIVE_LIBRARY` and `MESOS_NATIVE_JAVA_LIBRARY`, where the variables above do not give
    /// them and the file exists.
    pub native_library: Option<PathBuf>,
}

impl Default for AgentInfo {
    fn default() -> Self {
        Self {
            executor_environment_variables: BTreeMap::new(),
            pid: None,
            endpoint: None,
            domain_socket: None,
            http_command_executor: false,
            executor_shutdown_grace_period: Duration::from_secs(5),
            recovery_timeout: Duration::from_secs(15 * 60),
            executor_reregistration_timeout: Duration::from_secs(2),
            libprocess_ip: None,
            native_library: None,
        }
    }
}

/// What an isolator contributes for the task of a command executor. The executor starts the task, so
/// it is told by its arguments. Without meaning for other containers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskLaunch {
    /// `--task_command`: stands in place of the task's own. Two isolators: refused.
    pub command: Option<Command>,
    /// `--task_environment`, merged in isolator order; the task's own wins over it.
    pub environment: BTreeMap<String, String>,
    /// `--working_directory`. Two isolators: refused.
    pub working_directory: Option<PathBuf>,
    /// `--user`, unless the caller names one. Two isolators: refused.
    pub user: Option<User>,
    /// `--bounding_capabilities` and `--effective_capabilities`. Two isolators: refused.
    pub capabilities: Option<CapabilitySets>,
    /// `--task_supplementary_groups`.
    pub supplementary_groups: BTreeSet<u32>,
    /// Appended to the executor's argv as they are.
    pub executor_arguments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_by_those_who_carry_it() {
        let executor = ExecutorInfo {
            authentication_token: Some(Secret::new("hunter2")),
            ..ExecutorInfo::default()
        };
        let shown = format!("{:?}", Shape::Executor(executor.clone()));
        assert!(!shown.contains("hunter2"), "{shown}");
        let token = executor.authentication_token.as_ref();
        assert_eq!(token.map(Secret::expose), Some("hunter2"));
    }

    #[test]
    fn only_a_command_task_has_a_task() {
        let executor = ExecutorInfo::default();
        let task = Shape::CommandTask(executor.clone(), Box::default());
        assert!(task.task().is_some() && task.executor().is_some());
        let own = Shape::Executor(executor);
        assert!(own.task().is_none() && own.executor().is_some());
        assert!(Shape::Standalone.task().is_none() && Shape::Standalone.executor().is_none());
    }
}
