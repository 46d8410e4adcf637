//! What makes a spec impossible, whatever the host.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::error::{Classified, ErrorKind, Stage};
use crate::limits;
use crate::linux::capabilities;
use crate::model::{
    Bytes, CommandInfo, ContainerConfig, ImageReference, InvalidContainerId, Output, Resources,
    Rlimit, RlimitKind, Uri, Volume,
};
use crate::provisioner::{DefaultRegistry, InvalidReference, Reference};

/// Why a spec cannot be launched anywhere.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSpec {
    /// The name.
    #[error(transparent)]
    Id(#[from] InvalidContainerId),
    /// The image.
    #[error("{reason}")]
    Image {
        /// As given.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that no registry can have.
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    /// Neither an image nor a command says what to run.
    #[error("nothing to run: give an image or a command")]
    NothingToRun,
    /// `shell` without a line.
    #[error("a shell needs a command line")]
    NoShellLine,
    /// A text that no system call takes.
    #[error("{what} {text:?} contains a NUL byte")]
    Nul {
        /// Which setting.
        what: &'static str,
        /// As given.
        text: String,
    },
    /// A text that must say something.
    #[error("{what} is empty")]
    Empty {
        /// Which setting.
        what: &'static str,
    },
    /// An environment variable without a name, or with `=` in it.
    #[error("environment variable {name:?} is not a name")]
    EnvironmentName {
        /// As given.
        name: String,
    },
    /// A relative path where the starting point would be anybody's guess.
    #[error("{what} {} is not absolute", path.display())]
    NotAbsolute {
        /// Which setting.
        what: &'static str,
        /// As given.
        path: PathBuf,
    },
    /// A path that would leave where it belongs.
    #[error("{what} {} has a '..'", path.display())]
    Escapes {
        /// Which setting.
        what: &'static str,
        /// As given.
        path: PathBuf,
    },
    /// A name that no host can have.
    #[error(
        "hostname {name:?} is no name: 1 to {} letters, digits, '-', '.' and '_', each part between dots \
         begins and ends with a letter or a digit",
        limits::HOSTNAME_LENGTH_MAX
    )]
    Hostname {
        /// As given.
        name: String,
    },
    /// CPUs.
    #[error("cpus must be more than 0 and at most {}, not {cpus:?}", limits::CPUS_MAX)]
    Cpus {
        /// As given.
        cpus: f64,
    },
    /// Memory.
    #[error("memory limit of {bytes} bytes is below the least of {}", limits::MEMORY_LIMIT_MIN)]
    Memory {
        /// As given.
        bytes: u64,
    },
    /// A number that must be more than 0.
    #[error("{what} must be more than 0")]
    Zero {
        /// Which setting.
        what: &'static str,
    },
    /// A number beyond what the kernel takes.
    #[error("{what} must be at most {limit}, not {number}")]
    TooLarge {
        /// Which setting.
        what: &'static str,
        /// As given.
        number: u64,
        /// The limit.
        limit: u64,
    },
    /// A capability that does not exist.
    #[error("there is no capability {name:?}; write CAP_NET_ADMIN, NET_ADMIN or ALL")]
    Capability {
        /// As given.
        name: String,
    },
    /// Soft over hard.
    #[error("rlimit {kind} has a soft limit above its hard limit")]
    SoftAboveHard {
        /// Which.
        kind: RlimitKind,
    },
    /// Set twice.
    #[error("rlimit {kind} is given twice")]
    RlimitTwice {
        /// Which.
        kind: RlimitKind,
    },
    /// A signal.
    #[error("signal {signal} does not exist; the signals are 1 to 64")]
    Signal {
        /// As given.
        signal: i32,
    },
    /// Labels or data beyond their limit.
    #[error("{what} have {bytes} bytes, at most {limit} are allowed")]
    TooMuch {
        /// Labels or data.
        what: &'static str,
        /// As given.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The request is for a containerizer of Docker's.
    #[error("container type DOCKER is not supported here; ask a containerizer for it")]
    ContainerType,
    /// An id that no part of a path can be.
    #[error(
        "{what} {id:?} is no id: 1 to {} bytes, none of them '/', '\\' or a control character, and \
         neither '.' nor '..'",
        limits::MESOS_ID_LENGTH_MAX
    )]
    MesosId {
        /// Whose.
        what: &'static str,
        /// As given.
        id: String,
    },
    /// A shell line that would have to take arguments.
    #[error("the executor of a task with an image is told by arguments; a shell line takes none")]
    ShellExecutor,
    /// No isolator in use can give what is asked.
    #[error("{what} needs the isolator {isolator}, which is not on")]
    NeedsIsolator {
        /// What is asked.
        what: &'static str,
        /// What would give it.
        isolator: &'static str,
    },
}

impl Classified for InvalidSpec {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ContainerType => ErrorKind::Unsupported,
            _ => ErrorKind::InvalidRequest,
        }
    }

    fn stage(&self) -> Option<Stage> {
        Some(Stage::Configure)
    }
}

