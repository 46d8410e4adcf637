//! How a run ends: by itself, by a signal, by a limit, by the death of whoever started it.

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cli::DEADLINE;
use crate::support::images::Images;
use crate::support::process::Process;
use crate::support::{Ended, World, finish, start};

/// Runs `line` by the shell of a busybox image, with `more` flags, to its end.
fn run(world: &World, line: &str, more: &[&str]) -> Ended {
    let mut run = world.longshore("run");
    finish(run.args(["--image", &Images::busybox()]).args(["--command", line]).args(more))
}

#[test]
fn the_exit_code_is_the_payloads_own() {
    require!(root, overlayfs);
    let world = World::new();
    for code in [0, 1, 3, 42, 124, 255] {
        let ended = run(&world, &format!("exit {code}"), &[]);
        ended.assert_code(code);
        assert_eq!(ended.stderr, "");
    }
    run(&world, "kill -9 $$", &[]).assert_code(137);
    run(&world, "kill -TERM $$", &[]).assert_code(143);
    world.assert_clean();
}

#[test]
fn output_arrives_whole_and_on_its_own_stream() {
    require!(root, overlayfs);
    let world = World::new();
    // More than any pipe holds, ended without a newline, with the other stream in between.
    let ended = run(&world, "seq 200000; echo oops >&2; printf end", &[]);
    ended.assert_code(0);
    let lines: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(ended.stdout == lines + "end", "{} bytes of stdout", ended.stdout.len());
    assert_eq!(ended.stderr, "oops\n");
    world.assert_clean();
}

#[test]
fn programs_that_cannot_be_executed_are_126_and_127() {
    require!(root, overlayfs);
    let world = World::new();
    let image = Images::busybox();
    let exec = |program: &str| {
        let mut run = world.longshore("run");
        finish(run.args(["--image", &image, "--command", program, "--shell", "false"]))
    };
    for (program, code) in [("/no/such", 127), ("/etc", 126), ("/etc/passwd", 126)] {
        let ended = exec(program);
        ended.assert_code(code);
        let line = ended.one_error_line();
        assert!(line.contains(program) && line.contains("exec"), "{line}");
        assert_eq!(ended.stdout, "");
    }
    world.assert_clean();
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_124() {
    require!(root, overlayfs);
    let world = World::new();
    let ended = run(&world, "echo up; exec sleep 1000", &["--timeout", "2s"]);
    ended.assert_code(124);
    assert_eq!(ended.stdout, "up\n");
    world.assert_clean();
}

#[test]
fn a_payload_that_exceeds_its_memory_is_137_and_the_line_says_memory() {
    require!(root, overlayfs);
    let world = World::new();
    let hog = "x=0123456789abcdef; while :; do x=$x$x; done";
    let ended = run(&world, hog, &["--memory", "16M"]);
    ended.assert_code(137);
    assert!(ended.stderr.lines().any(|line| line.contains("memory")), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn ctrl_c_stops_gracefully_and_the_payload_has_the_last_word() {
    require!(root, overlayfs);
    let world = World::new();
    let line = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 1; done";
    for signal in [Signal::INT, Signal::TERM] {
        let mut run = world.longshore("run");
        let mut running = start(run.args(["--image", &Images::busybox(), "--command", line]));
        running.wait_for_output("up\n");
        running.process().signal(signal);
        let ended = running.finish();
        ended.assert_code(7);
        assert_eq!(ended.stdout, "up\nbye\n");
    }
    world.assert_clean();
}

#[test]
fn a_second_ctrl_c_destroys_what_does_not_want_to_stop() {
    require!(root, overlayfs);
    let world = World::new();
    let line = "trap 'echo never' TERM; echo up; while :; do sleep 1; done";
    let mut run = world.longshore("run");
    let mut running = start(run.args(["--image", &Images::busybox(), "--command", line]));
    running.wait_for_output("up\n");
    running.process().signal(Signal::INT);
    running.wait_for_output("never\n");
    let asked = std::time::Instant::now();
    running.process().signal(Signal::INT);
    running.finish().assert_code(137);
    // The grace of the first is 10 s; the second does not wait for it.
    assert!(asked.elapsed() < std::time::Duration::from_secs(8), "{:?}", asked.elapsed());
    world.assert_clean();
}

#[test]
fn signals_during_the_launch_leave_nothing() {
    require!(root, overlayfs);
    let world = World::new();
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox(), "--command", "sleep 1000"]);
    run.args(["--json-events", "-"]);
    let mut running = start(&mut run);
    running.wait_for_output("provisioning");
    running.process().signal(Signal::INT);
    running.process().signal(Signal::INT);
    assert_ne!(running.finish().code(), 0);
    world.assert_clean();
}

/// The events of a `--json-events` file.
fn events(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is an object")).collect()
}

#[test]
fn when_a_run_is_killed_its_payload_dies_and_the_next_run_removes_the_rest() {
    require!(root, overlayfs);
    let world = World::new();
    let mut run = world.longshore("run");
    run.args(["--name", "lost", "--image", &Images::busybox()]);
    run.args(["--command", "exec sleep 1000", "--json-events", "-"]);
    let mut running = start(&mut run);
    let event = running.wait_for_line("\"event\":\"running\"");
    let pid = events(&event)[0]["pid"].as_i64().expect("it says which process runs");
    let payload = Process::find(i32::try_from(pid).expect("a pid")).expect("it runs");
    running.process().signal(Signal::KILL);
    assert_eq!(running.finish().code(), 137);
    assert!(payload.ends_within(DEADLINE), "the payload outlives its run");

    // The same name is free again, at once.
    let mut again = world.longshore("run");
    again.args(["--name", "lost", "--image", &Images::busybox(), "--command", "echo again"]);
    let ended = finish(&mut again);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "again\n");
    world.assert_clean();
}

