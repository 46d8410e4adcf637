//! Realistic images, made once per machine and kept in
//! `${XDG_CACHE_HOME:-~/.cache}/longshore-test-images`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

/// The scripts; what they made is made anew when they change.
const SCRIPTS: &[(&str, &[u8])] = &[
    ("make-images.sh", include_bytes!("images/make-images.sh")),
    ("sets.py", include_bytes!("images/sets.py")),
    ("imgtool.py", include_bytes!("images/imgtool.py")),
];

/// The images on this machine.
#[derive(Debug)]
pub(crate) struct Images {
    directory: PathBuf,
}

impl Images {
    /// Makes `sets` (`busybox`, `debian`, `redis`, `multi`, …) unless they are there. Takes minutes
    /// the first time; other tests that need images wait for it.
    pub(crate) fn with(sets: &[&str]) -> Self {
        let directory = cache();
        fs::create_dir_all(&directory).expect("the cache directory can be made");
        let lock = File::create(directory.join("lock")).expect("the cache can be written");
        flock(&lock, FlockOperation::LockExclusive).expect("flock works on the cache");
        let images = Self { directory };
        sets.iter().for_each(|set| images.make(set));
        images
    }

    fn make(&self, set: &str) {
        let done = self.directory.join(format!("{set}.done"));
        let version = version();
        if fs::read_to_string(&done).is_ok_and(|text| text == version) {
            return;
        }
        if matches!(set, "multi" | "layers60" | "node" | "large") {
            // They are stacked on its layer.
            self.make("busybox");
        }
        let script = scripts().join("make-images.sh");
        let made = Command::new(script).arg(&self.directory).arg(set).output();
        let made = made.expect("make-images.sh can be run");
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "make-images.sh {set} failed: {errors}");
        fs::write(done, version).expect("the cache can be written");
    }

    /// A reference to busybox in an OCI layout, for tests that need any image at all.
    pub(crate) fn busybox() -> String {
        let layout = Self::with(&["busybox"]).image("library_busybox_latest").join("oci");
        format!("oci:{}:latest", layout.display())
    }

    /// One OCI layout with every image; tags are `repository:tag`.
    pub(crate) fn layout(&self) -> PathBuf {
        self.directory.join("layout")
    }

    /// The folder of one image's stand-alone forms, e.g. `library_busybox_latest`.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.directory.join("images").join(name)
    }

    /// The listing that a correct unpack gives.
    pub(crate) fn expected(&self, name: &str) -> String {
        let path = self.directory.join("expected").join(format!("{name}.txt"));
        fs::read_to_string(path).expect("each image has its listing")
    }

    /// The listing of a tree, to be compared with [`Images::expected`].
    pub(crate) fn scan(tree: &Path) -> String {
        let mut scan = Command::new("python3");
        let scanned = scan.arg(scripts().join("imgtool.py")).arg("scan").arg(tree).output();
        let scanned = scanned.expect("python3 can be run");
        assert!(scanned.status.success(), "{}", String::from_utf8_lossy(&scanned.stderr));
        String::from_utf8(scanned.stdout).expect("names are escaped")
    }
}

/// Where the scripts lie.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/images")
}

fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.expect("HOME or XDG_CACHE_HOME is set").join("longshore-test-images")
}

fn version() -> String {
    let mut hash = Sha256::new();
    for (name, bytes) in SCRIPTS {
        hash.update(name);
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