/// Refuses what no isolator in use would honour: a limit that is silently not set is worse than an
/// error.
pub(crate) fn require_isolators(
    config: &ContainerConfig,
    isolation: &[String],
) -> Result<(), InvalidSpec> {
    let capabilities = !(config.capabilities_add.is_empty() && config.capabilities_drop.is_empty());
    let asked = [
        (config.image.is_some(), "an image", "filesystem/linux"),
        (!config.rlimits.is_empty(), "an rlimit", "posix/rlimits"),
        (capabilities, "a change of capabilities", "linux/capabilities"),
        (!config.volumes.is_empty(), "a volume", "filesystem/linux"),
        (config.hostname.is_some(), "a hostname", "filesystem/linux"),
        (config.unmasked, "unmasked paths", "filesystem/linux"),
    ];
    require(&asked, isolation)?;
    require_limits(&config.resources, isolation)
}

/// The same of limits alone, which may be set anew.
pub(crate) fn require_limits(
    resources: &Resources,
    isolation: &[String],
) -> Result<(), InvalidSpec> {
    let asked = [
        (resources.cpus.is_some(), "a limit of cpus", "cgroups/cpu"),
        (resources.memory.is_some(), "a limit of memory", "cgroups/mem"),
        (resources.pids.is_some(), "a limit of pids", "cgroups/pids"),
    ];
    require(&asked, isolation)
}

/// What is asked for, by its words, and who would give it.
fn require(
    asked: &[(bool, &'static str, &'static str)],
    isolation: &[String],
) -> Result<(), InvalidSpec> {
    let on = |isolator: &str| isolation.iter().any(|name| name == isolator);
    match asked.iter().find(|(asked, _, isolator)| *asked && !on(isolator)) {
        Some(&(_, what, isolator)) => Err(InvalidSpec::NeedsIsolator { what, isolator }),
        None => Ok(()),
    }
}

/// Everything that can be known without a host.
pub(super) fn check(config: &ContainerConfig) -> Result<(), InvalidSpec> {
    config.image.iter().try_for_each(check_image)?;
    // What runs in a task's image is the task's command; its executor is no part of it.
    check_command(&config.command, config.image.is_some() && config.shape.task().is_none())?;
    super::executor::check_shape(config)?;
    check_resources(&config.resources)?;
    let mut changed = config.capabilities_add.iter().chain(&config.capabilities_drop);
    changed.try_for_each(|name| check_capability(name))?;
    check_rlimits(&config.rlimits)?;
    config.volumes.iter().try_for_each(check_volume)?;
    check_caller_data(config)?;
    if let Some(directory) = &config.working_directory {
        check_absolute("working directory", directory)?;
    }
    config.hostname.as_deref().map_or(Ok(()), check_hostname)?;
    for stream in [&config.stdin, &config.stdout, &config.stderr] {
        if let Output::File(path) = stream {
            check_absolute("file of a stream", path)?;
        }
    }
    if let Some(signal) = config.stop_signal {
        check_signal(signal)?;
    }
    match config.timeout {
        Some(Duration::ZERO) => Err(InvalidSpec::Zero { what: "timeout" }),
        Some(_) | None => Ok(()),
    }
}

/// Of a spec, and of whoever sends one: signal(7).
pub(crate) fn check_signal(signal: i32) -> Result<(), InvalidSpec> {
    match (1..=crate::model::SIGNAL_MAX).contains(&signal) {
        true => Ok(()),
        false => Err(InvalidSpec::Signal { signal }),
    }
}

fn check_command(command: &CommandInfo, has_image: bool) -> Result<(), InvalidSpec> {
    if command.shell && command.value.is_none() {
        return Err(InvalidSpec::NoShellLine);
    }
    if command.value.is_none() && !has_image {
        return Err(InvalidSpec::NothingToRun);
    }
    check_words(command)
}

/// Every text of a command.
pub(super) fn check_words(command: &CommandInfo) -> Result<(), InvalidSpec> {
    match &command.value {
        Some(value) if value.is_empty() => return Err(InvalidSpec::Empty { what: "command" }),
        Some(value) => check_nul("command", value)?,
        None => {}
    }
    let words = command.arguments.iter().chain(command.entrypoint.iter().flatten());
    words.map(String::as_str).try_for_each(|word| check_nul("argument", word))?;
    check_environment(&command.environment)?;
    match &command.user {
        Some(user) if user.is_empty() => return Err(InvalidSpec::Empty { what: "user" }),
        Some(user) => check_nul("user", user)?,
        None => {}
    }
    command.uris.iter().try_for_each(check_uri)
}

pub(super) fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), InvalidSpec> {
    for (name, value) in environment {
        check_nul("environment variable", name)?;
        check_nul("environment variable", value)?;
        if name.is_empty() || name.contains('=') {
            return Err(InvalidSpec::EnvironmentName { name: name.clone() });
        }
    }
    Ok(())
}