#[test]
fn the_next_run_removes_what_isolators_have_left_that_it_does_not_use_itself() {
    require!(root, overlayfs);
    for next in [&["--isolation", "posix/cpu"][..], &["--launcher", "posix"]] {
        let world = World::new();
        let mut run = world.longshore("run");
        run.args(["--name", "lost", "--image", &Images::busybox()]);
        run.args(["--command", "exec sleep 1000", "--json-events", "-"]);
        let mut running = start(&mut run);
        let event = running.wait_for_line("\"event\":\"running\"");
        let pid = events(&event)[0]["pid"].as_i64().expect("it says which process runs");
        let payload = Process::find(i32::try_from(pid).expect("a pid")).expect("it runs");
        running.process().signal(Signal::KILL);
        assert_eq!(running.finish().code(), 137);
        assert!(payload.ends_within(DEADLINE), "the payload outlives its run");
        let mut other = world.longshore("run");
        finish(other.args(next).args(["--command", "true"])).assert_code(0);
        world.assert_clean();
    }
}

#[test]
fn the_hosts_users_reach_neither_what_containers_write_nor_what_they_are_given() {
    require!(root, overlayfs);
    let world = World::new();
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox(), "--env", "SECRET=hunter2", "--json-events", "-"]);
    run.args(["--command", "exec sleep 1000"]);
    let mut running = start(&mut run);
    running.wait_for_line("\"event\":\"running\"");
    // From within, because what is above a directory of a test keeps others out already.
    let find = "find . -type f -readable -o -type f -perm /111 -executable";
    for directory in [world.work_dir(), world.runtime_dir()] {
        let found = std::process::Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", find])
            .current_dir(&directory)
            .output()
            .expect("util-linux and findutils are there");
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "in {}", directory.display());
        let refused = String::from_utf8_lossy(&found.stderr).contains("containers");
        assert!(refused, "it has looked, and was refused");
    }
    running.process().signal(Signal::TERM);
    assert_ne!(running.finish().code(), 0);
    world.assert_clean();
}

#[test]
fn the_events_of_a_run_tell_its_life_in_order() {
    require!(root, overlayfs);
    let world = World::new();
    let log = world.path().join("events");
    let path = log.to_str().expect("ASCII");
    run(&world, "exit 3", &["--label", "task=42", "--json-events", path]).assert_code(3);
    let log = std::fs::read_to_string(&log).expect("it is flushed before the exit");
    let events = events(&log);
    let names: Vec<&str> = events
        .iter()
        .filter_map(|event| event["event"].as_str())
        .filter(|name| !matches!(*name, "progress" | "snapshot"))
        .collect();
    let life = "provisioning preparing forking isolating fetching starting running destroying";
    assert_eq!(names.join(" "), format!("{life} terminated"));
    let last = events.last().expect("there are some");
    assert_eq!(last["termination"]["exit_code"], 3);
    assert_eq!(last["labels"]["task"], "42");
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(!log.contains("null"), "absent fields are left out");
    world.assert_clean();
}
