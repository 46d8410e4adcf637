//! The recorder: one actor on an arbiter of its own, because a disk may make it wait.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use longshore_actors::{Cx, Handler, Process, Reply};

use super::messages::{Conclude, Create, Discard, Publish, Sandbox, Save};
use crate::checkpoint::{self, CheckpointError, RecordV1};
use crate::error::{Classified, ErrorKind, Stage, failure};
use crate::events::{self, EventHub};
use crate::limits;
use crate::linux;
use crate::linux::fs::{CLOSED, SANDBOX, SHARED, make_closed, make_directories};
use crate::model::{ContainerId, Failure};
use crate::paths::Paths;

/// Writes, then publishes; in the order in which it is told.
#[derive(Debug)]
pub(crate) struct Recorder {
    paths: Paths,
    events: EventHub,
}

impl Recorder {
    pub(crate) fn new(paths: Paths, events: EventHub) -> Self {
        Self { paths, events }
    }

    /// `terminated` is the last event of a container, also where a supervisor could not be told so
    /// and asks again.
    fn publish(&self, update: events::Update) {
        let published = self.events.container(&update.container.container_id);
        if published.is_none_or(|container| container.state.is_some()) {
            self.events.publish(update);
        }
    }

    fn make_directories(&self, id: &ContainerId) -> Result<(), RecordError> {
        let runtime = self.paths.container(id);
        make(&self.paths.records())?;
        make(&runtime)?;
        // Whoever had this name before has left its status here only if we died in between.
        remove_file(&self.paths.status(id))?;
        // For its payload's user and group alone, who may make set-user-ID files in it.
        let sandbox = self.paths.sandbox(id);
        make_closed(&sandbox, SANDBOX).map_err(|error| uncreated(&sandbox, error))
    }
}

/// A directory or file of ours that cannot be made or removed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {error}")]
struct RecordError {
    action: &'static str,
    path: PathBuf,
    #[source]
    error: io::Error,
}

impl Classified for RecordError {
    fn kind(&self) -> ErrorKind {
        match self.error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
            _ => ErrorKind::Host,
        }
    }

    fn errno(&self) -> Option<String> {
        let errno = self.error.raw_os_error()?;
        Some(format!("{:?}", nix::errno::Errno::from_raw(errno)))
    }
}

fn make(path: &Path) -> Result<(), RecordError> {
    make_directories(path, SHARED).map_err(|error| uncreated(path, error))
}

fn uncreated(path: &Path, error: io::Error) -> RecordError {
    RecordError { action: "create", path: path.to_owned(), error }
}

fn remove_file(path: &Path) -> Result<(), RecordError> {
    absent_is_fine(path, fs::remove_file(path))
}

fn remove_tree(path: &Path) -> Result<(), RecordError> {
    absent_is_fine(path, fs::remove_dir_all(path))
}

fn absent_is_fine(path: &Path, result: io::Result<()>) -> Result<(), RecordError> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(RecordError { action: "remove", path: path.to_owned(), error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn stage<T, E: Classified>(stage: Stage, result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| failure(stage, &error))
}

impl Process for Recorder {}

impl Handler<Create> for Recorder {
    fn handle(&mut self, message: Create, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let made = stage(Stage::Provision, self.make_directories(&message.container_id));
        let path = self.paths.checkpoint(&message.container_id);
        let written = made
            .and_then(|()| stage(Stage::Provision, checkpoint::write(&path, &message.checkpoint)));
        self.publish(message.update);
        Reply::Now(written)
    }
}

impl Handler<Save> for Recorder {
    fn handle(&mut self, message: Save, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let path = self.paths.checkpoint(&message.container_id);
        let written: Result<(), CheckpointError> = checkpoint::write(&path, &message.checkpoint);
        if let Some(update) = message.update {
            self.publish(update);
        }
        Reply::Now(stage(Stage::Fork, written))
    }
}

impl Handler<Publish> for Recorder {
    fn handle(&mut self, message: Publish, _: &mut Cx<Self>) -> Reply<()> {
        self.publish(message.update);
        Reply::Now(())
    }
}

impl Handler<Conclude> for Recorder {
    fn handle(&mut self, message: Conclude, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let id = &message.record.container_id;
        let path = self.paths.records().join(id.to_string());
        // A launch that failed because nothing can be written must still come to an end: its record
        // is then in memory only, which is better than a container that cannot go.
        if let Err(error) = checkpoint::write(&path, &RecordV1::freeze(&message.record)) {
            tracing::warn!(%error, container = %id, "the record is kept in memory only");
        }
        let removed = stage(Stage::Destroy, remove_tree(&self.paths.container(id)));
        if removed.is_ok() {
            self.publish(message.update);
        }
        Reply::Now(removed)
    }
}

impl Handler<Discard> for Recorder {
    fn handle(&mut self, message: Discard, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let id = message.container_id;
        let record = remove_file(&self.paths.records().join(id.to_string()));
        let sandbox = self.paths.sandbox(&id);
        let doomed = record.and_then(|()| match message.sandbox {
            Sandbox::Keep => Ok(None),
            // Two streams and little else: gone in a moment.
            Sandbox::Remove => match linux::fs::remove_small(&sandbox, limits::SMALL_TREE) {
                Ok(true) => Ok(None),
                Ok(false) | Err(_) => doom(&self.paths, &id),
            },
        });
        self.events.forget(&id);
        match stage(Stage::Destroy, doomed) {
            Ok(None) => Reply::Now(Ok(())),
            Err(failure) => Reply::Now(Err(failure)),
            // What a payload has written can be a lot: it is removed beside everybody's records.
            Ok(Some(doomed)) => {
                let trash = self.paths.trash();
                Reply::Later(cx.blocking("bulk", "remove sandbox", move |_| {
                    let removed = remove_tree(&doomed);
                    // The last one out; a failure says that it was not.
                    let _ = fs::remove_dir(trash);
                    stage(Stage::Destroy, removed)
                }))
            }
        }
    }
}

/// How often the last one out can be met before it is no accident any more.
const DOOM_ATTEMPTS: u32 = 100;

/// Takes the sandbox out of the way at once: the id may have a new container before it is gone.
fn doom(paths: &Paths, id: &ContainerId) -> Result<Option<PathBuf>, RecordError> {
    let (sandbox, trash) = (paths.sandbox(id), paths.trash());
    let doomed = trash.join(uuid::Uuid::new_v4().to_string());
    let mut moved = Ok(());
    for _ in 0..DOOM_ATTEMPTS {
        moved = make_closed(&trash, CLOSED).and_then(|()| fs::rename(&sandbox, &doomed));
        // Somebody's last one out may remove the directory between the two steps, and also while it
        // is being made: then std finds a name that is taken by no directory.
        let raced = moved.as_ref().is_err_and(|error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
        });
        if !raced || !fs::exists(&sandbox).unwrap_or(false) {
            break;
        }
    }
    match moved {
        Ok(()) => Ok(Some(doomed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let _ = fs::remove_dir(&trash);
            Ok(None)
        }
        Err(error) => Err(RecordError { action: "remove", path: sandbox, error }),
    }
}
