//! The leak check sees what it is there for.

use std::fs;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::support::{Registry, World, images::Images, registry::Access, start};

#[test]
fn a_world_in_which_nothing_happened_is_clean() {
    require!(root, overlayfs);
    let world = World::new();
    world.assert_clean();
}

#[test]
fn a_mount_a_cgroup_and_files_of_a_world_are_seen() {
    require!(root, cgroup_v2_tree);
    let world = World::new();
    let target = world.path().join("mounted here");
    fs::create_dir(&target).expect("our own directory");
    mount("none", &target, "tmpfs", MountFlags::empty(), None).expect("root may mount");
    assert_eq!(world.leaks(), [format!("mount {}", target.display())]);
    unmount(&target, UnmountFlags::empty()).expect("nobody uses it");

    let cgroup = unified().join(world.cgroups_root()).join("nested");
    fs::create_dir_all(&cgroup).expect("root may make cgroups");
    let parent = cgroup.parent().expect("it has one");
    let expected = [format!("cgroup {}", cgroup.display()), format!("cgroup {}", parent.display())];
    assert_eq!(world.leaks(), expected);
    fs::remove_dir(&cgroup).and_then(|()| fs::remove_dir(parent)).expect("nobody is in it");

    let left = world.runtime_dir().join("containers/c1");
    fs::create_dir_all(&left).expect("our own directory");
    assert_eq!(world.leaks(), [format!("file {}", left.display())]);
    fs::remove_dir(&left).expect("it is empty");
    world.assert_clean();
}

/// The mount point of the unified hierarchy, alone or beside v1.
fn unified() -> std::path::PathBuf {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let line = table.lines().find(|line| line.contains(" - cgroup2 "));
    line.and_then(|line| line.split(' ').nth(4)).expect("required above").into()
}

#[test]
fn a_process_of_a_world_is_seen_and_ended_with_it() {
    require!(root);
    let world = World::new();
    let mut sleeper = Command::new("sleep");
    sleeper.arg("1000").env("LONGSHORE_TEST_WORLD", world.cgroups_root());
    let running = start(&mut sleeper);
    let leaks = crate::support::leaks::processes(&crate::support::leaks::Marks {
        directory: world.path().to_owned(),
        name: world.cgroups_root().to_owned(),
    });
    assert_eq!(leaks, [running.pid()]);
    running.process().signal(Signal::KILL);
    assert_eq!(running.finish().code(), 137);
    world.assert_clean();
}

#[test]
fn the_registry_of_the_tests_serves_what_is_pushed_and_asks_for_a_password() {
    require!(root);
    let world = World::new();
    let images = Images::with(&["busybox"]);
    let registry = Registry::start_with(Access::Basic);
    registry.push(&images, &["library/busybox:latest"]);
    let url = format!("http://{}/v2/library/busybox/tags/list", registry.address());
    let get = |user: &[&str]| {
        let mut python = Command::new("python3");
        python.arg("-c").arg(GET).arg(&url).args(user).output().expect("python3 can be run")
    };
    assert_eq!(String::from_utf8_lossy(&get(&[]).stdout).trim(), "401");
    let answer = String::from_utf8_lossy(&get(&["tester", "secret"]).stdout).into_owned();
    assert!(answer.starts_with("200 ") && answer.contains("\"latest\""), "{answer}");
    drop(registry);
    world.assert_clean();
}

/// Prints the status of a GET, and the body of a successful one.
const GET: &str = "
import base64, sys, urllib.error, urllib.request
request = urllib.request.Request(sys.argv[1])
if sys.argv[2:]:
    word = base64.b64encode(':'.join(sys.argv[2:]).encode()).decode()
    request.add_header('Authorization', 'Basic ' + word)
try:
    answer = urllib.request.urlopen(request)
    print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code)
";
