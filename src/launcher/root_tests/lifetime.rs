//! What lives how long: with the agent, after it, and never too long.

use std::time::Duration;

use super::World;
use crate::launcher::{Adopted, Lifetime};
use crate::limits;
use crate::model::{LaunchInfo, Namespace, WaitStatus};
use crate::paths;

/// In the agent's PID namespace: nothing but the cgroup keeps the processes together.
fn without_pid_namespace(launch: LaunchInfo) -> LaunchInfo {
    LaunchInfo { namespaces: [Namespace::Mnt].into(), ..launch }
}

#[tokio::test]
async fn dropped_before_the_release_it_runs_nothing() {
    let mut world = World::new();
    let request = world.request(World::shell("echo ran"));
    let id = request.container_id.clone();
    let child = world.launcher.fork(request).expect("forked");
    let init = child.init;
    drop(child);
    world.wait_until_gone(init).await;
    world.launcher.kill(&id, Some(init), limits::KILL).expect("nothing to kill");
    world.launcher.forget(&id).expect("forgotten");
    assert_eq!((world.output(&id).as_str(), world.status_text(&id).as_str()), ("", ""));
}

#[tokio::test]
async fn with_the_agent_the_payload_dies_when_the_channel_closes() {
    for pid_namespace in [true, false] {
        let mut world = World::new();
        let mut launch = World::launch(&["/bin/payload", "stubborn"]);
        if !pid_namespace {
            launch = without_pid_namespace(launch);
        }
        let mut request = world.request(launch);
        request.lifetime = Lifetime::WithAgent;
        let id = request.container_id.clone();
        let mut child = world.launcher.fork(request).expect("forked");
        child.control.release().expect("released");
        child.report.started().await.expect("started");
        let init = child.init;
        drop(child);
        world.wait_until_gone(init).await;
        assert_eq!(world.status_text(&id), "9");
        world.assert_no_processes(&id);
    }
}

#[tokio::test]
async fn with_the_agent_its_daemons_die_too() {
    let mut world = World::new();
    let script = "setsid sh -c 'setsid sleep 1000 & echo two' & wait; echo one; sleep 1000";
    let mut request = world.request(without_pid_namespace(World::shell(script)));
    request.lifetime = Lifetime::WithAgent;
    let id = request.container_id.clone();
    let child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    world.wait_for_output(&id, "two\none\n").await;
    let init = child.init;
    drop(child);
    world.wait_until_gone(init).await;
    world.wait_until_empty(&id).await;
}

#[tokio::test]
async fn without_the_agent_it_lives_on_and_is_found_again() {
    let mut world = World::new();
    let request = world.request(World::shell("echo ready; sleep 0.2; exit 6"));
    let (id, status_file) = (request.container_id.clone(), request.status_file.clone());
    let child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    let init = child.init;
    drop(child);
    let adopted = Adopted::find(init, status_file.clone()).expect("looked");
    assert_eq!(adopted.expect("it lives").ended().await, WaitStatus(6 << 8));
    let late = Adopted::find(init, status_file).expect("looked").expect("still a zombie of ours");
    late.signal(15).expect("a zombie takes signals");
    let stranger = crate::launcher::InitPid { start_time: init.start_time + 1, ..init };
    assert!(Adopted::find(stranger, "".into()).expect("looked").is_none());
    assert_eq!(world.output(&id), "ready\n");
}

#[tokio::test]
async fn destroy_finds_what_daemonised_without_a_namespace() {
    let mut world = World::new();
    let script = "setsid sh -c 'setsid sleep 1000 & echo two' & wait; echo one; exit 4";
    let request = world.request(without_pid_namespace(World::shell(script)));
    let id = request.container_id.clone();
    let mut child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    assert_eq!(child.report.ended().await, WaitStatus(4 << 8));
    let left = world.cgroups.kill_group_processes(&paths::cgroup(&id)).expect("read");
    assert_eq!(left.len(), 1, "the daemon");
    world.launcher.kill(&id, Some(child.init), limits::KILL).expect("killed");
    world.assert_no_processes(&id);
    world.launcher.forget(&id).expect("forgotten");
    world.launcher.kill(&id, Some(child.init), limits::KILL).expect("repeatable");
    world.launcher.forget(&id).expect("repeatable");
}

