//! Images that are not there, not what they say, or do not fit.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::host::Mounted;
use super::{Act, Case, Scenery, refused, table};
use crate::layout;
use crate::support::images::Images;
use crate::support::registry::{Access, free_port};
use crate::support::{Ended, Registry, finish, start};

use Act::{Bare, By};

const CORRUPT: &str = "provision: … is corrupt: …";
const ENDED: &str = "provision: image … the server ended the transfer after … of … bytes";
const FULL: &str = "provision: … no space left on device";

pub(super) const CASES: &[Case] = &[
    refused(
        "a layout that is not there",
        Bare(&["--image", "oci:/no/such:x", "--", "true"]),
        125,
        "provision: image … no such file or directory",
    )
    .saying(&["oci:/no/such:x"]),
    refused(
        "a tag that a layout does not have",
        By(absent_tag),
        125,
        "provision: image … not found",
    )
    .saying(&["nosuch", "it has latest"]),
    refused(
        "an image that a registry does not have",
        By(absent),
        125,
        "provision: image … not found",
    )
    .saying(&["library/nowhere:1"]),
    refused("the same, to be pulled", By(absent_pull), 4, "provision: image … not found"),
    refused(
        "an image that must be there already",
        Bare(&["--pull", "never", "--image", "docker://127.0.0.1:1/library/busybox", "--", "true"]),
        125,
        "provision: image … is not in the store",
    )
    .saying(&["127.0.0.1:1/library/busybox:latest"]),
    refused(
        "a reference that can be none",
        Bare(&["--image", "UPPER/Case", "--", "true"]),
        125,
        "configure: image reference …",
    )
    .saying(&["\"UPPER/Case\"", "upper-case"]),
    refused(
        "the same, to pull",
        By(|scenery| pull(scenery, "UPPER/Case")),
        125,
        "configure: image reference …",
    )
    .saying(&["\"UPPER/Case\"", "upper-case"]),
    refused(
        "a file of something else, to pull from",
        By(|scenery| {
            let file = scenery.world.path().join("secret");
            fs::write(&file, "hunter2 ".repeat(500)).expect("the world can be written");
            let ended = pull(scenery, &format!("oci-archive:{}", file.display()));
            assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
            let ended = pull(scenery, &format!("docker-archive:{}", file.display()));
            assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);
            run(scenery, &format!("oci-archive:{}", file.display()))
        }),
        125,
        CORRUPT,
    ),
    refused(
        "a table of images that somebody has edited",
        By(|scenery| {
            let store = scenery.world.work_dir().join("store");
            fs::create_dir(&store).expect("the world can be written");
            fs::write(store.join("images.json"), "{").expect("the world can be written");
            run(scenery, "alpine")
        }),
        125,
        "configure: … the image table …",
    )
    .saying(&["images.json"]),
    refused("a registry that is down", By(down), 125, "provision: image … cannot connect: …")
        .saying(&["connection refused"]),
    refused("the same, to pull from", By(down_pull), 1, "provision: image … cannot connect: …"),
    refused(
        "a registry that wants a password",
        By(locked),
        125,
        "provision: image … refused access to …",
    )
    .saying(&["library/busybox:latest"]),
    refused(
        "a digest that the registry does not have",
        By(other_digest),
        125,
        "provision: image … not found",
    )
    .saying(&["@sha256:aaaa"]),
    refused(
        "an image that begins nobody knows where",
        By(relative),
        125,
        "fork: isolator … sets the …, which is not …",
    )
    .saying(&["docker/runtime", "working directory here", "absolute"]),
    refused("a layer of other bytes, in a layout", By(|s| tampered(s, alter)), 125, CORRUPT)
        .saying(&["sha256:"]),
    refused("a layer that is cut, in a layout", By(|s| tampered(s, cut)), 125, CORRUPT),
    refused("a layer that is empty, in a layout", By(|s| tampered(s, empty)), 125, CORRUPT),
    refused("a layer of other bytes, from a registry", By(|s| served(s, alter)), 125, CORRUPT),
    refused("a layer that is cut, from a registry", By(|s| served(s, cut)), 125, ENDED),
    refused("a work directory without space", By(|s| full(s, c"size=1m")), 125, FULL)
        .saying(&["layer sha256:"]),
    refused("a work directory without a page", By(|s| full(s, c"size=4k")), 125, FULL),
    refused(
        "a work directory without inodes",
        By(|s| full(s, c"nr_inodes=30")),
        125,
        "provision: layer … = ENOSPC",
    ),
    refused(
        "a signal while an image is pulled",
        By(interrupted),
        130,
        "provision: the pull was withdrawn by …",
    )
    .saying(&["SIGINT"]),
    refused(
        "a signal while a run pulls",
        By(interrupted_run),
        130,
        "run: stopped by … before the payload ran",
    )
    .saying(&["SIGINT"]),
];

