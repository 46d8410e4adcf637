//! Forms of layers, joined and withdrawn pulls, leases and pruning.

use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::http::scripted::End;
use crate::provisioner::stores::prune::Pruned;

fn read(image: &StoredImage, layer: usize) -> String {
    std::fs::read_to_string(image.layers[layer].path.join("d/f")).expect("the file is there")
}

#[tokio::test]
async fn layers_come_in_every_compression_whatever_the_manifest_calls_them() {
    let contents = ["plain", "gzip", "members", "zstd", "frames"];
    let plain: Vec<Vec<u8>> = contents.iter().map(|content| layer(content)).collect();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).expect("memory");
    let halves = |bytes: &[u8], form: &dyn Fn(&[u8]) -> Vec<u8>| {
        let (first, second) = bytes.split_at(700);
        [form(first), form(second)].concat()
    };
    let blobs = [
        plain[0].clone(),
        gzip(&plain[1]),
        halves(&plain[2], &gzip),
        zstd(&plain[3]),
        halves(&plain[4], &zstd),
    ];
    let layers: Vec<_> = plain.iter().cloned().zip(blobs).collect();
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = serve(Published::of(&layers)).await;
    let store = store(directory.path(), &server);
    let image = get(&store, PullPolicy::Missing).await.expect("pulled");
    assert_eq!(image.reference, format!("{}/library/app:latest", server.authority()));
    assert_eq!(image.config.cmd, ["true"]);
    for (index, content) in contents.iter().enumerate() {
        assert_eq!(read(&image, index), *content);
    }
    assert_eq!(names(directory.path(), "staging"), Vec::<String>::new());
}

/// An image whose second layer never comes to its end.
fn stalled() -> Published {
    let (low, high) = (layer("low"), layer(&"high".repeat(10_000)));
    let mut image = Published::of(&[(low.clone(), low), (high.clone(), high)]);
    image.ends.insert(image.layer(1), End::Stall(5000));
    image
}

#[tokio::test]
async fn callers_share_one_pull_and_it_stops_with_the_last_of_them() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = stalled();
    let path = Published::path(&image.layer(1));
    let server = serve(image).await;
    let store = store(directory.path(), &server);
    let mut first = Box::pin(get(&store, PullPolicy::Missing));
    let mut second = Box::pin(get(&store, PullPolicy::Always));
    let mut third = Box::pin(get(&store, PullPolicy::Missing));
    let asked = async {
        while server.count(&path) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut first => unreachable!("the layer stalls"),
        _ = &mut second => unreachable!("the layer stalls"),
        _ = &mut third => unreachable!("the layer stalls"),
        () = asked => {}
    }
    // Who polls a shared future last must not be the one who keeps it going.
    drop(first);
    drop(third);
    let going = tokio::time::timeout(Duration::from_millis(50), &mut second).await;
    assert!(going.is_err(), "one caller is left, and the pull goes on");
    assert_eq!(server.count(&path), 1);
    assert!(!names(directory.path(), "staging").is_empty());
    drop(second);
    server.client_gone().await;
    assert_clean(directory.path()).await;
}

#[tokio::test]
async fn a_withdrawn_pull_leaves_the_next_one_alone() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = stalled();
    let server = {
        let (image, digest) = (image.clone(), image.layer(1));
        let path = Published::path(&digest);
        Server::start(move |request, before| {
            let answer = image.answer(request.path(), before);
            // Only the first one stalls.
            match request.path() == path && before > 0 {
                true => answer.end(End::Complete),
                false => answer,
            }
        })
        .await
    };
    let store = store(directory.path(), &server);
    let pull = get(&store, PullPolicy::Missing);
    let stalls = tokio::time::timeout(Duration::from_millis(200), pull).await;
    assert!(stalls.is_err());
    let image = get(&store, PullPolicy::Missing).await.expect("pulled");
    assert_eq!(read(&image, 0), "low");
}

#[tokio::test]
async fn the_policy_says_when_the_registry_is_asked() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let plain = layer("x");
    let image = Published::of(&[(plain.clone(), plain)]);
    let blob = Published::path(&image.layer(0));
    let server = serve(image).await;
    let store = store(directory.path(), &server);
    let manifest = "/v2/library/app/manifests/latest";
    let absent = get(&store, PullPolicy::Never).await;
    assert!(matches!(absent, Err(StoreError::Absent(_))), "{absent:?}");
    assert_eq!(server.count(manifest), 0);
    get(&store, PullPolicy::Missing).await.expect("pulled");
    get(&store, PullPolicy::Missing).await.expect("known");
    get(&store, PullPolicy::Never).await.expect("known");
    assert_eq!(server.count(manifest), 1);
    get(&store, PullPolicy::Always).await.expect("looked at again");
    assert_eq!((server.count(manifest), server.count(&blob)), (2, 1), "no layer comes twice");
}

