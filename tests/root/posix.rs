//! The posix launcher through the program and through the handle, as root and as an ordinary user.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;

use longshore::config::Launcher;
use longshore::error::ErrorKind;
use longshore::model::{Rlimit, RlimitKind};
use longshore::spec::ContainerSpec;
use longshore::{Containers, Stop};
use rustix::process::Signal;

use crate::embedded::{block_on, code, config, embedded_with, start, within};
use crate::support::cli::{DEADLINE, start as begin};
use crate::support::process::Process;
use crate::support::{World, finish};

/// Nobody's user and group, on every Linux.
const NOBODY: u32 = 65_534;

/// A copy of the program that everybody can read, and directories that nobody can write.
fn for_everybody(world: &World) -> PathBuf {
    let program = world.path().join("longshore");
    fs::copy(env!("CARGO_BIN_EXE_longshore"), &program).expect("our own directory");
    for path in [world.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    for directory in [world.work_dir(), world.runtime_dir()] {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may give away");
    }
    program
}

/// `longshore run` as nobody, with the directories of the world.
fn run_as_nobody(world: &World) -> Command {
    let mut run = Command::new("setpriv");
    run.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(for_everybody(world));
    run.arg("run").arg("--work-dir").arg(world.work_dir());
    run.arg("--runtime-dir").arg(world.runtime_dir());
    run.env("LONGSHORE_TEST_WORLD", world.cgroups_root()).current_dir(world.path());
    run
}

/// Leaves a daemon in a session of its own, whose parent is gone, then says `up`.
const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 & :' & wait; echo up; ";

#[test]
fn an_ordinary_user_runs_a_command() {
    require!(root);
    let world = World::new();
    let line = format!("{DAEMON} id -u; echo kept > file; cat \"$MESOS_SANDBOX/file\"; exit 7");
    let ended = finish(run_as_nobody(&world).args(["--", "sh", "-c", &line]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (7, "up\n65534\nkept\n"), "{}", ended.stderr);
    let ended = finish(run_as_nobody(&world).args(["--", "/no/such/program"]));
    ended.assert_code(127);
    let line = format!("{DAEMON} sleep 1000");
    let mut late = run_as_nobody(&world);
    let ended = finish(late.args(["--timeout", "200ms", "--", "sh", "-c", &line]));
    ended.assert_code(124);
    let limited = ["--isolation", "posix/rlimits", "--rlimit", "nofile=50"];
    let mut run = run_as_nobody(&world);
    let ended = finish(run.args(limited).args(["--", "sh", "-c", "ulimit -n"]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "50\n"), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn what_needs_root_says_so_to_an_ordinary_user() {
    require!(root);
    let world = World::new();
    for (arguments, words) in [
        (&["--image", "docker://127.0.0.1:1/x"][..], "needs root"),
        (&["--launcher", "linux"], "needs root"),
        (&["--user", "0"], "user 0:0 needs root"),
        (&["--isolation", "cgroups/mem", "--memory", "64M"], "needs root"),
        (&["--isolation", "filesystem/linux"], "needs root"),
        (&["--image-providers", "docker"], "needs root"),
        (&["--volume", "/tmp:/x"], "filesystem/linux"),
        (&["--memory", "64M"], "cgroups/mem"),
    ] {
        let ended = finish(run_as_nobody(&world).args(arguments).args(["--", "true"]));
        ended.assert_code(125);
        assert_eq!(ended.stderr.lines().count(), 1, "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
    world.assert_clean();
}

#[test]
fn the_launcher_follows_the_user_unless_it_is_given() {
    require!(root);
    let world = World::new();
    // With the linux launcher every process of a container is in its kill group.
    let groups = |run: &mut Command| {
        let ended = finish(run.args(["--", "cat", "/proc/self/cgroup"]));
        ended.assert_code(0);
        ended.stdout.contains(world.cgroups_root())
    };
    // First: what root has made is root's.
    assert!(!groups(&mut run_as_nobody(&world)));
    assert!(groups(&mut world.longshore("run")));
    assert!(groups(world.longshore("run").args(["--launcher", "linux"])));
    assert!(!groups(world.longshore("run").args(["--launcher", "posix"])));
    let mut run = world.longshore("run");
    let ended = finish(run.args(["--launcher", "posix", "--image", "x", "--", "true"]));
    ended.assert_code(125);
    assert!(ended.stderr.contains("needs --launcher linux"), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn when_a_posix_run_is_killed_its_tree_dies_and_the_next_removes_the_rest() {
    require!(root);
    let world = World::new();
    let line = format!("trap '' TERM HUP; {DAEMON} echo pid $$; sleep 1000");
    let mut run = run_as_nobody(&world);
    let mut running = begin(run.args(["--name", "orphan", "--", "sh", "-c", &line]));
    let pid = running.wait_for_line("pid ").trim().trim_start_matches("pid ").to_owned();
    let payload = Process::find(pid.parse().expect("a pid")).expect("it lives");
    running.process().signal(Signal::KILL);
    // Both streams end: nobody of the tree holds them any more.
    running.finish().assert_code(137);
    assert!(payload.ends_within(DEADLINE), "its init sees that run is gone");
    let mut next = run_as_nobody(&world);
    finish(next.args(["--name", "orphan", "--", "true"])).assert_code(0);
    world.assert_clean();
}

#[test]
fn stop_destroy_and_another_user_work_through_the_handle() {
    embedded_with(
        |config| config.launcher = Some(Launcher::Posix),
        async |scene| {
            let host = |id: &str, line: &str| {
                ContainerSpec::host(id).expect("valid").shell(line).env("DOOR", door(scene, id))
            };
            let polite = host("polite", "trap 'exit 5' TERM; echo up > $DOOR; sleep 1000 & wait");
            let (job, ..) = scene.up(polite).await;
            assert_eq!(code(&within(job.stop(Stop::from_image())).await.expect("stopped")), 5);
            let line = format!("trap '' TERM; {DAEMON} echo up > $DOOR; sleep 1000");
            let (job, ..) = scene.up(host("stubborn", &line)).await;
            let end = within(job.destroy()).await.expect("destroyed");
            assert_eq!(code(&end), 137, "{end:?}");
            let (job, ..) = scene.up(host("killed", &line)).await;
            within(job.kill(9)).await.expect("sent");
            assert_eq!(code(&within(job.wait()).await.expect("it ends")), 137);
            let spec = host("nobody", "id -u; id -g; echo mine > file; stat -c %u:%a file stdout");
            let printed = scene.output(spec.user("65534:65534")).await;
            assert_eq!(printed, "65534\n65534\n65534:644\n65534:644\n");
            let spec = host("own", "id -u").rlimit(Rlimit::new(RlimitKind::Nofile, Some(50)));
            let error = scene.node.launch(spec).expect_err("posix/rlimits is not on");
            assert_eq!(error.kind(), ErrorKind::InvalidRequest);
            let image = scene.spec("image", "true");
            assert!(scene.node.launch(image).is_err(), "it has no images");
        },
    );
}

fn door(scene: &crate::embedded::Scene, id: &str) -> String {
    scene.world.path().join("doors").join(id).display().to_string()
}

#[test]
fn what_a_posix_agent_leaves_is_buried_by_an_agent_of_either_launcher() {
    for launcher in [Launcher::Posix, Launcher::Linux] {
        let world = World::new();
        let mut settings = config(&world);
        settings.launcher = Some(Launcher::Posix);
        block_on(async {
            let node = start(&world, settings).await.expect("it starts");
            let spec = ContainerSpec::host("left").expect("valid");
            let line = format!("trap '' TERM; {DAEMON} exec sleep 1000");
            let job = node.launch(spec.shell(line)).expect("free");
            let init = Process::find(within(job.running()).await.expect("it runs"));
            let init = init.expect("it lives");
            node.shutdown(Containers::Keep).await.expect("in order");
            drop((job, node));
            assert!(!init.ends_within(std::time::Duration::from_millis(50)), "it goes on");
            let mut settings = config(&world);
            settings.launcher = Some(launcher);
            let node = start(&world, settings).await.expect("it starts");
            assert!(init.ends_within(DEADLINE), "it was buried");
            node.shutdown(Containers::Destroy).await.expect("in order");
        });
        world.assert_clean();
    }
}
