//! The main job: an image from a registry runs as a supervised container and goes without a trace.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::images::Images;
use crate::support::registry::free_port;
use crate::support::{Registry, World, finish, process, start};

/// The line by which redis says that it serves.
const SERVING: &str = "Ready to accept connections";

#[test]
fn redis_from_a_registry_answers_ping() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["redis"]);
    let registry = Registry::start();
    registry.push(&images, &["library/redis:7.0"]);
    let port = free_port();

    let mut run = world.longshore("run");
    run.args(["--image", &registry.reference("library/redis:7.0"), "--"]);
    // With an entrypoint in the image, arguments take the place of its CMD.
    run.args(["redis-server", "--bind", "127.0.0.1", "--port", &port.to_string()]);
    let mut running = start(&mut run);
    running.wait_for_output(SERVING);
    let mut server = TcpStream::connect(("127.0.0.1", port)).expect("redis listens");
    server.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout may be set");
    server.write_all(b"PING\r\n").expect("redis reads");
    let mut answer = [0; 7];
    server.read_exact(&mut answer).expect("redis answers");
    assert_eq!(&answer, b"+PONG\r\n");
    drop(server);

    running.process().signal(Signal::TERM);
    let ended = running.finish();
    // redis ends with 0 when it is asked to; its last words are read to their end.
    ended.assert_code(0);
    assert!(ended.stdout.contains("bye bye"), "{}", ended.stdout);
    world.assert_clean();
}

/// Asks for `PING` in the network namespace of the process `pid`, where redis has its usual port.
fn ping_in_namespace_of(pid: i32) -> String {
    let script = "import socket; s = socket.create_connection(('127.0.0.1', 6379), 30); \
                  s.sendall(b'PING\\r\\n'); print(s.recv(64).decode().strip())";
    let mut enter = Command::new("nsenter");
    enter.arg(format!("--net=/proc/{pid}/ns/net")).args(["python3", "-c", script]);
    let answered = finish(&mut enter);
    answered.assert_code(0);
    answered.stdout
}

#[test]
fn without_a_shell_the_images_own_entrypoint_and_cmd_run() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["redis"]);
    let image = format!("oci:{}:7.0", images.image("library_redis_7.0").join("oci").display());

    // In a network of its own, so that the usual port is free whatever the host runs.
    let mut run = Command::new("unshare");
    run.args(["--net", "--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    let longshore = world.longshore("run");
    run.arg(longshore.get_program()).args(longshore.get_args()).current_dir(world.path());
    run.args(["--image", &image, "--shell", "false"]);
    let mut running = start(&mut run);
    running.wait_for_output(SERVING);
    // `unshare` executed the shell, and that the program: the pid is the same.
    assert_eq!(ping_in_namespace_of(running.pid()), "+PONG\n");
    running.process().signal(Signal::TERM);
    running.finish().assert_code(0);
    world.assert_clean();
}

/// Every file of that name below the world.
fn find(world: &World, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![world.path().to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_name() == name {
                found.push(entry.path());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn what_a_debian_container_writes_is_in_its_upper_layer_and_nowhere_else() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["debian"]);
    let registry = Registry::start();
    registry.push(&images, &["library/debian:bookworm-slim"]);

    let mut run = world.longshore("run");
    run.args(["--name", "debian"]);
    run.args(["--image", &registry.reference("library/debian:bookworm-slim")]);
    let writes = "dd if=/dev/zero of=yhw bs=1024 count=1 && echo written && exec sleep 1000";
    run.args(["--command", writes, "--shell", "true"]);
    let mut running = start(&mut run);
    running.wait_for_output("written\n");

    let files = find(&world, "yhw");
    let scratch = world.work_dir().join("provisioner/containers/debian/backends/overlay/scratch");
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].starts_with(&scratch), "{files:?} is not below {}", scratch.display());
    assert!(files[0].ends_with("upperdir/yhw"), "{files:?}");
    assert_eq!(std::fs::metadata(&files[0]).expect("it was just found").len(), 1024);
    assert!(!std::fs::exists("/yhw").expect("the host's root can be read"));

    running.process().signal(Signal::INT);
    running.finish();
    assert_eq!(find(&world, "yhw"), Vec::<PathBuf>::new());
    world.assert_clean();
}

#[test]
fn two_runs_at_once_share_a_store_and_do_not_meet() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["busybox"]);
    let registry = Registry::start();
    registry.push(&images, &["library/busybox:latest"]);
    let image = registry.reference("library/busybox");
    let both = ["a", "b"].map(|name| {
        let mut run = world.longshore("run");
        let command = format!("echo {name} >/mine; cat /mine; exec sleep 1000");
        run.args(["--name", name, "--image", &image, "--command", &command]);
        start(&mut run)
    });
    for (mut running, expected) in both.into_iter().zip(["a\n", "b\n"]) {
        running.wait_for_output("\n");
        assert_eq!(running.stdout(), expected);
        running.process().signal(Signal::TERM);
        running.finish();
    }
    world.assert_clean();
}

#[test]
fn an_id_in_use_is_refused_and_its_owner_does_not_notice() {
    require!(root, overlayfs);
    let world = World::new();
    let image = Images::busybox();
    let run = || {
        let mut run = world.longshore("run");
        let line = "trap 'echo asked; exit 7' TERM; echo up; while :; do sleep 1; done";
        run.args(["--name", "one", "--image", &image, "--command", line]);
        run
    };
    let mut first = start(&mut run());
    first.wait_for_output("up\n");
    let second = finish(&mut run());
    second.assert_code(125);
    assert!(second.one_error_line().contains("one"), "{}", second.stderr);
    first.process().signal(Signal::TERM);
    let ended = first.finish();
    ended.assert_code(7);
    assert_eq!(ended.stdout, "up\nasked\n");
    world.assert_clean();
}

#[test]
fn of_two_runs_that_begin_with_the_same_id_exactly_one_wins() {
    require!(root, overlayfs);
    let world = World::new();
    let image = Images::busybox();
    let both = [(), ()].map(|()| {
        let mut run = world.longshore("run");
        run.args(["--name", "one", "--image", &image, "--command", "echo up; exec sleep 1000"]);
        start(&mut run)
    });
    // The loser ends by itself; the winner when it is asked. Which is which, its end says.
    let [first, second] = both;
    let first_lost = process::first_to_end(&first.process(), &second.process());
    let (lost, mut won) = if first_lost { (first, second) } else { (second, first) };
    let lost = lost.finish();
    lost.assert_code(125);
    assert_eq!(lost.stdout, "");
    won.wait_for_output("up\n");
    won.process().signal(Signal::TERM);
    won.finish();
    world.assert_clean();
}
