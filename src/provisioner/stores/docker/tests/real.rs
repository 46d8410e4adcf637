//! The client against Debian's `docker-registry`, with ordinary images.

use oci_spec::image::ImageManifest;

use super::*;

#[path = "../../../../../tests/support/images.rs"]
#[expect(dead_code, reason = "the tests of the command line need more of it")]
mod images;
#[path = "../../../../../tests/support/registry.rs"]
#[expect(dead_code, reason = "the tests of the command line need more of it")]
mod registry;

use images::Images;
use registry::{Access, PASSWORD, USER};

/// The source of an image in a running registry.
fn source_of(server: &registry::Registry, name: &str, credentials: &str) -> RegistrySource {
    let default = format!("http://{}", server.address()).parse().expect("an address");
    let reference = Reference::parse(name, &default).expect("valid");
    let credentials = DockerConfig::parse(credentials).expect("valid");
    Registry::new(&config(), credentials).expect("a client").source(reference)
}

/// Every blob of an image, read to its end and checked.
async fn pull(source: &RegistrySource) -> Result<usize, SourceError> {
    let raw = source.top().await?;
    let manifest: ImageManifest = serde_json::from_slice(&raw.bytes).expect("a manifest");
    let by_digest = source.manifest(&Digest::of(&raw.bytes)).await?;
    assert_eq!(by_digest.bytes, raw.bytes);
    for descriptor in manifest.layers().iter().chain([manifest.config()]) {
        let digest: Digest = descriptor.digest().to_string().parse().expect("a digest");
        let blob = Blob { digest: digest.clone(), size: descriptor.size() };
        assert_eq!(Digest::of(&read_blob(source, &blob).await?), digest);
    }
    Ok(manifest.layers().len())
}

#[tokio::test]
async fn an_ordinary_image_comes_whole() {
    let images = Images::with(&["busybox"]);
    let server = registry::Registry::start();
    server.push(&images, &["library/busybox:*"]);
    for name in ["busybox:latest", "library/busybox:latest-schema2"] {
        let layers = pull(&source_of(&server, name, "{}")).await.expect("pulled");
        assert!(layers > 0, "{name}");
    }
    let missing = source_of(&server, "busybox:no-such-tag", "{}").top().await;
    assert!(matches!(missing.expect_err("no such tag"), SourceError::NotFound(_)));
}

#[tokio::test]
async fn a_registry_with_passwords_wants_the_right_one() {
    let images = Images::with(&["busybox"]);
    let server = registry::Registry::start_with(Access::Basic);
    server.push(&images, &["library/busybox:latest"]);
    let with = |password: &str| {
        format!(
            r#"{{"auths": {{"{}": {{"username": "{USER}", "password": "{password}"}}}}}}"#,
            server.address()
        )
    };
    let right = source_of(&server, "busybox", &with(PASSWORD));
    assert!(pull(&right).await.expect("pulled") > 0);
    for credentials in [with("wrong"), "{}".to_owned()] {
        let error = source_of(&server, "busybox", &credentials).top().await.expect_err("denied");
        assert!(matches!(error, SourceError::Denied { .. }), "{error}");
    }
}
