//! What a start refuses, what it finds, and what it does with what dead owners have left.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::task::Poll;

use longshore::config::Config;
use longshore::error::{ErrorKind, Stage};
use longshore::events::EventKind;
use longshore::launcher::Lifetime;
use longshore::model::{Cause, ContainerId, State, Volume};
use longshore::paths::Paths;
use longshore::{Containerizer, Containers};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::alone::{self, alone, is_alone};
use crate::embedded::{Door, block_on, code, config, embedded, furnish, spec, start, within};
use crate::support::World;
use crate::support::cli::DEADLINE;
use crate::support::process::Process;

const SLEEP: &str = "echo up > $DOOR; exec sleep 1000";

#[test]
fn a_second_agent_on_a_runtime_directory_is_refused_by_the_pid_of_the_first() {
    embedded(async |scene| {
        let error = start(&scene.world, config(&scene.world)).await.expect_err("in use");
        assert_eq!((error.kind(), error.stage()), (ErrorKind::Conflict, Stage::Configure));
        let text = error.to_string();
        assert!(text.ends_with(&format!("is in use by pid {}", std::process::id())), "{text}");
        // The first one is none the worse for it.
        assert_eq!(code(&scene.end(scene.spec("well", "exit 6")).await), 6);
    });
}

#[test]
fn without_the_right_to_mount_there_is_one_clear_error() {
    alone("start::without_the_right_to_mount_there_is_one_clear_error", || {
        let world = World::new();
        let before = capabilities(None).expect("capget is there");
        let mut fewer = before;
        fewer.effective.remove(CapabilitySet::SYS_ADMIN);
        fewer.permitted.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, fewer).expect("one may always have fewer");
        let mut settings = config(&world);
        // Without it the other launcher is taken, which needs no such right.
        settings.launcher = Some(longshore::config::Launcher::Linux);
        let error = block_on(start(&world, settings)).expect_err("refused");
        assert_eq!((error.kind(), error.stage()), (ErrorKind::Unsupported, Stage::Configure));
        let text = error.to_string();
        assert!(text.contains("root") && !text.contains('\n'), "{text}");
        assert_eq!(fs::read_dir(world.runtime_dir()).expect("ours").count(), 0, "nothing is made");
        world.assert_clean();
    });
}

