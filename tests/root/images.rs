//! Real images, in every form in which they come, give exactly the tree that an independent model of
//! the layer rules says.

use std::path::Path;

use crate::support::images::Images;
use crate::support::{Registry, World, finish};

/// Provisions `reference`, compares the tree with the image's listing, and takes it down again.
#[track_caller]
fn assert_tree(world: &World, reference: &str, name: &str, backend: &str) {
    let images = Images::with(&[]);
    let tree = world.path().join("tree");
    let mut provision = world.longshore("provision");
    provision.args(["--image-provisioner-backend", backend]).arg(reference).arg(&tree);
    let provisioned = finish(&mut provision);
    provisioned.assert_code(0);
    let seen = Images::scan(&tree);
    let differs = first_difference(&images.expected(name), &seen);
    finish(world.longshore("unprovision").arg(&tree)).assert_code(0);
    assert!(!std::fs::exists(&tree).expect("the world can be read"), "{} stays", tree.display());
    assert_eq!(differs, None, "{reference} by {backend}");
}

/// The first line that only one of the two has.
fn first_difference(expected: &str, seen: &str) -> Option<String> {
    let missing = expected.lines().find(|line| !seen.lines().any(|other| other == *line));
    let added = || seen.lines().find(|line| !expected.lines().any(|other| other == *line));
    match missing {
        Some(line) => Some(format!("missing: {line}")),
        None => added().map(|line| format!("added: {line}")),
    }
}

fn archive(images: &Images, name: &str, file: &str) -> String {
    let path = images.image(name).join(file);
    let kind = if file == "oci.tar" { "oci-archive" } else { "docker-archive" };
    format!("{kind}:{}", path.display())
}

#[test]
fn busybox_comes_the_same_in_every_form() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["busybox"]);
    let name = "library_busybox_latest";
    for file in ["oci.tar", "docker-save.tar", "docker-save-new.tar"] {
        assert_tree(&world, &archive(&images, name, file), name, "overlay");
    }
    let registry = Registry::start();
    registry.push(&images, &["library/busybox:*"]);
    for tag in ["latest", "latest-zstd", "latest-raw", "latest-schema2"] {
        let reference = registry.reference(&format!("library/busybox:{tag}"));
        assert_tree(&world, &reference, name, "overlay");
    }
    world.assert_clean();
}

#[test]
fn every_backend_gives_the_same_tree() {
    require!(root, overlayfs);
    let world = World::new();
    let name = "library_busybox_latest";
    let reference = Images::busybox();
    // bind takes images of one layer, which this is.
    for backend in ["overlay", "copy", "bind"] {
        assert_tree(&world, &reference, name, backend);
    }
    world.assert_clean();
}

#[test]
fn redis_with_its_six_layers_comes_out_whole() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["redis"]);
    let name = "library_redis_7.0";
    for backend in ["overlay", "copy"] {
        assert_tree(&world, &oci(&images.image(name), "7.0"), name, backend);
    }
    world.assert_clean();
}

fn oci(image: &Path, tag: &str) -> String {
    format!("oci:{}:{tag}", image.join("oci").display())
}

#[test]
fn of_an_index_the_manifest_for_this_machine_is_taken() {
    require!(root, overlayfs);
    let world = World::new();
    let registry = Registry::start();
    registry.push(&Images::with(&["busybox", "multi"]), &["library/multi:*"]);
    for tag in ["latest", "list"] {
        let mut run = world.longshore("run");
        run.args(["--image", &registry.reference(&format!("library/multi:{tag}"))]);
        let ended = finish(run.args(["--command", "cat /etc/arch"]));
        ended.assert_code(0);
        assert_eq!(ended.stdout, "amd64\n");
    }
    world.assert_clean();
}
