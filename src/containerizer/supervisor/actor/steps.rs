//! The steps of a launch and of its undoing, each asked of the room that can do it.

use std::sync::Arc;

use longshore_actors::Eventual;

use super::super::state::{Effect, Input, Step};
use super::requests::Progress;
use super::{Context, Supervisor};
use crate::containerizer::recorder::messages::{Conclude, Publish};
use crate::error::{ErrorKind, Stage};
use crate::events::{Happened, ImageName, LayerProgress, Moment};
use crate::fetcher::messages::Fetch;
use crate::isolators::messages::{Cleanup, Figures, Isolate, Isolated, Measure, Measured, Prepare};
use crate::launcher::messages::{Forget, Fork, Forked, Kill, Report};
use crate::limits;
use crate::messages::{flatten, unanswered};
use crate::model::{
    Failure, ImageReference, LaunchContext, Limitation, Provisioned, Record, State,
};
use crate::provisioner::backends::Exposure;
use crate::provisioner::messages::{ProgressSink, Provision, Unprovision};

impl Supervisor {
    pub(super) fn begin(&mut self, cx: &mut Context, step: Step) {
        self.attempt += 1;
        self.discarder = None;
        match step {
            Step::Provision => self.provision(cx),
            Step::Prepare => self.prepare(cx),
            Step::Fork => self.fork(cx),
            Step::Isolate => self.isolate(cx),
            Step::Fetch => self.fetch(cx),
            Step::Start => self.start(cx),
            Step::Kill => self.kill(cx),
            Step::Collect => self.collect(cx),
            Step::Cleanup => self.cleanup(cx),
            Step::Unprovision => self.unprovision(cx),
            Step::Record => self.record(cx),
        }
    }

