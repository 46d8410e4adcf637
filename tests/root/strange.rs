//! An isolator of the embedder's own, from its registration to what it leaves: nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use longshore::error::{ErrorKind, Stage};
use longshore::events::EventKind;
use longshore::isolators::{Host, InitPid, Isolator, IsolatorError, Watch};
use longshore::model::{
    ContainerId, LaunchContext, LaunchInfo, Limitation, LimitedResource, Usage,
};
use longshore::{Builder, Containerizer, Containers};

use crate::embedded::{Scene, block_on, code, config, furnish, spec, within};
use crate::support::World;

/// What the embedder's isolator has seen, as lines.
type Log = Arc<Mutex<Vec<String>>>;

/// Gives each container a file of its own, outside its sandbox; misbehaves as its label says.
#[derive(Debug)]
struct Ledger {
    directory: PathBuf,
    log: Log,
    /// Cleanups that fail before one succeeds.
    failing: Arc<AtomicUsize>,
}

impl Ledger {
    fn note(&self, line: String) {
        self.log.lock().expect("nobody panics with it").push(line);
    }

    fn file(&self, id: &ContainerId) -> PathBuf {
        self.directory.join(format!("ledger-{id}"))
    }
}

impl Isolator for Ledger {
    const NAME: &'static str = "acme/ledger";
    /// Its file, and the pid that it was told.
    type Container = (PathBuf, i32);

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Err(IsolatorError::Invalid("it needs a directory".to_owned()))
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, Self::Container), IsolatorError> {
        let label = context.config.labels.get("ledger").map_or("", String::as_str);
        self.note(format!("prepare {id} {label}"));
        let file = self.file(id);
        std::fs::write(&file, label).map_err(IsolatorError::host)?;
        match label {
            "panics" => panic!("the ledger is upside down"),
            "refuses" => return Err(IsolatorError::Conflict("the page is taken".to_owned())),
            _ => {}
        }
        let mut info = LaunchInfo::default();
        info.environment.insert("LEDGER".to_owned(), file.display().to_string());
        Ok((info, (file, 0)))
    }

    fn isolate(
        &self,
        id: &ContainerId,
        container: &mut Self::Container,
        init: InitPid,
    ) -> Result<(), IsolatorError> {
        container.1 = init.pid;
        self.note(format!("isolate {id}"));
        Ok(())
    }

    fn watch(&self, _: &ContainerId, container: &Self::Container) -> Option<Watch> {
        let limited = std::fs::read_to_string(&container.0).is_ok_and(|label| label == "limited");
        limited.then(|| -> Watch {
            let message = "the ledger is full: no ports are left".to_owned();
            let resource = LimitedResource::Ports;
            Box::pin(async move { Ok(Limitation::new(resource, Some(3), message)) })
        })
    }

    fn usage(&self, id: &ContainerId, container: &Self::Container) -> Result<Usage, IsolatorError> {
        self.note(format!("usage {id} {}", container.1 > 0));
        Ok(Usage::default())
    }

    fn cleanup(&self, id: &ContainerId, _: Option<&Self::Container>) -> Result<(), IsolatorError> {
        let left = self
            .failing
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(IsolatorError::host(std::io::Error::other("the ink is not dry")));
        }
        self.note(format!("cleanup {id}"));
        match std::fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(IsolatorError::host(error))
            }
            _ => Ok(()),
        }
    }
}

fn builder(world: &World, log: &Log, failing: &Arc<AtomicUsize>) -> Builder {
    let directory = world.path().to_owned();
    let (log, failing) = (Arc::clone(log), Arc::clone(failing));
    let builder = Containerizer::builder(world.work_dir(), world.runtime_dir());
    builder.config(config(world)).isolator_with(move |_| {
        let (directory, log) = (directory.clone(), Arc::clone(&log));
        Ok(Ledger { directory, log, failing: Arc::clone(&failing) })
    })
}

fn with_ledger(builder: Builder) -> Builder {
    builder
        .isolation(longshore::isolators::DEFAULT_FOR_IMAGES.iter().copied().chain([Ledger::NAME]))
}

/// Runs `test` with the isolator in use; whatever it made must be gone afterwards.
fn with_node(test: impl AsyncFnOnce(&Scene, &Log, &Arc<AtomicUsize>)) {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let (log, failing) = (Log::default(), Arc::default());
    let started = with_ledger(builder(&world, &log, &failing)).start();
    let scene = block_on(async {
        let node = started.await.expect("it starts");
        let scene = Scene { world, node };
        test(&scene, &log, &failing).await;
        scene.node.shutdown(Containers::Destroy).await.expect("in order");
        scene
    });
    let Scene { world, node } = scene;
    drop(node);
    assert_eq!(ledgers(world.path()), [""; 0]);
    world.assert_clean();
}

fn ledgers(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("the world is there").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with("ledger-")).collect()
}

#[test]
fn a_strange_isolator_takes_part_from_prepare_to_cleanup() {
    with_node(async |scene, log, _| {
        let spec = scene.spec("a", "echo $LEDGER").label("ledger", "plain");
        let written = scene.output(spec).await;
        assert!(written.contains("ledger-a"), "{written}");
        let seen = log.lock().expect("nobody panics with it").clone();
        assert_eq!(seen, ["prepare a plain", "isolate a", "usage a true", "cleanup a"]);
    });
}

