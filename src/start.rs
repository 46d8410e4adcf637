//! Starts a containerizer: makes what all containers share, spawns the actors, buries what dead
//! owners have left. The only place that knows all rooms. `start/builder.rs` is what it is asked.

mod builder;
mod left;

pub use builder::Builder;
use builder::kernel_lanes;
use left::{Grave, continue_numbering, find_graves, read_records};

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_actors::{Handle, Pid, Placement, Process, Runtime, Spawn, SpawnError};

use crate::checkpoint::OwnerV1;
use crate::config::{Config, DockerRegistry, RootfsMount};
use crate::containerizer::RunLock;
use crate::containerizer::actor::Containerizer as ContainerizerActor;
use crate::containerizer::recorder::actor::Recorder;
use crate::containerizer::recorder::files::Disk;
use crate::containerizer::recovery::Looker;
use crate::containerizer::rooms::{Lane, Reserved, Rooms};
use crate::error::{self, Error, ErrorKind, Stage};
use crate::events::{EventHub, Start};
use crate::fetcher::actor::FetcherActor;
use crate::handle::Containerizer;
use crate::isolators::actor::{Isolation, IsolatorActor, Link, Shared, apart};
use crate::isolators::{self, Host, LauncherKind, Registered};
use crate::launcher::actor::Launcher;
use crate::launcher::{AnyLauncher, Lifetime};
use crate::limits;
use crate::linux;
use crate::linux::cgroups::{Cgroups, KeptRoot};
use crate::model::{AgentInfo, ContainerId, Record};
use crate::paths::Paths;
use crate::provisioner::Provisioner;
use crate::provisioner::actor::{GetImage, Images, ProvisionerActor};
use crate::provisioner::backends::Exposure;
#[cfg(feature = "registry")]
use crate::provisioner::stores::docker::DockerConfig;
use crate::provisioner::stores::{ImageStore, StoreConfig};

/// With a thread for the watches of isolators that are not ours, if there are such.
fn build_runtime(has_strangers: bool, lifetime: Lifetime) -> Result<Runtime, Error> {
    let builder = match has_strangers {
        true => Runtime::builder().group("main", 1).group(apart::WATCHES, 1),
        false => Runtime::builder().group("main", 1),
    };
    #[cfg(feature = "actix")]
    let builder = builder.group(crate::handle::recipients::FRONT, 1);
    builder
        .group("kernel", kernel_lanes(lifetime))
        .group("disk", 1)
        .group("images", 1)
        .lane("bulk", limits::BULK_THREADS)
        .lane("kill", limits::KILL_THREADS)
        .lane(apart::CALLS, limits::ISOLATOR_THREADS)
        .build()
        .map_err(|error| Error::new(Stage::Configure, ErrorKind::Host, error::chain(&error)))
}

/// Names and places are ours, so only a containerizer that is being shut down refuses to spawn.
fn unspawned(error: &SpawnError) -> Error {
    tracing::error!(%error, "not spawned");
    Error::new(
        Stage::Configure,
        ErrorKind::Internal,
        "the containerizer ended while it was started",
    )
}

fn internal(error: &dyn std::fmt::Display) -> Error {
    Error::new(Stage::Configure, ErrorKind::Internal, error.to_string())
}

/// What all containers stand on; made once, by calls that may block.
struct Ground {
    lock: Option<DirectoryLock>,
    isolation: Vec<String>,
    isolators: Vec<Shared>,
    /// Of containers that dead owners have left, there to clean up only.
    undertakers: Vec<Shared>,
    launcher: Arc<AnyLauncher>,
    /// What executors are told.
    agent: Arc<AgentInfo>,
    store: ImageStore,
    provisioner: Arc<Provisioner>,
    /// Of containers that dead owners have left.
    graves: Vec<Grave>,
    /// Of containers that ended under an earlier agent, the oldest first.
    records: Vec<Record>,
    /// Where the numbers of the events begin.
    numbering: Start,
}

