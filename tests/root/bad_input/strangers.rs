//! Others on the same directories and cgroups, and many at once.

use std::process::Command;

use rustix::process::Signal;

use crate::support::images::Images;
use crate::support::process::Process;
use crate::support::{World, finish, start};

/// What keeps a container's processes together: cgroups with limits, one without, nothing else.
const SETS: [&str; 3] = [
    "filesystem/linux,docker/runtime,cgroups/cpu,cgroups/mem,cgroups/pids,namespaces/pid",
    "filesystem/linux,docker/runtime,namespaces/pid",
    "filesystem/linux,docker/runtime",
];

/// A run of this id on other directories than the world's own, with the world's cgroups.
fn beside(world: &World, id: &str, work: &str, isolation: &str) -> Command {
    let mut run = world.program();
    run.arg("run").arg("--work-dir").arg(world.path().join(work));
    run.arg("--runtime-dir").arg(world.path().join("other-run"));
    run.args(["--cgroups-root", world.cgroups_root(), "--name", id, "--isolation", isolation]);
    run.args(["--image", &Images::busybox(), "--command", "exit 8"]);
    run
}

/// Runs a container, has somebody else ask for its id, and sees it go on as if nothing had been.
fn asked_for_twice(other_work: &str, words: &[&str]) {
    require!(root, overlayfs);
    for isolation in SETS {
        let world = World::new();
        let mut first = world.longshore("run");
        let line = "trap 'ls /kept && touch /x && exit 5' TERM; mkdir /kept; echo up; \
                    while :; do sleep 1; done";
        first.args(["--name", "same", "--isolation", isolation]);
        let mut first = start(first.args(["--image", &Images::busybox(), "--command", line]));
        first.wait_for_output("up\n");
        let second = finish(&mut beside(&world, "same", other_work, isolation));
        second.assert_code(125);
        assert_eq!(second.stdout, "");
        for word in words {
            assert!(second.one_error_line().contains(word), "{isolation}: {}", second.stderr);
        }
        first.process().signal(Signal::TERM);
        first.finish().assert_code(5);
        // The id is free for both when its owner is gone.
        finish(&mut beside(&world, "same", other_work, isolation)).assert_code(8);
        world.assert_clean();
    }
}

#[test]
fn an_id_in_use_on_a_shared_work_directory_is_refused_whatever_the_runtime_directory() {
    asked_for_twice("work", &["configure: container same is in use by another process"]);
}

#[test]
fn an_id_whose_cgroups_are_in_use_is_refused_and_those_who_live_there_are_not_touched() {
    asked_for_twice("other-work", &["processes live in it", "EEXIST"]);
}

#[test]
fn what_a_dead_owner_of_another_runtime_directory_has_left_is_not_taken_over() {
    require!(root, overlayfs);
    let world = World::new();
    let mut run = world.longshore("run");
    run.args(["--name", "lost", "--image", &Images::busybox()]);
    let mut run = start(run.args(["--command", "echo up; exec sleep 1000"]));
    run.wait_for_output("up\n");
    let owner = Process::find(run.pid()).expect("it runs");
    owner.signal(Signal::KILL);
    drop(run.finish());
    // The kernel has let go of the claim with its owner, but its files are not for others to see.
    let refused = finish(&mut beside(&world, "lost", "work", SETS[1]));
    refused.assert_code(125);
    let left = "configure: container lost has left its sandbox";
    assert!(refused.one_error_line().contains(left), "{}", refused.stderr);
    assert!(world.work_dir().join("containers/lost").is_dir(), "not taken over");
    // The next one on its own runtime directory removes them, and the id is free everywhere.
    finish(world.longshore("run").args(["--command", "true"])).assert_code(0);
    finish(&mut beside(&world, "lost", "work", SETS[1])).assert_code(8);
    world.assert_clean();
}
