//! What a container is asked to be: a typed builder, validated once, when it is launched.
//!
//! A setter never fails and never looks at another setting; [`ContainerSpec::validate`] sees the
//! whole. Whether the isolators in use can give what is asked is `require_isolators`' question,
//! because only a started containerizer knows them.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{
    Bytes, CommandInfo, ContainerConfig, ContainerId, ContainerType, ExecutorInfo, ImageReference,
    Output, PullPolicy, Resources, Rlimit, Shape, TaskInfo, Uri, Volume,
};

mod executor;
mod validate;

pub use validate::InvalidSpec;
pub(crate) use validate::{check_resources, check_signal, require_isolators, require_limits};

/// A container to be launched.
///
/// ```
/// use longshore::model::Bytes;
/// use longshore::spec::ContainerSpec;
///
/// let spec = ContainerSpec::image("job-42", "alpine:3.20")?
///     .command(["make", "test"])
///     .env("CI", "true")
///     .memory(Bytes::mib(512))
///     .label("task", "42");
/// # assert!(spec.validate().is_ok());
/// # Ok::<(), longshore::spec::InvalidSpec>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a spec does nothing until it is launched"]
pub struct ContainerSpec {
    config: ContainerConfig,
    container_type: ContainerType,
}

impl ContainerSpec {
    /// A container in the root file system of an image.
    ///
    /// Errors: an id or a reference that cannot be read.
    pub fn image(id: &str, reference: &str) -> Result<Self, InvalidSpec> {
        let image = reference
            .parse()
            .map_err(|reason| InvalidSpec::Image { reference: reference.to_owned(), reason })?;
        Ok(Self::new(id.parse()?, Some(image)))
    }

    /// A container on the host's file system.
    ///
    /// Errors: an id that cannot be read.
    pub fn host(id: &str) -> Result<Self, InvalidSpec> {
        Ok(Self::new(id.parse()?, None))
    }

    /// A container of this name; without an image on the host's file system.
    pub fn new(container_id: ContainerId, image: Option<ImageReference>) -> Self {
        Self {
            config: ContainerConfig {
                container_id,
                command: CommandInfo::default(),
                image,
                pull: PullPolicy::default(),
                working_directory: None,
                hostname: None,
                unmasked: false,
                resources: Resources::default(),
                rlimits: Vec::new(),
                capabilities_add: Vec::new(),
                capabilities_drop: Vec::new(),
                volumes: Vec::new(),
                stdin: Output::Null,
                stdout: Output::Sandbox,
                stderr: Output::Sandbox,
                stop_signal: None,
                timeout: None,
                shape: Shape::default(),
                agent_environment: std::collections::BTreeMap::new(),
                labels: std::collections::BTreeMap::new(),
                data: Vec::new(),
                // Known when it is launched: only the containerizer knows its work directory.
                sandbox: PathBuf::new(),
            },
            container_type: ContainerType::Mesos,
        }
    }

    /// Its name.
    pub fn id(&self) -> &ContainerId {
        &self.config.container_id
    }

