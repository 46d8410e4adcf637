//! What is asked for cannot be meant: refused before anything is made.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use super::{Act, Case, refused, table};
use crate::support::{finish, start};

use Act::{Bare, By, Run};

/// What an agent gives executors.
const FLAG: &str = "--executor-environment-variables";
/// The value of a flag.
const VALUE: &str = "configure: invalid value …";
/// The flag that follows.
const VARIABLES: &str = "configure: executor-environment-variables …";
/// Numbers that no host could give.
const RANGE: &str = "configure: … must be …";

pub(super) const CASES: &[Case] = &[
    refused("an unknown flag", Run(&["--no-such"]), 125, "configure: unexpected argument …")
        .saying(&["'--no-such'", "see longshore run --help"]),
    refused(
        "an unknown isolator",
        Run(&["--isolation", "filesystem/linux,no/such"]),
        125,
        "configure: unknown isolator …",
    )
    .saying(&["\"no/such\"", "known are", "cgroups/mem"]),
    refused(
        "images of a kind that has not come",
        Run(&["--image-providers", "appc"]),
        125,
        "configure: unknown image provider …",
    )
    .saying(&["\"appc\"", "known are docker, oci"]),
    refused(
        "an isolator twice",
        Run(&["--isolation", "cgroups/mem,filesystem/linux,cgroups/mem"]),
        125,
        "configure: isolator … is named twice in --isolation",
    )
    .saying(&["cgroups/mem"]),
    refused(
        "two isolators of the file system",
        Bare(&["--isolation", "filesystem/linux,filesystem/posix", "--", "true"]),
        125,
        "configure: --isolation needs exactly one of …",
    )
    .saying(&["filesystem/linux and filesystem/posix"]),
    refused(
        "a limit without its isolator",
        Run(&["--isolation", "filesystem/linux,docker/runtime", "--memory", "64M"]),
        125,
        "configure: … needs the isolator …",
    )
    .saying(&["memory", "cgroups/mem"]),
    refused("variables that are no JSON", Run(&[FLAG, "A=b"]), 125, VARIABLES)
        .saying(&["are no JSON"]),
    refused("variables that are no object", Run(&[FLAG, "[]"]), 125, VARIABLES)
        .saying(&["no JSON object of strings"]),
    refused("a variable that is no string", Run(&[FLAG, "{\"A\": 7}"]), 125, VARIABLES)
        .saying(&["\"A\" that is no string: 7"]),
    refused("a variable without a name", Run(&[FLAG, "{\"\": \"b\"}"]), 125, VARIABLES)
        .saying(&["not a name"]),
    refused("variables in a file that is not there", Run(&[FLAG, "/no/such"]), 125, VARIABLES)
        .saying(&["cannot be read from /no/such: no such file or directory"]),
    refused("memory that is no number", Run(&["--memory", "12Q"]), 125, VALUE)
        .saying(&["--memory", "\"12Q\"", "1024K"]),
    refused("no memory", Run(&["--memory", ""]), 125, VALUE).saying(&["--memory"]),
    refused("memory beyond numbers", Run(&["--memory", "99999999999999999999G"]), 125, VALUE)
        .saying(&["--memory"]),
    refused("negative memory", Run(&["--memory", "-5"]), 125, "configure: unexpected argument …")
        .saying(&["'-5'"]),
    refused(
        "memory in which nothing can live",
        Run(&["--memory", "3M"]),
        125,
        "configure: memory limit of … is below …",
    )
    .saying(&["3145728", "4194304"]),
    refused("no process at all", Run(&["--pids", "0", "true"]), 125, RANGE).saying(&["pids"]),
    refused("more processes than numbers", Run(&["--pids", "99999999999", "true"]), 125, RANGE)
        .saying(&["pids", "4194303"]),
    refused("more processors than any host", Run(&["--cpus", "1e300", "true"]), 125, RANGE)
        .saying(&["cpus"]),
    refused("an id with a slash", Run(&["--name", "a/b"]), 125, VALUE)
        .saying(&["--name", "\"a/b\" contains '/'"]),
    refused("an id that leads upwards", Run(&["--name", ".."]), 125, VALUE)
        .saying(&["--name", "\"..\" has an empty name"]),
    refused("an id that leads out", Run(&["--name", "../../x"]), 125, VALUE)
        .saying(&["--name", "../../x"]),
    refused("an id with a line end", Run(&["--name", "a\nb"]), 125, VALUE)
        .saying(&["\"a\\nb\" contains '\\n'"]),
    refused("no id", Run(&["--name", ""]), 125, VALUE).saying(&["--name"]),
    refused("an id of 300 characters", By(a_long_id), 125, VALUE).saying(&["300 bytes", "242"]),
    refused("an id that is not UTF-8", By(an_id_of_bytes), 125, "configure: not UTF-8: …")
        .saying(&["\"a\\xFF\""]),
    refused(
        "an id of two levels",
        Run(&["--name", "a.b", "true"]),
        125,
        "configure: container … nested containers are not supported",
    )
    .saying(&["a.b"]),
    refused(
        "an id in use",
        By(an_id_in_use),
        125,
        "configure: container … is in use by another process",
    )
    .saying(&["container taken"]),
    refused(
        "an id whose sandbox is still there",
        By(a_sandbox_of_another),
        125,
        "configure: container … has left its sandbox …",
    )
    .saying(&["container read", "/work/containers/read", "removed first"]),
    refused(
        "a contradiction",
        Run(&["--command", "true", "--", "more"]),
        125,
        "configure: arguments beside --command …",
    ),
    refused("an unknown rlimit", Run(&["--rlimit", "foo=1"]), 125, VALUE)
        .saying(&["--rlimit", "foo"]),
    refused(
        "an unknown capability",
        Run(&["--cap-add", "FOO", "true"]),
        125,
        "configure: there is no capability …",
    )
    .saying(&["FOO"]),
    refused("an unknown user", Run(&["--user", "ghost", "true"]), 125, "fork: unknown user …")
        .saying(&["\"ghost\""]),
    refused(
        "an unknown group",
        Run(&["--user", "root:ghosts", "true"]),
        125,
        "fork: unknown group …",
    )
    .saying(&["\"ghosts\""]),
    refused(
        "a working directory that is none",
        Run(&["--workdir", "/etc/passwd", "true"]),
        125,
        "start: chdir …",
    )
    .saying(&["/etc/passwd: not a directory"]),
    refused(
        "a volume of nothing",
        Run(&["--volume", "/no/such:/x", "true"]),
        125,
        "prepare: … of a volume does not exist",
    )
    .saying(&["/no/such"]),
    refused("a file that nobody has", Run(&["--uri", "/no/such/file", "true"]), 125, "fetch: …")
        .saying(&["/no/such/file", "ENOENT"]),
];

