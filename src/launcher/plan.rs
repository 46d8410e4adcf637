//! Merges what the isolators contribute into one description of the launch. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::executor;
use crate::error::{Classified, ErrorKind};
use crate::model::{
    AgentInfo, Command, CommandInfo, ContainerConfig, LaunchInfo, Mount, MountFlags, MountSource,
    Rootfs, Shape, TaskLaunch, User,
};

/// The PATH of a payload whose environment has none; engines agree on it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a merge needs besides the contributions.
#[derive(Debug, Clone, Copy)]
pub struct MergeContext<'a> {
    /// What was asked for.
    pub config: &'a ContainerConfig,
    /// What the payload works in.
    pub root: Root<'a>,
    /// Where the sandbox appears in a root file system of an image.
    pub sandbox_directory: &'a Path,
    /// What executors are told of the agent.
    pub agent: &'a AgentInfo,
}

/// What a payload works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root<'a> {
    /// A root file system of its own.
    Own,
    /// The host's file system.
    Host,
    /// The host's file system too; the payload is a command executor, and the root file system of its
    /// task is here.
    Task(&'a Path),
}

impl<'a> Root<'a> {
    /// What a container of this shape works in, whose image was made ready there.
    pub fn of(shape: &Shape, rootfs: Option<&'a Rootfs>) -> Self {
        match (shape, rootfs) {
            (_, None) => Self::Host,
            (Shape::Standalone | Shape::Executor(_), Some(_)) => Self::Own,
            (Shape::CommandTask(..), Some(Rootfs::Directory(path))) => Self::Task(path),
            (Shape::CommandTask(..), Some(Rootfs::Detached(_))) => {
                unreachable!("a task's root file system is provisioned where executors can see it")
            }
        }
    }
}

/// Why contributions do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Two isolators want to decide the same.
    #[error("isolators {first} and {second} both set the {field}")]
    Conflict {
        /// What.
        field: String,
        /// The one that came first.
        first: String,
        /// The other.
        second: String,
    },
    /// Nothing says what to run.
    #[error("no command: neither the request nor the image says what to run")]
    NoCommand,
    /// A command executor is what it was asked to be; only its arguments are the isolators'.
    #[error("isolator {0} sets the command of a command executor")]
    ExecutorCommand(String),
    /// A variable that no program could look up, or that would be another one's.
    #[error("isolator {isolator} sets the environment variable {name:?}, which is not a name")]
    EnvironmentName {
        /// Which isolator.
        isolator: String,
        /// As it is set.
        name: String,
    },
    /// Nobody says relative to what.
    #[error("isolator {isolator} sets the working directory {}, which is not absolute", path.display())]
    RelativeDirectory {
        /// Which isolator.
        isolator: String,
        /// As it is set.
        path: PathBuf,
    },
    /// A text that no system call can take.
    #[error("{0:?} contains a NUL byte")]
    Nul(String),
}

impl Classified for MergeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } | Self::ExecutorCommand(_) => ErrorKind::Conflict,
            Self::NoCommand
            | Self::EnvironmentName { .. }
            | Self::RelativeDirectory { .. }
            | Self::Nul(_) => ErrorKind::InvalidRequest,
        }
    }
}

/// One description out of all contributions, in the order of the isolators, with the command, the
/// environment, the working directory and the user decided.
///
/// Errors: `Conflict`, naming the two isolators; `InvalidRequest` where nothing says what to run.
pub fn merge<'a>(
    contributions: impl IntoIterator<Item = (&'a str, LaunchInfo)>,
    context: MergeContext<'_>,
) -> Result<LaunchInfo, MergeError> {
    let mut merged = LaunchInfo::default();
    let mut owners = Owners::default();
    for (isolator, info) in contributions {
        refuse_senseless(isolator, &info)?;
        add(&mut merged, &mut owners, isolator, info)?;
    }
    let config = context.config;
    if let (Some(_), Some(owner)) = (config.shape.task(), owners.0.get("command")) {
        return Err(MergeError::ExecutorCommand((*owner).to_owned()));
    }
    let command = merged.command.take().or_else(|| command_of(&config.command));
    let mut command = command.ok_or(MergeError::NoCommand)?;
    if config.shape.task().is_some() {
        // Whom the caller named for the container, he named for the task.
        let asked = config.command.user.clone().map(User);
        merged.task.user = asked.or(merged.task.user.take());
        command.argv.extend(task_arguments(&merged.task, context));
    }
    merged.command = Some(command);
    merged.environment = environment(merged.environment, context);
    merged.working_directory = Some(working_directory(merged.working_directory, context));
    merged.user = user(merged.user, context);
    if let (Root::Own, Some(socket)) = (context.root, domain_socket(context)) {
        merged.volumes.push(socket);
    }
    refuse_nul(&merged)?;
    Ok(merged)
}