fn check_uri(uri: &Uri) -> Result<(), InvalidSpec> {
    if uri.value.is_empty() {
        return Err(InvalidSpec::Empty { what: "uri" });
    }
    check_nul("uri", &uri.value)?;
    match &uri.output_file {
        Some(name) if name.is_empty() => Err(InvalidSpec::Empty { what: "output file of a uri" }),
        Some(name) => check_inside("output file of a uri", Path::new(name)),
        None => Ok(()),
    }
}

pub(crate) fn check_resources(resources: &Resources) -> Result<(), InvalidSpec> {
    let possible = |cpus: &f64| *cpus > 0.0 && *cpus <= limits::CPUS_MAX;
    if let Some(cpus) = resources.cpus.filter(|cpus| !possible(cpus)) {
        return Err(InvalidSpec::Cpus { cpus });
    }
    if let Some(Bytes(bytes)) = resources.memory.filter(|m| m.0 < limits::MEMORY_LIMIT_MIN) {
        return Err(InvalidSpec::Memory { bytes });
    }
    match resources.pids {
        Some(0) => Err(InvalidSpec::Zero { what: "pids" }),
        Some(number) if number > limits::PIDS_MAX => {
            Err(InvalidSpec::TooLarge { what: "pids", number, limit: limits::PIDS_MAX })
        }
        Some(_) | None => Ok(()),
    }
}

/// Registries differ in where a name leads, not in which names there can be.
fn check_image(image: &ImageReference) -> Result<(), InvalidSpec> {
    if let ImageReference::Docker(name) = image {
        Reference::parse(name, &DefaultRegistry::default())?;
    }
    Ok(())
}

/// hostname(7), and the `_` that names of jobs like to have.
fn check_hostname(name: &str) -> Result<(), InvalidSpec> {
    let part = |part: &str| {
        let bytes = part.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    match name.len() <= limits::HOSTNAME_LENGTH_MAX && name.split('.').all(part) {
        true => Ok(()),
        false => Err(InvalidSpec::Hostname { name: name.to_owned() }),
    }
}

fn check_capability(name: &str) -> Result<(), InvalidSpec> {
    match name.eq_ignore_ascii_case("ALL") || capabilities::by_name(name).is_some() {
        true => Ok(()),
        false => Err(InvalidSpec::Capability { name: name.to_owned() }),
    }
}

fn check_rlimits(rlimits: &[Rlimit]) -> Result<(), InvalidSpec> {
    for (index, rlimit) in rlimits.iter().enumerate() {
        let kind = rlimit.kind;
        if rlimits[..index].iter().any(|earlier| earlier.kind == kind) {
            return Err(InvalidSpec::RlimitTwice { kind });
        }
        // `None` is unlimited, above every number.
        let number = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        if number(rlimit.soft) > number(rlimit.hard) {
            return Err(InvalidSpec::SoftAboveHard { kind });
        }
    }
    Ok(())
}

fn check_volume(volume: &Volume) -> Result<(), InvalidSpec> {
    check_absolute("source of a volume", &volume.source)?;
    if volume.target.as_os_str().is_empty() {
        return Err(InvalidSpec::Empty { what: "target of a volume" });
    }
    check_path("target of a volume", &volume.target)
}

fn check_caller_data(config: &ContainerConfig) -> Result<(), InvalidSpec> {
    let labels = config.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    for (what, bytes, limit) in [
        ("labels", labels, limits::LABELS_BYTES_MAX),
        ("data", config.data.len(), limits::CALLER_DATA_MAX),
    ] {
        if bytes > limit {
            return Err(InvalidSpec::TooMuch { what, bytes, limit });
        }
    }
    Ok(())
}

fn check_absolute(what: &'static str, path: &Path) -> Result<(), InvalidSpec> {
    match path.is_absolute() {
        true => check_path(what, path),
        false => Err(InvalidSpec::NotAbsolute { what, path: path.to_owned() }),
    }
}

fn check_inside(what: &'static str, path: &Path) -> Result<(), InvalidSpec> {
    match path.is_absolute() {
        true => Err(InvalidSpec::Escapes { what, path: path.to_owned() }),
        false => check_path(what, path),
    }
}

fn check_path(what: &'static str, path: &Path) -> Result<(), InvalidSpec> {
    check_nul(what, &path.to_string_lossy())?;
    match path.components().any(|c| c == Component::ParentDir) {
        true => Err(InvalidSpec::Escapes { what, path: path.to_owned() }),
        false => Ok(()),
    }
}

pub(super) fn check_nul(what: &'static str, text: &str) -> Result<(), InvalidSpec> {
    match text.contains('\0') {
        true => Err(InvalidSpec::Nul { what, text: text.to_owned() }),
        false => Ok(()),
    }
}