#[test]
fn a_start_that_is_given_up_anywhere_can_be_made_again() {
    let world = World::new();
    furnish(&world);
    block_on(async {
        for times in 1..=4 {
            let mut polled = 0;
            let mut starting = pin!(start(&world, config(&world)));
            let abandoned = std::future::poll_fn(|cx| {
                polled += 1;
                match starting.as_mut().poll(cx) {
                    Poll::Ready(started) => Poll::Ready(Some(started)),
                    Poll::Pending if polled < times => Poll::Pending,
                    Poll::Pending => Poll::Ready(None),
                }
            });
            drop(abandoned.await);
        }
        // The lock of the one before goes with its threads.
        let node = loop {
            match start(&world, config(&world)).await {
                Err(error) if error.kind() == ErrorKind::Conflict => tokio::task::yield_now().await,
                started => break started.expect("nothing else is in the way"),
            }
        };
        let job = node.launch(spec(&world, "well", "exit 6")).expect("free");
        assert_eq!(code(&within(job.wait()).await.expect("launched")), 6);
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}

/// Where the embedder of a test finds its world.
const WORLD: &str = "LONGSHORE_TEST_EMBEDDER";

/// A process that embeds a containerizer and will be killed.
#[derive(Debug)]
struct Embedder(Child);

impl Embedder {
    fn start(test: &str, world: &World) -> Self {
        let mut command: Command = alone::command(test);
        command.env(WORLD, world.path()).stdout(Stdio::null()).stdin(Stdio::piped());
        Self(command.spawn().expect("this program can be run"))
    }

    fn kill(mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

/// The settings for the world of the process that will see us killed.
fn settings(directory: &Path, lifetime: Lifetime) -> Config {
    let mut config = Config::default();
    config.cgroups_root = directory.file_name().expect("it has one").to_string_lossy().into_owned();
    config.lifetime = lifetime;
    config
}

/// Starts three containers in the given world and lives until it is killed.
fn embed(lifetime: Lifetime) -> ! {
    let directory = std::env::var_os(WORLD).expect("given by the one who started us");
    let directory = Path::new(&directory);
    let (work, runtime) = (directory.join("work"), directory.join("run"));
    let paths = Paths::new(&work, &runtime);
    let mut locks = Vec::new();
    let node = block_on(
        Containerizer::builder(work, runtime).config(settings(directory, lifetime)).start(),
    );
    let node = node.expect("the host has all that is needed");
    for number in 0..3 {
        let id = format!("left-{number}");
        let id: ContainerId = id.parse().expect("valid");
        if lifetime == Lifetime::WithAgent {
            fs::create_dir_all(paths.run_locks()).expect("the world can be written");
            let mut lock = fs::File::create(paths.run_lock(&id)).expect("the world can be written");
            lock.try_lock().expect("nobody has it");
            write!(lock, "{}", std::process::id()).expect("the world can be written");
            locks.push(lock);
        }
        let image = format!("rootfs:{}", directory.join("root").display());
        let spec = longshore::spec::ContainerSpec::image(&id.to_string(), &image).expect("valid");
        let spec = spec.shell(SLEEP).env("DOOR", format!("/doors/{id}"));
        let _running = node.launch(spec.volume(Volume::new(directory.join("doors"), "/doors")));
    }
    // Until we are killed, or whoever started us is gone.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).expect("a pipe can be read");
    std::process::exit(0);
}

fn killed_embedder(test: &str, lifetime: Lifetime) {
    if is_alone(test) {
        embed(lifetime);
    }
    let world = World::new();
    furnish(&world);
    block_on(async {
        let ids: Vec<ContainerId> =
            (0..3).map(|n| format!("left-{n}").parse().expect("valid")).collect();
        let mut doors: Vec<Door> = ids.iter().map(|id| Door::open(&world, id)).collect();
        let embedder = Embedder::start(test, &world);
        for door in &mut doors {
            door.line().await;
        }
        embedder.kill();
        let settings = || settings(world.path(), lifetime);
        let survivors = || crate::support::leaks::processes(&marks(&world));
        if lifetime == Lifetime::WithAgent {
            for init in survivors().into_iter().filter_map(Process::find) {
                assert!(init.ends_within(DEADLINE), "it dies with its owner");
            }
        } else {
            assert_eq!(survivors().len(), 6, "inits and payloads go on");
        }
        let node = start(&world, settings()).await.expect("nobody holds the directory");
        let left = world.leaks();
        let own = |line: &&String| line.contains("left-") && !line.contains("/doors/");
        let left: Vec<_> = left.iter().filter(own).collect();
        assert!(left.is_empty(), "{left:?}");
        // Whoever inherited the dead ones may take a moment to reap them.
        assert_eq!(crate::support::leaks::survivors(&survivors()), [""; 0]);
        // An agent's are on record as ended, a run's are not.
        let known = node.containers();
        assert_eq!(known.len(), if lifetime == Lifetime::WithAgent { 0 } else { ids.len() });
        for ended in known {
            let end = within(node.job(ended.container_id.clone()).wait()).await.expect("known");
            assert_eq!(end.cause(), Cause::Signaled { signal: 9 }, "{end:?}");
            node.remove(&ended.container_id).await.expect("it has ended");
        }
        // The ids are free at once.
        let job = node.launch(spec(&world, "left-0", "exit 6")).expect("free");
        assert_eq!(code(&within(job.wait()).await.expect("launched")), 6);
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}

fn marks(world: &World) -> crate::support::leaks::Marks {
    let name = world.cgroups_root().to_owned();
    crate::support::leaks::Marks { directory: world.path().to_owned(), name }
}

#[test]
fn what_a_killed_agent_has_left_is_gone_when_the_next_has_started() {
    killed_embedder(
        "start::what_a_killed_agent_has_left_is_gone_when_the_next_has_started",
        Lifetime::Independent,
    );
}

#[test]
fn containers_die_with_a_killed_run_and_the_next_removes_what_they_left() {
    killed_embedder(
        "start::containers_die_with_a_killed_run_and_the_next_removes_what_they_left",
        Lifetime::WithAgent,
    );
}

#[test]
fn an_id_in_use_on_the_same_runtime_directory_is_refused_and_its_container_unharmed() {
    embedded(async |scene| {
        let world = &scene.world;
        let (job, _door, _) = scene.up(scene.spec("same", SLEEP)).await;
        let mut settings = config(world);
        settings.lifetime = Lifetime::WithAgent;
        let beside = start(world, settings).await.expect("beside an agent");
        match beside.launch(spec(world, "same", "exit 1")) {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
            Ok(other) => {
                let end = within(other.wait()).await.expect("launched");
                assert_eq!(end.failure.expect("in use").kind, ErrorKind::Conflict);
            }
        }
        let status = job.status().expect("it is known");
        assert_eq!(status.state, Some(State::Running));
        let root = status.rootfs.clone().expect("it runs");
        assert!(fs::exists(root.join("bin/busybox")).expect("its root can be seen"));
        beside.shutdown(Containers::Destroy).await.expect("in order");
        let init = Process::find(status.pid.expect("it runs")).expect("it lives");
        assert!(!init.ends_within(std::time::Duration::from_millis(50)), "it is unharmed");
        within(job.destroy()).await.expect("destroyed");
    });
}

#[test]
fn what_cannot_be_undone_is_named_and_the_next_destroy_goes_on() {
    embedded(async |scene| {
        let mut events = scene.events();
        let line = "mkdir /made; echo up > $DOOR; exec sleep 1000";
        let (job, _door, _) = scene.up(scene.spec("stuck", line)).await;
        let upper = job.status().expect("known").upper.clone().expect("the backend has one");
        let busy = upper.join("made");
        mount("none", &busy, "tmpfs", MountFlags::empty(), None).expect("root may mount");
        std::fs::write(busy.join("precious"), "").expect("written");
        let error = within(job.destroy()).await.expect_err("its files are busy");
        assert_eq!(error.stage(), Stage::Destroy, "{error}");
        assert!(!error.remaining().is_empty(), "{error}");
        let event = events.until(job.id(), EventKind::Stuck).await;
        assert_eq!(event.remaining, error.remaining());
        let status = job.status().expect("it is known");
        assert_eq!(status.state, Some(State::Stuck));
        // Everybody hears of it: those who wait, those who ask whether it runs, those who remove it.
        assert!(!within(job.wait()).await.expect("known").remaining.is_empty());
        let failed = within(job.running()).await.expect_err("it does not run");
        assert!(!failed.to_string().is_empty());
        let removed = within(scene.node.remove(job.id())).await.expect_err("it has not ended");
        assert_eq!(removed.kind(), ErrorKind::Conflict);
        let again = within(job.destroy()).await.expect_err("nothing has changed");
        assert_eq!(again.remaining(), error.remaining());

        assert!(busy.join("precious").is_file(), "what is mounted there is somebody's");
        unmount(&busy, UnmountFlags::empty()).expect("nobody uses it");
        let end = within(job.destroy()).await.expect("it can be undone now");
        assert_eq!(end.termination.expect("it ran").exit_code, 137);
        let event = events.until(job.id(), EventKind::Terminated).await;
        assert!(event.remaining.is_empty() && event.failure.is_none());
        assert_eq!(scene.left(), [""; 0]);
        scene.node.remove(job.id()).await.expect("it has ended");
    });
}
