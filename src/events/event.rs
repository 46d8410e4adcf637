//! What subscribers are given, and its JSON: one object a line.
//!
//! Names and order of the fields are a promise: fields may be added, none is renamed, and what is
//! absent is left out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::moment::WallTime;
use crate::model::{ContainerId, Digest, Failure, Limitation, State, Termination, Usage};

/// What happened to a container: the state that it entered, or one of the three others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the states are documented at `State`")]
pub enum EventKind {
    Provisioning,
    Preparing,
    Forking,
    Isolating,
    Fetching,
    Starting,
    Running,
    Paused,
    Destroying,
    Stuck,
    /// The last event of a container, and exactly one: everything is undone.
    Terminated,
    /// A limit was reached.
    Limited,
    /// A layer of its image is on its way.
    Progress,
}

impl From<State> for EventKind {
    fn from(state: State) -> Self {
        match state {
            State::Provisioning => Self::Provisioning,
            State::Preparing => Self::Preparing,
            State::Forking => Self::Forking,
            State::Isolating => Self::Isolating,
            State::Fetching => Self::Fetching,
            State::Starting => Self::Starting,
            State::Running => Self::Running,
            State::Paused => Self::Paused,
            State::Destroying => Self::Destroying,
            State::Stuck => Self::Stuck,
        }
    }
}

/// Names a counter of sequence numbers: they are kept for as long as the runtime directory is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Epoch(Arc<str>);

impl Epoch {
    /// As in JSON.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for Epoch {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Epoch> for String {
    fn from(epoch: Epoch) -> Self {
        epoch.0.as_ref().to_owned()
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The image that a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageName {
    /// Normalised: `docker.io/library/redis:7.0`.
    pub reference: String,
    /// Digest of the manifest; absent for a plain directory and before the image is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// How far the pull of one layer has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerProgress {
    /// Digest of the layer as it is transferred.
    pub layer: Digest,
    /// Bytes transferred.
    pub bytes: u64,
    /// Bytes to transfer.
    pub total: u64,
}

/// One event of one container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Counts every event of every container, without holes; grows over a restart.
    pub seq: u64,
    /// Names the counter: sequence numbers of different epochs cannot be compared.
    pub epoch: Epoch,
    /// Whose event.
    pub container_id: ContainerId,
    /// When, by the wall clock.
    pub time: WallTime,
    /// When, by CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// What happened.
    #[serde(rename = "event")]
    pub kind: EventKind,
    /// The state before; absent where no state changed, and in the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<State>,
    /// The state entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<State>,
    /// The init, in our PID namespace: `running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was executed: `running`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// What it runs in: the first event (as asked for) and `running`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// A path through which the root file system can be seen from here: `running`.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    pub rootfs: Option<PathBuf>,
    /// The caller's labels: the first event, `running` and `terminated`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// How the payload ended: `terminated`, if one ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// What failed: `stuck`, and `terminated` of a container that never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it has used in all: `terminated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What a stuck container still holds: `stuck`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<String>,
    /// The limit that was reached: `limited`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limitation: Option<Limitation>,
    /// `progress`.
    #[serde(default, flatten, skip_serializing_if = "Option::is_none")]
    pub progress: Option<LayerProgress>,
}

/// A container as it is now: what a snapshot lists and `status` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContainerSnapshot {
    /// Its name.
    pub container_id: ContainerId,
    /// Where it is in its life; absent once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When it was asked for.
    pub created: WallTime,
    /// The init, in our PID namespace; from the fork on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// What was executed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// What it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageName>,
    /// A path through which the root file system can be seen from here, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    pub rootfs: Option<PathBuf>,
    /// The directory that takes what the payload writes, where the backend has one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    pub upper: Option<PathBuf>,
    /// Its working directory on the host.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "lossy")]
    pub sandbox: Option<PathBuf>,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The caller's opaque bytes; base64 in JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_text")]
    pub data: Vec<u8>,
    /// How the payload ended, if one ran and has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination: Option<Termination>,
    /// What failed first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What it has used in all, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What a stuck container still holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remaining: Vec<String>,
}

impl ContainerSnapshot {
    /// A container that has just been asked for.
    pub fn new(container_id: ContainerId, created: WallTime) -> Self {
        Self {
            container_id,
            state: Some(State::Provisioning),
            created,
            pid: None,
            argv: Vec::new(),
            image: None,
            rootfs: None,
            upper: None,
            sandbox: None,
            labels: BTreeMap::new(),
            data: Vec::new(),
            termination: None,
            failure: None,
            usage: None,
            remaining: Vec::new(),
        }
    }
}

/// Every container at one point between two events.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The last event that is contained; the next one that follows is `seq + 1`.
    pub seq: u64,
    /// Names the counter.
    pub epoch: Epoch,
    /// When, by the wall clock.
    pub time: WallTime,
    /// When, by CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// The containers, by name.
    pub containers: Vec<Arc<ContainerSnapshot>>,
}

/// Events that a subscriber has missed; a snapshot follows.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lagged {
    /// Names the counter.
    pub epoch: Epoch,
    /// When it was noticed, by the wall clock.
    pub time: WallTime,
    /// When it was noticed, by CLOCK_MONOTONIC.
    pub monotonic_ns: u64,
    /// The first event missed.
    pub from_seq: u64,
    /// The last event missed.
    pub to_seq: u64,
}

/// What a subscription yields. Serialised, each is one JSON object of the event stream.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// All containers; later events continue from here.
    Snapshot(Arc<Snapshot>),
    /// The next event.
    Event(Arc<Event>),
    /// Events were missed; the next notice is a snapshot.
    Lagged(Lagged),
}

impl Notice {
    /// One line of JSON, without the line feed.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and maps with text keys are JSON")
    }
}

impl Serialize for Notice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Event(event) => event.as_ref().serialize(serializer),
            Self::Snapshot(snapshot) => SnapshotLine::from(snapshot.as_ref()).serialize(serializer),
            Self::Lagged(lagged) => LaggedLine::from(lagged).serialize(serializer),
        }
    }
}

#[derive(Serialize)]
struct SnapshotLine<'a> {
    seq: u64,
    epoch: &'a Epoch,
    time: WallTime,
    monotonic_ns: u64,
    event: &'static str,
    containers: Vec<&'a ContainerSnapshot>,
}

impl<'a> From<&'a Snapshot> for SnapshotLine<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            seq: snapshot.seq,
            epoch: &snapshot.epoch,
            time: snapshot.time,
            monotonic_ns: snapshot.monotonic_ns,
            event: "snapshot",
            containers: snapshot.containers.iter().map(AsRef::as_ref).collect(),
        }
    }
}

#[derive(Serialize)]
struct LaggedLine<'a> {
    seq: u64,
    epoch: &'a Epoch,
    time: WallTime,
    monotonic_ns: u64,
    event: &'static str,
    from_seq: u64,
    to_seq: u64,
}

impl<'a> From<&'a Lagged> for LaggedLine<'a> {
    fn from(lagged: &'a Lagged) -> Self {
        Self {
            // Whoever resumes from this line must be told again: the snapshot has not come yet.
            seq: lagged.from_seq - 1,
            epoch: &lagged.epoch,
            time: lagged.time,
            monotonic_ns: lagged.monotonic_ns,
            event: "lagged",
            from_seq: lagged.from_seq,
            to_seq: lagged.to_seq,
        }
    }
}

/// A path as text: JSON has no other bytes.
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// Bytes as base64 text.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(d)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