#[test]
fn what_a_strange_isolator_does_wrong_is_a_named_failure_of_its_container() {
    with_node(async |scene, _, _| {
        for (label, kind, words) in [
            ("panics", ErrorKind::Internal, "acme/ledger: prepare panicked: the ledger is upside"),
            ("refuses", ErrorKind::Conflict, "acme/ledger: the page is taken"),
        ] {
            let end = scene.run(scene.spec(label, "true").label("ledger", label)).await;
            let failure = end.failure.expect("it never ran");
            assert_eq!((failure.stage, failure.kind), (Stage::Prepare, kind), "{failure:?}");
            assert!(failure.message.starts_with(words), "{failure:?}");
            let end = scene.run(scene.spec("after", "exit 3").label("ledger", "plain")).await;
            assert_eq!(code(&end), 3, "others are not concerned");
        }
    });
}

#[test]
fn a_limit_that_a_strange_isolator_watches_ends_the_container() {
    with_node(async |scene, _, _| {
        let mut events = scene.events();
        let spec = scene.spec("full", "exec sleep 1000").label("ledger", "limited");
        let job = scene.node.launch(spec).expect("the id is free");
        let limited = events.until(job.id(), EventKind::Limited).await;
        let message = limited.limitation.as_ref().map(|limitation| limitation.message.clone());
        assert_eq!(message.as_deref(), Some("the ledger is full: no ports are left"));
        within(job.wait()).await.expect("it ends");
    });
}

#[test]
fn a_cleanup_that_fails_is_told_and_goes_on_at_the_next_destroy() {
    with_node(async |scene, log, failing| {
        failing.store(1, Ordering::SeqCst);
        let (job, _door, _) = scene
            .up(scene.spec("wet", "echo up > $DOOR; exec sleep 1000").label("ledger", "plain"))
            .await;
        let error = within(job.destroy()).await.expect_err("the first cleanup fails");
        assert_eq!(error.kind(), ErrorKind::Host, "{error}");
        assert_eq!(error.remaining(), ["acme/ledger: the ink is not dry"]);
        within(job.destroy()).await.expect("the second one succeeds");
        assert_eq!(log.lock().expect("nobody panics with it").last().expect("it"), "cleanup wet");
    });
}

#[test]
fn a_strange_isolator_that_nobody_names_is_not_used_and_an_unknown_name_is_refused() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let (log, failing) = (Log::default(), Arc::default());
    block_on(async {
        let node = builder(&world, &log, &failing).start().await.expect("it starts");
        let job = node.launch(spec(&world, "a", "true")).expect("the id is free");
        assert_eq!(code(&within(job.wait()).await.expect("it ends")), 0);
        node.shutdown(Containers::Destroy).await.expect("in order");
        assert_eq!(*log.lock().expect("nobody panics with it"), [""; 0]);
        drop((job, node));
        let builder = builder(&world, &log, &failing).isolation(["acme/other"]);
        let error = builder.start().await.expect_err("nobody has it");
        assert_eq!((error.stage(), error.kind()), (Stage::Configure, ErrorKind::InvalidRequest));
        assert!(error.to_string().contains("acme/ledger"), "what is known is told: {error}");
    });
    world.assert_clean();
}

#[test]
fn a_strange_isolator_that_cannot_be_made_is_named_by_the_start() {
    require!(root, overlayfs);
    let world = World::new();
    block_on(async {
        let builder = || Containerizer::builder(world.work_dir(), world.runtime_dir());
        let builder = || builder().config(config(&world));
        let refused = with_ledger(builder().isolator::<Ledger>()).start().await;
        let error = refused.expect_err("it needs a directory");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert_eq!(error.to_string(), "configure: acme/ledger: it needs a directory");
        let panics = |_: &Host| -> Result<Ledger, IsolatorError> { panic!("no\nink") };
        let refused = with_ledger(builder().isolator_with(panics)).start().await;
        let error = refused.expect_err("it panics");
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert_eq!(error.to_string(), "configure: acme/ledger: create panicked: no ink");
        // Nothing is held: the next start finds the directory free.
        let node = builder().start().await.expect("it starts");
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}

/// Cleans up what a containerizer that is gone has prepared, by what it remembered.
#[test]
fn what_a_strange_isolator_remembers_survives_the_embedder() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let (log, failing) = (Log::default(), Arc::default());
    block_on(async {
        let node = with_ledger(builder(&world, &log, &failing)).start().await.expect("it starts");
        let scene = Scene { world, node };
        let line = "echo up > $DOOR; exec sleep 1000";
        let (job, door, _) = scene.up(scene.spec("kept", line).label("ledger", "plain")).await;
        scene.node.shutdown(Containers::Keep).await.expect("in order");
        drop((job, door));
        let Scene { world, node } = scene;
        drop(node);
        assert_eq!(ledgers(world.path()), ["ledger-kept"]);
        log.lock().expect("nobody panics with it").clear();
        let node = with_ledger(builder(&world, &log, &failing)).start().await.expect("it starts");
        let seen = log.lock().expect("nobody panics with it").clone();
        assert_eq!(seen, ["usage kept true", "cleanup kept"]);
        assert_eq!(ledgers(world.path()), [""; 0]);
        node.shutdown(Containers::Destroy).await.expect("in order");
        drop(node);
        world.assert_clean();
    });
}