fn task_arguments(task: &TaskLaunch, context: MergeContext<'_>) -> Vec<String> {
    let root = match context.root {
        Root::Task(path) => Some((path, context.sandbox_directory)),
        Root::Own | Root::Host => None,
    };
    executor::task_arguments(context.config, task, root)
}

/// The agent's socket, where the executor looks for it.
fn domain_socket(context: MergeContext<'_>) -> Option<Mount> {
    let socket = executor::domain_socket(context.config, context.agent)?;
    Some(Mount {
        source: MountSource::HostPath(socket.to_owned()),
        target: socket.to_owned(),
        flags: MountFlags { read_only: true, ..MountFlags::default() },
        optional: false,
    })
}

/// The caller's, else the image's. A command executor that has a root file system to enter for its
/// task must be root; it is told who runs the task.
fn user(isolators: Option<User>, context: MergeContext<'_>) -> Option<User> {
    match context.root {
        Root::Task(_) => Some(User("0".to_owned())),
        Root::Own | Root::Host => context.config.command.user.clone().map(User).or(isolators),
    }
}

/// Who set what only one may set.
#[derive(Default)]
struct Owners<'a>(BTreeMap<Cow<'static, str>, &'a str>);

impl<'a> Owners<'a> {
    fn claim(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        isolator: &'a str,
    ) -> Result<(), MergeError> {
        let field = field.into();
        match self.0.insert(field.clone(), isolator) {
            None => Ok(()),
            Some(first) => Err(MergeError::Conflict {
                field: field.into_owned(),
                first: first.to_owned(),
                second: isolator.to_owned(),
            }),
        }
    }

    fn set<T>(
        &mut self,
        field: &'static str,
        isolator: &'a str,
        to: &mut Option<T>,
        value: Option<T>,
    ) -> Result<(), MergeError> {
        if value.is_some() {
            self.claim(field, isolator)?;
            *to = value;
        }
        Ok(())
    }
}

fn add<'a>(
    merged: &mut LaunchInfo,
    owners: &mut Owners<'a>,
    isolator: &'a str,
    info: LaunchInfo,
) -> Result<(), MergeError> {
    owners.set("command", isolator, &mut merged.command, info.command)?;
    owners.set(
        "working directory",
        isolator,
        &mut merged.working_directory,
        info.working_directory,
    )?;
    owners.set("user", isolator, &mut merged.user, info.user)?;
    owners.set("capabilities", isolator, &mut merged.capabilities, info.capabilities)?;
    owners.set("hostname", isolator, &mut merged.hostname, info.hostname)?;
    owners.set("oom_score_adj", isolator, &mut merged.oom_score_adj, info.oom_score_adj)?;
    owners.set("seccomp filter", isolator, &mut merged.seccomp, info.seccomp)?;
    for rlimit in info.rlimits {
        owners.claim(format!("rlimit {}", rlimit.kind), isolator)?;
        merged.rlimits.push(rlimit);
    }
    merged.environment.extend(info.environment);
    merged.mounts.extend(info.mounts);
    merged.volumes.extend(info.volumes);
    merged.devices.extend(info.devices);
    merged.file_operations.extend(info.file_operations);
    merged.masked_paths.extend(info.masked_paths);
    merged.readonly_paths.extend(info.readonly_paths);
    merged.namespaces.extend(info.namespaces);
    merged.no_new_privileges |= info.no_new_privileges;
    merged.cgroups.extend(info.cgroups);
    merged.supplementary_groups.extend(info.supplementary_groups);
    merged.readonly_rootfs |= info.readonly_rootfs;
    merged.pre_exec_commands.extend(info.pre_exec_commands);
    add_task(&mut merged.task, owners, isolator, info.task)
}

fn add_task<'a>(
    merged: &mut TaskLaunch,
    owners: &mut Owners<'a>,
    isolator: &'a str,
    task: TaskLaunch,
) -> Result<(), MergeError> {
    owners.set("task's command", isolator, &mut merged.command, task.command)?;
    owners.set(
        "task's working directory",
        isolator,
        &mut merged.working_directory,
        task.working_directory,
    )?;
    owners.set("task's user", isolator, &mut merged.user, task.user)?;
    owners.set("task's capabilities", isolator, &mut merged.capabilities, task.capabilities)?;
    merged.environment.extend(task.environment);
    merged.supplementary_groups.extend(task.supplementary_groups);
    merged.executor_arguments.extend(task.executor_arguments);
    Ok(())
}

