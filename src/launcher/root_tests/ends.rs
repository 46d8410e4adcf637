//! Every end of a payload, and every failure before it, is told as it was.

use std::path::PathBuf;

use super::World;
use crate::model::{FileOperation, LaunchInfo, WaitStatus};

const ENOENT: i32 = 2;
const ENOEXEC: i32 = 8;
const EACCES: i32 = 13;

#[tokio::test]
async fn an_exit_code_arrives() {
    let mut world = World::new();
    let outcome = world.run(World::shell("echo hello; exit 7")).await;
    assert_eq!((outcome.started, outcome.output.as_str()), (Ok(()), "hello\n"));
    assert_eq!(outcome.status, WaitStatus(7 << 8));
    for code in [0, 1, 126, 127, 255] {
        let text = code.to_string();
        let outcome = world.run(World::launch(&["/bin/payload", "exit", &text])).await;
        assert_eq!((outcome.started, outcome.status), (Ok(()), WaitStatus(code << 8)));
    }
}

#[tokio::test]
async fn a_deadly_signal_arrives_and_is_in_the_status_file() {
    let mut world = World::new();
    for signal in [1, 6, 9, 11, 15, 34] {
        let text = signal.to_string();
        let request = world.request(World::launch(&["/bin/payload", "signal", &text]));
        let id = request.container_id.clone();
        let outcome = world.run_request(request).await;
        assert_eq!(outcome.status.signal(), Some(signal));
        assert_eq!(world.status_text(&id), outcome.status.0.to_string());
    }
}

#[tokio::test]
async fn a_signal_to_the_init_reaches_the_payload() {
    let mut world = World::new();
    let script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 1 & wait; done";
    let request = world.request(World::shell(script));
    let id = request.container_id.clone();
    let mut child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    child.report.started().await.expect("started");
    world.wait_for_output(&id, "ready\n").await;
    child.control.signal(15).expect("sent");
    assert_eq!(child.report.ended().await, WaitStatus(5 << 8));
    assert_eq!(world.output(&id), "ready\ncaught\n");
    child.control.signal(15).expect("a process that is gone gets nothing");
}

#[tokio::test]
async fn an_init_that_is_killed_leaves_the_status_of_sigkill() {
    let mut world = World::new();
    let request = world.request(World::launch(&["/bin/payload", "stubborn"]));
    let id = request.container_id.clone();
    let mut child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    child.report.started().await.expect("started");
    child.control.signal(9).expect("killed");
    assert_eq!(child.report.ended().await, WaitStatus::KILLED);
    assert_eq!(world.status_text(&id), "", "nobody was left to write it");
    let left = world.cgroups.kill_group_processes(&crate::paths::cgroup(&id)).expect("read");
    assert_eq!(left, Vec::<i32>::new(), "the namespace took the payload along");
}

#[tokio::test]
async fn a_signal_before_the_release_ends_the_init() {
    let mut world = World::new();
    let mut child = world.fork(World::shell("echo no")).expect("forked");
    child.control.signal(15).expect("sent");
    let failure = child.report.started().await.expect_err("never started");
    assert!(failure.step.contains("signal 15"), "{failure}");
    assert_eq!(child.report.ended().await, WaitStatus(15));
    child.control.release().expect("too late is no error");
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_named_with_its_errno() {
    let mut world = World::new();
    std::fs::write(world.root().join("bin/script"), "#!/no/interpreter\n").expect("written");
    std::fs::write(world.root().join("bin/text"), "no program\n").expect("written");
    std::fs::write(world.root().join("bin/locked"), "#!/bin/sh\n").expect("written");
    for (name, mode) in [("script", 0o755), ("text", 0o755), ("locked", 0o644)] {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(world.root().join("bin").join(name), permissions).expect("set");
    }
    for (program, errno) in [
        ("/no/such", ENOENT),
        ("nosuch", ENOENT),
        ("/bin/script", ENOENT),
        ("script", ENOENT),
        ("/bin/text", ENOEXEC),
        ("text", ENOEXEC),
        ("/bin/locked", EACCES),
        ("locked", EACCES),
        ("/tmp", EACCES),
        ("/bin/payload/x", 20),
    ] {
        let outcome = world.run(World::launch(&[program])).await;
        assert_eq!(outcome.step(), format!("exec {program}"));
        let failure = outcome.started.expect_err("refused");
        assert_eq!((failure.errno, failure.exec), (errno, true), "{program}");
        assert_eq!(outcome.status, WaitStatus(1 << 8), "recorded as an exit with 1");
    }
}

#[tokio::test]
async fn a_program_is_found_by_the_path_of_its_own_environment() {
    let mut world = World::new();
    let mut launch = World::launch(&["busybox", "true"]);
    launch.environment.insert("PATH".to_owned(), "/etc/passwd:/no:/bin".to_owned());
    assert_eq!(world.run(launch.clone()).await.status, WaitStatus(0));
    launch.environment.insert("PATH".to_owned(), "/tmp".to_owned());
    assert_eq!(world.run(launch.clone()).await.step(), "exec busybox");
    launch.environment.insert("PATH".to_owned(), String::new());
    launch.working_directory = Some("/bin".into());
    assert_eq!(world.run(launch).await.status, WaitStatus(0), "an empty PATH is here");
}

#[tokio::test]
async fn a_step_before_exec_is_named_with_its_object() {
    let mut world = World::new();
    let mut launch = World::launch(&["/bin/true"]);
    launch.working_directory = Some("/etc/passwd/x".into());
    let outcome = world.run(launch).await;
    assert_eq!(outcome.step(), "chdir /etc/passwd/x");
    assert!(!outcome.started.expect_err("refused").exec);
    let mut launch = World::launch(&["/bin/true"]);
    launch.mounts.push(World::new_fs("nosuchfs", "/mnt"));
    let outcome = world.run(launch).await;
    let text = outcome.started.expect_err("refused").to_string();
    assert_eq!(text, "mount nosuchfs at /mnt: no such device");
}

#[tokio::test]
async fn argv_and_environment_arrive_exactly() {
    let mut world = World::new();
    let long = "x".repeat(100_000);
    let outcome = world.run(World::launch(&["/bin/payload", "echo", "a b", "", &long])).await;
    assert_eq!(outcome.output, format!("a b\n\n{long}\n"));
    let mut launch = World::launch(&["/bin/payload", "env"]);
    launch.environment.insert("EMPTY".to_owned(), String::new());
    launch.environment.insert("A".to_owned(), "b=c d".to_owned());
    assert_eq!(world.run(launch).await.output, "A=b=c d\nEMPTY=\nHOME=/\nPATH=/bin:/usr/bin\n");
}

#[tokio::test]
async fn a_missing_working_directory_is_made_only_if_somebody_says_so() {
    let mut world = World::new();
    let path = PathBuf::from("/srv/deep/down");
    let mut launch = LaunchInfo {
        working_directory: Some(path.clone()),
        ..World::launch(&["/bin/payload", "cwd"])
    };
    assert_eq!(world.run(launch.clone()).await.step(), "chdir /srv/deep/down");
    launch.file_operations.push(FileOperation::Mkdir { path, mode: 0o755 });
    assert_eq!(world.run(launch).await.output, "/srv/deep/down\n");
    assert!(world.root().join("srv/deep/down").is_dir());
}
