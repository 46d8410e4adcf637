//! A volume covers what is at its target, and nothing of ours is made in the caller's directory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::images::Images;
use crate::support::{Ended, World, finish};

/// A directory of the caller's, with one file in it.
fn shown(world: &World) -> PathBuf {
    let shown = world.path().join("shown");
    fs::create_dir(&shown).expect("our own directory");
    fs::write(shown.join("file"), "content\n").expect("our own directory");
    shown
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("our own directory");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("ASCII");
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("listed"))).collect();
    names.sort();
    names
}

fn run(world: &World, volumes: &[String], line: &str) -> Ended {
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox()]);
    for volume in volumes {
        run.args(["--volume", volume]);
    }
    finish(run.args(["--command", line]))
}

#[test]
fn a_volume_over_what_every_container_has_stays_as_the_caller_made_it() {
    require!(root, overlayfs);
    let world = World::new();
    let shown = shown(&world);
    for target in ["/dev", "/proc", "/sys", "/mnt/mesos", "/dev/shm", "/sys/fs/cgroup"] {
        for mode in ["", ":ro"] {
            let volume = format!("{}:{target}{mode}", shown.display());
            let ended = run(&world, &[volume], &format!("ls {target}; cat {target}/file"));
            ended.assert_code(0);
            assert_eq!(ended.stdout, "file\ncontent\n", "{target}{mode}: {}", ended.stderr);
            assert_eq!(names(&shown), ["file"], "{target}{mode}");
        }
    }
    world.assert_clean();
}

#[test]
fn of_two_volumes_one_may_lie_below_the_other() {
    require!(root, overlayfs);
    let world = World::new();
    let (outer, inner) = (shown(&world), world.path().join("inner"));
    fs::create_dir_all(outer.join("below")).expect("our own directory");
    fs::create_dir(&inner).expect("our own directory");
    let volumes = [format!("{}:/dev", outer.display()), format!("{}:/dev/below", inner.display())];
    let ended = run(&world, &volumes, "cat /dev/file; touch /dev/below/made");
    ended.assert_code(0);
    assert_eq!(ended.stdout, "content\n");
    assert_eq!(
        (names(&outer), names(&inner)),
        (vec!["below".into(), "file".into()], vec!["made".into()])
    );
    assert_eq!(names(&outer.join("below")), [""; 0]);
    world.assert_clean();
}