fn a_long_id(scenery: &super::Scenery) -> super::Ended {
    finish(scenery.run().args(["--name", &"x".repeat(300)]))
}

fn an_id_of_bytes(scenery: &super::Scenery) -> super::Ended {
    finish(scenery.run().arg("--name").arg(OsStr::from_bytes(b"a\xff")))
}

fn an_id_in_use(scenery: &super::Scenery) -> super::Ended {
    let mut owner = scenery.run();
    owner.args(["--name", "taken", "--command", "echo up; exec sleep 1000"]);
    let mut owner = start(&mut owner);
    owner.wait_for_output("up\n");
    let refused = finish(scenery.run().args(["--name", "taken", "--", "true"]));
    owner.process().signal(rustix::process::Signal::TERM);
    owner.finish().assert_code(143);
    refused
}

/// Somebody's who has acknowledged the end and reads the output; nothing of it may go.
fn a_sandbox_of_another(scenery: &super::Scenery) -> super::Ended {
    let sandbox = scenery.world.work_dir().join("containers/read");
    std::fs::create_dir_all(&sandbox).expect("our own directory");
    std::fs::write(sandbox.join("stdout"), "output").expect("our own directory");
    let refused = finish(scenery.run().args(["--name", "read", "--", "true"]));
    let output = std::fs::read_to_string(sandbox.join("stdout")).expect("it is left alone");
    assert_eq!(output, "output");
    refused
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line_and_leaves_nothing() {
    table(CASES);
}
