//! `longshore run` as an operator uses it: what is executed, what the payload sees, what is left.

use std::fs;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::images::Images;
use crate::support::{Ended, World, finish, start};

/// Runs a busybox image with these flags, to its end.
fn run(world: &World, flags: &[&str]) -> Ended {
    finish(world.longshore("run").args(["--image", &Images::busybox()]).args(flags))
}

/// The same, for runs that must succeed; what the payload wrote.
#[track_caller]
fn said(world: &World, flags: &[&str]) -> String {
    let ended = run(world, flags);
    ended.assert_code(0);
    assert_eq!(ended.stderr, "", "{flags:?}");
    ended.stdout
}

#[test]
fn arguments_entrypoint_and_command_mean_what_users_of_docker_expect() {
    require!(root, overlayfs);
    let world = World::new();
    // The image has no entrypoint, and a shell as its CMD: arguments are the whole command.
    assert_eq!(said(&world, &["--", "echo", "-n", "a b"]), "a b");
    assert_eq!(said(&world, &["echo", "-n", "c"]), "c", "the two dashes may be left out");
    assert_eq!(said(&world, &["--entrypoint", "echo", "--", "-n", "d"]), "d");
    assert_eq!(said(&world, &["--entrypoint", "", "--", "echo", "-n", "e"]), "e");
    assert_eq!(said(&world, &["--command", "echo $0 | tr a-z A-Z"]), "/BIN/SH\n");
    let program = ["--command", "echo", "--shell", "false", "--", "-n", "$HOME"];
    assert_eq!(said(&world, &program), "$HOME", "nobody expands it");
    world.assert_clean();
}

#[test]
fn the_payload_sees_what_the_flags_say() {
    require!(root, overlayfs);
    let world = World::new();
    let env = ["--env", "A=b=c", "--env", "EMPTY=", "--", "sh", "-c", "echo $A; echo \"[$EMPTY]\""];
    assert_eq!(said(&world, &env), "b=c\n[]\n");
    assert_eq!(said(&world, &["--user", "1234:56", "--", "id", "-u"]), "1234\n");
    assert_eq!(said(&world, &["--user", "1234:56", "--", "id", "-g"]), "56\n");
    assert_eq!(said(&world, &["--workdir", "/etc", "--", "pwd"]), "/etc\n");
    assert_eq!(said(&world, &["--", "pwd"]), "/\n");
    let files = ["--rlimit", "nofile=100:200", "--", "sh", "-c", "ulimit -Sn; ulimit -Hn"];
    assert_eq!(said(&world, &files), "100\n200\n");
    let none = ["--cap-drop", "ALL", "--", "grep", "CapEff", "/proc/self/status"];
    assert_eq!(said(&world, &none), "CapEff:\t0000000000000000\n");
    assert_eq!(said(&world, &["--", "sh", "-c", "echo $$"]), "2\n", "after the init, 1");
    world.assert_clean();
}

#[test]
fn volumes_are_shown_and_read_only_means_it() {
    require!(root, overlayfs);
    let world = World::new();
    let shown = world.path().join("shown");
    fs::create_dir(&shown).expect("our own directory");
    fs::write(shown.join("in"), "from the host\n").expect("our own directory");
    let volume = format!("{}:/data", shown.display());
    let line = "cat /data/in; echo from the container >/data/out";
    assert_eq!(said(&world, &["--volume", &volume, "--command", line]), "from the host\n");
    let written = fs::read_to_string(shown.join("out")).expect("it was written");
    assert_eq!(written, "from the container\n");

    let read_only = format!("{volume}:ro");
    let ended = run(&world, &["--volume", &read_only, "--command", "touch /data/no"]);
    assert_ne!(ended.code(), 0);
    assert!(!fs::exists(shown.join("no")).expect("readable"));
    world.assert_clean();
}

#[test]
fn uris_are_fetched_into_the_sandbox() {
    require!(root, overlayfs);
    let world = World::new();
    let file = world.path().join("tool");
    fs::write(&file, "#!/bin/sh\necho fetched\n").expect("our own directory");
    let uri = format!("{},executable,output=mine", file.display());
    assert_eq!(said(&world, &["--uri", &uri, "--command", "$MESOS_SANDBOX/mine"]), "fetched\n");

    let missing = world.path().join("nowhere").display().to_string();
    let ended = run(&world, &["--uri", &missing, "--command", "true"]);
    ended.assert_code(125);
    let line = ended.one_error_line();
    assert!(line.contains("fetch: ") && line.contains("nowhere"), "{line}");
    world.assert_clean();
}

