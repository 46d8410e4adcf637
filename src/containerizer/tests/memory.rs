//! What a simulated recorder writes, and what simulated isolators hold: words of the fake host.

use std::io;
use std::path::{Path, PathBuf};

use super::host::{Host, HostState};
use crate::checkpoint::{CheckpointError, ContainerV1, Journal};
use crate::containerizer::recorder::files::{Files, RecordError};
use crate::error::Stage;
use crate::isolators::{DynIsolator, InitPid, IsolatorError, Watch};
use crate::model::{
    ContainerId, Failure, LaunchContext, LaunchInfo, Limitation, Record, Resources, Usage,
};

/// Files that are kept in memory.
#[derive(Debug, Clone)]
pub(super) struct Memory(pub(super) Host);

impl Memory {
    /// Does `write`, or half of it, or nothing; the disk is full where it fails.
    fn call(
        &self,
        name: &'static str,
        id: &ContainerId,
        write: impl FnOnce(&mut HostState),
    ) -> io::Result<()> {
        let done = self.0.work((name, Stage::Run), id, |_| {}, write);
        done.map_err(|_| io::Error::from(io::ErrorKind::StorageFull))
    }
}

fn unsaved(id: &ContainerId, error: io::Error) -> CheckpointError {
    CheckpointError::File { action: "write", path: id.as_str().into(), error }
}

fn unremoved(id: &ContainerId, error: io::Error) -> RecordError {
    RecordError::File { action: "remove", path: id.as_str().into(), error }
}

impl Files for Memory {
    fn own_thread(&self) {}

    fn make_container(&self, id: &ContainerId) -> Result<(), RecordError> {
        // A new life of this id.
        self.0.lock().cleaned.retain(|(_, of)| of != id);
        let half = |state: &mut HostState| {
            state.directories.insert(id.clone());
        };
        let made = self.0.work(("mkdir", Stage::Provision), id, half, |_| {});
        made.map_err(|_| {
            let error = io::Error::from(io::ErrorKind::StorageFull);
            RecordError::File { action: "create", path: id.as_str().into(), error }
        })
    }

    fn save(&self, _: &Journal, checkpoint: &ContainerV1) -> Result<(), CheckpointError> {
        let id = ContainerId::new(checkpoint.container_id.as_str()).expect("it was one");
        if !self.0.lock().directories.contains(&id) {
            return Err(unsaved(&id, io::ErrorKind::NotFound.into()));
        }
        let write = |state: &mut HostState| {
            state.checkpoints.insert(id.clone(), checkpoint.clone());
        };
        self.call("save", &id, write).map_err(|error| unsaved(&id, error))
    }

    fn checkpoint(&self, id: &ContainerId) -> Result<Option<ContainerV1>, CheckpointError> {
        Ok(self.0.lock().checkpoints.get(id).cloned())
    }

    fn write_record(&self, record: &Record) -> Result<(), CheckpointError> {
        let id = &record.container_id;
        let write = |state: &mut HostState| {
            state.records.insert(id.clone(), record.clone());
        };
        self.call("record", id, write).map_err(|error| unsaved(id, error))
    }

    fn remove_record(&self, id: &ContainerId) -> Result<(), RecordError> {
        let remove = |state: &mut HostState| {
            state.records.remove(id);
        };
        self.call("unrecord", id, remove).map_err(|error| unremoved(id, error))
    }

    fn remove_container(&self, id: &ContainerId) -> Result<(), RecordError> {
        let half = |state: &mut HostState| {
            state.checkpoints.remove(id);
        };
        let rest = |state: &mut HostState| {
            state.directories.remove(id);
        };
        let removed = self.0.work(("rmdir", Stage::Destroy), id, half, rest);
        removed.map_err(|_| unremoved(id, io::ErrorKind::ResourceBusy.into()))
    }

    fn remove_sandbox(&self, _: &ContainerId) -> Result<Option<PathBuf>, RecordError> {
        Ok(None)
    }

