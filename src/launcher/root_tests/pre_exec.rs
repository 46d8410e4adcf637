//! Commands that run before the payload.

use std::collections::BTreeMap;
use std::fs;

use super::World;
use crate::error::{Classified, ErrorKind, Stage};
use crate::model::{LaunchInfo, Namespace, PreExecCommand, WaitStatus};

fn with(before: Vec<PreExecCommand>, launch: LaunchInfo) -> LaunchInfo {
    LaunchInfo { pre_exec_commands: before, ..launch }
}

fn lines(lines: &[&str]) -> Vec<PreExecCommand> {
    lines.iter().map(|line| PreExecCommand::shell(*line)).collect()
}

#[tokio::test]
async fn they_run_in_order_before_the_payload_on_its_streams() {
    let mut world = World::new();
    let before = vec![
        PreExecCommand::shell("echo one"),
        PreExecCommand::program("echo", ["two", "2"]),
        PreExecCommand::shell("echo three; (sleep 100 & )"),
    ];
    let outcome = world.run(with(before, World::launch(&["/bin/payload", "echo", "mine"]))).await;
    assert_eq!(outcome.started, Ok(()));
    assert_eq!(outcome.output, "one\ntwo 2\nthree\nmine\n");
    assert_eq!(outcome.status, WaitStatus(0), "whatever one of them has left behind");
}

#[tokio::test]
async fn one_that_fails_ends_the_launch_with_its_name_and_status() {
    let mut world = World::new();
    for (before, message, errno) in [
        (
            lines(&["echo first", "exit 3", "echo never"]),
            "run pre-exec command /bin/sh: exited with code 3",
            None,
        ),
        (
            lines(&["echo first", "kill -KILL $$"]),
            "run pre-exec command /bin/sh: killed by SIGKILL",
            None,
        ),
        (
            vec![PreExecCommand::shell("echo first"), PreExecCommand::program("/no/such", ["x"])],
            "run pre-exec command /no/such: no such file or directory",
            Some("ENOENT"),
        ),
        (
            vec![PreExecCommand::shell("echo first"), PreExecCommand::program("no-such", ["x"])],
            "run pre-exec command no-such: no such file or directory",
            Some("ENOENT"),
        ),
    ] {
        let launch = with(before, World::launch(&["/bin/payload", "echo", "never"]));
        let outcome = world.run(launch).await;
        let failure = outcome.started.expect_err("it did not start");
        assert_eq!(failure.to_string(), message);
        assert_eq!(failure.errno().as_deref(), errno, "{message}");
        assert_eq!(
            (failure.stage(), failure.kind()),
            (Some(Stage::Start), ErrorKind::Host),
            "{message}"
        );
        assert_eq!(outcome.output, "first\n", "{message}");
    }
}

#[tokio::test]
async fn they_are_root_in_the_hosts_files_and_see_only_their_own_environment() {
    let mut world = World::new();
    let marker = world.path("marker");
    fs::write(&marker, "of the host").expect("written");
    let host = PreExecCommand::shell(format!("cat {}; echo; id -u; pwd", marker.display()));
    let environment = BTreeMap::from([("A".to_owned(), "b".to_owned())]);
    let own = PreExecCommand { environment, ..PreExecCommand::program("/usr/bin/env", []) };
    for own_root in [true, false] {
        let mut launch = World::launch(&["/usr/bin/env"]);
        if own_root {
            launch = World::launch(&["/bin/payload", "env"]);
        }
        launch.environment.insert("LD_PRELOAD".to_owned(), String::new());
        launch.mounts.clear();
        launch.devices.clear();
        let mut request = world.request(with(vec![host.clone(), own.clone()], launch));
        if !own_root {
            request.rootfs = None;
        }
        let outcome = world.run_request(request).await;
        let path = crate::launcher::plan::DEFAULT_PATH;
        let expected = format!("of the host\n0\n/\nA=b\nPATH={path}\n");
        let output = outcome.output.strip_prefix(&expected);
        assert!(output.is_some_and(|rest| rest.contains("LD_PRELOAD=")), "{}", outcome.output);
    }
}

#[tokio::test]
async fn they_are_in_the_containers_other_namespaces_and_its_cgroup() {
    let mut world = World::new();
    let mut launch = World::launch(&["hostname"]);
    launch.namespaces.insert(Namespace::Uts);
    let line = "hostname from-before; cat /proc/self/cgroup | grep -c longshore-test";
    let outcome = world.run(with(lines(&[line]), launch)).await;
    let (count, name) = outcome.output.split_once('\n').expect("two lines");
    assert_eq!(name, "from-before\n", "{:?}", outcome.started);
    assert_ne!(count, "0");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("readable");
    assert_ne!(host.trim(), "from-before");
}

#[tokio::test]
async fn what_they_mount_on_the_host_goes_with_them() {
    let mut world = World::new();
    let place = world.path("place");
    fs::create_dir(&place).expect("made");
    let line = format!(
        "mount -t tmpfs none {0} && echo inside > {0}/file && cat {0}/file",
        place.display()
    );
    let outcome = world.run(with(lines(&[&line]), World::launch(&["/bin/true"]))).await;
    assert_eq!((outcome.started, outcome.output.as_str()), (Ok(()), "inside\n"));
    assert_eq!(fs::read_dir(&place).expect("readable").count(), 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
    assert!(!mounts.contains(place.to_str().expect("text")));
}

#[tokio::test]
async fn one_that_hangs_ends_with_its_container() {
    let mut world = World::new();
    let request =
        world.request(with(lines(&["echo up; sleep 1000"]), World::launch(&["/bin/true"])));
    let id = request.container_id.clone();
    let mut child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    world.wait_for_output(&id, "up\n").await;
    child.control.signal(15).expect("signalled");
    assert!(child.report.started().await.is_err(), "it never ran");
    assert_eq!(child.report.ended().await, WaitStatus(15));
    world.launcher.kill(&id, Some(child.init), crate::limits::KILL).expect("killed");
    world.assert_no_processes(&id);
}
