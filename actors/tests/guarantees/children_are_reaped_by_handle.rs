//! The end of a process is heard from its handle: no polling, no signal, no matter who else reaps.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use longshore_actors::{Clock, Outcome, Subprocess, SubprocessError};
use rustix::process::{Pid, Signal, kill_process};

use super::support::World;

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script).stdin(Stdio::null());
    command
}

fn start(world: &World, command: &mut Command) -> Subprocess {
    world.runtime.subprocess(command).expect("there is a shell")
}

/// Exit code and signal.
fn end_of(child: &Subprocess) -> (Option<i32>, Option<i32>) {
    let status = child.status().blocking_wait().into_result().expect("its end is heard");
    let status = status.expect("it is our child");
    (status.code(), status.signal())
}

/// What the child has to say on a pipe.
fn output(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    pipe.expect("it is a pipe").read_to_string(&mut text).expect("it is text");
    text
}

#[test]
fn the_status_of_a_child_is_given_to_all_who_ask() {
    let world = World::real();
    let child = start(&world, &mut shell("exit 7"));
    assert_eq!(end_of(&child), (Some(7), None));
    assert_eq!(end_of(&child), (Some(7), None), "also afterwards");
}

#[test]
fn a_child_is_killed_or_told_by_its_handle_and_the_signal_is_in_its_status() {
    let world = World::real();
    let mut command = shell("cat");
    let child = start(&world, command.stdin(Stdio::piped()));
    assert!(!child.status().is_done());
    child.signal(Signal::TERM.as_raw()).expect("it lives");
    assert_eq!(end_of(&child), (None, Some(Signal::TERM.as_raw())));
    child.kill().expect("it is no error that it is gone");
    assert!(child.signal(-1).is_err(), "there is no such signal");
    let mut command = shell("cat");
    let child = start(&world, command.stdin(Stdio::piped()));
    child.kill().expect("it lives");
    assert_eq!(end_of(&child), (None, Some(Signal::KILL.as_raw())));
}

#[test]
fn the_standard_streams_are_pipes_paths_or_nothing() {
    let world = World::real();
    let mut command = shell("cat; echo oops >&2");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(&world, &mut command);
    let mut stdin = child.stdin.take().expect("it is a pipe");
    stdin.write_all(b"hello").expect("it reads");
    drop(stdin);
    assert_eq!(
        (output(child.stdout.take()), output(child.stderr.take())),
        ("hello".into(), "oops\n".into())
    );
    assert_eq!(end_of(&child), (Some(0), None));
    let path = std::env::temp_dir().join(format!("longshore-actors-{}", std::process::id()));
    let file = fs::File::create(&path).expect("there is room");
    let child = start(&world, shell("cat; echo done").stdout(file));
    assert_eq!(end_of(&child), (Some(0), None));
    assert!(child.stdin.is_none() && child.stdout.is_none());
    assert_eq!(fs::read_to_string(&path).expect("it was written"), "done\n");
    let input = fs::File::open(&path).expect("it is there");
    let mut child = start(&world, shell("cat").stdin(input).stdout(Stdio::piped()));
    assert_eq!(output(child.stdout.take()), "done\n");
    fs::remove_file(&path).expect("it is ours");
}

#[test]
fn environment_and_directory_are_what_the_command_says() {
    let world = World::real();
    let mut command = shell("echo $GREETING $(pwd)");
    command.env_clear().env("GREETING", "hello").current_dir("/").stdout(Stdio::piped());
    let mut child = start(&world, &mut command);
    assert_eq!(output(child.stdout.take()), "hello /\n");
    assert_eq!(end_of(&child), (Some(0), None));
}

#[test]
fn a_program_that_is_not_there_is_an_error_that_names_it() {
    let world = World::real();
    let error = world.runtime.subprocess(&mut Command::new("/no/such/program"));
    let error = error.expect_err("there is none");
    assert!(matches!(error, SubprocessError::Start { .. }));
    assert_eq!(error.to_string(), "start /no/such/program");
}

