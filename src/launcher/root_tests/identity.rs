//! Who the payload is and what it may.

use super::World;
use crate::error::{Classified, ErrorKind};
use crate::model::{CapabilitySets, LaunchInfo, Rlimit, RlimitKind, User};

fn user(user: &str, argv: &[&str]) -> LaunchInfo {
    LaunchInfo { user: Some(User(user.to_owned())), ..World::launch(argv) }
}

#[tokio::test]
async fn the_user_is_the_images_own() {
    let mut world = World::new();
    for (who, expected) in [
        ("redis", "uid=999(redis) gid=1000(redis) groups=7(extra),1000(redis)\n"),
        ("999", "uid=999(redis) gid=1000(redis) groups=7(extra),1000(redis)\n"),
        ("4242:4343", "uid=4242 gid=4343 groups=4343\n"),
        ("redis:extra", "uid=999(redis) gid=7(extra) groups=7(extra)\n"),
    ] {
        let outcome = world.run(user(who, &["id"])).await;
        assert_eq!(outcome.output, expected, "{who}: {:?}", outcome.started);
    }
}

#[tokio::test]
async fn groups_of_the_isolators_are_added() {
    let mut world = World::new();
    let mut launch = user("redis", &["id", "-G"]);
    launch.supplementary_groups = [4711].into();
    assert_eq!(world.run(launch).await.output, "1000 7 4711\n");
    let mut launch = World::launch(&["id", "-G"]);
    launch.supplementary_groups = [4711].into();
    assert_eq!(world.run(launch).await.output, "0 4711\n");
}

#[tokio::test]
async fn an_unknown_user_is_refused_before_anything_runs() {
    let mut world = World::new();
    let error = world.fork(user("nobody-here", &["/bin/true"])).expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(error.to_string(), "unknown user \"nobody-here\"");
}

#[tokio::test]
async fn a_link_in_the_image_does_not_read_the_hosts_users() {
    the_hosts_users_are_unknown(World::new());
}

pub(super) fn the_hosts_users_are_unknown(mut world: World) {
    std::fs::remove_file(world.root().join("etc/passwd")).expect("removed");
    let host = world.path("passwd");
    std::fs::write(&host, "spy:x:77:77::/:/bin/sh\n").expect("written");
    std::os::unix::fs::symlink(&host, world.root().join("etc/passwd")).expect("linked");
    let error = world.fork(user("spy", &["/bin/true"])).expect_err("not in the image");
    let expected = "user \"spy\" cannot be looked up: /etc/passwd does not exist";
    assert_eq!(error.to_string(), expected);
}

/// One line of /proc/self/status for each capability set.
fn sets(launch: LaunchInfo) -> LaunchInfo {
    let probe = World::launch(&["grep", "^Cap", "/proc/self/status"]);
    LaunchInfo { command: probe.command, ..launch }
}

fn expected(inheritable: u64, permitted: u64, bounding: u64, ambient: u64) -> String {
    format!(
        "CapInh:\t{inheritable:016x}\nCapPrm:\t{permitted:016x}\nCapEff:\t{permitted:016x}\n\
         CapBnd:\t{bounding:016x}\nCapAmb:\t{ambient:016x}\n"
    )
}

#[tokio::test]
async fn capabilities_are_exactly_those_that_were_granted() {
    const GRANTED: u64 = 0xa804_25fb;
    const NET_BIND: u64 = 1 << 10;
    let mut world = World::new();
    let granted = |ambient| Some(CapabilitySets { bounding: GRANTED, effective: GRANTED, ambient });
    let root = LaunchInfo { capabilities: granted(0), ..World::launch(&["id"]) };
    assert_eq!(world.run(sets(root)).await.output, expected(0, GRANTED, GRANTED, 0));
    let redis = LaunchInfo { capabilities: granted(0), ..user("redis", &["id"]) };
    assert_eq!(world.run(sets(redis)).await.output, expected(0, 0, GRANTED, 0));
    let redis = LaunchInfo { capabilities: granted(NET_BIND), ..user("redis", &["id"]) };
    let output = world.run(sets(redis)).await.output;
    assert_eq!(output, expected(NET_BIND, NET_BIND, GRANTED, NET_BIND));
    let none = CapabilitySets { bounding: 0, effective: 0, ambient: 0 };
    let nothing = LaunchInfo { capabilities: Some(none), ..World::launch(&["id"]) };
    assert_eq!(world.run(sets(nothing)).await.output, expected(0, 0, 0, 0));
}

#[tokio::test]
async fn no_new_privileges_and_limits_are_set() {
    let mut world = World::new();
    let mut launch = World::shell("grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -c");
    launch.no_new_privileges = true;
    launch.rlimits = vec![
        Rlimit { kind: RlimitKind::Nofile, soft: Some(100), hard: Some(200) },
        Rlimit { kind: RlimitKind::Core, soft: Some(0), hard: Some(0) },
    ];
    assert_eq!(world.run(launch).await.output, "NoNewPrivs:\t1\n100\n0\n");
}

#[tokio::test]
async fn a_limit_that_may_not_be_raised_is_named() {
    let mut world = World::new();
    let mut launch = World::launch(&["/bin/true"]);
    // More descriptors than the kernel gives to anybody: also root with every capability.
    launch.rlimits = vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(1 << 40), hard: None }];
    assert_eq!(world.run(launch).await.step(), "set rlimit NOFILE");
}
