//! Commands that isolators have run before a payload.

use longshore::error::{ErrorKind, Stage};
use longshore::events::{EventKind, Notice, Since};
use longshore::isolators::{Host, Isolator, IsolatorError};
use longshore::model::{ContainerId, LaunchContext, LaunchInfo, PreExecCommand};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers};

use crate::embedded::{Door, Scene, block_on, config, furnish, image, within, write};
use crate::support::World;

fn in_image(scene: &Scene, id: &str) -> ContainerSpec {
    ContainerSpec::image(id, &image(&scene.world)).expect("valid")
}

/// Has the lines of the label `before` run before the payload, one command each.
#[derive(Debug)]
struct Before;

impl Isolator for Before {
    const NAME: &'static str = "acme/before";
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self)
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let lines = context.config.labels.get("before").map_or("", String::as_str);
        let mut info = LaunchInfo::default();
        for line in lines.lines() {
            let mut command = PreExecCommand::shell(line);
            command.environment.insert("ID".to_owned(), id.to_string());
            info.pre_exec_commands.push(command);
        }
        Ok((info, ()))
    }
}

/// Runs `test` with that isolator in use.
fn with_before(test: impl AsyncFnOnce(&Scene)) {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let builder = Containerizer::builder(world.work_dir(), world.runtime_dir());
    let names = longshore::isolators::DEFAULT_FOR_IMAGES.iter().copied().chain([Before::NAME]);
    let builder = builder.config(config(&world)).isolator::<Before>().isolation(names);
    let scene = block_on(async {
        let node = builder.start().await.expect("it starts");
        let scene = Scene { world, node };
        test(&scene).await;
        scene.node.shutdown(Containers::Destroy).await.expect("in order");
        scene
    });
    let Scene { world, node } = scene;
    drop(node);
    world.assert_clean();
}

#[test]
fn commands_of_isolators_run_before_the_payload() {
    with_before(async |scene| {
        let marker = scene.world.path().join("marker");
        write(&marker, "of the host\n", 0o644);
        let lines = format!("echo first $ID\ncat {}", marker.display());
        for (id, spec) in
            [("a", in_image(scene, "a")), ("b", ContainerSpec::host("b").expect("valid"))]
        {
            let spec = spec.user("1000:1000").label("before", &lines);
            let seen = scene.output(spec.shell("echo payload $ID; id -u")).await;
            assert_eq!(seen, format!("first {id}\nof the host\npayload\n1000\n"));
        }
    });
}

#[test]
fn a_command_that_fails_before_the_payload_fails_the_launch() {
    with_before(async |scene| {
        for (lines, words) in [
            ("echo one\nexit 3\necho two", "exited with code 3"),
            ("echo one\nkill -KILL $$", "killed by SIGKILL"),
        ] {
            let mut events = scene.node.subscribe(Since::Now);
            let spec = in_image(scene, "a").shell("echo never").label("before", lines);
            let end = scene.end(spec).await;
            assert!(end.termination.is_none(), "{end:?}");
            let failure = end.failure.expect("it never ran");
            assert_eq!((failure.stage, failure.kind), (Stage::Start, ErrorKind::Host));
            assert_eq!(failure.message, format!("run pre-exec command /bin/sh: {words}"));
            assert_eq!(scene.stdout("a"), "one\n");
            let mut kinds = Vec::new();
            while kinds.last() != Some(&EventKind::Terminated) {
                if let Notice::Event(event) = within(events.next()).await.expect("it lives") {
                    kinds.push(event.kind);
                }
            }
            assert!(kinds.contains(&EventKind::Starting), "{kinds:?}");
            assert!(!kinds.contains(&EventKind::Running), "{kinds:?}");
            let id = ContainerId::new("a").expect("valid");
            scene.node.remove(&id).await.expect("it has ended");
            assert_eq!(scene.left(), [""; 0]);
        }
    });
}

#[test]
fn a_destroy_ends_a_command_before_the_payload() {
    with_before(async |scene| {
        let mut door = Door::open(&scene.world, &"a".parse().expect("valid"));
        let doors = scene.world.path().join("doors");
        let lines = format!("echo up > {}/$ID; sleep 1000", doors.display());
        let job = scene.node.launch(in_image(scene, "a").shell("exit 0").label("before", lines));
        let job = job.expect("valid");
        assert_eq!(door.line().await, "up");
        let end = within(job.destroy()).await.expect("destroyed");
        assert!(end.termination.is_none(), "{end:?}");
        scene.node.remove(job.id()).await.expect("it has ended");
        assert_eq!(scene.left(), [""; 0]);
    });
}
