//! The whole of Longshore in one go, with no network and no registry: makes a small image, runs it as
//! a supervised container, shows its life, and leaves nothing behind. As root:
//!
//! `cargo run --release --example quickstart`

use std::path::Path;
use std::process::ExitCode;

use longshore::config::{Config, Launcher};
use longshore::events::{EventKind, Notice, Since, Subscription};
use longshore::model::{Bytes, Digest, Output};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match quickstart().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::from(125)
        }
    }
}

async fn quickstart() -> Result<(), Failure> {
    let directory = tempfile::tempdir()?;
    let mut config = Config::default();
    config.launcher = Some(Launcher::Linux); // Images need it: no root is told at the start.
    config.cgroups_root = format!("longshore-quickstart-{}", std::process::id());
    let builder = Containerizer::builder(directory.path().join("w"), directory.path().join("r"));
    let node = builder.config(config).start().await?;

    let image = directory.path().join("image");
    make_image(&image)?;
    let spec = ContainerSpec::image("hello", &format!("oci:{}:latest", image.display()))?
        .memory(Bytes::mib(64))
        .label("made-by", "quickstart")
        .stdout(Output::Inherit);
    let mut events = node.subscribe(Since::Now);
    let job = node.launch(spec)?;
    print_until_the_end(&mut events).await;

    let end = job.destroy().await?;
    println!("ended: {:?}, peak memory {:?}", end.termination, end.usage.memory_peak);
    node.remove(job.id()).await?;
    node.shutdown(Containers::Destroy).await?;
    Ok(())
}

async fn print_until_the_end(events: &mut Subscription) {
    while let Some(notice) = events.next().await {
        println!("{}", notice.to_json());
        if matches!(notice, Notice::Event(event) if event.kind == EventKind::Terminated) {
            return;
        }
    }
}

/// An OCI image layout with one image of one layer of one file: a static program.
fn make_image(layout: &Path) -> Result<(), Failure> {
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