    fn remove_doomed(&self, _: &Path) -> Result<(), RecordError> {
        Ok(())
    }
}

/// An isolator that holds a word of each container.
pub(super) struct Piece {
    pub(super) host: Host,
    pub(super) names: PieceNames,
}

/// Its name, and those of its calls: each gets into trouble by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct PieceNames {
    pub(super) name: &'static str,
    prepare: &'static str,
    isolate: &'static str,
    cleanup: &'static str,
}

macro_rules! pieces {
    ($($name:literal),+) => {
        [$(PieceNames {
            name: $name,
            prepare: concat!($name, "-prepare"),
            isolate: concat!($name, "-isolate"),
            cleanup: concat!($name, "-cleanup"),
        }),+]
    };
}

/// In the order of the chain. The second one is the embedder's: it is called on threads of its own, and
/// watches a limit.
pub(super) const PIECES: [PieceNames; 3] = pieces!["first", "apart", "last"];
pub(super) const APART: &str = "apart";

impl Piece {
    /// What is done after the cleanup is never undone.
    fn comes_in_time(&self, id: &ContainerId, did: &str) {
        let mut state = self.host.lock();
        if state.cleaned.contains(&(self.names.name, id.clone())) {
            state.note_wrong(format!("{} {did} {id} after its cleanup", self.names.name));
        }
    }
}

fn host_error(failure: Failure) -> IsolatorError {
    IsolatorError::Conflict(failure.message)
}

impl DynIsolator for Piece {
    fn name(&self) -> &'static str {
        self.names.name
    }

    fn nesting(&self) -> bool {
        false
    }

    fn prepares_only(&self) -> bool {
        false
    }

    fn prepare(
        &self,
        id: &ContainerId,
        _: &LaunchContext,
    ) -> Result<(LaunchInfo, Vec<u8>), IsolatorError> {
        let call = (self.names.prepare, Stage::Prepare);
        self.comes_in_time(id, "prepared");
        self.host.hold(call, id, self.names.name).map_err(host_error)?;
        Ok((LaunchInfo::default(), self.names.name.into()))
    }

    fn isolate(
        &self,
        id: &ContainerId,
        container: &[u8],
        _: InitPid,
    ) -> Result<Vec<u8>, IsolatorError> {
        self.comes_in_time(id, "isolated");
        let passed = self.host.pass(self.names.isolate, Stage::Isolate, id);
        passed.map(|()| container.to_vec()).map_err(host_error)
    }

    fn watch(&self, id: &ContainerId, _: &[u8]) -> Result<Option<Watch>, IsolatorError> {
        if self.names.name != APART {
            return Ok(None);
        }
        let reached = self.host.limit(id);
        Ok(Some(Box::pin(async move {
            let lost = |_| IsolatorError::Broken { isolator: "piece", what: "watch" };
            reached.await.into_result().map_err(lost)
        })))
    }

    fn last(
        &self,
        id: &ContainerId,
        container: &[u8],
    ) -> Result<(Usage, Option<Limitation>), IsolatorError> {
        Ok((self.usage(id, container)?, None))
    }

    fn update(
        &self,
        _: &ContainerId,
        container: &[u8],
        _: &Resources,
    ) -> Result<Vec<u8>, IsolatorError> {
        Ok(container.to_vec())
    }

    fn usage(&self, _: &ContainerId, _: &[u8]) -> Result<Usage, IsolatorError> {
        Ok(Usage { cpu_ns: Some(7), ..Usage::default() })
    }

    fn cleanup(&self, id: &ContainerId, _: Option<&[u8]>) -> Result<(), IsolatorError> {
        {
            let mut state = self.host.lock();
            state.cleaned.insert((self.names.name, id.clone()));
            if state.holds("init", id) {
                state
                    .note_wrong(format!("{} cleaned up {id} under a living init", self.names.name));
            }
        }
        self.host.let_go(self.names.cleanup, id, self.names.name).map_err(host_error)
    }
}
