//! The image store and the provisioner through the library: trees, sharing, faults, crashes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use longshore::error::{Classified, ErrorKind};
use longshore::model::{ContainerId, ImageReference, PullPolicy, Rootfs};
use longshore::paths::Paths;
use longshore::provisioner::backends::Exposure;
use longshore::provisioner::stores::{ImageStore, StoreConfig, StoredImage};
use longshore::provisioner::{Provisioner, targets};

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
    let left = node.paths.provisioned(&container).try_exists().expect("looked");
    assert!(!left, "nothing is left of it");
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

#[test]
fn an_image_comes_the_same_in_every_form_of_archive() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let images = Images::with(&["busybox", "redis"]);
    for (name, tag) in [("library_busybox_latest", "busybox:latest"), ("library_redis_7.0", "7.0")]
    {
        let folder = images.image(name);
        let old = oldest_shape(&world, &folder.join("docker-save.tar"));
        for reference in [
            format!("oci:{}", folder.join("oci").display()),
            format!("oci-archive:{}", folder.join("oci.tar").display()),
            format!("docker-archive:{}", folder.join("docker-save.tar").display()),
            format!("docker-archive:{}:{tag}", folder.join("docker-save-new.tar").display()),
            format!("docker-archive:{}:{tag}", old.display()),
        ] {
            let image = node.get(&reference);
            assert!(!image.config.cmd.is_empty(), "{reference} has its configuration");
            let listing = listing(&node, "overlay", &image);
            assert_listing(&images.expected(name), &listing, &reference);
        }
    }
    // Whatever the form, the layers are the same and lie in the store once.
    assert_eq!(layers(&node).len(), 7);
    world.assert_clean();
}

/// The archive as Docker wrote it before 1.10: without manifest.json.
fn oldest_shape(world: &World, archive: &Path) -> PathBuf {
    let (copy, unpacked) = (world.path().join("oldest.tar"), world.path().join("oldest"));
    std::fs::create_dir(&unpacked).expect("made");
    let tar = |option: &str, file: &Path, rest: &[&str]| {
        let mut tar = Command::new("tar");
        let ended = tar.arg(option).arg(file).arg("-C").arg(&unpacked).args(rest).status();
        assert!(ended.expect("tar can be run").success());
    };
    tar("-xf", archive, &[]);
    std::fs::remove_file(unpacked.join("manifest.json")).expect("it was there");
    tar("-cf", &copy, &["."]);
    std::fs::remove_dir_all(unpacked).expect("removed");
    copy
}

fn layers(node: &Node) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.paths.store().join("layers/sha256")).expect("listed");
    entries.map(|entry| entry.expect("listed").path()).collect()
}

#[test]
fn a_directory_of_archives_serves_as_a_registry() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["busybox"]);
    let shelf = world.path().join("shelf");
    std::fs::create_dir(&shelf).expect("made");
    let archive = images.image("library_busybox_latest").join("docker-save.tar");
    std::fs::copy(archive, shelf.join("busybox.tar")).expect("copied");
    let paths = Paths::new(world.work_dir(), world.runtime_dir());
    let mut config = StoreConfig::new(paths.store());
    config.docker_registry = shelf.display().to_string();
    let node = Node { store: ImageStore::open(config).expect("the store opens"), paths };
    for reference in ["busybox", "library/busybox:latest", "docker.io/library/busybox"] {
        let image = node.get(reference);
        assert_eq!(image.reference, "docker.io/library/busybox:latest");
    }
    let missing: ImageReference = "other".parse().expect("a reference");
    let missing = runtime().block_on(node.store.get(&missing, PullPolicy::Missing, None));
    assert_eq!(missing.expect_err("not there").kind(), ErrorKind::NotFound);
    world.assert_clean();
}

#[test]
fn of_an_index_the_variant_for_this_host_is_taken() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let layout = Images::with(&["multi"]).layout();
    for tag in ["latest", "list"] {
        let image = node.get(&format!("oci:{}:library/multi:{tag}", layout.display()));
        let top = image.layers.last().expect("it has layers");
        let mark = std::fs::read_to_string(top.path.join("etc/arch")).expect("the mark");
        assert_eq!(mark, "amd64\n");
    }
    world.assert_clean();
}

