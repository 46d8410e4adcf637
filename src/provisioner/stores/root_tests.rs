//! Pulls against a scripted registry: what is refused, who waits for whom, what stays in the store.
//! Root: layers have owners.

mod published;
mod pulls;
mod refusals;

use std::path::Path;
use std::sync::Arc;

use published::Published;

use super::{ImageStore, StoreConfig, StoreError, StoredImage};
use crate::http::scripted::Server;
use crate::http::{HttpConfig, Proxy};
use crate::model::{ImageReference, PullPolicy};
use crate::provisioner::layer::root_tests::harness::Tar;

/// The store in `directory`, whose default registry is the server.
fn store(directory: &Path, server: &Server) -> ImageStore {
    let mut config = StoreConfig::new(directory);
    config.docker_registry = format!("http://{}", server.authority());
    config.client.http = HttpConfig { proxy: Proxy::None, ..HttpConfig::default() };
    config.client.attempts = 1;
    ImageStore::open(config).expect("the store opens")
}

fn app() -> ImageReference {
    "app".parse().expect("a reference")
}

async fn get(store: &ImageStore, policy: PullPolicy) -> Result<StoredImage, StoreError> {
    store.get(&app(), policy, None).await
}

/// A layer with one file of this content.
fn layer(content: &str) -> Vec<u8> {
    let mut tar = Tar::default();
    tar.dir("d", 0o755).file("d/f", content);
    tar.finished()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The names in one part of a store.
fn names(store: &Path, part: &str) -> Vec<String> {
    let entries = std::fs::read_dir(store.join(part)).expect("the store is there");
    entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect()
}

/// Waits until a thread has done what it is about to do.
async fn until(what: &str, done: impl Fn() -> bool) {
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while !done() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| unreachable!("{what} does not happen"));
}

/// Nothing of a failed or withdrawn pull is left.
async fn assert_clean(store: &Path) {
    until("the removal of staging", || names(store, "staging").is_empty()).await;
    for part in ["layers/sha256", "leases", "trash", "pulls"] {
        assert_eq!(names(store, part), Vec::<String>::new(), "{part}");
    }
}

/// Serves an image as `app`.
async fn serve(image: Published) -> Server {
    let image = Arc::new(image);
    Server::start(move |request, before| image.answer(request.path(), before)).await
}