/// What a request alone says: `/bin/sh -c VALUE`, or VALUE with the arguments as its whole argv. An
/// entrypoint that was asked for and arguments in place of an image's CMD need no image to be known.
fn command_of(info: &CommandInfo) -> Option<Command> {
    let Some(value) = info.value.clone() else {
        let entrypoint = info.entrypoint.iter().flatten();
        let argv: Vec<_> = entrypoint.chain(&info.arguments).cloned().collect();
        let executable = argv.first().filter(|_| info.arguments_replace_cmd)?.clone();
        return Some(Command { executable, argv });
    };
    if info.shell {
        let argv = vec!["/bin/sh".to_owned(), "-c".to_owned(), value];
        return Some(Command { executable: "/bin/sh".to_owned(), argv });
    }
    let argv = match info.arguments.is_empty() {
        true => vec![value.clone()],
        false => info.arguments.clone(),
    };
    Some(Command { executable: value, argv })
}

/// The agent, `MESOS_SANDBOX`, the isolators, the caller: each wins over those before it. `PATH` where
/// nobody set it. Each name is there once.
fn environment(
    isolators: BTreeMap<String, String>,
    context: MergeContext<'_>,
) -> BTreeMap<String, String> {
    let mut environment = executor::agent_environment(context.config, context.agent);
    let sandbox = match context.root {
        Root::Own | Root::Task(_) => context.sandbox_directory,
        Root::Host => &context.config.sandbox,
    };
    environment.insert("MESOS_SANDBOX".to_owned(), sandbox.to_string_lossy().into_owned());
    environment.extend(isolators);
    environment.extend(context.config.command.environment.clone());
    environment.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    environment
}

/// The caller's, else the image's, else `/`, for an executor its sandbox. On the host's file system the
/// caller's, else the sandbox, for no image shall say where on the host a payload begins. A command
/// executor begins in its sandbox: what is asked for is its task's, and it is told where the task has an
/// image.
fn working_directory(isolators: Option<PathBuf>, context: MergeContext<'_>) -> PathBuf {
    let asked = context.config.working_directory.clone();
    match (context.root, &context.config.shape) {
        (Root::Own, Shape::Standalone) => asked.or(isolators).unwrap_or_else(|| PathBuf::from("/")),
        (Root::Own, Shape::Executor(_) | Shape::CommandTask(..)) => {
            asked.or(isolators).unwrap_or_else(|| context.sandbox_directory.to_owned())
        }
        (Root::Host, Shape::Standalone | Shape::Executor(_)) => {
            asked.unwrap_or_else(|| context.config.sandbox.clone())
        }
        (Root::Host, Shape::CommandTask(..)) | (Root::Task(_), _) => context.config.sandbox.clone(),
    }
}

/// What the caller's own words are refused for before there is a launch.
fn refuse_senseless(isolator: &str, info: &LaunchInfo) -> Result<(), MergeError> {
    let before = info.pre_exec_commands.iter().flat_map(|before| before.environment.keys());
    let names = info.environment.keys().chain(before).chain(info.task.environment.keys());
    if let Some(name) = names.into_iter().find(|name| name.is_empty() || name.contains('=')) {
        let (isolator, name) = (isolator.to_owned(), name.clone());
        return Err(MergeError::EnvironmentName { isolator, name });
    }
    let directories = [&info.working_directory, &info.task.working_directory];
    match directories.into_iter().flatten().find(|path| !path.is_absolute()) {
        Some(path) => {
            let (isolator, path) = (isolator.to_owned(), path.clone());
            Err(MergeError::RelativeDirectory { isolator, path })
        }
        None => Ok(()),
    }
}

fn refuse_nul(info: &LaunchInfo) -> Result<(), MergeError> {
    let command = info
        .command
        .iter()
        .flat_map(|command| std::iter::once(&command.executable).chain(&command.argv));
    let before = info.pre_exec_commands.iter().flat_map(|before| {
        let command = std::iter::once(&before.command.executable).chain(&before.command.argv);
        command.chain(before.environment.iter().flat_map(|(key, value)| [key, value]))
    });
    let environment = info.environment.iter().flat_map(|(key, value)| [key, value]);
    match command
        .chain(before)
        .chain(environment)
        .chain(&info.hostname)
        .find(|text| text.contains('\0'))
    {
        Some(text) => Err(MergeError::Nul(text.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod shapes_tests;
#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
