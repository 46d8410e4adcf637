//! What is not what it claims to be never gets into the store.

use super::*;
use crate::error::{Classified, ErrorKind};
use crate::limits;

/// Pulls an image that must be refused, and answers with the error.
async fn refused(image: Published) -> StoreError {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = serve(image).await;
    let store = store(directory.path(), &server);
    let error = get(&store, PullPolicy::Missing).await.expect_err("refused");
    assert_eq!(store.list().await.expect("listed").len(), 0);
    assert_clean(directory.path()).await;
    error
}

fn two() -> Published {
    let (low, high) = (layer("low"), layer("high"));
    Published::of(&[(low.clone(), gzip(&low)), (high.clone(), gzip(&high))])
}

#[tokio::test]
async fn a_layer_with_another_digest_is_refused() {
    let mut image = two();
    let digest = image.layer(1);
    image.blobs.insert(digest.clone(), gzip(&layer("evil")));
    let error = refused(image).await;
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.to_string().contains(&digest), "{error}");
}

#[tokio::test]
async fn a_layer_that_unpacks_to_another_diff_id_is_refused() {
    let mut image = two();
    let ids = image.config["rootfs"]["diff_ids"].as_array_mut().expect("a list");
    ids.swap(0, 1);
    image.seal();
    let error = refused(image).await.to_string();
    assert!(error.contains("diff id"), "{error}");
}

#[tokio::test]
async fn a_layer_of_another_size_is_refused() {
    for difference in [-1, 1] {
        let mut image = two();
        let size = image.manifest["layers"][0]["size"].as_i64().expect("a size") + difference;
        image.manifest["layers"][0]["size"] = size.into();
        assert_eq!(refused(image).await.kind(), ErrorKind::Remote);
    }
}

#[tokio::test]
async fn a_cut_gzip_stream_is_refused_even_if_its_digest_matches() {
    let plain = layer(&"x".repeat(100_000));
    let mut cut = gzip(&plain);
    cut.truncate(cut.len() - 9);
    let error = refused(Published::of(&[(plain, cut)])).await.to_string();
    assert!(error.contains("decompress"), "{error}");
}

#[tokio::test]
async fn a_configuration_with_another_digest_is_refused() {
    let mut image = two();
    let digest = image.config_digest();
    let other = image.config.to_string().replace("true", "evil").into_bytes();
    image.blobs.insert(digest.clone(), other);
    let error = refused(image).await;
    assert!(error.to_string().contains(&digest), "{error}");
}

#[tokio::test]
async fn a_configuration_for_other_layers_is_refused() {
    let mut image = two();
    image.config["rootfs"]["diff_ids"].as_array_mut().expect("a list").pop();
    image.seal();
    let error = refused(image).await.to_string();
    assert!(error.contains("1 diff ids for 2 layers"), "{error}");
}

#[tokio::test]
async fn a_bomb_is_stopped_long_before_it_is_unpacked() {
    let mut tar = Tar::default();
    let size = limits::LAYER_RATIO_FREE_BYTES * 4;
    tar.entry("bomb", b'0').claim(size).end();
    let mut plain = tar.finished();
    plain.truncate(512);
    plain.resize(usize::try_from(size).expect("fits") + 2048, 0);
    let blob = zstd::encode_all(&plain[..], 3).expect("memory");
    let error = refused(Published::of(&[(plain, blob)])).await;
    assert!(
        matches!(&error, StoreError::Joined(inner) if matches!(**inner, StoreError::Limit { .. }))
    );
    assert_eq!(error.kind(), ErrorKind::Exhausted);
}

#[tokio::test]
async fn a_compression_that_no_image_has_is_refused_by_its_name() {
    let plain = layer("x");
    let mut blob = vec![0xfd, b'7', b'z', b'X', b'Z', 0];
    blob.extend(&plain);
    let error = refused(Published::of(&[(plain, blob)])).await.to_string();
    assert!(error.contains("application/x-xz"), "{error}");
}

#[tokio::test]
async fn a_layer_that_leaves_its_directory_is_refused_with_the_entry() {
    let mut tar = Tar::default();
    tar.file("../../evil", "x");
    let plain = tar.finished();
    let error = refused(Published::of(&[(plain.clone(), plain)])).await;
    assert!(error.to_string().contains("../../evil"), "{error}");
}

#[tokio::test]
async fn an_image_without_layers_is_refused() {
    let error = refused(Published::of(&[])).await.to_string();
    assert!(error.contains("no layers"), "{error}");
}

#[tokio::test]
async fn a_reference_by_digest_accepts_nothing_else() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = serve(two()).await;
    let store = store(directory.path(), &server);
    let wanted = crate::model::Digest::of(b"another manifest");
    let reference: ImageReference = format!("app@{wanted}").parse().expect("a reference");
    let error = store.get(&reference, PullPolicy::Missing, None).await.expect_err("refused");
    assert!(error.to_string().contains(wanted.as_str()), "{error}");
    assert_clean(directory.path()).await;
}