    /// Runs exactly this argv; the first word is the executable. The image's entrypoint and command
    /// do not matter. An empty argv leaves what runs to the image.
    pub fn command<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        let argv: Vec<String> = argv.into_iter().map(Into::into).collect();
        self.config.command.shell = false;
        self.config.command.value = argv.first().cloned();
        self.config.command.arguments = argv;
        self
    }

    /// Runs a line by `/bin/sh -c`.
    pub fn shell(mut self, line: impl Into<String>) -> Self {
        self.config.command.shell = true;
        self.config.command.value = Some(line.into());
        self.config.command.arguments = Vec::new();
        self
    }

    /// Gives the image's entrypoint these arguments instead of the image's own; without an
    /// entrypoint they are the whole argv. As users of `docker run` expect.
    pub fn arguments<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.config.command.shell = false;
        self.config.command.value = None;
        self.config.command.arguments = arguments.into_iter().map(Into::into).collect();
        self.config.command.arguments_replace_cmd = true;
        self
    }

    /// Replaces the image's entrypoint; an empty list removes it.
    pub fn entrypoint<S: Into<String>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.config.command.entrypoint = Some(argv.into_iter().map(Into::into).collect());
        self.config.command.arguments_replace_cmd = true;
        self
    }

    /// Mesos' `CommandInfo`, with its own truth table. Replaces all that was said of the command,
    /// the environment, the user and the URIs.
    pub fn command_info(mut self, command: CommandInfo) -> Self {
        self.config.command = command;
        self
    }

    /// Makes it the container of an executor: the sandbox is where it starts, also in an image, and
    /// its environment has what an agent of Mesos tells executors; [`crate::config::Config::agent`] is
    /// what they are told of the agent. `docs/mesos.md` names every variable.
    pub fn executor(mut self, executor: ExecutorInfo) -> Self {
        self.config.shape = Shape::Executor(executor);
        self
    }

    /// Makes it the container of a command executor that runs one task.
    ///
    /// The executor, which is this spec's command, works on the host's file system. The image, if
    /// there is one, is the task's: its root file system is mounted where the executor can see it, and
    /// the executor's argv ends with `--rootfs=` and what else the task needs. `docs/mesos.md` has all
    /// of it. Environment, URIs and user of the task's command are the container's.
    pub fn command_task(mut self, executor: ExecutorInfo, task: TaskInfo) -> Self {
        self.config.shape = Shape::CommandTask(executor, Box::new(task));
        self
    }

    /// Which containerizer the request is for. Any but [`ContainerType::Mesos`] is refused as
    /// `Unsupported` when it is launched, and nothing is done.
    pub fn container_type(mut self, container_type: ContainerType) -> Self {
        self.container_type = container_type;
        self
    }

    /// Sets a variable on the agent's behalf: everything else wins over it, the image too. Mesos'
    /// `environment` of a launch, and its hooks'.
    pub fn agent_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.agent_environment.insert(name.into(), value.into());
        self
    }

    /// Sets a variable in the payload's environment; wins over the image's.
    ///
    /// Shape: a name without `=`, neither with a NUL byte. Source: environ(7).
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.command.environment.insert(name.into(), value.into());
        self
    }

    /// Runs the payload as this user: name, uid, or `user:group`; over the image's `USER`.
    ///
    /// A name must be in the image's `/etc/passwd`, a number need not. Errors, of the launch:
    /// `InvalidRequest` (no such user or group). Source: passwd(5), OCI image specification, `config.User`.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.config.command.user = Some(user.into());
        self
    }

    /// Fetches something into the sandbox first, within [`limits::FETCH`](crate::limits::FETCH). `file:` and,
    /// with the feature `registry`, `http:` and `https:`.
    pub fn uri(mut self, uri: Uri) -> Self {
        self.config.command.uris.push(uri);
        self
    }

    /// Where the payload starts, in the container: absolute, and there; chdir(2). Without one it is the image's,
    /// else `/`; without an image, and for executors, the sandbox.
    pub fn working_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.config.working_directory = Some(directory.into());
        self
    }

    /// What the container calls itself, gethostname(2): at most 64 letters, digits, `-`, `.` and `_`.
    /// Without one it has the host's name, so that a program that looks its own name up finds it: the
    /// network is the host's. Needs the isolator `filesystem/linux`.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.config.hostname = Some(name.into());
        self
    }

    /// Hides nothing below `/proc` and `/sys`, and leaves the kernel's settings there writable to a payload
    /// that runs as root: for what makes containers itself, and may do to the host what it likes. Needs
    /// the isolator `filesystem/linux`; without an image nothing is hidden in any case.
    pub fn unmasked(mut self) -> Self {
        self.config.unmasked = true;
        self
    }

    /// When to ask the registry; [`PullPolicy::Missing`] unless set.
    pub fn pull(mut self, policy: PullPolicy) -> Self {
        self.config.pull = policy;
        self
    }

    /// CPUs, as shares and as the quota: 1.5 is one and a half. Above 0, at most
    /// [`limits::CPUS_MAX`](crate::limits::CPUS_MAX).
    ///
    /// Needs `cgroups/cpu`. Source: kernel `cgroup-v2.rst` (`cpu.max`, `cpu.weight`), `sched-bwc.rst`
    /// (`cpu.cfs_quota_us`).
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.config.resources.cpus = Some(cpus);
        self
    }

    /// The hard memory limit, exactly, swap included where the kernel counts it; at least
    /// [`limits::MEMORY_LIMIT_MIN`](crate::limits::MEMORY_LIMIT_MIN) bytes.
    ///
    /// Needs `cgroups/mem`. Source: kernel `cgroup-v2.rst` (`memory.max`), `cgroup-v1/memory.rst`.
    pub fn memory(mut self, limit: Bytes) -> Self {
        self.config.resources.memory = Some(limit);
        self
    }

    /// Processes and threads of the payload, 1 to [`limits::PIDS_MAX`](crate::limits::PIDS_MAX).
    ///
    /// Needs `cgroups/pids`. Source: kernel `cgroup-v2.rst` (`pids.max`).
    pub fn pids(mut self, limit: u64) -> Self {
        self.config.resources.pids = Some(limit);
        self
    }

    /// A resource limit of setrlimit(2), in the kernel's unit of its kind; `None` is unlimited. Needs
    /// `posix/rlimits`.
    pub fn rlimit(mut self, rlimit: Rlimit) -> Self {
        self.config.rlimits.push(rlimit);
        self
    }

    /// Grants a capability beyond the default set: `CAP_NET_ADMIN`, or `NET_ADMIN`; `ALL` grants all that this
    /// process has. Needs `linux/capabilities`. Source: capabilities(7).
    pub fn capability_add(mut self, name: impl Into<String>) -> Self {
        self.config.capabilities_add.push(name.into());
        self
    }

    /// Takes a capability from the default set; `ALL` takes all.
    pub fn capability_drop(mut self, name: impl Into<String>) -> Self {
        self.config.capabilities_drop.push(name.into());
        self
    }

    /// Shows a path of the host in the container: absolute on the host; in the container absolute, or below
    /// the sandbox. Needs `filesystem/linux`. Source: mount(2), `MS_BIND`.
    pub fn volume(mut self, volume: Volume) -> Self {
        self.config.volumes.push(volume);
        self
    }

    /// A label; returned by snapshots, events and status. All names and values together at most
    /// [`limits::LABELS_BYTES_MAX`](crate::limits::LABELS_BYTES_MAX) bytes.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.labels.insert(name.into(), value.into());
        self
    }

    /// Opaque bytes of the caller, at most [`limits::CALLER_DATA_MAX`](crate::limits::CALLER_DATA_MAX); returned by
    /// snapshots, events and status, in JSON as base64.
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.config.data = data.into();
        self
    }

    /// stdin of the payload; null unless set.
    pub fn stdin(mut self, stream: Output) -> Self {
        self.config.stdin = stream;
        self
    }

    /// stdout of the payload; a file in the sandbox unless set.
    pub fn stdout(mut self, stream: Output) -> Self {
        self.config.stdout = stream;
        self
    }

    /// stderr of the payload; a file in the sandbox unless set.
    pub fn stderr(mut self, stream: Output) -> Self {
        self.config.stderr = stream;
        self
    }

    /// The signal of a graceful stop, 1 to 64, over the image's `StopSignal`. Source: signal(7).
    pub fn stop_signal(mut self, signal: i32) -> Self {
        self.config.stop_signal = Some(signal);
        self
    }

    /// Stops the container, with the usual grace, when it has been `RUNNING` this long; not zero.
    pub fn timeout(mut self, after: Duration) -> Self {
        self.config.timeout = Some(after);
        self
    }

    /// Checks everything that can be known without a host. [`launch`](Self) does it again.
    ///
    /// Errors: the first setting that no launch could honour.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        executor::check_type(self.container_type)?;
        validate::check(&self.config)
    }

    /// The container's name.
    pub fn container_id(&self) -> &ContainerId {
        &self.config.container_id
    }

    /// The validated configuration, with the sandbox that its containerizer gives it.
    pub(crate) fn into_config(self, sandbox: PathBuf) -> Result<ContainerConfig, InvalidSpec> {
        self.validate()?;
        Ok(executor::with_task(ContainerConfig { sandbox, ..self.config }))
    }
}

#[cfg(test)]
mod tests;