impl Ground {
    fn prepare(paths: &Paths, config: &Config, registered: &[Registered]) -> Result<Self, Error> {
        if config.launcher() == LauncherKind::Linux {
            require_root()?;
        }
        for directory in [paths.work_dir(), paths.runtime_dir()] {
            make(directory)?;
        }
        // Arguments, environments and credentials stand in the checkpoints.
        let containers = paths.containers();
        linux::fs::make_closed(&containers, linux::fs::CLOSED)
            .map_err(|error| unusable(&containers, &error))?;
        let (mut lock, looker) = match config.lifetime {
            Lifetime::Independent => {
                (Some(DirectoryLock::take(&paths.runtime_dir().join("agent.lock"))?), Looker::Agent)
            }
            Lifetime::WithAgent => (None, Looker::Run),
        };
        let configure = |error: linux::Error| Error::wrap(Stage::Configure, error);
        let cgroups = Cgroups::detect(&config.cgroups_root, &paths.cgroup_mounts());
        let cgroups = Arc::new(cgroups.map_err(configure)?);
        if let Some(lock) = &mut lock {
            lock.roots = Some(cgroups.keep_root());
        }
        let names: Vec<_> = registered.iter().map(|isolator| isolator.name).collect();
        let selection =
            config.selection_among(&names).map_err(|e| Error::wrap(Stage::Configure, e))?;
        selection.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let host = Host {
            paths: paths.clone(),
            cgroups: Arc::clone(&cgroups),
            isolation: selection.isolation.clone(),
            sandbox_directory: config.sandbox_directory.clone(),
        };
        let isolators = isolators::create(&host, registered, limits::ISOLATOR_CREATE)
            .map_err(|e| Error::wrap(Stage::Configure, e))?;
        let isolators = isolators.into_iter().map(Shared::from).collect();
        let launcher = AnyLauncher::new(selection.launcher, cgroups);
        let launcher = launcher.map_err(|e| Error::wrap(Stage::Configure, e))?;
        let store = open_store(paths, config)?;
        let backend = config.image_provisioner_backend.map(|backend| backend.to_string());
        let provisioner = Provisioner::new(paths.clone(), store.clone(), backend.as_deref())
            .map_err(|error| Error::wrap(Stage::Configure, error))?;
        RunLock::sweep(paths);
        let (mut records, numbering) = match looker {
            Looker::Agent => (read_records(paths)?, continue_numbering(paths)?),
            Looker::Run => (Vec::new(), Start::fresh()),
        };
        let graves = find_graves(paths, looker, &mut records)?;
        // Their owners may have had other isolators than we have.
        let undertakers = match graves.is_empty() {
            true => Vec::new(),
            false => isolators::create_others(&host),
        };
        // Sandboxes whose remover died. Another process may be at it too: absent is fine.
        let _ = linux::fs::remove_path(&paths.trash());
        Ok(Self {
            lock,
            isolation: selection.isolation,
            isolators,
            undertakers: undertakers.into_iter().map(Shared::from).collect(),
            launcher: Arc::new(launcher),
            agent: Arc::new(told(&config.agent)),
            store,
            provisioner: Arc::new(provisioner),
            graves,
            records,
            numbering,
        })
    }
}

/// A library that is not there is not told of.
fn told(agent: &AgentInfo) -> AgentInfo {
    let native_library = agent.native_library.clone().filter(|library| library.is_file());
    AgentInfo { native_library, ..agent.clone() }
}

/// Namespaces and mounts need CAP_SYS_ADMIN, capabilities(7); everything else is asked for where it is
/// needed.
fn require_root() -> Result<(), Error> {
    let held = linux::capabilities::held().map_err(|error| Error::wrap(Stage::Configure, error))?;
    if !held.contains(linux::capabilities::SYS_ADMIN) {
        let message = "the launcher linux needs root (CAP_SYS_ADMIN)";
        return Err(Error::new(Stage::Configure, ErrorKind::Unsupported, message));
    }
    Ok(())
}

