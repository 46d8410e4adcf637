//! Version 1 of what is on disk. Frozen: a change here is a new file beside this one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::{
    Bytes, CommandInfo, ContainerConfig, ContainerId, End, ImageReference, InvalidContainerId,
    Output, PullPolicy, Record, Resources, Rlimit, RlimitKind, Uri, Volume,
};

mod shape;

use shape::ShapeV1;

/// Whose container it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum OwnerV1 {
    /// An agent's: outlives it.
    Agent,
    /// A `longshore run`'s: dies with it.
    Run,
}

/// One container, from its launch until its record is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerV1 {
    /// Joined with dots.
    pub(crate) container_id: String,
    /// Unix time in nanoseconds.
    pub(crate) created_ns: i64,
    /// Whose it is.
    pub(crate) owner: OwnerV1,
    /// What it was asked to be; the same from the first checkpoint to the last.
    pub(crate) config: Arc<ConfigV1>,
    /// Name of the state.
    pub(crate) state: String,
    /// Pid and start time of the init, once it was forked.
    pub(crate) init: Option<(i32, u64)>,
    /// Each isolator's name and state, once prepared.
    pub(crate) isolators: Arc<[(String, Vec<u8>)]>,
    /// Normalised reference and digest of the image.
    pub(crate) image: Option<(String, Option<String>)>,
    /// When a graceful stop becomes a destroy, Unix time in nanoseconds.
    pub(crate) stop_deadline_ns: Option<i64>,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordV1 {
    /// Joined with dots.
    pub(crate) container_id: String,
    /// Unix time in nanoseconds.
    pub(crate) ended_ns: i64,
    /// Labels of the caller.
    pub(crate) labels: BTreeMap<String, String>,
    /// The caller's bytes.
    pub(crate) data: Vec<u8>,
    /// `Termination` as JSON: the same words as in events, which are frozen too.
    pub(crate) termination: Option<String>,
    /// `Failure` as JSON.
    pub(crate) failure: Option<String>,
    /// `Usage` as JSON.
    pub(crate) usage: String,
}

/// [`ContainerConfig`], frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConfigV1 {
    shell: bool,
    value: Option<String>,
    arguments: Vec<String>,
    entrypoint: Option<Vec<String>>,
    arguments_replace_cmd: bool,
    environment: BTreeMap<String, String>,
    user: Option<String>,
    /// value, executable, extract, output file
    uris: Vec<(String, bool, bool, Option<String>)>,
    image: Option<String>,
    pull: u8,
    working_directory: Option<PathBuf>,
    hostname: Option<String>,
    unmasked: bool,
    cpus: Option<f64>,
    memory: Option<u64>,
    pids: Option<u64>,
    /// kind, soft, hard
    rlimits: Vec<(u8, Option<u64>, Option<u64>)>,
    capabilities_add: Vec<String>,
    capabilities_drop: Vec<String>,
    /// source, target, read only
    volumes: Vec<(PathBuf, PathBuf, bool)>,
    streams: [OutputV1; 3],
    stop_signal: Option<i32>,
    timeout_ns: Option<u64>,
    labels: BTreeMap<String, String>,
    data: Vec<u8>,
    sandbox: PathBuf,
    shape: ShapeV1,
    agent_environment: BTreeMap<String, String>,
}

/// [`Output`], frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum OutputV1 {
    Null,
    Sandbox,
    File(PathBuf),
    Inherit,
    /// A descriptor of a process that may be gone.
    Fd,
}

/// Position = number on disk.
const RLIMIT_KINDS: [RlimitKind; 16] = [
    RlimitKind::As,
    RlimitKind::Core,
    RlimitKind::Cpu,
    RlimitKind::Data,
    RlimitKind::Fsize,
    RlimitKind::Locks,
    RlimitKind::Memlock,
    RlimitKind::Msgqueue,
    RlimitKind::Nice,
    RlimitKind::Nofile,
    RlimitKind::Nproc,
    RlimitKind::Rss,
    RlimitKind::Rtprio,
    RlimitKind::Rttime,
    RlimitKind::Sigpending,
    RlimitKind::Stack,
];

/// Position = number on disk.
const PULL_POLICIES: [PullPolicy; 3] = [PullPolicy::Always, PullPolicy::Missing, PullPolicy::Never];

fn number<T: PartialEq>(table: &[T], value: &T) -> u8 {
    let position = table.iter().position(|entry| entry == value);
    position.and_then(|p| u8::try_from(p).ok()).expect("the table has every value")
}

