//! What executors are told: by their environment, and a command executor by its arguments. Pure.
//!
//! Names, values and order are Mesos', so that executors written for it run unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::linux::capabilities::Set;
use crate::model::{
    AgentInfo, Command, ContainerConfig, ExecutorInfo, Secret, Shape, TaskLaunch, User,
};

/// What the agent passes to the container, the lowest of all levels. Empty for a container of its
/// own, unless its caller gives something.
pub(super) fn agent_environment(
    config: &ContainerConfig,
    agent: &AgentInfo,
) -> BTreeMap<String, String> {
    let mut environment = match config.shape.executor() {
        Some(executor) => of_executor(executor, agent, &config.sandbox),
        None => BTreeMap::new(),
    };
    environment.extend(config.agent_environment.clone());
    environment
}

/// In this order; what comes later overrides what came earlier.
fn of_executor(
    executor: &ExecutorInfo,
    agent: &AgentInfo,
    sandbox: &Path,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    if let Some(ip) = agent.libprocess_ip {
        environment.insert("LIBPROCESS_IP".to_owned(), ip.to_string());
    }
    environment.extend(agent.executor_environment_variables.clone());
    let mut set = |name: &str, value: String| environment.insert(name.to_owned(), value);
    set("LIBPROCESS_PORT", "0".to_owned());
    set("MESOS_FRAMEWORK_ID", executor.framework_id.clone());
    set("MESOS_EXECUTOR_ID", executor.executor_id.clone());
    set("MESOS_DIRECTORY", text(sandbox));
    set("MESOS_SLAVE_ID", executor.agent_id.clone());
    set("MESOS_CHECKPOINT", flag(executor.checkpoint));
    set("MESOS_HTTP_COMMAND_EXECUTOR", flag(agent.http_command_executor));
    let grace = executor.shutdown_grace_period.unwrap_or(agent.executor_shutdown_grace_period);
    set("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", duration(grace));
    if executor.checkpoint {
        set("MESOS_RECOVERY_TIMEOUT", duration(agent.recovery_timeout));
        let backoff = duration(agent.executor_reregistration_timeout);
        set("MESOS_SUBSCRIPTION_BACKOFF_MAX", backoff);
    }
    let token = executor.authentication_token.as_ref().map(Secret::expose);
    for (name, value) in [
        ("MESOS_SLAVE_PID", agent.pid.clone()),
        ("MESOS_AGENT_ENDPOINT", agent.endpoint.clone()),
        ("MESOS_DOMAIN_SOCKET", agent.domain_socket.as_deref().map(text)),
        ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", token.map(str::to_owned)),
    ] {
        value.and_then(|value| set(name, value));
    }
    if let Some(library) = &agent.native_library {
        for name in ["MESOS_NATIVE_JAVA_LIBRARY", "MESOS_NATIVE_LIBRARY"] {
            environment.entry(name.to_owned()).or_insert_with(|| text(library));
        }
    }
    environment
}

fn flag(set: bool) -> String {
    if set { "1" } else { "0" }.to_owned()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// As Mesos prints one: in the largest unit of which it is a whole number.
fn duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (7 * 24 * 3600 * 1_000_000_000, "weeks"),
        (24 * 3600 * 1_000_000_000, "days"),
        (3600 * 1_000_000_000, "hrs"),
        (60 * 1_000_000_000, "mins"),
        (1_000_000_000, "secs"),
        (1_000_000, "ms"),
        (1_000, "us"),
    ];
    let ns = duration.as_nanos();
    match UNITS.iter().find(|(unit, _)| ns > 0 && ns.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", ns / unit),
        None => format!("{ns}ns"),
    }
}

/// What a command executor's argv ends with. `root` is where its task's root file system is on the
/// host, and where the sandbox appears in it; without an image there is none.
pub(super) fn task_arguments(
    config: &ContainerConfig,
    task: &TaskLaunch,
    root: Option<(&Path, &Path)>,
) -> Vec<String> {
    let mut arguments = task.executor_arguments.clone();
    let mut add = |name: &str, value: Option<String>| {
        arguments.extend(value.map(|value| format!("--{name}={value}")));
    };
    if let Some((_, sandbox)) = root {
        add("sandbox_directory", Some(text(sandbox)));
        add("user", task.user.as_ref().map(|User(user)| user.clone()));
        let asked = config.working_directory.as_deref();
        add("working_directory", asked.or(task.working_directory.as_deref()).map(text));
        add("task_command", task.command.as_ref().map(command_json));
    }
    let sets = task.capabilities;
    add("bounding_capabilities", sets.map(|sets| capabilities_json(sets.bounding)));
    add("effective_capabilities", sets.map(|sets| capabilities_json(sets.effective)));
    let environment = Some(&task.environment).filter(|environment| !environment.is_empty());
    add("task_environment", environment.map(environment_json));
    let groups = Some(&task.supplementary_groups).filter(|groups| !groups.is_empty());
    add("task_supplementary_groups", groups.map(csv));
    add("rootfs", root.map(|(path, _)| text(path)));
    arguments
}

/// `CommandInfo` in the JSON of protocol buffers.
fn command_json(command: &Command) -> String {
    json!({"shell": false, "value": command.executable, "arguments": command.argv}).to_string()
}

/// `CapabilityInfo`: names without `CAP_`.
fn capabilities_json(bits: u64) -> String {
    let names: Vec<&str> = Set::from_bits(bits)
        .names()
        .map(|name| name.strip_prefix("CAP_").unwrap_or(name))
        .collect();
    json!({ "capabilities": names }).to_string()
}

/// `Environment`.
fn environment_json(environment: &BTreeMap<String, String>) -> String {
    let variable = |(name, value)| json!({"name": name, "type": "VALUE", "value": value});
    let variables: Vec<Value> = environment.iter().map(variable).collect();
    json!({ "variables": variables }).to_string()
}

fn csv(numbers: &BTreeSet<u32>) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// Where an executor with a root file system of its own finds the agent's socket: where it is on the
/// host.
pub(super) fn domain_socket<'a>(
    config: &ContainerConfig,
    agent: &'a AgentInfo,
) -> Option<&'a Path> {
    match config.shape {
        Shape::Executor(_) => agent.domain_socket.as_deref(),
        Shape::Standalone | Shape::CommandTask(..) => None,
    }
}

#[cfg(test)]
#[path = "executor_tests.rs"]
mod tests;