#[test]
fn a_dropped_subprocess_goes_on_and_is_reaped() {
    let world = World::real();
    let mut child = start(&world, shell("cat").stdin(Stdio::piped()));
    let (status, stdin) = (child.status(), child.stdin.take());
    drop(child);
    assert!(!status.is_done());
    drop(stdin);
    let status = status.blocking_wait().into_result().expect("its end is heard");
    assert!(status.is_some_and(|status| status.success()));
}

#[test]
fn a_child_that_was_started_elsewhere_is_reaped_whether_it_has_ended_or_will() {
    let world = World::real();
    let mut child = shell("cat; exit 3").stdin(Stdio::piped()).spawn().expect("there is a shell");
    let status = world.runtime.reap(child.id());
    assert!(!status.is_done());
    drop(child.stdin.take());
    let status = status.blocking_wait().into_result().expect("its end is heard");
    assert_eq!(status.and_then(|status| status.code()), Some(3));
    assert!(child.wait().is_err(), "it is reaped");
    let mut ended = shell("exit 4").stdout(Stdio::piped()).spawn().expect("there is a shell");
    // The pipe closes with the child.
    assert_eq!(output(ended.stdout.take()), "");
    let status = world.runtime.reap(ended.id()).blocking_wait().into_result().expect("heard");
    assert_eq!(status.and_then(|status| status.code()), Some(4));
    assert!(ended.wait().is_err(), "it is reaped");
}

#[test]
fn of_a_process_that_is_no_child_the_end_is_heard_and_the_status_unknown() {
    let world = World::real();
    let mut command = shell("exec 3<&0; cat <&3 >/dev/null & echo $!");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = start(&world, &mut command);
    let (stdin, grandchild) = (child.stdin.take(), output(child.stdout.take()));
    assert_eq!(end_of(&child), (Some(0), None));
    let grandchild: i32 = grandchild.trim().parse().expect("it is a number");
    let status = world.runtime.reap(grandchild.unsigned_abs());
    assert!(!status.is_done());
    let pid = Pid::from_raw(grandchild).expect("it is positive");
    kill_process(pid, Signal::KILL).expect("it lives");
    assert!(matches!(status.blocking_wait(), Outcome::Ok(None)));
    drop(stdin);
}

#[test]
fn a_status_that_somebody_else_took_is_unknown_and_no_error() {
    let world = World::real();
    let mut child = shell("exit 0").spawn().expect("there is a shell");
    child.wait().expect("it is ours");
    let status = world.runtime.reap(child.id()).blocking_wait();
    assert!(matches!(status, Outcome::Ok(None)));
    let mut child = shell("cat").stdin(Stdio::piped()).spawn().expect("there is a shell");
    let (first, second) = (world.runtime.reap(child.id()), world.runtime.reap(child.id()));
    drop(child.stdin.take());
    let statuses = [first, second].map(|status| status.blocking_wait().into_result());
    let known = statuses.iter().filter(|status| matches!(status, Ok(Some(_)))).count();
    assert!(statuses.iter().all(Result::is_ok) && known == 1, "{statuses:?}");
    assert!(child.wait().is_err(), "it is reaped");
}

#[test]
fn a_number_that_belongs_to_nobody_is_no_error() {
    let world = World::real();
    for pid in [0, u32::MAX, 0x7fff_fff0] {
        assert!(matches!(world.runtime.reap(pid).blocking_wait(), Outcome::Ok(None)));
    }
}

#[test]
fn a_discarded_wait_leaves_the_child_to_be_reaped() {
    let world = World::real();
    let mut child = shell("cat").stdin(Stdio::piped()).spawn().expect("there is a shell");
    let status = world.runtime.reap(child.id());
    status.discard("enough");
    assert!(matches!(status.blocking_wait(), Outcome::Discarded(_)));
    drop(child.stdin.take());
    assert!(child.wait().expect("it was left").success());
}

#[tokio::test]
async fn waiting_for_a_child_is_not_outstanding_work() {
    let world = World::virtual_();
    let mut child = start(&world, shell("cat").stdin(Stdio::piped()));
    let clock: Clock = world.runtime.clock();
    clock.settle().await;
    let status = child.status();
    assert!(!status.is_done());
    drop(child.stdin.take());
    assert!(status.await.is_ok());
}
