//! Who a container says it is: a host name and a cgroup root of its own.

use crate::support::images::Images;
use crate::support::{Ended, World, finish};

/// Runs a busybox image with these flags, to its end.
fn run(world: &World, flags: &[&str]) -> Ended {
    finish(world.longshore("run").args(["--image", &Images::busybox()]).args(flags))
}

#[track_caller]
fn said(world: &World, flags: &[&str]) -> String {
    let ended = run(world, flags);
    ended.assert_code(0);
    assert_eq!(ended.stderr, "", "{flags:?}");
    ended.stdout
}

fn of_the_host() -> String {
    let name = rustix::system::uname().nodename().to_owned();
    name.into_string().expect("this host has a name that is text")
}

#[test]
fn a_container_has_the_name_that_it_was_given_and_without_one_the_hosts() {
    require!(root, overlayfs);
    let world = World::new();
    let host = of_the_host();
    assert_eq!(said(&world, &["--", "hostname"]), format!("{host}\n"));
    assert_eq!(said(&world, &["--hostname", "web-1.example", "--", "hostname"]), "web-1.example\n");
    // Also where the container lives in the host's file system.
    let mut on_the_host = world.longshore("run");
    on_the_host.args(["--isolation", "filesystem/linux", "--hostname", "box"]);
    let ended = finish(on_the_host.args(["--", "uname", "-n"]));
    ended.assert_code(0);
    assert_eq!(ended.stdout, "box\n");
    assert_eq!(of_the_host(), host);
    world.assert_clean();
}

#[test]
fn a_payload_that_may_set_the_hosts_name_sets_its_own() {
    require!(root, overlayfs);
    let world = World::new();
    let host = of_the_host();
    let line = ["--command", "hostname mine && hostname"];
    assert_eq!(said(&world, &[&["--cap-add", "SYS_ADMIN"][..], &line].concat()), "mine\n");
    assert_eq!(of_the_host(), host, "what is set in there stays in there");
    let refused = run(&world, &line);
    assert_ne!(refused.code(), 0, "the default set has no CAP_SYS_ADMIN");
    world.assert_clean();
}

#[test]
fn a_container_sees_itself_at_the_root_of_its_cgroups() {
    require!(root, overlayfs);
    let world = World::new();
    let lines = said(&world, &["--memory", "64M", "--", "cat", "/proc/self/cgroup"]);
    let paths: Vec<&str> = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2)).collect();
    assert!(paths.contains(&"/"), "{lines}");
    // Where it has no cgroup of its own it is outside of its root, above or beside it.
    let inside = |path: &&str| !path.contains(world.cgroups_root());
    assert!(paths.iter().all(inside), "no name of the host's: {lines}");
    world.assert_clean();
}

#[test]
fn a_name_that_cannot_be_given_is_refused_in_one_line() {
    require!(root, overlayfs);
    let world = World::new();
    for (flags, words) in [
        (vec!["--hostname", ""], "hostname \"\" is no name"),
        (vec!["--hostname", "a b"], "hostname \"a b\" is no name"),
        (vec!["--hostname", "a", "--isolation", "posix/cpu", "--command", "true"], "hostname"),
    ] {
        let mut command = world.longshore("run");
        if !flags.contains(&"--isolation") {
            command.args(["--image", &Images::busybox()]);
        }
        let ended = finish(command.args(&flags));
        ended.assert_code(125);
        assert!(ended.one_error_line().contains(words), "{flags:?}: {}", ended.stderr);
    }
    let without = finish(world.longshore("run").args(["--hostname", "a", "--command", "true"]));
    without.assert_code(125);
    let line = without.one_error_line();
    assert!(line.contains("a hostname needs the isolator filesystem/linux"), "{line}");
    world.assert_clean();
}