    /// Turns the answer of a room into the input that it is, unless it comes too late.
    fn settle<T: Send + 'static>(
        &mut self,
        cx: &mut Context,
        step: Step,
        answer: Eventual<Result<T, Failure>>,
        keep: impl FnOnce(&mut Self, &mut Context, T) + 'static,
    ) {
        let attempt = self.attempt;
        self.discarder = Some(answer.discarder());
        cx.when("settle", answer, move |supervisor: &mut Self, cx, answer| {
            if supervisor.attempt != attempt {
                return;
            }
            match flatten(step.stage(), answer) {
                Ok(value) => {
                    keep(supervisor, cx, value);
                    supervisor.input(cx, Input::Done(step));
                }
                Err(failure) => supervisor.input(cx, Input::Failed(step, failure)),
            }
        });
    }

    /// Nothing of a container exists on the host before its directory and checkpoint do.
    fn provision(&mut self, cx: &mut Context) {
        let attempt = self.attempt;
        let creating = self.creating();
        cx.when("create", creating, move |supervisor: &mut Self, cx, created| {
            if supervisor.attempt != attempt {
                return;
            }
            match (flatten(Stage::Provision, created), supervisor.config.image.clone()) {
                (Err(failure), _) => supervisor.input(cx, Input::Failed(Step::Provision, failure)),
                (Ok(()), None) => supervisor.input(cx, Input::Done(Step::Provision)),
                (Ok(()), Some(reference)) => supervisor.ask_provisioner(cx, reference),
            }
        });
    }

    fn ask_provisioner(&mut self, cx: &mut Context, reference: ImageReference) {
        let me = cx.me();
        let progress = ProgressSink(Arc::new(move |progress| {
            // A supervisor that is gone or busy misses a figure, nothing else.
            drop(me.notify(Progress(progress)));
        }));
        let provision = Provision {
            container_id: self.id().clone(),
            reference,
            pull: self.config.pull,
            // A command executor works on the host's file system, and finds its task's root there.
            exposure: self.config.shape.task().map(|_| Exposure::Host),
            progress,
        };
        let answer = self.lane.provision.dispatch(provision, limits::PROVISION);
        self.settle(cx, Step::Provision, answer, |supervisor, _, provisioned: Provisioned| {
            let (reference, digest) = (provisioned.reference.clone(), provisioned.digest.clone());
            supervisor.snapshot.image = Some(ImageName { reference, digest });
            supervisor.provisioned = Some(Arc::new(provisioned));
        });
        if self.wants_to_end() {
            self.perform(cx, Effect::Discard(Step::Provision));
        }
    }

    /// A destroy that came while the directories were made has discarded nothing yet.
    fn wants_to_end(&self) -> bool {
        use super::super::state::{Lifecycle, Wish};
        matches!(self.state, Lifecycle::Provisioning(Wish::End(_)))
    }

    fn prepare(&mut self, cx: &mut Context) {
        let context = Arc::new(LaunchContext {
            config: Arc::clone(&self.config),
            provisioned: self.provisioned.clone(),
            runtime_directory: self.rooms.paths.container(self.id()),
        });
        let answer = self.lane.prepare.dispatch(Prepare { context }, limits::PREPARE);
        self.settle(cx, Step::Prepare, answer, |supervisor, _, prepared| {
            supervisor.prepared = prepared;
        });
    }

    /// Done when the pid is on disk: a process that nobody has written down is nobody's.
    fn fork(&mut self, cx: &mut Context) {
        let fork = Fork {
            config: Arc::clone(&self.config),
            contributions: std::mem::take(&mut self.prepared.contributions),
            provisioned: self.provisioned.clone(),
            status_file: self.rooms.paths.status(self.id()),
            lifetime: self.rooms.lifetime(),
        };
        let attempt = self.attempt;
        let answer = self.lane.fork.dispatch(fork, limits::FORK);
        cx.when("fork", answer, move |supervisor: &mut Self, cx, answer| {
            // A late `Forked` is dropped here, and its init exits for want of a release.
            if supervisor.attempt != attempt {
                return;
            }
            match flatten(Stage::Fork, answer) {
                Ok(forked) => {
                    supervisor.adopt(cx, forked);
                    let saving = supervisor.saving(None);
                    supervisor.settle(cx, Step::Fork, saving, |_, _, ()| {});
                }
                Err(failure) => supervisor.input(cx, Input::Failed(Step::Fork, failure)),
            }
        });
    }

    fn adopt(&mut self, cx: &mut Context, forked: Forked) {
        let Forked { init, argv, owner, control, mut report } = forked;
        self.payload_owner = owner;
        self.init = Some(init);
        self.init_gone = false;
        self.snapshot.pid = Some(init.pid);
        self.snapshot.argv = argv;
        self.control = Some(control);
        let started = async move {
            let started = report.started().await;
            (report, started)
        };
        cx.run("started", started, |supervisor: &mut Self, cx, (report, started)| {
            supervisor.await_end(cx, report);
            // Out of turn where the init died before it was released: its end tells the rest.
            supervisor.input(
                cx,
                match started {
                    Ok(()) => Input::Done(Step::Start),
                    Err(failure) => Input::Failed(Step::Start, failure),
                },
            );
        });
    }

    fn await_end(&mut self, cx: &mut Context, mut report: Box<dyn Report>) {
        let ended = async move { report.ended().await };
        cx.run("ended", ended, |supervisor: &mut Self, cx, status| {
            supervisor.init_gone = true;
            supervisor.input(cx, Input::InitExited(status));
            if let Some(attempt) = supervisor.killing.take() {
                supervisor.killed(cx, attempt);
            }
        });
    }

    fn isolate(&mut self, cx: &mut Context) {
        let Some(init) = self.init else {
            return self.input(cx, Input::Done(Step::Isolate));
        };
        let isolate = Isolate {
            container_id: self.id().clone(),
            remembered: self.prepared.remembered.clone(),
            init,
        };
        let answer = self.lane.isolate.dispatch(isolate, limits::ISOLATE);
        self.settle(cx, Step::Isolate, answer, |supervisor, cx, isolated: Isolated| {
            supervisor.prepared.remembered = isolated.remembered;
            for watch in isolated.watches {
                cx.run("watch", watch, |supervisor: &mut Self, cx, reached| {
                    supervisor.limited(cx, reached.map_err(|error| error.to_string()));
                });
            }
        });
    }

    /// A watch that fails ends nothing: the container is not at fault.
    fn limited(&mut self, cx: &mut Context, reached: Result<Limitation, String>) {
        match reached {
            Ok(limitation) => self.input(cx, Input::Limited(limitation)),
            Err(error) => tracing::warn!(container = %self.id(), %error, "a limit is not watched"),
        }
    }

    fn fetch(&mut self, cx: &mut Context) {
        if self.config.command.uris.is_empty() {
            return self.input(cx, Input::Done(Step::Fetch));
        }
        let fetch = Fetch { config: Arc::clone(&self.config), owner: self.payload_owner };
        let answer = self.rooms.fetch.dispatch(fetch, limits::FETCH);
        self.settle(cx, Step::Fetch, answer, |_, _, ()| {});
    }

    fn start(&mut self, cx: &mut Context) {
        let released = self.control.as_ref().map_or(Ok(()), |control| control.release());
        if let Err(failure) = released {
            return self.input(cx, Input::Failed(Step::Start, failure));
        }
        let attempt = self.attempt;
        cx.after(limits::START, "start deadline", move |supervisor: &mut Self, cx| {
            if supervisor.attempt == attempt {
                let failure = overdue(Stage::Start, "the init did not reach exec", limits::START);
                supervisor.input(cx, Input::Failed(Step::Start, failure));
            }
        });
    }

    /// Done when every process is gone *and* the init's status is known.
    fn kill(&mut self, cx: &mut Context) {
        // Of an init that was left to us there is no report.
        let unheard = self.control.is_none();
        let status_file = unheard.then(|| self.rooms.paths.status(self.id()));
        let kill = Kill { container_id: self.id().clone(), init: self.init, status_file };
        let attempt = self.attempt;
        let answer = self.lane.kill.dispatch(kill, limits::KILL + limits::QUERY);
        cx.when("kill", answer, move |supervisor: &mut Self, cx, answer| {
            if supervisor.attempt != attempt {
                return;
            }
            let status = match flatten(Stage::Destroy, answer) {
                Err(failure) => return supervisor.input(cx, Input::Failed(Step::Kill, failure)),
                Ok(status) => status,
            };
            if let Some(status) = status {
                supervisor.input(cx, Input::InitExited(status));
            }
            match supervisor.init_gone {
                true => supervisor.killed(cx, attempt),
                false => supervisor.await_status(cx, attempt),
            }
        });
    }

    fn await_status(&mut self, cx: &mut Context, attempt: u64) {
        self.killing = Some(attempt);
        cx.after(limits::QUERY, "status deadline", move |supervisor: &mut Self, cx| {
            if supervisor.killing.take() == Some(attempt) {
                let what = "the status of the init did not come";
                let failure = overdue(Stage::Destroy, what, limits::QUERY);
                supervisor.input(cx, Input::Failed(Step::Kill, failure));
            }
        });
    }

    fn killed(&mut self, cx: &mut Context, attempt: u64) {
        if self.attempt == attempt {
            self.input(cx, Input::Done(Step::Kill));
        }
    }

    fn collect(&mut self, cx: &mut Context) {
        let measure = Measure {
            figures: Figures::Last,
            container_id: self.id().clone(),
            remembered: self.prepared.remembered.clone(),
        };
        let attempt = self.attempt;
        let answer = self.lane.measure.dispatch(measure, limits::QUERY);
        cx.when("collect", answer, move |supervisor: &mut Self, cx, answer| {
            if supervisor.attempt == attempt {
                let Measured { usage, limitation } = answer.unwrap_or_else(|lost| {
                    tracing::warn!(container = %supervisor.id(), %lost, "final usage is lost");
                    Measured::default()
                });
                supervisor.usage = usage;
                if let (None, Some(limitation)) = (&supervisor.limitation, limitation) {
                    supervisor.perform(cx, Effect::NoteLimit(limitation));
                }
                supervisor.input(cx, Input::Done(Step::Collect));
            }
        });
    }

    fn cleanup(&mut self, cx: &mut Context) {
        let cleanup = Cleanup {
            container_id: self.id().clone(),
            remembered: self.prepared.remembered.clone(),
        };
        let attempt = self.attempt;
        let answer = self.lane.cleanup.dispatch(cleanup, limits::CLEANUP_ALL);
        cx.when("cleanup", answer, move |supervisor: &mut Self, cx, answer| {
            if supervisor.attempt != attempt {
                return;
            }
            match answer {
                Ok(Ok(())) => supervisor.forget_launch(cx),
                Ok(Err(failures)) => {
                    supervisor.remaining = failures.iter().map(|f| f.message.clone()).collect();
                    supervisor.input(cx, Input::Failed(Step::Cleanup, join(failures)));
                }
                Err(lost) => {
                    let failure = unanswered(Stage::Destroy, &lost);
                    supervisor.input(cx, Input::Failed(Step::Cleanup, failure));
                }
            }
        });
    }

    /// The launcher's own traces go last of what isolators could still have needed.
    fn forget_launch(&mut self, cx: &mut Context) {
        let forget = Forget { container_id: self.id().clone() };
        let answer = self.lane.forget.dispatch(forget, limits::QUERY);
        self.settle(cx, Step::Cleanup, answer, |_, _, ()| {});
    }

    fn unprovision(&mut self, cx: &mut Context) {
        // The last descriptor of a detached mount unmounts it; nothing below may still be in use.
        self.provisioned = None;
        self.control = None;
        let unprovision = Unprovision { container_id: self.id().clone() };
        let answer = self.lane.unprovision.dispatch(unprovision, limits::UNPROVISION);
        self.settle(cx, Step::Unprovision, answer, |_, _, ()| {});
    }

    fn record(&mut self, cx: &mut Context) {
        let end = self.end();
        self.snapshot.state = None;
        self.snapshot.termination.clone_from(&end.termination);
        self.snapshot.failure.clone_from(&end.failure);
        self.snapshot.usage = Some(end.usage);
        self.snapshot.rootfs = None;
        let recorded = self.recorded.as_ref().map(|record| record.ended_ns);
        let record = Record {
            container_id: self.id().clone(),
            ended_ns: recorded.unwrap_or_else(|| Moment::now().time.unix_ns()),
            labels: self.config.labels.clone(),
            data: self.config.data.clone(),
            end,
        };
        let update = self.update(Happened::Terminated { from: State::Destroying });
        let answer = self.lane.conclude.dispatch(Conclude { record, update }, limits::QUERY);
        self.settle(cx, Step::Record, answer, |_, _, ()| {});
    }

    /// A figure of a pull; only while it is still one. Through the recorder, like every event of
    /// this container, so that none overtakes another.
    pub(super) fn publish_progress(&mut self, progress: LayerProgress) {
        if self.snapshot.state == Some(State::Provisioning) {
            let update = self.update(Happened::Progress(progress));
            // A recorder that is behind loses a figure; states are never lost this way.
            drop(self.lane.publish.notify(Publish { update }));
        }
    }
}

fn overdue(stage: Stage, what: &str, after: std::time::Duration) -> Failure {
    let message = format!("{what} within {after:?}");
    Failure { stage, kind: ErrorKind::Host, errno: None, message }
}

/// Several failures as one; the first says who must act.
fn join(failures: Vec<Failure>) -> Failure {
    let message = failures.iter().map(|f| f.message.as_str()).collect::<Vec<_>>().join("; ");
    let first = failures.into_iter().next();
    let (kind, errno) = first.map_or((ErrorKind::Internal, None), |f| (f.kind, f.errno));
    Failure { stage: Stage::Destroy, kind, errno, message }
}
