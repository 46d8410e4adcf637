//! Our side: the library in this process, with its events read and its checkpoints written.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use longshore::config::{Backend, Config};
use longshore::events::{EventKind, Notice, Since, Subscription};
use longshore::model::{Bytes, ContainerId, Output};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers, Job};

use crate::Failure;

/// The benchmark's container has these namespaces and cgroups, and no more.
const ISOLATION: &[&str] = &[
    "filesystem/linux",
    "cgroups/cpu",
    "cgroups/mem",
    "cgroups/pids",
    "namespaces/pid",
    "namespaces/ipc",
];

/// Launches that are under way at once while a crowd is made: far from what a subscriber may miss.
const AT_ONCE: usize = 32;

/// What is to be started, and where.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) work_dir: PathBuf,
    pub(crate) runtime_dir: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) backend: Backend,
    pub(crate) command: Vec<String>,
}

/// A containerizer and its subscriber.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) containerizer: Containerizer,
    pub(crate) events: Subscription,
    image: String,
    command: Vec<String>,
    launched: u64,
}

impl Node {
    pub(crate) async fn start(setup: &Setup) -> Result<Self, Failure> {
        let mut config = Config::default();
        config.cgroups_root = format!("longshore-bench-{}", std::process::id());
        config.isolation = Some(ISOLATION.iter().map(|&name| name.to_owned()).collect());
        config.image_provisioner_backend = Some(setup.backend);
        if let Some(sandbox) = place_for_the_sandbox(&setup.root) {
            config.sandbox_directory = sandbox;
        }
        let builder = Containerizer::builder(&setup.work_dir, &setup.runtime_dir);
        let containerizer = builder.config(config).start().await?;
        let events = containerizer.subscribe(Since::Now);
        let image = format!("rootfs:{}", setup.root.display());
        Ok(Self { containerizer, events, image, command: setup.command.clone(), launched: 0 })
    }

    /// Begins to launch a container like all the others.
    pub(crate) fn launch(&mut self, command: &[String]) -> Result<Job, Failure> {
        self.launched += 1;
        let spec = ContainerSpec::image(&format!("c{}", self.launched), &self.image)?
            .command(command.iter().cloned())
            .cpus(1.0)
            .memory(Bytes::mib(256))
            .pids(128)
            // As the bundles of the others have it.
            .unmasked()
            .stdout(Output::Null)
            .stderr(Output::Null);
        Ok(self.containerizer.launch(spec)?)
    }

    /// The same, with what was given at the start.
    pub(crate) fn launch_command(&mut self) -> Result<Job, Failure> {
        let command = self.command.clone();
        self.launch(&command)
    }

    /// One container: launched, its end seen, all of it gone.
    pub(crate) async fn once(&mut self) -> Result<Duration, Failure> {
        let begin = Instant::now();
        let job = self.launch_command()?;
        self.until_terminated(job.id()).await?;
        self.containerizer.remove(job.id()).await?;
        Ok(begin.elapsed())
    }

    pub(crate) async fn until_terminated(&mut self, id: &ContainerId) -> Result<(), Failure> {
        loop {
            match self.terminated().await? {
                Some(ended) if ended == *id => return Ok(()),
                _ => {}
            }
        }
    }

    /// The next event's container, if it has ended with it.
    pub(crate) async fn terminated(&mut self) -> Result<Option<ContainerId>, Failure> {
        match self.events.next().await {
            None => Err("the events have ended".into()),
            Some(Notice::Event(event)) => match (event.kind, &event.failure) {
                (EventKind::Terminated, Some(failure)) => {
                    Err(format!("container {}: {}", event.container_id, failure.message).into())
                }
                (EventKind::Terminated, None) => Ok(Some(event.container_id.clone())),
                _ => Ok(None),
            },
            Some(Notice::Lagged(_)) => Err("the subscriber was left behind".into()),
            Some(_) => Ok(None),
        }
    }

    /// Containers that do nothing.
    pub(crate) async fn idle(&mut self, count: usize) -> Result<Vec<Job>, Failure> {
        let command = crate::idle_command();
        let mut jobs = Vec::with_capacity(count);
        while jobs.len() < count {
            let begun = jobs.len();
            for _ in 0..AT_ONCE.min(count - begun) {
                jobs.push(self.launch(&command)?);
            }
            for job in &jobs[begun..] {
                job.running().await?;
            }
            while self.events.try_next().is_some() {}
        }
        Ok(jobs)
    }

    /// Ends idle ones, many at once.
    pub(crate) async fn end(&mut self, jobs: Vec<Job>) -> Result<(), Failure> {
        for some in jobs.chunks(AT_ONCE) {
            let destroys = some.iter().map(Job::destroy);
            for end in futures_util::future::join_all(destroys).await {
                end?;
            }
            for job in some {
                self.containerizer.remove(job.id()).await?;
            }
            while self.events.try_next().is_some() {}
        }
        Ok(())
    }

    pub(crate) async fn stop(self) -> Result<(), Failure> {
        Ok(self.containerizer.shutdown(Containers::Destroy).await?)
    }
}

/// A root that is shown read-only may have no directory for a sandbox: every `/dev` has room for one.
fn place_for_the_sandbox(root: &Path) -> Option<PathBuf> {
    let usual = root.join("mnt/mesos/sandbox");
    match std::fs::metadata(usual) {
        Ok(_) => None,
        Err(_) => Some(PathBuf::from("/dev/sandbox")),
    }
}