/// Root may write everywhere, but for file systems that are read-only.
fn make(directory: &Path) -> Result<(), Error> {
    linux::fs::make_directories(directory, linux::fs::SHARED)
        .and_then(|()| linux::fs::writable(directory))
        .map_err(|error| unusable(directory, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{}: {error}", path.display());
    Error::new(Stage::Configure, ErrorKind::Host, message)
}

/// Opens the image store that a containerizer with these settings uses: for pulls, listings and
/// prunes that need no containerizer.
///
/// Blocks. Errors: `InvalidRequest` (credentials, registry), `Host` (the directory).
pub fn open_store(paths: &Paths, config: &Config) -> Result<ImageStore, Error> {
    let directory = config.docker_store_dir.clone().unwrap_or_else(|| paths.store());
    let mut store = StoreConfig::new(directory);
    store.docker_registry = match &config.docker_registry {
        DockerRegistry::Remote(registry) => registry.to_string(),
        DockerRegistry::Archives(path) => path.display().to_string(),
    };
    // Without the client, a store has nobody to show credentials to.
    #[cfg(feature = "registry")]
    if let Some(credentials) = &config.docker_config {
        let loaded = DockerConfig::load(credentials);
        store.credentials = loaded.map_err(|error| Error::wrap(Stage::Configure, error))?;
    }
    ImageStore::open(store).map_err(|error| Error::wrap(Stage::Configure, error))
}

/// The lock of an agent on its runtime directory, flock(2); goes with the process. With it goes what
/// an agent keeps between containers.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    /// Given up first: the next agent may keep its own.
    roots: Option<KeptRoot>,
    _file: File,
}

impl DirectoryLock {
    fn take(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = linux::fs::open_private(&mut options, path);
        let mut file = opened.map_err(|error| unusable(path, &error))?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            // Told as it stands; a holder that has not written its pid yet is simply not named.
            let _read = file.read_to_string(&mut holder);
            let message = format!("{} is in use by pid {}", path.display(), holder.trim());
            return Err(Error::new(Stage::Configure, ErrorKind::Conflict, message));
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(|error| unusable(path, &error))?;
        Ok(Self { roots: None, _file: file })
    }
}

/// Spawns the actors.
struct System<'a> {
    runtime: &'a Runtime,
    paths: &'a Paths,
    config: &'a Config,
    events: &'a EventHub,
}

