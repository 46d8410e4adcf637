//! `run`: one container in the foreground, with a containerizer of its own in this process.

use std::path::PathBuf;
use std::time::Duration;

use longshore::config::{ISOLATION_WITHOUT_IMAGE, ImageProvider, Launcher};
use longshore::error::{Error, ErrorKind};
use longshore::events::{Event, EventKind, Notice, Since, Subscription};
use longshore::launcher::Lifetime;
use longshore::model::{ContainerId, End, ImageReference, Output, signal_name};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers, Job, RunLock, Stop};

use super::args::Run;
use super::event_log::EventLog;
use super::exit::{self, Complaint};
use super::images::executor;
use super::progress::Progress;
use super::rootfs::require_root;
use super::settings::Settings;
use super::signals::Signals;
use super::what::{Words, executed};

/// The last event is published before the end is known; this bounds a reader of events that does
/// not read.
const LAST_EVENT: Duration = Duration::from_secs(5);

/// Runs a container to its end; the complaint has the payload's code.
pub(crate) fn run(run: Run) -> Result<(), Complaint> {
    let asked = Asked::new(run)?;
    if asked.settings.config.launcher == Some(Launcher::Linux) {
        require_root(if asked.image { "run of an image" } else { "run with --launcher linux" })?;
    }
    let log = asked.json_events.as_deref().map(EventLog::open).transpose()?;
    executor()?.block_on(contain(asked, log))
}

/// What was asked for, checked as far as it can be without doing anything.
struct Asked {
    settings: Settings,
    spec: ContainerSpec,
    /// It has one; otherwise the host's file system.
    image: bool,
    json_events: Option<PathBuf>,
    progress: Progress,
}

impl Asked {
    fn new(mut run: Run) -> Result<Self, Complaint> {
        let image = match (run.image.take(), run.docker_image.take()) {
            (None, Some(name)) if name.is_empty() => {
                return Err(Complaint::usage("--docker-image is empty"));
            }
            (None, Some(name)) => Some(ImageReference::Docker(name)),
            (image, _) => image,
        };
        let mut settings = std::mem::take(&mut run.shared).resolve()?;
        settle(&mut settings, image.as_ref())?;
        let (json_events, shown) = (run.json_events.take(), run.reporting.progress);
        // The container of a `run` has no executor; what an agent would give one is given to it.
        let has_image = image.is_some();
        let variables = settings.config.agent.executor_environment_variables.clone();
        let spec = variables
            .into_iter()
            .fold(spec(run, image)?, |spec, (name, value)| spec.agent_env(name, value));
        spec.validate().map_err(Complaint::usage)?;
        Ok(Self { settings, spec, image: has_image, json_events, progress: Progress::new(shown) })
    }
}

/// What `run` decides that an agent would not.
fn settle(settings: &mut Settings, image: Option<&ImageReference>) -> Result<(), Complaint> {
    let config = &mut settings.config;
    config.lifetime = Lifetime::WithAgent;
    let Some(image) = image else {
        if config.isolation.is_none() && config.image_providers.is_none() {
            let names = ISOLATION_WITHOUT_IMAGE.iter().map(|&name| name.to_owned());
            config.isolation = Some(names.collect());
        }
        return Ok(());
    };
    if config.launcher == Some(Launcher::Posix) {
        return Err(Complaint::usage(format_args!("image {image} needs --launcher linux")));
    }
    // Whoever runs this: only then is it told what else is wrong with the words.
    config.launcher = Some(Launcher::Linux);
    let provider = ImageProvider::of(image);
    let on = config.selection().map_err(Complaint::usage)?.image_providers;
    match on.contains(&provider) {
        true => Ok(()),
        false => Err(Complaint::usage(format_args!(
            "image {image} needs the image provider {}, which is not on",
            provider.name()
        ))),
    }
}

/// The container that the flags describe; its streams are ours.
fn spec(run: Run, image: Option<ImageReference>) -> Result<ContainerSpec, Complaint> {
    let words = Words {
        image: image.is_some(),
        entrypoint: run.entrypoint.as_deref(),
        shell: run.shell,
        command: run.command.as_deref(),
        args: &run.args,
    };
    let mut command = executed(words).map_err(Complaint::usage)?;
    command.environment = run.env.into_iter().collect();
    command.user = run.user;
    command.uris = run.uri;
    let mut spec = ContainerSpec::new(run.name.unwrap_or_else(random_id), image)
        .command_info(command)
        .pull(run.pull)
        .stdin(Output::Inherit)
        .stdout(Output::Inherit)
        .stderr(Output::Inherit);
    spec = run.cpus.into_iter().fold(spec, ContainerSpec::cpus);
    spec = run.memory.into_iter().fold(spec, ContainerSpec::memory);
    spec = run.pids.into_iter().fold(spec, ContainerSpec::pids);
    spec = run.rlimit.into_iter().fold(spec, ContainerSpec::rlimit);
    spec = run.cap_add.into_iter().fold(spec, ContainerSpec::capability_add);
    spec = run.cap_drop.into_iter().fold(spec, ContainerSpec::capability_drop);
    spec = run.volume.into_iter().fold(spec, ContainerSpec::volume);
    spec = run.workdir.into_iter().fold(spec, ContainerSpec::working_directory);
    spec = run.hostname.into_iter().fold(spec, ContainerSpec::hostname);
    spec = if run.unmask { spec.unmasked() } else { spec };
    spec = run.stop_signal.into_iter().fold(spec, ContainerSpec::stop_signal);
    spec = run.timeout.into_iter().fold(spec, ContainerSpec::timeout);
    Ok(run.label.into_iter().fold(spec, |spec, (name, value)| spec.label(name, value)))
}