#[test]
fn without_an_image_a_command_runs_on_the_host() {
    require!(root);
    let world = World::new();
    let host = |flags: &[&str]| finish(world.longshore("run").args(flags));
    let ended = host(&["--command", "echo here; exit 3"]);
    ended.assert_code(3);
    assert_eq!(ended.stdout, "here\n");
    let ended = host(&["--", "pwd"]);
    ended.assert_code(0);
    let sandboxes = world.work_dir().join("containers");
    assert!(ended.stdout.starts_with(sandboxes.to_str().expect("ASCII")), "{}", ended.stdout);
    let ended = host(&["--memory", "64M", "--command", "true"]);
    ended.assert_code(125);
    assert!(ended.one_error_line().contains("cgroups/mem"), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn hanging_up_stops_the_container_too() {
    require!(root, overlayfs);
    let world = World::new();
    let line = "trap 'exit 9' TERM; echo up; while :; do sleep 1; done";
    let mut run = world.longshore("run");
    let mut running = start(run.args(["--image", &Images::busybox(), "--command", line]));
    running.wait_for_output("up\n");
    running.process().signal(Signal::HUP);
    running.finish().assert_code(9);
    world.assert_clean();
}

#[test]
fn the_stop_signal_is_the_users() {
    require!(root, overlayfs);
    let world = World::new();
    let line = "trap 'exit 11' USR1; echo up; while :; do sleep 1; done";
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox(), "--command", line, "--stop-signal", "USR1"]);
    let mut running = start(&mut run);
    running.wait_for_output("up\n");
    running.process().signal(Signal::TERM);
    running.finish().assert_code(11);
    world.assert_clean();
}

#[test]
fn a_failed_launch_says_so_in_its_last_event() {
    require!(root, overlayfs);
    let world = World::new();
    let ended = run(&world, &["--json-events", "-", "--command", "/no/such", "--shell", "false"]);
    ended.assert_code(127);
    let last = ended.stdout.lines().last().expect("there are events");
    let last: Value = serde_json::from_str(last).expect("an object");
    assert_eq!(last["event"], "terminated");
    assert_eq!(last["failure"]["stage"], "exec");
    assert_eq!(last["failure"]["errno"], "ENOENT");
    assert_eq!(last.get("termination"), None, "no payload ran");
    world.assert_clean();
}

#[test]
fn an_image_that_must_be_there_already_is_not_pulled() {
    require!(root);
    let world = World::new();
    let image = "docker://127.0.0.1:1/library/busybox";
    let ended = finish(world.longshore("run").args(["--image", image, "--pull", "never", "true"]));
    ended.assert_code(125);
    assert!(ended.one_error_line().contains("not in the store"), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn pulled_images_are_listed_kept_and_pruned() {
    require!(root, overlayfs);
    let world = World::new();
    let image = Images::busybox();
    let pulled = finish(world.longshore("pull").args([image.as_str(), "--progress", "plain"]));
    pulled.assert_code(0);
    assert!(pulled.stderr.lines().all(|line| line.starts_with("layer ")), "{}", pulled.stderr);
    assert!(pulled.stdout.starts_with("oci:") && pulled.stdout.contains(" sha256:"));

    let list = || {
        let ended = finish(world.longshore("images").args(["--format", "json"]));
        ended.assert_code(0);
        let rows: Vec<Value> = serde_json::from_str(&ended.stdout).expect("an array");
        rows
    };
    assert_eq!(list().len(), 1);
    finish(world.longshore("prune").args(["--keep", &image])).assert_code(0);
    assert_eq!(list().len(), 1, "it is kept");
    let pruned = finish(&mut world.longshore("prune"));
    pruned.assert_code(0);
    assert!(pruned.stdout.starts_with("removed 1 images, 1 layers"), "{}", pruned.stdout);
    assert_eq!(list(), Vec::<Value>::new());
    world.assert_clean();
}

#[test]
fn an_image_in_use_is_not_pruned() {
    require!(root, overlayfs);
    let world = World::new();
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox(), "--command", "echo up; exec sleep 1000"]);
    let mut running = start(&mut run);
    running.wait_for_output("up\n");
    let pruned = finish(&mut world.longshore("prune"));
    pruned.assert_code(0);
    assert!(pruned.stdout.contains("0 layers"), "{}", pruned.stdout);
    running.process().signal(Signal::TERM);
    running.finish();
    world.assert_clean();
}