fn relative(scenery: &Scenery) -> Ended {
    let (root, to) = (scenery.world.path().join("root"), scenery.world.path().join("layout"));
    fs::create_dir(&root).expect("our own directory");
    layout::write(&root, &serde_json::json!({"WorkingDir": "here", "Cmd": ["/x"]}), &to);
    run(scenery, &format!("oci:{}:latest", to.display()))
}

fn run(scenery: &Scenery, image: &str) -> Ended {
    finish(scenery.world.longshore("run").args(["--image", image, "--", "true"]))
}

fn pull(scenery: &Scenery, image: &str) -> Ended {
    finish(scenery.world.longshore("pull").arg(image))
}

fn absent_tag(scenery: &Scenery) -> Ended {
    run(scenery, &Images::busybox().replace(":latest", ":nosuch"))
}

fn absent(scenery: &Scenery) -> Ended {
    run(scenery, &Registry::start().reference("library/nowhere:1"))
}

fn absent_pull(scenery: &Scenery) -> Ended {
    let registry = Registry::start();
    pull(scenery, &registry.reference("library/nowhere:1"))
}

fn down(scenery: &Scenery) -> Ended {
    run(scenery, &format!("docker://127.0.0.1:{}/library/busybox", free_port()))
}

fn down_pull(scenery: &Scenery) -> Ended {
    pull(scenery, &format!("docker://127.0.0.1:{}/library/busybox", free_port()))
}

fn locked(scenery: &Scenery) -> Ended {
    let registry = Registry::start_with(Access::Basic);
    run(scenery, &registry.reference("library/busybox"))
}

fn other_digest(scenery: &Scenery) -> Ended {
    let registry = Registry::start();
    let digest = "a".repeat(64);
    run(scenery, &registry.reference(&format!("library/busybox@sha256:{digest}")))
}

/// The layer is what is largest among the blobs.
fn largest_below(directory: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(directory).expect("readable").flatten() {
            match entry.metadata().expect("it is there") {
                of if of.is_dir() => todo.push(entry.path()),
                of => found.push((of.len(), entry.path())),
            }
        }
    }
    found.into_iter().max().expect("there are blobs").1
}

/// As many bytes, one of them another.
fn alter(blob: &Path) {
    let mut bytes = fs::read(blob).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(blob, bytes).expect("ours");
}

fn cut(blob: &Path) {
    let bytes = fs::read(blob).expect("readable");
    fs::write(blob, &bytes[..bytes.len() / 2]).expect("ours");
}

fn empty(blob: &Path) {
    fs::write(blob, "").expect("ours");
}

/// Runs an image whose layer somebody has had his hands on.
fn tampered(scenery: &Scenery, how: fn(&Path)) -> Ended {
    let layout = Images::with(&["busybox"]).image("library_busybox_latest").join("oci");
    let ours = scenery.world.path().join("layout");
    let copied = std::process::Command::new("cp").arg("-r").args([&layout, &ours]).status();
    assert!(copied.expect("cp can be run").success());
    how(&largest_below(&ours.join("blobs")));
    run(scenery, &format!("oci:{}:latest", ours.display()))
}

/// The same behind a registry.
fn served(scenery: &Scenery, how: fn(&Path)) -> Ended {
    let registry = Registry::start();
    registry.push(&Images::with(&["busybox"]), &["library/busybox:latest"]);
    how(&largest_below(&registry.storage()));
    run(scenery, &registry.reference("library/busybox"))
}

/// Runs on a work directory of this size.
fn full(scenery: &Scenery, size: &'static std::ffi::CStr) -> Ended {
    let work = scenery.world.work_dir();
    let mounted = Mounted::new(&work, size);
    let ended = finish(scenery.run().args(["--", "true"]));
    let paths = longshore::paths::Paths::new(&work, scenery.world.runtime_dir());
    let staged = fs::read_dir(paths.store().join("staging"));
    assert_eq!(staged.into_iter().flatten().count(), 0, "what is staged takes the space");
    drop(mounted);
    ended
}

/// A registry that accepts and never answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, format!("docker://{address}/library/busybox"))
}

fn interrupted(scenery: &Scenery) -> Ended {
    let (registry, image) = silent();
    let pulling = start(scenery.world.longshore("pull").arg(&image));
    let (_connection, _) = registry.accept().expect("it asks");
    pulling.process().signal(Signal::INT);
    pulling.finish()
}

fn interrupted_run(scenery: &Scenery) -> Ended {
    let (registry, image) = silent();
    let running = start(scenery.world.longshore("run").args(["--image", &image, "--", "true"]));
    let (_connection, _) = registry.accept().expect("it asks");
    running.process().signal(Signal::INT);
    running.finish()
}

#[test]
fn an_image_that_is_not_there_or_not_what_it_says_is_refused_and_nothing_of_it_is_kept() {
    table(CASES);
}