impl From<&ContainerConfig> for ConfigV1 {
    fn from(config: &ContainerConfig) -> Self {
        let command = config.command.clone();
        Self {
            shell: command.shell,
            value: command.value,
            arguments: command.arguments,
            entrypoint: command.entrypoint,
            arguments_replace_cmd: command.arguments_replace_cmd,
            environment: command.environment,
            user: command.user,
            uris: command
                .uris
                .into_iter()
                .map(|u| (u.value, u.executable, u.extract, u.output_file))
                .collect(),
            image: config.image.clone().map(String::from),
            pull: number(&PULL_POLICIES, &config.pull),
            working_directory: config.working_directory.clone(),
            hostname: config.hostname.clone(),
            unmasked: config.unmasked,
            cpus: config.resources.cpus,
            memory: config.resources.memory.map(|bytes| bytes.0),
            pids: config.resources.pids,
            rlimits: config
                .rlimits
                .iter()
                .map(|r| (number(&RLIMIT_KINDS, &r.kind), r.soft, r.hard))
                .collect(),
            capabilities_add: config.capabilities_add.clone(),
            capabilities_drop: config.capabilities_drop.clone(),
            volumes: config
                .volumes
                .iter()
                .map(|v| (v.source.clone(), v.target.clone(), v.read_only))
                .collect(),
            streams: [&config.stdin, &config.stdout, &config.stderr].map(OutputV1::from),
            stop_signal: config.stop_signal,
            timeout_ns: config.timeout.and_then(|t| u64::try_from(t.as_nanos()).ok()),
            labels: config.labels.clone(),
            data: config.data.clone(),
            sandbox: config.sandbox.clone(),
            shape: ShapeV1::from(&config.shape),
            agent_environment: config.agent_environment.clone(),
        }
    }
}

/// A checkpoint that reads well and makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Senseless {
    /// Not an id.
    #[error(transparent)]
    ContainerId(#[from] InvalidContainerId),
    /// Not a reference.
    #[error("{0}")]
    Image(String),
    /// A number beyond its table.
    #[error("number {0} has no meaning")]
    Number(u8),
    /// Not the JSON that it should be.
    #[error("{0}")]
    Json(String),
}

impl ConfigV1 {
    /// The configuration of `container_id`, thawed.
    pub(crate) fn thaw(self, container_id: ContainerId) -> Result<ContainerConfig, Senseless> {
        let image: Option<ImageReference> =
            self.image.map(|text| text.parse().map_err(Senseless::Image)).transpose()?;
        let rlimit = |(kind, soft, hard): (u8, _, _)| match RLIMIT_KINDS.get(usize::from(kind)) {
            Some(kind) => Ok(Rlimit { kind: *kind, soft, hard }),
            None => Err(Senseless::Number(kind)),
        };
        let pull = PULL_POLICIES.get(usize::from(self.pull)).copied();
        let [stdin, stdout, stderr] = self.streams.map(Output::from);
        Ok(ContainerConfig {
            container_id,
            command: CommandInfo {
                shell: self.shell,
                value: self.value,
                arguments: self.arguments,
                entrypoint: self.entrypoint,
                arguments_replace_cmd: self.arguments_replace_cmd,
                environment: self.environment,
                user: self.user,
                uris: self.uris.into_iter().map(thaw_uri).collect(),
            },
            image,
            pull: pull.ok_or(Senseless::Number(self.pull))?,
            working_directory: self.working_directory,
            hostname: self.hostname,
            unmasked: self.unmasked,
            resources: Resources {
                cpus: self.cpus,
                memory: self.memory.map(Bytes),
                pids: self.pids,
            },
            rlimits: self.rlimits.into_iter().map(rlimit).collect::<Result<_, _>>()?,
            capabilities_add: self.capabilities_add,
            capabilities_drop: self.capabilities_drop,
            volumes: self
                .volumes
                .into_iter()
                .map(|(source, target, read_only)| Volume { source, target, read_only })
                .collect(),
            stdin,
            stdout,
            stderr,
            stop_signal: self.stop_signal,
            timeout: self.timeout_ns.map(Duration::from_nanos),
            labels: self.labels,
            data: self.data,
            sandbox: self.sandbox,
            shape: self.shape.into(),
            agent_environment: self.agent_environment,
        })
    }
}

fn thaw_uri(
    (value, executable, extract, output_file): (String, bool, bool, Option<String>),
) -> Uri {
    Uri { value, executable, extract, output_file }
}

impl From<&Output> for OutputV1 {
    fn from(output: &Output) -> Self {
        match output {
            Output::Null => Self::Null,
            Output::Sandbox => Self::Sandbox,
            Output::File(path) => Self::File(path.clone()),
            Output::Inherit => Self::Inherit,
            Output::Fd(_) => Self::Fd,
        }
    }
}

