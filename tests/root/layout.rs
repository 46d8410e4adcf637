//! An OCI layout made of a directory, so that an image can have any configuration.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Makes the layout `to` with one image, `latest`: the tree `root`, configured as `config`.
pub(crate) fn write(root: &Path, config: &Value, to: &Path) {
    fs::create_dir_all(to.join("blobs/sha256")).expect("the world can be written");
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(false);
    layer.append_dir_all(".", root).expect("the root can be read");
    let layer = blob(to, &layer.into_inner().expect("a vector takes everything"));
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer.0]},
    });
    let config = blob(to, config.to_string().as_bytes());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = blob(to, manifest.to_string().as_bytes());
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    fs::write(to.join("index.json"), index.to_string()).expect("the world can be written");
    let version = json!({"imageLayoutVersion": "1.0.0"});
    fs::write(to.join("oci-layout"), version.to_string()).expect("the world can be written");
}

fn descriptor(kind: &str, (digest, size): &(String, usize)) -> Value {
    json!({"mediaType": kind, "digest": digest, "size": size})
}

/// Writes a blob; its digest and size.
fn blob(layout: &Path, bytes: &[u8]) -> (String, usize) {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(layout.join("blobs/sha256").join(&hex), bytes).expect("the world can be written");
    (format!("sha256:{hex}"), bytes.len())
}
