//! What Mesos' containerizer was known for and what is gone: `docs/warts.md` has the list.

use std::fs;

use longshore::Containers;
use longshore::events::{EventKind, Notice, Since};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

use crate::embedded::{block_on, config, embedded, start};
use crate::support::images::Images;
use crate::support::{Registry, World, finish};

#[test]
fn an_exec_that_fails_is_never_told_as_running() {
    embedded(async |scene| {
        let mut events = scene.node.subscribe(Since::Now);
        for program in ["/no/such", "/etc", "/etc/passwd"] {
            let end = scene.run(scene.spec("never", "").command([program])).await;
            assert!(end.termination.is_none() && end.failure.is_some(), "{program}: {end:?}");
        }
        let mut kinds = Vec::new();
        while let Some(notice) = events.try_next() {
            if let Notice::Event(event) = notice {
                kinds.push(event.kind);
            }
        }
        assert!(!kinds.contains(&EventKind::Running), "{kinds:?}");
        let told = |kind| kinds.iter().filter(|of| **of == kind).count();
        assert_eq!((told(EventKind::Starting), told(EventKind::Terminated)), (3, 3), "{kinds:?}");
    });
}

#[test]
fn an_image_is_one_whatever_it_is_called() {
    require!(root, overlayfs);
    let world = World::new();
    let registry = Registry::start();
    registry.push(&Images::with(&["busybox"]), &["library/busybox:latest"]);
    let url = format!("http://{}", registry.address());
    let full = format!("{}/library/busybox", registry.address());
    let mut lines = Vec::new();
    for name in ["busybox", "busybox:latest", "library/busybox", &full] {
        let pulled = finish(world.longshore("pull").args([name, "--docker-registry", &url]));
        pulled.assert_code(0);
        lines.push(pulled.stdout);
    }
    lines.dedup();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let listed = finish(world.longshore("images").args(["--format", "json"]));
    let rows: Vec<Value> = serde_json::from_str(&listed.stdout).expect("an array");
    assert_eq!(rows.len(), 1, "{}", listed.stdout);
    world.assert_clean();
}

#[test]
fn a_read_only_volume_is_read_only_in_all_that_is_mounted_below_it() {
    require!(root, overlayfs);
    let world = World::new();
    let below = world.path().join("shown/below");
    fs::create_dir_all(&below).expect("our own directory");
    mount("none", &below, "tmpfs", MountFlags::empty(), None).expect("root may mount");
    let volume = format!("{}:/data:ro", world.path().join("shown").display());
    let line = "for at in /data /data/below; do echo x 2>/dev/null >$at/no && echo written; done; \
                grep -c ' /data/below ' /proc/self/mountinfo";
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox(), "--volume", &volume, "--command", line]);
    let ended = finish(&mut run);
    unmount(&below, UnmountFlags::empty()).expect("the container is gone");
    assert_eq!(ended.stdout, "1\n", "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn what_strangers_put_into_our_directories_stops_nobody() {
    require!(root, overlayfs);
    let world = World::new();
    let run = || {
        let mut run = world.longshore("run");
        finish(run.args(["--image", &Images::busybox(), "--command", "exit 7"]))
    };
    run().assert_code(7);
    let (work, runtime) = (world.work_dir(), world.runtime_dir());
    let directories = ["containers/garbage", "containers/empty", "containers/no id!", "run/dir"];
    for directory in directories.map(|name| runtime.join(name)) {
        fs::create_dir_all(directory).expect("our own directory");
    }
    let files = [
        "containers/file",
        "containers/garbage/checkpoint",
        "containers/garbage/termination",
        "records/garbage",
        "run/garbage",
        "numbering",
    ];
    for file in files.map(|name| runtime.join(name)) {
        fs::write(file, [0xff; 100]).expect("our own directory");
    }
    for file in ["containers/file", "provisioner/containers/file"].map(|name| work.join(name)) {
        fs::create_dir_all(file.parent().expect("it has one")).expect("our own directory");
        fs::write(file, "").expect("our own directory");
    }
    let ended = run();
    ended.assert_code(7);
    assert_eq!(ended.stderr, "");
    block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    // An agent, which is alone, buries what has the name of a container; the rest is nobody's.
    let left = |directory: &str| {
        let entries = fs::read_dir(runtime.join(directory)).expect("it is there").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(left("containers"), ["file", "no id!"]);
    for file in [work.join("provisioner/containers/file"), runtime.join("containers/file")] {
        fs::remove_file(file).expect("it is ours");
    }
    fs::remove_dir(runtime.join("containers/no id!")).expect("it is ours");
    fs::remove_dir(runtime.join("run/dir")).expect("it is ours");
    world.assert_clean();
}