fn random_id() -> ContainerId {
    let name = uuid::Uuid::new_v4().simple().to_string();
    ContainerId::new(name).expect("hexadecimal digits are a name")
}

/// Starts a containerizer, runs the container in it, and leaves nothing behind.
async fn contain(asked: Asked, log: Option<EventLog>) -> Result<(), Complaint> {
    let Asked { settings, spec, progress, .. } = asked;
    let mut signals = Signals::listen()
        .map_err(|error| Complaint::usage(format_args!("cannot listen to signals: {error}")))?;
    let builder = Containerizer::builder(settings.paths.work_dir(), settings.paths.runtime_dir());
    // Buries first what dead runs have left, of this name too: only then is the name taken.
    let started = tokio::select! {
        biased;
        started = builder.config(settings.config.clone()).start() => started,
        // Nothing of ours exists yet; what was being buried goes on where it was, next time.
        signal = signals.next() => {
            return Err(exit::interrupted(signal, &signal_name(signal)));
        }
    };
    let node = started.map_err(|error| Complaint::not_started(&error))?;
    let id = spec.container_id().clone();
    let ended = match RunLock::take(&settings.paths, &id) {
        Ok(lock) => {
            let follower = Follower { log, progress, signals, signal: None, ended: false };
            let events = node.subscribe(Since::Now);
            let ended = match node.launch(spec) {
                Ok(job) => {
                    let ended = follower.see_through(&job, events).await;
                    conclude(ended, shut(&node, &id).await)
                }
                Err(error) => {
                    let _nothing_runs = node.shutdown(Containers::Destroy).await;
                    Err(Complaint::not_started(&error))
                }
            };
            // Only now is nothing of this id left.
            drop(lock);
            ended
        }
        Err(error) => {
            let _nothing_runs = node.shutdown(Containers::Destroy).await;
            Err(Complaint::usage(error))
        }
    };
    ended.and_then(|complaint| match complaint {
        Complaint { code: 0, line: None } => Ok(()),
        complaint => Err(complaint),
    })
}

/// Forgets the container, its sandbox included, and stops the containerizer.
async fn shut(node: &Containerizer, id: &ContainerId) -> Result<(), Error> {
    // What is stuck stays on record, for whoever comes next.
    let removed = match node.remove(id).await {
        Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
        removed => removed,
    };
    removed.and(node.shutdown(Containers::Destroy).await)
}

/// The container's own end counts; a shutdown that went wrong is told where nothing else is.
fn conclude(
    ended: Result<Complaint, Complaint>,
    closed: Result<(), Error>,
) -> Result<Complaint, Complaint> {
    let mut complaint = ended?;
    if let (Err(error), None) = (closed, &complaint.line) {
        complaint.line = Some(error.to_string());
    }
    Ok(complaint)
}

/// The next event, when there is room to write it down.
async fn next(log: Option<&EventLog>, events: &mut Subscription) -> Option<Notice> {
    if let Some(log) = log {
        log.room().await;
    }
    events.next().await
}

/// Follows one container: its events, its end, and the signals that want to end it sooner.
struct Follower {
    log: Option<EventLog>,
    progress: Progress,
    signals: Signals,
    /// The first signal that came.
    signal: Option<i32>,
    /// Its last event has come.
    ended: bool,
}

impl Follower {
    async fn see_through(
        mut self,
        job: &Job,
        mut events: Subscription,
    ) -> Result<Complaint, Complaint> {
        let end = self.follow(job, &mut events).await;
        self.progress.finish();
        if let Some(log) = self.log.take() {
            log.close().await;
        }
        let end = end.map_err(|error| Complaint::not_started(&error))?;
        Ok(match self.signal.filter(|_| end.termination.is_none() && end.remaining.is_empty()) {
            Some(signal) => exit::interrupted(signal, &signal_name(signal)),
            None => exit::of_end(&end),
        })
    }

    async fn follow(&mut self, job: &Job, events: &mut Subscription) -> Result<End, Error> {
        let waiting = job.wait();
        tokio::pin!(waiting);
        let end = loop {
            tokio::select! {
                biased;
                Some(notice) = next(self.log.as_ref(), events) => self.told(job.id(), &notice),
                end = &mut waiting => break end?,
                signal = self.signals.next() => self.asked_to_end(job, signal),
            }
        };
        let last = async {
            while !self.ended
                && let Some(notice) = next(self.log.as_ref(), events).await
            {
                self.told(job.id(), &notice);
            }
        };
        let _bounded = tokio::time::timeout(LAST_EVENT, last).await;
        Ok(end)
    }

    /// Writes down what concerns this container, and shows how far its image has come.
    fn told(&mut self, id: &ContainerId, notice: &Notice) {
        if let Notice::Event(event) = notice {
            if event.container_id != *id {
                return;
            }
            self.show(event);
        }
        if let Some(log) = &mut self.log {
            log.write(notice);
        }
    }

    fn show(&mut self, event: &Event) {
        match (&event.progress, event.kind) {
            (Some(p), _) => self.progress.layer(&p.layer, p.bytes, p.total),
            (None, EventKind::Terminated | EventKind::Stuck) => self.ended = true,
            // The terminal is the payload's from here on.
            (None, EventKind::Preparing) => self.progress.finish(),
            (None, _) => {}
        }
    }

    /// The first signal asks politely, the next one does not.
    fn asked_to_end(&mut self, job: &Job, signal: i32) {
        let job = job.clone();
        // How it ends is told to whoever waits, and that is us.
        if self.signal.is_none() {
            self.signal = Some(signal);
            tokio::spawn(async move { job.stop(Stop::from_image()).await });
        } else {
            tokio::spawn(async move { job.destroy().await });
        }
    }
}