#[test]
fn a_tree_is_provisioned_where_it_is_wanted_and_nowhere_else() {
    require!(root, overlayfs);
    let world = World::new();
    let image = Images::busybox();
    let directory = world.path().join("root");
    let put = || finish(world.longshore("provision").arg(&image).arg(&directory));
    put().assert_code(0);
    assert!(fs::exists(directory.join("bin/busybox")).expect("readable"));
    let again = put();
    again.assert_code(1);
    again.one_error_line();
    let take = || finish(world.longshore("unprovision").arg(&directory));
    take().assert_code(0);
    assert!(!fs::exists(&directory).expect("readable"), "provision made it");
    let unknown = take();
    assert_ne!(unknown.code(), 0);
    unknown.one_error_line();
    world.assert_clean();
}

#[test]
fn the_quickstart_shows_a_whole_life_and_leaves_nothing() {
    require!(root, overlayfs);
    let world = World::new();
    let program = world.program();
    let programs = std::path::Path::new(program.get_program()).parent().expect("it has a folder");
    let quickstart = programs.join("examples/quickstart");
    let ended = finish(Command::new(&quickstart).env("TMPDIR", world.path()));
    ended.assert_code(0);
    assert_eq!(ended.stderr, "");
    for word in ["\"event\":\"provisioning\"", "\"event\":\"running\"", "\"event\":\"terminated\""]
    {
        assert!(ended.stdout.contains(word), "no {word} in {}", ended.stdout);
    }
    assert!(ended.stdout.contains("\nhello from a container\n"), "{}", ended.stdout);
    let left = fs::read_dir(world.path()).expect("our own directory").count();
    assert_eq!(left, 2, "the world's own two directories");
    world.assert_clean();
}

#[test]
fn after_a_kill_one_of_those_who_want_the_name_has_it_and_no_one_meets_the_dead_one() {
    require!(root, overlayfs);
    let world = World::new();
    let image = Images::busybox();
    let begin = |name: &str, line: &str| {
        let mut run = world.longshore("run");
        start(run.args(["--name", name, "--image", &image, "--command", line]))
    };
    for _ in 0..3 {
        let mut lost = begin("lost", "echo up; exec sleep 1000");
        lost.wait_for_output("up\n");
        lost.process().signal(Signal::KILL);
        assert_eq!(lost.finish().code(), 137);

        let wanting = ["lost", "lost", "other"].map(|name| begin(name, "echo $$; read _; exit 3"));
        let [first, second, other] = wanting.map(|running| running.finish());
        other.assert_code(3);
        let mut codes = [first.code(), second.code()];
        codes.sort_unstable();
        // The second may also begin when the first has ended.
        assert!(codes == [3, 125] || codes == [3, 3], "{codes:?}: {first:?} {second:?}");
    }
    world.assert_clean();
}

#[test]
fn a_signal_during_a_pull_withdraws_it() {
    require!(root);
    let world = World::new();
    // A registry that accepts and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let mut run = world.longshore("run");
    run.args(["--image", &format!("docker://{address}/library/busybox"), "--command", "true"]);
    let running = start(&mut run);
    let (_connection, _) = silent.accept().expect("it asks");
    running.process().signal(Signal::INT);
    let ended = running.finish();
    ended.assert_code(130);
    assert!(ended.one_error_line().contains("SIGINT"), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn nobody_who_reads_the_events_delays_the_end() {
    require!(root, overlayfs);
    let world = World::new();
    let path = world.path().join("events");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("the world can be written");
    // Open, full, and never read.
    let mut reader = fs::File::options().read(true).write(true).open(&path).expect("just made");
    rustix::pipe::fcntl_setpipe_size(&reader, 4096).expect("a page is the least");
    std::io::Write::write_all(&mut reader, &[0; 4096]).expect("there is room for a page");
    let events = path.display().to_string();
    let ended = run(&world, &["--json-events", &events, "--timeout", "1s", "--", "sleep", "1000"]);
    ended.assert_code(124);
    assert!(ended.stderr.contains("nobody reads it"), "{}", ended.stderr);
    drop(reader);
    fs::remove_file(&path).expect("ours");
    world.assert_clean();
}

#[test]
fn a_nested_name_is_refused_and_leaves_nothing() {
    require!(root, overlayfs);
    let world = World::new();
    let ended = run(&world, &["--name", "a.b", "--", "true"]);
    ended.assert_code(125);
    assert!(ended.stderr.contains("nested containers are not supported"), "{}", ended.stderr);
    world.assert_clean();
}