#[test]
fn bind_shows_one_layer_read_only_and_refuses_more() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let images = Images::with(&["busybox", "redis"]);
    let busybox = node.get(&Images::busybox());
    let expected = images.expected("library_busybox_latest");
    assert_listing(&expected, &listing(&node, "bind", &busybox), "bind");
    let provisioner = node.provisioner("bind");
    let container = id("bound");
    let made = provisioner.provision(&container, &busybox, Exposure::Host).expect("provisioned");
    let Rootfs::Directory(root) = &made.rootfs else { unreachable!("it is on the host") };
    let written = std::fs::write(root.join("x"), "").expect_err("read-only");
    assert_eq!(written.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(made.read_only);
    provisioner.destroy(&container).expect("destroyed");
    let redis = images.image("library_redis_7.0").join("oci");
    let redis = node.get(&format!("oci:{}", redis.display()));
    let refused = provisioner.provision(&container, &redis, Exposure::Private);
    let refused = refused.expect_err("six layers");
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    assert!(refused.to_string().contains("one layer"), "{refused}");
    provisioner.destroy(&container).expect("nothing is left");
    assert!(!node.paths.provisioned(&container).try_exists().expect("looked"));
    drop((busybox, redis, made));
    world.assert_clean();
}

#[test]
fn a_container_writes_into_its_own_copy_and_a_destroy_is_repeatable() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let image = node.get(&Images::busybox());
    for backend in ["overlay", "copy"] {
        let provisioner = node.provisioner(backend);
        let containers = [id("one"), id("two"), id("one").child("nested").expect("valid")];
        let roots: Vec<PathBuf> = containers
            .iter()
            .map(|id| {
                let made = provisioner.provision(id, &image, Exposure::Host).expect("provisioned");
                let Rootfs::Directory(root) = made.rootfs else { unreachable!("on the host") };
                root
            })
            .collect();
        std::fs::write(roots[0].join("etc/passwd"), "mine").expect("written");
        std::fs::remove_dir_all(roots[0].join("var")).expect("removed");
        let other = std::fs::read_to_string(roots[1].join("etc/passwd")).expect("read");
        assert!(other.starts_with("root:"), "the other container has the image's");
        let mut found = provisioner.containers().expect("listed");
        found.sort();
        let mut known = containers.to_vec();
        known.sort();
        assert_eq!(found, known);
        // The parent first: what is nested stays until its own destroy.
        for container in &containers {
            provisioner.destroy(container).expect("destroyed");
            provisioner.destroy(container).expect("and again");
        }
        assert_eq!(provisioner.containers().expect("listed"), Vec::new());
        assert!(image.layers[0].path.join("var").is_dir(), "the layer is as it was");
    }
    drop(image);
    world.assert_clean();
}

#[test]
fn a_plain_directory_is_a_root_file_system_that_is_never_written_to() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let root = world.path().join("root");
    std::fs::create_dir_all(root.join("etc")).expect("made");
    std::fs::write(root.join("etc/motd"), "hello").expect("written");
    let image = node.get(&format!("rootfs:{}", root.display()));
    assert_eq!((image.digest.clone(), image.layers.len()), (None, 1));
    let provisioner = node.provisioner("overlay");
    let made = provisioner.provision(&id("plain"), &image, Exposure::Host).expect("provisioned");
    let Rootfs::Directory(view) = &made.rootfs else { unreachable!("it is on the host") };
    std::fs::write(view.join("etc/motd"), "changed").expect("written");
    assert_eq!(std::fs::read_to_string(root.join("etc/motd")).expect("read"), "hello");
    provisioner.destroy(&id("plain")).expect("destroyed");
    world.assert_clean();
}