impl System<'_> {
    fn spawn_all(
        &self,
        ground: &Ground,
        ended: Vec<(ContainerId, i64)>,
    ) -> Result<(Pid<ContainerizerActor>, Reserved, Handle<GetImage>), Error> {
        let recorder = self.spawn_recorder("recorder".to_owned(), Placement::Group("disk"))?;
        let store = ground.store.clone();
        let images = self.spawn("images", Placement::Group("images"), || Images::new(store))?;
        let fetcher = self.spawn("fetcher", Placement::Group("images"), FetcherActor::new)?;
        let reserved = Reserved::default();
        let rooms = Arc::new(Rooms {
            fetch: fetcher.handle(),
            discard: recorder.handle(),
            files: Arc::new(Disk::new(self.paths.clone())),
            paths: self.paths.clone(),
            owner: match self.config.lifetime {
                Lifetime::Independent => OwnerV1::Agent,
                Lifetime::WithAgent => OwnerV1::Run,
            },
            reserved: Arc::clone(&reserved),
        });
        let lanes = (0..kernel_lanes(self.config.lifetime))
            .map(|index| self.spawn_lane(index, ground, images.handle()))
            .collect::<Result<Vec<_>, _>>()?;
        let events = self.events.clone();
        let containerizer = self.spawn("containerizer", Placement::Group("main"), move || {
            ContainerizerActor::new(rooms, lanes, events, ended)
        })?;
        Ok((containerizer, reserved, images.handle()))
    }

    /// One on each lane writes down what its supervisors do; one on a thread of its own removes what
    /// nobody needs any more, which can be a lot.
    fn spawn_recorder(&self, name: String, place: Placement) -> Result<Pid<Recorder>, Error> {
        let (files, events) = (Arc::new(Disk::new(self.paths.clone())), self.events.clone());
        let recorder = Spawn::new(name, move || Recorder::new(files, events))
            .capacity(limits::RECORDER_MAILBOX)
            .place(place);
        self.runtime.spawn(recorder).map_err(|error| unspawned(&error))
    }

    fn spawn_lane(
        &self,
        index: usize,
        ground: &Ground,
        images: Handle<GetImage>,
    ) -> Result<Lane, Error> {
        let place = || Placement::Arbiter("kernel", index);
        let spawn_shell = |isolator: &Shared| {
            let (name, shared) = (isolator.name(), isolator.clone());
            let actor = format!("isolator {name} #{index}");
            let pid = self.spawn(actor, place(), || IsolatorActor::new(shared))?;
            Ok(Link::new(isolator, pid))
        };
        let isolators = ground.isolators.iter().map(spawn_shell);
        let isolators = isolators.collect::<Result<Arc<[_]>, Error>>()?;
        let undertakers =
            ground.undertakers.iter().map(spawn_shell).collect::<Result<_, Error>>()?;
        let chain = Arc::clone(&isolators);
        let isolation = self
            .spawn(format!("isolation #{index}"), place(), || Isolation::new(chain, undertakers))?;
        let shared = Arc::clone(&ground.provisioner);
        let exposure = match self.config.rootfs_mount {
            RootfsMount::Private => Exposure::Private,
            RootfsMount::Host => Exposure::Host,
        };
        let provisioner = self.spawn(format!("provisioner #{index}"), place(), move || {
            ProvisionerActor::new(shared, exposure, images)
        })?;
        let shared = Arc::clone(&ground.launcher);
        let sandbox: PathBuf = self.config.sandbox_directory.clone();
        let agent = Arc::clone(&ground.agent);
        let launcher = self.spawn(format!("launcher #{index}"), place(), || {
            Launcher::new(shared, sandbox, agent)
        })?;
        let mut actors: Vec<_> = isolators.iter().map(|isolator| isolator.pid().any()).collect();
        let recorder = self.spawn_recorder(format!("recorder #{index}"), place())?;
        actors.extend([provisioner.any(), launcher.any(), recorder.any()]);
        Ok(Lane {
            place: place(),
            actors: actors.into(),
            create: recorder.handle(),
            save: recorder.handle(),
            conclude: recorder.handle(),
            publish: recorder.handle(),
            provision: provisioner.handle(),
            unprovision: provisioner.handle(),
            prepare: isolation.handle(),
            isolate: isolation.handle(),
            update: isolation.handle(),
            measure: isolation.handle(),
            cleanup: isolation.handle(),
            fork: launcher.handle(),
            kill: launcher.handle(),
            forget: launcher.handle(),
        })
    }

    fn spawn<P: Process>(
        &self,
        name: impl Into<String>,
        place: Placement,
        factory: impl FnOnce() -> P + Send + 'static,
    ) -> Result<Pid<P>, Error> {
        let spawn = Spawn::new(name, factory).capacity(limits::MAILBOX).place(place);
        self.runtime.spawn(spawn).map_err(|error| unspawned(&error))
    }
}

impl Containerizer {
    /// Undoes what dead owners have left. What cannot be undone stays `STUCK`, for all to see.
    async fn bury(&self, graves: Vec<Grave>) {
        let burials = graves.into_iter().map(|Grave { bury, lock }| {
            let id = bury.orphan.config.container_id.clone();
            let buried = self.inner().actor.dispatch(bury, limits::SHUTDOWN);
            async move {
                match buried.result().await {
                    Ok(conclusion) if conclusion.stuck.is_none() && lock.is_none() => {}
                    Ok(conclusion) if conclusion.stuck.is_none() => {
                        if let Err(error) = self.remove(&id).await {
                            tracing::warn!(%error, "buried, but not forgotten");
                        }
                    }
                    Ok(conclusion) => tracing::warn!(?conclusion.remaining, "not buried"),
                    Err(lost) => tracing::warn!(%lost, "not buried"),
                }
                drop(lock);
            }
        });
        futures_util::future::join_all(burials).await;
    }
}

#[cfg(all(test, feature = "root-tests"))]
mod root_tests;