#[tokio::test]
async fn a_layer_that_is_there_is_not_fetched_again_and_a_lost_one_is() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (low, high) = (layer("low"), layer("high"));
    let image = Published::of(&[(low.clone(), low), (high.clone(), high)]);
    let blobs = [Published::path(&image.layer(0)), Published::path(&image.layer(1))];
    let server = serve(image).await;
    let store = store(directory.path(), &server);
    let image = get(&store, PullPolicy::Missing).await.expect("pulled");
    let lost = image.layers[1].path.parent().expect("a layer's directory").to_owned();
    drop(image);
    std::fs::remove_dir_all(lost).expect("removed");
    let image = get(&store, PullPolicy::Missing).await.expect("pulled again");
    assert_eq!(read(&image, 1), "high");
    assert_eq!(blobs.map(|blob| server.count(&blob)), [1, 2]);
}

#[tokio::test]
async fn progress_reaches_everybody_who_waits() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let plain = layer(&"x".repeat(300_000));
    let size = plain.len() as u64;
    let server = serve(Published::of(&[(plain.clone(), plain)])).await;
    let store = store(directory.path(), &server);
    let told = [Arc::new(std::sync::Mutex::new(0)), Arc::new(std::sync::Mutex::new(0))];
    let listener = |told: &Arc<std::sync::Mutex<u64>>| -> crate::provisioner::stores::ProgressFn {
        let told = Arc::clone(told);
        Arc::new(move |progress| {
            assert_eq!(progress.total, size);
            *told.lock().expect("not poisoned") = progress.bytes;
        })
    };
    let (app, policy) = (app(), PullPolicy::Missing);
    let first = store.get(&app, policy, Some(listener(&told[0])));
    let second = store.get(&app, policy, Some(listener(&told[1])));
    let (first, second) = tokio::join!(first, second);
    first.expect("pulled");
    second.expect("pulled");
    assert_eq!(told.map(|told| *told.lock().expect("not poisoned")), [size, size]);
}

#[tokio::test]
async fn a_prune_takes_what_nobody_uses_also_from_another_process() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let plain = layer("x");
    let server = serve(Published::of(&[(plain.clone(), plain)])).await;
    // Locks belong to open files: a second store in this process is as good as another process.
    let (ours, theirs) = (store(directory.path(), &server), store(directory.path(), &server));
    let image = get(&ours, PullPolicy::Missing).await.expect("pulled");
    assert_eq!(theirs.prune(&[]).await.expect("pruned"), Pruned::default(), "it is in use");
    assert_eq!(read(&image, 0), "x");
    let owner = directory.path().join("container");
    std::fs::create_dir(&owner).expect("made");
    image.hold_for(&owner).expect("held");
    let tree = image.layers[0].path.clone();
    drop(image);
    assert_eq!(theirs.prune(&[]).await.expect("pruned"), Pruned::default(), "a container has it");
    ours.release(&owner).expect("released");
    assert_eq!(theirs.prune(&[app()]).await.expect("pruned"), Pruned::default(), "it is kept");
    let pruned = theirs.prune(&[]).await.expect("pruned");
    assert_eq!((pruned.images, pruned.layers, pruned.bytes), (1, 1, 1));
    // The lock of a pull whose process was killed.
    std::fs::write(directory.path().join("pulls/dead"), "").expect("written");
    theirs.prune(&[]).await.expect("pruned");
    assert_eq!(names(directory.path(), "pulls"), Vec::<String>::new());
    assert!(!tree.try_exists().expect("looked"));
    assert_eq!(ours.list().await.expect("listed").len(), 0);
    assert_eq!(names(directory.path(), "blobs/sha256"), Vec::<String>::new());
}

#[tokio::test]
async fn a_lease_of_a_container_whose_directory_is_gone_is_void() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let plain = layer("x");
    let server = serve(Published::of(&[(plain.clone(), plain)])).await;
    let store = store(directory.path(), &server);
    let image = get(&store, PullPolicy::Missing).await.expect("pulled");
    image.hold_for(&directory.path().join("never made")).expect("held");
    drop(image);
    assert_eq!(store.prune(&[]).await.expect("pruned").images, 1);
    assert_eq!(names(directory.path(), "leases"), Vec::<String>::new());
}