#[test]
fn an_image_shown_at_a_directory_comes_and_goes_whole() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let image = node.get(&Images::busybox());
    let provisioner = node.provisioner("overlay");
    let (absent, empty, full) =
        (world.path().join("absent"), world.path().join("empty"), world.path().join("full"));
    std::fs::create_dir(&empty).expect("made");
    std::fs::create_dir_all(full.join("x")).expect("made");
    for target in [&absent, &empty] {
        provisioner.provision_at(&image, target).expect("shown");
        assert!(target.join("bin/busybox").is_file());
        let again = provisioner.provision_at(&image, target).expect_err("already there");
        assert_eq!(again.kind(), ErrorKind::Conflict, "{again}");
    }
    assert_eq!(targets(&node.paths).expect("listed").len(), 2);
    let mode = std::fs::metadata(&absent).expect("there").mode() & 0o7777;
    assert_eq!(mode, 0o755);
    // Another process, later: nothing but the disk knows.
    let later = node.provisioner("copy");
    for target in [&absent, &empty] {
        later.unprovision(target).expect("gone");
        assert_eq!(later.unprovision(target).expect_err("unknown").kind(), ErrorKind::NotFound);
    }
    assert!(!absent.try_exists().expect("looked"), "we made it");
    assert!(empty.is_dir(), "it was there before");
    for target in [&full, &full.join("no/parent")] {
        provisioner.provision_at(&image, target).expect_err("refused");
    }
    assert!(full.join("x").is_dir());
    drop(image);
    world.assert_clean();
}

#[test]
fn what_cannot_be_shown_at_a_path_leaves_nothing() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let image = node.get(&Images::busybox());
    let provisioner = node.provisioner("overlay");
    let (link, file) = (world.path().join("link"), world.path().join("file"));
    std::os::unix::fs::symlink("nowhere", &link).expect("made");
    std::fs::write(&file, "").expect("made");
    let refused = |target: &Path, word: &str| {
        let error = provisioner.provision_at(&image, target).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(&link, "leads nowhere");
    refused(&file, "no directory");
    assert_eq!(provisioner.unprovision(&link).expect_err("none").kind(), ErrorKind::NotFound);
    // What lies in place of a directory that we made, once the mount is gone, is not ours.
    let target = world.path().join("target");
    provisioner.provision_at(&image, &target).expect("shown");
    rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).expect("it is mounted");
    std::fs::remove_dir(&target).expect("we made it");
    std::os::unix::fs::symlink("nowhere", &target).expect("made");
    provisioner.unprovision(&target).expect("the rest goes");
    assert!(target.is_symlink());
    // A failure after the directory was made takes it back: bind shows one layer, not six.
    let redis = Images::with(&["redis"]).image("library_redis_7.0").join("oci");
    let redis = node.get(&format!("oci:{}", redis.display()));
    let absent = world.path().join("absent");
    node.provisioner("bind").provision_at(&redis, &absent).expect_err("six layers");
    assert!(!absent.try_exists().expect("looked"));
    drop((image, redis));
    let left = std::fs::read_dir(node.paths.provisioner().join("targets")).expect("listed");
    assert_eq!(left.count(), 0, "neither locks nor records");
    for part in ["leases", "pulls"] {
        let left = std::fs::read_dir(node.paths.store().join(part)).expect("listed");
        assert_eq!(left.count(), 0, "{part}");
    }
    world.assert_clean();
}

#[test]
fn a_mount_that_somebody_else_made_over_ours_is_not_touched() {
    require!(root, overlayfs);
    let world = World::new();
    let node = Node::new(&world);
    let image = node.get(&Images::busybox());
    let provisioner = node.provisioner("overlay");
    let target = world.path().join("target");
    provisioner.provision_at(&image, &target).expect("shown");
    let mount = |command: &str, arguments: &[&str]| {
        let mut command = Command::new(command);
        assert!(command.args(arguments).arg(&target).status().expect("can be run").success());
    };
    mount("mount", &["-t", "tmpfs", "foreign"]);
    let refused = provisioner.unprovision(&target).expect_err("something is over it");
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(!target.join("bin").try_exists().expect("looked"), "the foreign mount is there");
    mount("umount", &[]);
    provisioner.unprovision(&target).expect("gone");
    assert!(!target.try_exists().expect("looked"));
    drop(image);
    world.assert_clean();
}

