//! What is somebody else's in the middle of what is ours: mounts, and room on the disk.

use std::fs;
use std::path::{Path, PathBuf};

use longshore::error::ErrorKind;
use longshore::model::{ImageReference, PullPolicy};
use longshore::provisioner::stores::{ImageStore, StoreConfig};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::embedded::{block_on, code, embedded, image, within};
use crate::support::World;
use crate::support::cli::finish;
use crate::support::images::Images;

fn mounted(at: &Path, data: Option<&std::ffi::CStr>) {
    fs::create_dir_all(at).expect("our own directory");
    mount("none", at, "tmpfs", MountFlags::empty(), data).expect("root may mount");
}

fn unmounted(at: &Path) {
    unmount(at, UnmountFlags::empty()).expect("nobody uses it");
}

/// What waits to be removed.
fn trash(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.work_dir().join("trash"));
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[test]
fn what_a_payload_mounts_in_its_sandbox_is_not_removed_with_it() {
    require!(root);
    let world = World::new();
    let precious = world.path().join("precious");
    fs::create_dir(&precious).expect("our own directory");
    fs::write(precious.join("file"), "kept").expect("written");
    let line = format!("mkdir d && mount --bind {} d && cat d/file", precious.display());
    let ended = finish(world.longshore("run").args(["--command", &line]));
    ended.assert_code(0);
    assert_eq!(ended.stdout, "kept");
    assert!(ended.one_error_line().starts_with("longshore: destroy: remove "), "{ended:?}");
    assert_eq!(fs::read_to_string(precious.join("file")).expect("it is there"), "kept");
    let [left] = &trash(&world)[..] else { panic!("{:?}", trash(&world)) };
    // The next one tries again, and takes it once nobody is in the way.
    finish(world.longshore("run").args(["--command", "true"])).assert_code(0);
    assert_eq!(fs::read_to_string(precious.join("file")).expect("it is there"), "kept");
    unmounted(&left.join("d"));
    finish(world.longshore("run").args(["--command", "true"])).assert_code(0);
    assert!(trash(&world).is_empty(), "{:?}", trash(&world));
    world.assert_clean();
}

#[test]
fn what_the_host_mounts_in_a_sandbox_is_not_removed_with_it() {
    embedded(async |scene| {
        let spec = scene.spec("kept", "echo up > $DOOR; exec sleep 1000");
        let (job, _door, _) = scene.up(spec).await;
        let sandbox = job.status().expect("known").sandbox.clone().expect("it has one");
        mounted(&sandbox.join("deep/d"), None);
        fs::write(sandbox.join("deep/d/file"), "kept").expect("written");
        within(job.destroy()).await.expect("the container itself has nothing mounted there");
        let error = within(scene.node.remove(job.id())).await.expect_err("somebody's mount");
        assert!(error.to_string().contains("EBUSY"), "{error}");
        let [left] = &trash(&scene.world)[..] else { panic!("{:?}", trash(&scene.world)) };
        let inside = left.join("deep/d");
        assert_eq!(fs::read_to_string(inside.join("file")).expect("it is there"), "kept");
        unmounted(&inside);
        // The id is free all the same.
        assert_eq!(code(&scene.run(scene.spec("kept", "exit 3")).await), 3);
    });
}

#[test]
fn a_container_whose_files_cannot_be_removed_is_not_forgotten_until_they_are() {
    embedded(async |scene| {
        let (job, _door, _) =
            scene.up(scene.spec("kept", "echo up > $DOOR; exec sleep 1000")).await;
        let inside = scene.world.runtime_dir().join("containers/kept/d");
        mounted(&inside, None);
        fs::write(inside.join("file"), "kept").expect("written");
        let stuck = within(job.destroy()).await.expect_err("somebody's mount");
        assert!(!stuck.remaining().is_empty(), "{stuck}");
        for forgotten in [scene.node.acknowledge(job.id()).await, scene.node.remove(job.id()).await]
        {
            let error = forgotten.expect_err("there is something of it still");
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        }
        assert_eq!(fs::read_to_string(inside.join("file")).expect("it is there"), "kept");
        unmounted(&inside);
        within(job.destroy()).await.expect("nobody is in the way");
        within(scene.node.remove(job.id())).await.expect("everything of it is gone");
    });
}

#[test]
fn an_image_shown_where_nothing_is_any_more_can_be_taken_away() {
    require!(root, overlayfs);
    let world = World::new();
    let outer = world.path().join("outer");
    mounted(&outer, None);
    let shown = outer.join("below/shown");
    fs::create_dir(outer.join("below")).expect("our own mount");
    let busybox = Images::busybox();
    finish(world.longshore("provision").arg(&busybox).arg(&shown)).assert_code(0);
    // As a reboot does it to what lay on a tmpfs.
    unmounted(&shown);
    unmounted(&outer);
    finish(world.longshore("unprovision").arg(&shown)).assert_code(0);
    finish(world.longshore("unprovision").arg(&shown)).assert_code(4);
    let targets = fs::read_dir(world.work_dir().join("provisioner/targets")).expect("made");
    assert_eq!(targets.count(), 0, "nothing of it is left");
    world.assert_clean();
}

#[test]
fn a_full_disk_can_be_pruned() {
    require!(root, overlayfs);
    let world = World::new();
    let small = world.path().join("small");
    mounted(&small, Some(c"size=8m"));
    let store = ImageStore::open(StoreConfig::new(small.join("store"))).expect("it opens");
    let reference: ImageReference = Images::busybox().parse().expect("a reference");
    let got = block_on(store.get(&reference, PullPolicy::Missing, None)).expect("there is room");
    drop(got);
    let filler = small.join("filler");
    let full = fs::write(&filler, vec![1; 16 << 20]).expect_err("it has no such room");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let pruned = block_on(store.prune(&[])).expect("there is always room to make room");
    assert_eq!(pruned.images, 1);
    assert_eq!(block_on(store.list()).expect("listed"), []);
    fs::remove_file(&filler).expect("it is there");
    block_on(store.get(&reference, PullPolicy::Missing, None)).expect("it works on");
    drop(store);
    unmounted(&small);
    world.assert_clean();
}

#[test]
fn a_program_without_a_name_is_not_found_and_a_missing_directory_is_the_callers() {
    embedded(async |scene| {
        let reference = image(&scene.world);
        let ended = finish(scene.world.longshore("run").args(["--image", &reference, "--", ""]));
        ended.assert_code(127);
        let spec = scene.spec("nowhere", "exit 0").working_directory("/no/such");
        let end = scene.run(spec).await;
        let failure = end.failure.expect("it never ran");
        assert_eq!(failure.kind, ErrorKind::InvalidRequest, "{failure:?}");
    });
}
