//! What a container was asked to be, after validation.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    CommandInfo, ContainerId, ImageReference, Output, Provisioned, Resources, Rlimit, Shape,
};

/// When to look where an image comes from, of each launch on its own.
///
/// A registry is a matter of the policy alone. Layouts, archives and directories of archives on this
/// host cost nothing to look at: `Missing` looks at them too when their files have changed. A plain
/// directory (`rootfs:`) is always itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PullPolicy {
    /// Even if the reference is known (Mesos' `cached = false`): the manifest is asked for again, and
    /// what the store has of it by digest is not fetched a second time.
    Always,
    /// Only if the reference is not in the store (Mesos' `cached = true`): a tag that has moved in the
    /// registry meanwhile is not noticed.
    #[default]
    Missing,
    /// Never: what is not in the store is `NotFound`, and nobody is asked.
    Never,
}

/// A host path shown in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Volume {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute: in the container. Relative: below the sandbox.
    pub target: PathBuf,
    /// Read-only, with all mounts below it.
    pub read_only: bool,
}

impl Volume {
    /// Readable and writable.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), read_only: false }
    }

    /// Read-only, with all mounts below it.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
}

/// What a container was asked to be. Plain data; validated when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContainerConfig {
    /// Its name.
    pub container_id: ContainerId,
    /// What to run.
    pub command: CommandInfo,
    /// What to run it in; without, the host's file system.
    pub image: Option<ImageReference>,
    /// When to ask the registry.
    pub pull: PullPolicy,
    /// Where to run it. Without: the image's, else `/`; the sandbox on the host's file system.
    pub working_directory: Option<PathBuf>,
    /// What gethostname(2) answers in the container; `None`: what it answers on the host.
    pub hostname: Option<String>,
    /// Nothing below `/proc` and `/sys` is hidden or made read-only.
    pub unmasked: bool,
    /// Limits.
    pub resources: Resources,
    /// Resource limits of processes, setrlimit(2).
    pub rlimits: Vec<Rlimit>,
    /// Capabilities granted beyond the default set, `CAP_…` upper case.
    pub capabilities_add: Vec<String>,
    /// Capabilities taken from the default set; `ALL` takes all.
    pub capabilities_drop: Vec<String>,
    /// Host paths to show.
    pub volumes: Vec<Volume>,
    /// stdin of the payload; `Sandbox` means `Null` here.
    pub stdin: Output,
    /// stdout of the payload.
    pub stdout: Output,
    /// stderr of the payload.
    pub stderr: Output,
    /// The signal of a graceful stop, over the image's `StopSignal`.
    pub stop_signal: Option<i32>,
    /// Stop the container when it has run this long.
    pub timeout: Option<Duration>,
    /// Whose container it is.
    pub shape: Shape,
    /// What the agent adds to the payload's environment, below everything else: Mesos' `environment`
    /// of a launch. For an executor over what [`super::AgentInfo`] says.
    pub agent_environment: BTreeMap<String, String>,
    /// The caller's labels.
    pub labels: BTreeMap<String, String>,
    /// The caller's opaque bytes, at most [`crate::limits::CALLER_DATA_MAX`].
    pub data: Vec<u8>,
    /// The sandbox on the host; exists before any isolator is called.
    pub sandbox: PathBuf,
}

/// What every isolator sees of a launch. All see the same; none sees another's contribution.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LaunchContext {
    /// What was asked for.
    pub config: Arc<ContainerConfig>,
    /// Image and root file system; `None` on the host's file system.
    pub provisioned: Option<Arc<Provisioned>>,
    /// `<runtime_dir>/containers/<id>`; exists.
    pub runtime_directory: PathBuf,
}