impl From<OutputV1> for Output {
    fn from(output: OutputV1) -> Self {
        match output {
            OutputV1::Null | OutputV1::Fd => Self::Null,
            OutputV1::Sandbox => Self::Sandbox,
            OutputV1::File(path) => Self::File(path),
            OutputV1::Inherit => Self::Inherit,
        }
    }
}

impl RecordV1 {
    /// Freezes a record.
    pub(crate) fn freeze(record: &Record) -> Self {
        Self {
            container_id: record.container_id.to_string(),
            ended_ns: record.ended_ns,
            labels: record.labels.clone(),
            data: record.data.clone(),
            termination: record.end.termination.as_ref().map(json),
            failure: record.end.failure.as_ref().map(json),
            usage: json(&record.end.usage),
        }
    }

    /// The record again.
    pub(crate) fn thaw(self) -> Result<Record, Senseless> {
        Ok(Record {
            container_id: self.container_id.parse()?,
            ended_ns: self.ended_ns,
            labels: self.labels,
            data: self.data,
            end: End {
                termination: self.termination.as_deref().map(from_json).transpose()?,
                failure: self.failure.as_deref().map(from_json).transpose()?,
                usage: from_json(&self.usage)?,
                remaining: Vec::new(),
            },
        })
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with string keys is always JSON")
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Senseless> {
    serde_json::from_str(text).map_err(|error| Senseless::Json(error.to_string()))
}

/// The container whose bytes are golden.
#[cfg(test)]
pub(super) fn example() -> ContainerV1 {
    ContainerV1 {
        container_id: "job-42".into(),
        created_ns: 1_700_000_000_123_456_789,
        owner: OwnerV1::Agent,
        config: Arc::new(ConfigV1::from(&example_config())),
        state: "RUNNING".into(),
        init: Some((4711, 123_456)),
        isolators: [("cgroups/mem".into(), vec![1, 2, 3])].into(),
        image: Some(("docker.io/library/redis:7".into(), Some("sha256:00".into()))),
        stop_deadline_ns: Some(1),
    }
}

#[cfg(test)]
fn example_config() -> ContainerConfig {
    ContainerConfig {
        container_id: ContainerId::new("job-42").expect("valid"),
        command: CommandInfo {
            shell: true,
            value: Some("make test".into()),
            arguments: vec!["-j".into()],
            entrypoint: Some(vec!["/entry".into()]),
            arguments_replace_cmd: true,
            environment: [("K".to_owned(), "V".to_owned())].into(),
            user: Some("1000:100".into()),
            uris: vec![Uri {
                value: "file:/x".into(),
                executable: true,
                extract: false,
                output_file: Some("y".into()),
            }],
        },
        image: Some("docker://redis:7".parse().expect("valid")),
        pull: PullPolicy::Never,
        working_directory: Some("/src".into()),
        hostname: Some("builder".into()),
        unmasked: true,
        resources: Resources { cpus: Some(1.5), memory: Some(Bytes::mib(64)), pids: Some(10) },
        rlimits: vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(1024), hard: None }],
        capabilities_add: vec!["CAP_NET_ADMIN".into()],
        capabilities_drop: vec!["ALL".into()],
        volumes: vec![Volume { source: "/a".into(), target: "/b".into(), read_only: true }],
        stdin: Output::Null,
        stdout: Output::Sandbox,
        stderr: Output::File("/log".into()),
        stop_signal: Some(2),
        timeout: Some(Duration::from_secs(60)),
        labels: [("task".to_owned(), "42".to_owned())].into(),
        data: vec![9, 9],
        sandbox: "/w/containers/job-42".into(),
        shape: shape::example(),
        agent_environment: [("A".to_owned(), "B".to_owned())].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Termination, Usage};

    #[test]
    fn a_configuration_survives_freezing() {
        let config = example_config();
        let frozen = ConfigV1::from(&config);
        assert_eq!(frozen.thaw(config.container_id.clone()), Ok(config));
    }

    #[test]
    fn a_record_survives_freezing() {
        let record = Record {
            container_id: ContainerId::new("job-42").expect("valid"),
            ended_ns: 5,
            labels: BTreeMap::new(),
            data: vec![1],
            end: End {
                termination: Some(Termination {
                    exit_code: 137,
                    signal: Some(9),
                    limitation: None,
                    timed_out: true,
                    stopped: false,
                }),
                failure: None,
                usage: Usage { cpu_ns: Some(1), ..Usage::default() },
                remaining: Vec::new(),
            },
        };
        assert_eq!(RecordV1::freeze(&record).thaw(), Ok(record));
    }

    #[test]
    fn a_number_without_meaning_is_refused() {
        let frozen = ConfigV1 { pull: 9, ..ConfigV1::from(&example_config()) };
        let id = ContainerId::new("x").expect("valid");
        assert_eq!(frozen.thaw(id), Err(Senseless::Number(9)));
    }
}
