//! What the examples share: an image that is made in this process, and a place that goes when they end.

use std::path::Path;
use std::process::ExitCode;

use longshore::config::{Config, Launcher};
use longshore::model::Digest;
use longshore::{Builder, Containerizer};
use serde_json::{Value, json};

/// What ends an example: nobody here acts on it.
pub(crate) type Failure = Box<dyn std::error::Error>;

/// Directories of their own, and an image in them; all goes when it is dropped.
pub(crate) struct Home {
    directory: tempfile::TempDir,
    /// Reference of the image.
    pub(crate) image: String,
}

impl Home {
    /// Makes the directories and the image.
    pub(crate) fn new() -> Result<Self, Failure> {
        let directory = tempfile::tempdir()?;
        let layout = directory.path().join("image");
        make_image(&layout)?;
        Ok(Self { image: format!("oci:{}:latest", layout.display()), directory })
    }

    /// A containerizer here, with a cgroup of its own.
    pub(crate) fn builder(&self) -> Builder {
        let mut config = Config::default();
        config.launcher = Some(Launcher::Linux); // Images need it: no root is told at the start.
        config.cgroups_root = format!("longshore-example-{}", std::process::id());
        let path = self.directory.path();
        Containerizer::builder(path.join("w"), path.join("r")).config(config)
    }
}

/// 125 and one line where something failed, as the program `longshore` does it.
pub(crate) fn exit(name: &str, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(125)
        }
    }
}

/// An OCI image layout with one image of one layer of one file: a static program.
pub(crate) fn make_image(layout: &Path) -> Result<(), Failure> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(longshore::launcher::payload().len() as u64);
    tar.append_data(&mut header, "hello", longshore::launcher::payload())?;
    let layer = tar.into_inner()?;
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": arch, "os": "linux", "config": { "Entrypoint": ["/hello"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&layer).to_string()] },
    });
    let media = |kind: &str| format!("application/vnd.oci.image.{kind}");
    let layer = write_blob(layout, &media("layer.v1.tar"), &layer)?;
    let config = write_blob(layout, &media("config.v1+json"), config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media("manifest.v1+json"),
        "config": config, "layers": [layer],
    });
    let mut manifest =
        write_blob(layout, &media("manifest.v1+json"), manifest.to_string().as_bytes())?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": "latest" });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    std::fs::write(layout.join("index.json"), index.to_string())?;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(())
}

/// Stores a blob under its digest; its descriptor.
fn write_blob(layout: &Path, media_type: &str, bytes: &[u8]) -> Result<Value, Failure> {
    let digest = Digest::of(bytes).to_string();
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    std::fs::create_dir_all(path.parent().expect("it has just been joined"))?;
    std::fs::write(path, bytes)?;
    Ok(json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() }))
}
