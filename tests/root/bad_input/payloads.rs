//! Programs that cannot be executed, and payloads that do not behave.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{Act, Case, Scenery, refused, table, works};
use crate::support::{Ended, finish};

use Act::{Bare, By, Run};

/// Takes memory until somebody stops it.
macro_rules! hog {
    () => {
        "x=0123456789abcdef; while :; do x=$x$x; done"
    };
}

pub(super) const CASES: &[Case] = &[
    refused(
        "a program that is not there",
        Run(&["--command", "/no/such", "--shell", "false"]),
        127,
        "exec: exec … no such file or directory (it, or its interpreter)",
    )
    .saying(&["exec /no/such:"]),
    refused(
        "a program that is in no directory of PATH",
        Run(&["--command", "nosuch", "--shell", "false"]),
        127,
        "exec: exec … no such file or directory (it, or its interpreter)",
    )
    .saying(&["exec nosuch:"]),
    refused(
        "a program below a file",
        Run(&["--command", "/etc/passwd/x", "--shell", "false"]),
        127,
        "exec: exec … not a directory",
    )
    .saying(&["/etc/passwd/x"]),
    refused(
        "a script whose interpreter is not there",
        By(|scenery| executed(scenery, b"#!/no/interpreter\n", 0o755)),
        127,
        "exec: exec … no such file or directory (it, or its interpreter)",
    )
    .saying(&["/data/program"]),
    refused(
        "a file that is not executable",
        By(|scenery| executed(scenery, b"#!/bin/sh\nexit 0\n", 0o644)),
        126,
        "exec: exec … permission denied",
    )
    .saying(&["/data/program"]),
    refused(
        "a directory",
        Run(&["--command", "/etc", "--shell", "false"]),
        126,
        "exec: exec … permission denied",
    )
    .saying(&["exec /etc:"]),
    refused(
        "a script that does not name its interpreter",
        By(|scenery| executed(scenery, b"exit 0\n", 0o755)),
        126,
        "exec: exec … exec format error",
    )
    .saying(&["/data/program"]),
    refused(
        "a program for another architecture",
        By(|scenery| executed(scenery, &of_another_architecture(), 0o755)),
        126,
        "exec: exec … exec format error",
    )
    .saying(&["/data/program"]),
    refused(
        "a payload that ignores the signal of its end",
        Run(&["--timeout", "1s", "--command", "trap '' TERM; while :; do sleep 1; done"]),
        124,
        "run: the container timed out",
    ),
    Case {
        code: 3,
        ..works(
            "a payload that forks a thousand children and goes",
            Run(&[
                "--command",
                "i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done; exit 3",
            ]),
        )
    },
    Case {
        code: 3,
        ..works(
            "the same without a namespace for processes",
            Run(&[
                "--isolation",
                "filesystem/linux,docker/runtime",
                "--command",
                "i=0; while [ $i -lt 1000 ]; do sleep 1000 & i=$((i+1)); done; exit 3",
            ]),
        )
    },
    refused(
        "a payload that takes more memory than it may",
        Run(&["--memory", "16M", "--command", hog!()]),
        137,
        "run: memory limit of … bytes reached: …",
    )
    .saying(&["of 16777216 bytes"]),
    refused(
        "a child that takes more memory than all may, and a payload that goes on",
        Run(&[
            "--memory",
            "16M",
            "--command",
            concat!("sh -c '", hog!(), "' 2>/dev/null >&2; echo $? still here; exit 5"),
        ]),
        5,
        "run: memory limit of … bytes reached: … the payload went on",
    )
    .printing("137 still here\n"),
    refused(
        "events that nobody has room for",
        Bare(&["--json-events", "/dev/full", "--command", "true"]),
        0,
        "run: json-events … no space left on device",
    ),
    refused(
        "a payload that leaves a mount in its sandbox",
        By(|scenery| {
            let ended = finish(
                scenery
                    .world
                    .longshore("run")
                    .args(["--command", "mkdir d && mount -t tmpfs none d && touch d/kept"]),
            );
            let trash = scenery.world.work_dir().join("trash");
            let left =
                fs::read_dir(trash).expect("made").next().expect("it is left").expect("read");
            let mount = left.path().join("d");
            assert!(mount.join("kept").is_file());
            rustix::mount::unmount(&mount, rustix::mount::UnmountFlags::empty()).expect("unused");
            ended
        }),
        0,
        "destroy: remove … = EBUSY",
    ),
];

/// Runs a program of these bytes, which the image does not have.
fn executed(scenery: &Scenery, bytes: &[u8], mode: u32) -> Ended {
    let directory = scenery.world.path().join("data");
    fs::create_dir(&directory).expect("the world can be written");
    let program = directory.join("program");
    fs::write(&program, bytes).expect("the world can be written");
    fs::set_permissions(&program, fs::Permissions::from_mode(mode)).expect("just made");
    let volume = format!("{}:/data:ro", directory.display());
    let program = ["--command", "/data/program", "--shell", "false"];
    finish(scenery.run().args(["--volume", &volume]).args(program))
}

/// Busybox with the number of an architecture that no Linux runs on, elf(5): `e_machine`.
fn of_another_architecture() -> Vec<u8> {
    let mut program = fs::read("/usr/bin/busybox").expect("busybox-static is installed");
    program[18..20].copy_from_slice(&[0xfe, 0xfe]);
    program
}

#[test]
fn programs_and_payloads_that_do_not_behave_have_their_code_and_leave_nothing() {
    table(CASES);
}