#[tokio::test]
async fn a_prune_beside_a_pull_waits_for_nothing_and_takes_nothing_of_it() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let (low, high) = (layer("low"), layer(&"high".repeat(10_000)));
    let small = Published::of(&[(low.clone(), low.clone())]);
    let mut large = Published::of(&[(low.clone(), low), (high.clone(), high)]);
    large.ends.insert(large.layer(1), End::Stall(5000));
    large.blobs.extend(small.blobs.clone());
    let path = Published::path(&large.layer(1));
    let server = Server::start(move |request, before| {
        let image = if request.path().ends_with("/small") { &small } else { &large };
        let image = if request.path().contains("/blobs/") { &large } else { image };
        let answer = image.answer(request.path(), before);
        if before > 0 { answer.end(End::Complete) } else { answer }
    })
    .await;
    let store = store(directory.path(), &server);
    let reference: ImageReference = "app:small".parse().expect("a reference");
    drop(store.get(&reference, PullPolicy::Missing, None).await.expect("pulled"));
    let mut pull = Box::pin(get(&store, PullPolicy::Missing));
    let asked = async {
        while server.count(&path) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = &mut pull => unreachable!("the layer stalls"), () = asked => {} }
    // The small image goes, but its layer is also one of the pull.
    let pruned = store.prune(&[]).await.expect("pruned");
    assert_eq!((pruned.images, pruned.layers), (1, 0));
    drop(pull);
    let image = get(&store, PullPolicy::Missing).await.expect("pulled");
    assert_eq!(read(&image, 0), "low");
}

#[tokio::test]
async fn what_a_dead_pull_left_goes_with_the_next_open_and_a_living_one_stays() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let image = stalled();
    let path = Published::path(&image.layer(1));
    let server = serve(image).await;
    let first = store(directory.path(), &server);
    let mut pull = Box::pin(get(&first, PullPolicy::Missing));
    let asked = async {
        while server.count(&path) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = &mut pull => unreachable!("the layer stalls"), () = asked => {} }
    let staging = directory.path().join("staging");
    std::fs::create_dir_all(staging.join("dead/layer-0/fs/d")).expect("made");
    std::fs::write(staging.join("dead.lock"), "").expect("made");
    std::fs::create_dir_all(directory.path().join("trash/half/way")).expect("made");
    let _second = store(directory.path(), &server);
    let left = names(directory.path(), "staging");
    assert_eq!(left.len(), 2, "the living pull's directory and lock: {left:?}");
    assert!(!left.iter().any(|name| name.starts_with("dead")));
    assert_eq!(names(directory.path(), "trash"), Vec::<String>::new());
    assert!(pull.as_mut().now_or_never().is_none(), "it goes on");
}

#[tokio::test]
async fn a_damaged_store_is_told_by_the_name_of_the_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let plain = layer("x");
    let server = serve(Published::of(&[(plain.clone(), plain)])).await;
    let store = store(directory.path(), &server);
    let image = get(&store, PullPolicy::Missing).await.expect("pulled");
    drop(image);
    for name in names(directory.path(), "blobs/sha256") {
        std::fs::write(directory.path().join("blobs/sha256").join(name), "{}").expect("written");
    }
    let error = get(&store, PullPolicy::Missing).await.expect_err("damaged").to_string();
    assert!(error.contains("blobs/sha256/"), "{error}");
    std::fs::write(directory.path().join("images.json"), "{\"ver").expect("written");
    let error = get(&store, PullPolicy::Missing).await.expect_err("damaged").to_string();
    assert!(error.contains("images.json"), "{error}");
    let opened = ImageStore::open(StoreConfig::new(directory.path()));
    assert!(matches!(opened, Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn a_layout_that_changes_is_seen_at_once_and_one_that_does_not_is_not_read() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let layout = directory.path().join("layout");
    let store = ImageStore::open(StoreConfig::new(directory.path().join("store")));
    let store = store.expect("the store opens");
    let reference: ImageReference = format!("oci:{}", layout.display()).parse().expect("valid");
    let pull = || store.get(&reference, PullPolicy::Missing, None);
    let image = |content: &str| Published::of(&[(layer(content), layer(content))]);
    image("first").lay_out(&layout);
    assert_eq!(read(&pull().await.expect("pulled"), 0), "first");
    image("second").lay_out(&layout);
    assert_eq!(read(&pull().await.expect("pulled"), 0), "second");
    std::fs::remove_dir_all(layout.join("blobs")).expect("removed");
    assert_eq!(read(&pull().await.expect("known"), 0), "second");
    std::fs::remove_dir_all(&layout).expect("removed");
    assert!(matches!(pull().await, Err(StoreError::Joined(_))), "the layout itself is gone");
    let known = store.get(&reference, PullPolicy::Never, None).await.expect("in the store");
    assert_eq!(read(&known, 0), "second");
}