/// Names the store and the image of the process that [`a_process_pulls_an_image`] is.
const CHILD: [&str; 2] = ["LONGSHORE_TEST_PULL_STORE", "LONGSHORE_TEST_PULL_IMAGE"];

/// Also the body of other tests' processes, which say by the environment where and what.
#[test]
fn a_process_pulls_an_image() {
    require!(root, overlayfs);
    let given = std::env::var_os(CHILD[0]).map(PathBuf::from);
    // A process that is killed could not remove a directory of its own.
    let own = given.is_none().then(|| tempfile::tempdir().expect("a temporary directory"));
    let store = given.or_else(|| Some(own.as_ref()?.path().join("store")));
    let store = store.expect("one of the two");
    let reference = std::env::var(CHILD[1]).unwrap_or_else(|_| Images::busybox());
    let store = ImageStore::open(StoreConfig::new(store)).expect("the store opens");
    let reference: ImageReference = reference.parse().expect("a reference");
    let image = runtime().block_on(store.get(&reference, PullPolicy::Missing, None));
    assert!(image.expect("pulled").layers[0].path.is_dir());
}

fn pulling(store: &Path, reference: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "store::a_process_pulls_an_image"]).stdout(Stdio::null());
    command.env(CHILD[0], store).env(CHILD[1], reference).stderr(Stdio::null());
    command.spawn().expect("this program can be run again")
}

#[test]
fn two_processes_pull_the_same_image_into_one_store() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["redis"]);
    let reference = format!("oci:{}", images.image("library_redis_7.0").join("oci").display());
    let node = Node::new(&world);
    let processes = [(); 3].map(|()| pulling(&node.paths.store(), &reference));
    for mut process in processes {
        assert!(process.wait().expect("it ends").success());
    }
    let image = node.get(&reference);
    let expected = images.expected("library_redis_7.0");
    assert_listing(&expected, &listing(&node, "overlay", &image), "pulled by several");
    assert_eq!(layers(&node).len(), 6);
    assert_eq!(staged(&node.paths.store()), 0);
    drop(image);
    world.assert_clean();
}

/// Layers that are on their way, whole or not.
fn staged(store: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(store.join("staging")) else { return 0 };
    let directories = entries.flatten().filter(|entry| entry.path().is_dir());
    directories.map(|pull| std::fs::read_dir(pull.path()).map_or(0, Iterator::count)).sum()
}

#[test]
fn a_process_killed_in_a_pull_leaves_nothing_that_is_trusted() {
    require!(root, overlayfs);
    let world = World::new();
    let images = Images::with(&["redis"]);
    let reference = format!("oci:{}", images.image("library_redis_7.0").join("oci").display());
    let expected = images.expected("library_redis_7.0");
    for (round, instant) in [1, 2, 4, 6].into_iter().enumerate() {
        let paths = Paths::new(world.work_dir().join(round.to_string()), world.runtime_dir());
        let mut process = pulling(&paths.store(), &reference);
        while staged(&paths.store()) < instant {
            // One that is through already is a fair instant as well.
            if process.try_wait().expect("asked").is_some() {
                break;
            }
            std::thread::yield_now();
        }
        process.kill().expect("killed");
        process.wait().expect("reaped");
        let store = ImageStore::open(StoreConfig::new(paths.store())).expect("the store opens");
        assert_eq!(staged(&paths.store()), 0, "what the dead one left is gone");
        for part in ["leases", "pulls"] {
            let left = std::fs::read_dir(paths.store().join(part)).expect("made").count();
            assert_eq!(left, 0, "{part} of the dead one");
        }
        let node = Node { store, paths };
        for layer in layers(&node) {
            assert!(layer.join("fs").is_dir() && layer.join("bytes").is_file());
        }
        let image = node.get(&reference);
        assert_listing(&expected, &listing(&node, "overlay", &image), "after the kill");
    }
    world.assert_clean();
}
