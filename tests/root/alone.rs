//! A test in a process of its own: it changes or measures what belongs to a whole process.

use std::process::{Command, Stdio};

use crate::support::{World, finish};

/// Says to the process which test it is there for.
const ALONE: &str = "LONGSHORE_TEST_ALONE";

/// Runs `body` in a process that runs no other test; `name` is the test's path.
pub(crate) fn alone(name: &str, body: impl FnOnce()) {
    match is_alone(name) {
        true => body(),
        false => finish_alone(&mut command(name)),
    }
}

/// As [`alone`], in a process that ignores SIGCHLD from its first moment on.
pub(crate) fn alone_ignoring_children(name: &str, body: impl FnOnce()) {
    if is_alone(name) {
        return body();
    }
    let itself = command(name);
    let mut python = Command::new("python3");
    python.arg("-c").arg(IGNORE).arg(itself.get_program());
    finish_alone(python.args(itself.get_args()).env(ALONE, name));
}

/// What is ignored stays so over exec; shells do not let themselves be told to ignore their children.
const IGNORE: &str = "
import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
";

fn finish_alone(command: &mut Command) {
    // Tests that end meanwhile must not take the other process for something they have left.
    let world = World::new();
    let ended = finish(command);
    world.assert_clean();
    let passed = ended.code() == 0 && ended.stdout.contains("1 passed");
    assert!(passed, "stdout: {}\nstderr: {}", ended.stdout, ended.stderr);
}

/// This process is there for this test only.
pub(crate) fn is_alone(name: &str) -> bool {
    std::env::var(ALONE).is_ok_and(|whose| whose == name)
}

/// This program again, for one test.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ALONE, name);
    command.stdin(Stdio::null());
    command
}
