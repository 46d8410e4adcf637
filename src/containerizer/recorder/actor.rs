//! The recorder: one actor on an arbiter of its own, because a disk may make it wait.

use std::sync::Arc;

use longshore_actors::{Cx, Handler, Process, Reply};

use super::files::Files;
use super::messages::{Conclude, Create, Discard, Publish, Sandbox, Save};
use crate::error::{Classified, Stage, failure};
use crate::events::{self, EventHub};
use crate::model::Failure;

/// Writes, then publishes; in the order in which it is told.
#[derive(Debug)]
pub(crate) struct Recorder {
    files: Arc<dyn Files>,
    events: EventHub,
}

impl Recorder {
    pub(crate) fn new(files: Arc<dyn Files>, events: EventHub) -> Self {
        Self { files, events }
    }

    /// `terminated` is the last event of a container, also where a supervisor could not be told so
    /// and asks again.
    fn publish(&self, update: events::Update) {
        let published = self.events.container(&update.container.container_id);
        if published.is_none_or(|container| container.state.is_some()) {
            self.events.publish(update);
        }
    }
}

fn stage<T, E: Classified>(stage: Stage, result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| failure(stage, &error))
}

impl Process for Recorder {
    fn initialize(&mut self, _: &mut Cx<Self>) -> Result<(), longshore_actors::Fault> {
        self.files.own_thread();
        Ok(())
    }
}

impl Handler<Create> for Recorder {
    fn handle(&mut self, message: Create, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let made = stage(Stage::Provision, self.files.make_container(&message.container_id));
        let save = || self.files.save(&message.journal, &message.checkpoint);
        let written = made.and_then(|()| stage(Stage::Provision, save()));
        self.publish(message.update);
        Reply::Now(written)
    }
}

impl Handler<Save> for Recorder {
    fn handle(&mut self, message: Save, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let written = self.files.save(&message.journal, &message.checkpoint);
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
        // A launch that failed because nothing can be written must still come to an end: its record
        // is then in memory only, which is better than a container that cannot go.
        if let Err(error) = self.files.write_record(&message.record) {
            tracing::warn!(%error, container = %id, "the record is kept in memory only");
        }
        let removed = stage(Stage::Destroy, self.files.remove_container(id));
        if removed.is_ok() {
            self.publish(message.update);
        }
        Reply::Now(removed)
    }
}

impl Handler<Discard> for Recorder {
    fn handle(&mut self, message: Discard, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let id = message.container_id;
        let record = self.files.remove_record(&id);
        let doomed = record.and_then(|()| match message.sandbox {
            Sandbox::Keep => Ok(None),
            Sandbox::Remove => self.files.remove_sandbox(&id),
        });
        self.events.forget(&id);
        match stage(Stage::Destroy, doomed) {
            Ok(None) => Reply::Now(Ok(())),
            Err(failure) => Reply::Now(Err(failure)),
            // What a payload has written can be a lot: it is removed beside everybody's records.
            Ok(Some(doomed)) => {
                let files = Arc::clone(&self.files);
                Reply::Later(cx.blocking("bulk", "remove sandbox", move |_| {
                    stage(Stage::Destroy, files.remove_doomed(&doomed))
                }))
            }
        }
    }
}
