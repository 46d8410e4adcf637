//! When it is looked at where an image comes from: `--pull`, with a real registry, layouts and archives.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;

use crate::support::images::Images;
use crate::support::{Ended, Registry, World, finish};

/// A layout in which `app` means what `of` does in the layout of all images.
fn layout(images: &Images, at: &Path, app: &str, of: &str) {
    let all = images.layout();
    fs::create_dir_all(at).expect("the world can be written");
    if !at.join("blobs").is_symlink() {
        symlink(all.join("blobs"), at.join("blobs")).expect("the world can be written");
        fs::copy(all.join("oci-layout"), at.join("oci-layout")).expect("it is a layout");
    }
    let text = fs::read_to_string(all.join("index.json")).expect("it is a layout");
    let mut index: Value = serde_json::from_str(&text).expect("it is JSON");
    let tag = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].clone();
    let entries = index["manifests"].as_array().expect("a list");
    let mut found = entries.iter().find(|entry| tag(entry) == *of).expect("it was made").clone();
    found["annotations"]["org.opencontainers.image.ref.name"] = app.into();
    index["manifests"] = Value::from(vec![found]);
    fs::write(at.join("index.json"), index.to_string()).expect("the world can be written");
}

/// What an image is: busybox has no such file, multi has.
fn run(world: &World, image: &str, pull: &str) -> Ended {
    let mut run = world.longshore("run");
    run.args(["--image", image, "--pull", pull]);
    finish(run.args(["--command", "if [ -e /etc/arch ]; then echo new; else echo old; fi"]))
}

#[track_caller]
fn assert_is(world: &World, image: &str, pull: &str, what: &str) {
    let ended = run(world, image, pull);
    ended.assert_code(0);
    assert_eq!(ended.stdout.trim_end(), what, "--pull {pull} of {image}");
}

const OLD: &str = "library/busybox:latest";
const NEW: &str = "library/multi:latest";

#[test]
fn a_moved_tag_is_noticed_by_always_and_by_nobody_else() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["busybox", "multi"]);
    let registry = Registry::start();
    let (source, app) = (world.path().join("layout"), registry.reference("library/app:1"));
    layout(&images, &source, "library/app:1", OLD);
    registry.push_layout(&source, &["library/app:1"]);
    assert_is(&world, &app, "missing", "old");
    layout(&images, &source, "library/app:1", NEW);
    registry.push_layout(&source, &["library/app:1"]);
    assert_is(&world, &app, "missing", "old");
    assert_is(&world, &app, "never", "old");
    assert_is(&world, &app, "always", "new");
    assert_is(&world, &app, "missing", "new");
    // With the registry gone, only who asks it fails.
    drop(registry);
    assert_is(&world, &app, "missing", "new");
    assert_is(&world, &app, "never", "new");
    let ended = run(&world, &app, "always");
    ended.assert_code(125);
    assert!(ended.one_error_line().starts_with("longshore: provision: "), "{}", ended.stderr);
    world.assert_clean();
}

#[test]
fn never_asks_nobody_and_what_is_not_stored_is_not_found() {
    require!(root, overlayfs);
    let world = World::new();
    // Nobody listens there: a request would say so.
    let absent = "docker://127.0.0.1:1/library/app:1";
    let layout = Images::busybox();
    let archive = Images::with(&["busybox"]).image("library_busybox_latest").join("oci.tar");
    let archive = format!("oci-archive:{}", archive.display());
    for image in [absent, &layout, &archive] {
        let ended = run(&world, image, "never");
        ended.assert_code(125);
        assert!(ended.one_error_line().contains("not in the store"), "{}", ended.stderr);
        let mut provision = world.longshore("provision");
        let tree = world.path().join("tree");
        finish(provision.args(["--pull", "never", image]).arg(tree)).assert_code(4);
    }
    world.assert_clean();
}

#[test]
fn layouts_are_looked_at_when_they_have_changed_unless_the_word_is_never() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["busybox", "multi"]);
    let source = world.path().join("layout");
    let image = format!("oci:{}:app", source.display());
    layout(&images, &source, "app", OLD);
    for pull in ["missing", "always", "never"] {
        assert_is(&world, &image, pull, "old");
    }
    layout(&images, &source, "app", NEW);
    assert_is(&world, &image, "never", "old");
    assert_is(&world, &image, "missing", "new");
    layout(&images, &source, "app", OLD);
    assert_is(&world, &image, "always", "old");
    world.assert_clean();
}
