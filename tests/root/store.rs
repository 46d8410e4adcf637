//! The image store and the provisioner through the library: trees, sharing, faults, crashes.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use longshore::model::{ContainerId, ImageReference, Provisioned, PullPolicy, Rootfs};
use longshore::paths::Paths;
use longshore::provisioner::Provisioner;
use longshore::provisioner::backends::Exposure;
use longshore::provisioner::stores::{ImageStore, ProgressFn, StoreConfig, StoredImage};

use crate::support::World;
use crate::support::images::Images;

/// A store and a provisioner in one world.
struct Node {
    store: ImageStore,
    paths: Paths,
}

impl Node {
    fn new(world: &World) -> Self {
        let paths = Paths::new(world.work_dir(), world.runtime_dir());
        let store = ImageStore::open(StoreConfig::new(paths.store())).expect("the store opens");
        Self { store, paths }
    }

    fn get(&self, reference: &str) -> StoredImage {
        let reference: ImageReference = reference.parse().expect("a reference");
        let got = self.store.get(&reference, PullPolicy::Missing, None);
        runtime().block_on(got).expect("the image is there")
    }

    fn provisioner(&self, backend: &str) -> Provisioner {
        Provisioner::new(self.paths.clone(), self.store.clone(), Some(backend))
            .expect("the backend works")
    }
}

/// What an embedder may have: one thread.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn id(name: &str) -> ContainerId {
    ContainerId::new(name).expect("a valid name")
}

/// Where a provisioned tree can be looked at from this process.
fn view(provisioned: &Provisioned) -> PathBuf {
    match &provisioned.rootfs {
        Rootfs::Directory(path) => path.clone(),
        Rootfs::Detached(mount) => PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())),
    }
}

/// The listing of what a backend makes of an image.
fn listing(node: &Node, backend: &str, image: &StoredImage) -> String {
    let provisioner = node.provisioner(backend);
    let container = id("listed");
    let provisioned = provisioner
        .provision(&container, image, Exposure::Private)
        .expect("the image is provisioned");
    let listing = match &provisioned.rootfs {
        Rootfs::Directory(path) => Images::scan(path),
        // A scan is another process: it needs a name.
        Rootfs::Detached(_) => {
            let target = node.paths.work_dir().join("view");
            provisioner.provision_at(image, &target).expect("shown");
            let listing = Images::scan(&target);
            provisioner.unprovision(&target).expect("gone");
            listing
        }
    };
    drop(provisioned);
    provisioner.destroy(&container).expect("destroyed");
    assert!(!node.paths.provisioned(&container).exists(), "nothing is left of it");
    listing
}

fn assert_listing(expected: &str, seen: &str, what: &str) {
    let missing: Vec<&str> = expected.lines().filter(|l| !seen.lines().any(|o| o == *l)).collect();
    let added: Vec<&str> = seen.lines().filter(|l| !expected.lines().any(|o| o == *l)).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "{what}\nmissing: {:#?}\nadded: {:#?}",
        &missing[..missing.len().min(5)],
        &added[..added.len().min(5)]
    );
}

#[test]
fn images_of_every_set_have_the_tree_that_the_model_says() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let images = Images::with(&["busybox", "layers60", "redis"]);
    let layout = images.layout();
    for (tag, name) in [
        ("library/busybox:latest", "library_busybox_latest"),
        ("library/busybox:latest-zstd", "library_busybox_latest"),
        ("library/busybox:latest-raw", "library_busybox_latest"),
        ("library/busybox:latest-schema2", "library_busybox_latest"),
        ("library/layers60:latest", "library_layers60_latest"),
        ("library/redis:7.0", "library_redis_7.0"),
    ] {
        let image = node.get(&format!("oci:{}:{tag}", layout.display()));
        for backend in ["overlay", "copy"] {
            let what = format!("{tag} by {backend}");
            assert_listing(&images.expected(name), &listing(&node, backend, &image), &what);
        }
    }
    world.assert_clean();
}
