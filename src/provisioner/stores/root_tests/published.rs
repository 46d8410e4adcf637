//! An image as a registry has it, with lies on demand.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::http::scripted::{Answer, End};
use crate::model::Digest;
use crate::provisioner::stores::manifest::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST};

/// Manifest, configuration and layers; all may be changed before they are served.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) manifest: Value,
    pub(super) config: Value,
    /// By digest as the manifest names it.
    pub(super) blobs: HashMap<String, Vec<u8>>,
    /// How bodies of blobs end.
    pub(super) ends: HashMap<String, End>,
}

impl Published {
    /// An image of these layers: plain tar and form of transfer, bottom first.
    pub(super) fn of(layers: &[(Vec<u8>, Vec<u8>)]) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|(plain, _)| Digest::of(plain)).collect();
        let config = json!({
            "architecture": super::super::Platform::host().architecture, "os": "linux",
            "config": { "Cmd": ["true"] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let mut blobs = HashMap::new();
        let mut descriptors = Vec::new();
        for (_, blob) in layers {
            let digest = Digest::of(blob);
            descriptors
                .push(json!({ "mediaType": DOCKER_LAYER, "digest": digest, "size": blob.len() }));
            blobs.insert(digest.to_string(), blob.clone());
        }
        let manifest = json!({
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": descriptors,
        });
        let mut image = Self { manifest, config, blobs, ends: HashMap::new() };
        image.seal();
        image
    }

    /// Names the configuration as it is now.
    pub(super) fn seal(&mut self) {
        let bytes = self.config.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        self.manifest["config"] =
            json!({ "mediaType": DOCKER_CONFIG, "digest": digest, "size": bytes.len() });
        self.blobs.insert(digest.to_string(), bytes);
    }

    /// Digest of a layer, as the manifest has it.
    pub(super) fn layer(&self, index: usize) -> String {
        self.manifest["layers"][index]["digest"].as_str().expect("a digest").to_owned()
    }

    pub(super) fn config_digest(&self) -> String {
        self.manifest["config"]["digest"].as_str().expect("a digest").to_owned()
    }

    /// Where a blob is served.
    pub(super) fn path(digest: &str) -> String {
        format!("/v2/library/app/blobs/{digest}")
    }

    /// Writes the image as the only one of an OCI layout.
    pub(super) fn lay_out(&self, directory: &Path) {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).expect("made");
        let manifest = self.manifest.to_string().into_bytes();
        let digest = Digest::of(&manifest);
        let index = json!({ "schemaVersion": 2, "manifests": [
            { "mediaType": DOCKER_MANIFEST, "digest": digest, "size": manifest.len() },
        ] });
        std::fs::write(blobs.join(digest.hex()), manifest).expect("written");
        for (digest, bytes) in &self.blobs {
            let hex = digest.strip_prefix("sha256:").expect("sha256");
            std::fs::write(blobs.join(hex), bytes).expect("written");
        }
        std::fs::write(directory.join("index.json"), index.to_string()).expect("written");
    }

    pub(super) fn answer(&self, path: &str, _before: usize) -> Answer {
        if path.contains("/manifests/") {
            let answer = Answer::ok(self.manifest.to_string());
            return answer.header("content-type", DOCKER_MANIFEST);
        }
        let digest = path.rsplit('/').next().unwrap_or_default();
        match self.blobs.get(digest) {
            None => Answer::new(404, ""),
            Some(bytes) => {
                let end = self.ends.get(digest).copied().unwrap_or(End::Complete);
                Answer::ok(bytes.clone()).end(end)
            }
        }
    }
}