#[tokio::test]
async fn orphans_are_reaped_by_the_init() {
    for pid_namespace in [true, false] {
        let mut world = World::new();
        let script = "for i in 1 2 3; do sh -c 'sleep 0.01 &'; done; sleep 0.3; \
                      grep -h '^State:.Z' /proc/[0-9]*/status; echo done";
        let mut launch = World::shell(script);
        if !pid_namespace {
            launch = without_pid_namespace(launch);
            launch.command = World::shell("sh -c 'sleep 0.01 &'; sleep 0.3; echo done").command;
        }
        assert_eq!(world.run(launch).await.output, "done\n");
    }
}

#[tokio::test]
async fn a_killed_spawner_is_replaced_and_takes_no_container_along() {
    let mut world = World::new();
    let mut first = world.fork(World::shell("sleep 0.2; exit 8")).expect("forked");
    first.control.release().expect("released");
    first.report.started().await.expect("started");
    let before = world.spawner();
    world.kill_spawner();
    assert_eq!(world.run(World::launch(&["/bin/true"])).await.status, WaitStatus(0));
    assert_ne!(world.spawner(), before);
    assert_eq!(first.report.ended().await, WaitStatus(8 << 8));
}

#[tokio::test]
async fn the_spawner_dies_with_the_launcher() {
    let mut world = World::new();
    assert_eq!(world.run(World::launch(&["/bin/true"])).await.status, WaitStatus(0));
    let spawner = world.spawner();
    drop(world);
    assert!(!std::path::Path::new(&format!("/proc/{spawner}")).is_dir(), "gone and reaped");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count()
}

#[test]
fn a_thousand_launches_leave_nothing() {
    // Other tests of this process have descriptors of their own: a process for this one.
    super::guest::alone(concat!(module_path!(), "::launch_a_thousand"), "", &[]);
}

#[tokio::test]
async fn launch_a_thousand() {
    let rounds: usize = if std::env::var_os(super::guest::ALONE).is_some() { 1000 } else { 10 };
    let mut world = World::new();
    assert_eq!(world.run(World::launch(&["/bin/true"])).await.status, WaitStatus(0));
    let (before, spawner) = (descriptors(), world.spawner());
    let held = world.descriptors_of_spawner();
    for _ in 0..rounds {
        let outcome = world.run(World::launch(&["/bin/payload", "exit", "3"])).await;
        assert_eq!((outcome.started, outcome.status), (Ok(()), WaitStatus(3 << 8)));
    }
    assert_eq!((world.spawner(), world.descriptors_of_spawner()), (spawner, held));
    if rounds == 1000 {
        assert_eq!(descriptors(), before);
        assert_eq!(world.children(), [spawner], "no zombie");
    }
}

#[tokio::test]
async fn many_at_once_do_not_mix() {
    let mut world = World::new();
    let children: Vec<_> = (0..32)
        .map(|n| world.fork(World::launch(&["/bin/payload", "exit", &n.to_string()])))
        .collect();
    for (n, child) in children.into_iter().enumerate() {
        let mut child = child.expect("forked");
        child.control.release().expect("released");
        let code = i32::try_from(n).expect("small");
        assert_eq!(child.report.ended().await, WaitStatus(code << 8));
    }
}

#[tokio::test]
async fn a_dropped_wait_is_harmless() {
    let mut world = World::new();
    let mut child = world.fork(World::shell("sleep 0.2; exit 2")).expect("forked");
    child.control.release().expect("released");
    for _ in 0..3 {
        let wait = tokio::time::timeout(Duration::from_millis(1), child.report.ended());
        assert!(wait.await.is_err(), "it still sleeps");
    }
    child.report.started().await.expect("known from the channel");
    assert_eq!(child.report.ended().await, WaitStatus(2 << 8));
    assert_eq!(child.report.ended().await, WaitStatus(2 << 8), "known for good");
}
