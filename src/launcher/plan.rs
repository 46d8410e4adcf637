//! Merges what the isolators contribute into one description of the launch. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Classified, ErrorKind};
use crate::model::{Command, CommandInfo, ContainerConfig, LaunchInfo, User};

/// The PATH of a payload whose environment has none; engines agree on it.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a merge needs besides the contributions.
#[derive(Debug, Clone, Copy)]
pub struct MergeContext<'a> {
    /// What was asked for.
    pub config: &'a ContainerConfig,
    /// The container has a root file system of its own.
    pub own_root: bool,
    /// Where the sandbox appears in a container with a root of its own.
    pub sandbox_directory: &'a Path,
}

/// Why contributions do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// A text that no system call can take.
    #[error("{0:?} contains a NUL byte")]
    Nul(String),
}

impl Classified for MergeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::NoCommand | Self::Nul(_) => ErrorKind::InvalidRequest,
        }
    }
}

/// One description out of all contributions, in the order of the isolators, with the command, the
/// environment, the working directory and the user decided.
///
/// Errors: `Conflict`, naming the two isolators; `InvalidRequest` where nothing says what to run.
pub fn merge(
    contributions: &[(&str, LaunchInfo)],
    context: MergeContext<'_>,
) -> Result<LaunchInfo, MergeError> {
    let mut merged = LaunchInfo::default();
    let mut owners = Owners::default();
    for (isolator, info) in contributions {
        add(&mut merged, &mut owners, isolator, info.clone())?;
    }
    let config = context.config;
    merged.command = Some(match merged.command.take() {
        Some(command) => command,
        None => command_of(&config.command).ok_or(MergeError::NoCommand)?,
    });
    merged.environment = environment(merged.environment, context);
    merged.working_directory = Some(working_directory(merged.working_directory, context));
    if let Some(user) = &config.command.user {
        merged.user = Some(User(user.clone()));
    }
    refuse_nul(&merged)?;
    Ok(merged)
}

/// Who set what only one may set.
#[derive(Default)]
struct Owners<'a>(BTreeMap<String, &'a str>);

impl<'a> Owners<'a> {
    fn claim(&mut self, field: &str, isolator: &'a str) -> Result<(), MergeError> {
        match self.0.insert(field.to_owned(), isolator) {
            None => Ok(()),
            Some(first) => Err(MergeError::Conflict {
                field: field.to_owned(),
                first: first.to_owned(),
                second: isolator.to_owned(),
            }),
        }
    }

    fn set<T>(
        &mut self,
        field: &str,
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
        owners.claim(&format!("rlimit {:?}", rlimit.kind), isolator)?;
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
    Ok(())
}

/// What a request alone says: `/bin/sh -c VALUE`, or VALUE with the arguments as its whole argv.
fn command_of(info: &CommandInfo) -> Option<Command> {
    let value = info.value.clone()?;
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

/// Isolators, then `MESOS_SANDBOX`, then the caller; `PATH` where nobody set it.
///
/// Mesos puts `MESOS_SANDBOX` below the isolators, where an image's `Env` could hide the sandbox
/// from the payload.
fn environment(
    isolators: BTreeMap<String, String>,
    context: MergeContext<'_>,
) -> BTreeMap<String, String> {
    let sandbox = match context.own_root {
        true => context.sandbox_directory,
        false => &context.config.sandbox,
    };
    let mut environment = isolators;
    environment.insert("MESOS_SANDBOX".to_owned(), sandbox.to_string_lossy().into_owned());
    environment.extend(context.config.command.environment.clone());
    environment.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
    environment
}

/// The caller's, else the image's, else `/`; on the host's file system the sandbox, for no image
/// shall say where on the host a payload begins.
fn working_directory(isolators: Option<PathBuf>, context: MergeContext<'_>) -> PathBuf {
    let asked = context.config.working_directory.clone();
    match context.own_root {
        true => asked.or(isolators).unwrap_or_else(|| PathBuf::from("/")),
        false => asked.unwrap_or_else(|| context.config.sandbox.clone()),
    }
}

fn refuse_nul(info: &LaunchInfo) -> Result<(), MergeError> {
    let command = info
        .command
        .iter()
        .flat_map(|command| std::iter::once(&command.executable).chain(&command.argv));
    let environment = info.environment.iter().flat_map(|(key, value)| [key, value]);
    match command.chain(environment).chain(&info.hostname).find(|text| text.contains('\0')) {
        Some(text) => Err(MergeError::Nul(text.clone())),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
