//! An OCI image layout with one image of one layer, made of a directory.

use std::fs;
use std::path::Path;

use longshore::model::Digest;
use serde_json::{Value, json};

use crate::Failure;

/// Writes `root` as the image `latest` of `layout`.
pub(crate) fn make(layout: &Path, root: &Path) -> Result<(), Failure> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.follow_symlinks(false);
    tar.append_dir_all(".", root)?;
    let layer = tar.into_inner()?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
    });
    let media = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let layer = write_blob(layout, &media("layer.v1.tar"), &layer)?;
    let config = write_blob(layout, &media("config.v1+json"), config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media("manifest.v1+json"),
        "config": config, "layers": [layer],
    });
    let kind = media("manifest.v1+json");
    let mut manifest = write_blob(layout, &kind, manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    fs::write(layout.join("index.json"), index.to_string())?;
    Ok(fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?)
}

/// Stores a blob under its digest; its descriptor.
fn write_blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value, Failure> {
    let digest = Digest::of(bytes).to_string();
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    fs::create_dir_all(path.parent().ok_or("a blob has a directory")?)?;
    fs::write(path, bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}
