//! Fetches the URIs of one command, one after the other.

use std::path::Path;
#[cfg(feature = "registry")]
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::FetchError;
use super::gate::Gate;
use super::uri::{self, Source};
use super::write::{Permissions, Work};
use crate::limits;
use crate::linux::fs::Directory;
use crate::linux::open_as;
use crate::linux::stream::Owner;
use crate::model::Uri;

/// How the fetcher behaves.
#[derive(Debug, Clone)]
pub(crate) struct FetcherConfig {
    /// Certificates, proxies, connecting.
    #[cfg(feature = "registry")]
    pub(crate) http: crate::http::HttpConfig,
    /// A server that sends nothing for this long is stalled.
    #[cfg(feature = "registry")]
    pub(crate) stall: Duration,
    /// Attempts at one URI, the first included, at least 1.
    #[cfg(feature = "registry")]
    pub(crate) attempts: u32,
    /// Pause before the second attempt; doubles with each one.
    #[cfg(feature = "registry")]
    pub(crate) backoff: Duration,
    /// Bytes of one file, and of what its archive unpacks to.
    pub(crate) bytes_max: u64,
    /// Entries of one archive.
    pub(crate) entries_max: u64,
}

impl Default for FetcherConfig {
    fn default() -> Self {
        Self {
            #[cfg(feature = "registry")]
            http: crate::http::HttpConfig::default(),
            #[cfg(feature = "registry")]
            stall: limits::FETCH_STALL,
            #[cfg(feature = "registry")]
            attempts: limits::FETCH_ATTEMPTS,
            #[cfg(feature = "registry")]
            backoff: limits::FETCH_BACKOFF,
            bytes_max: limits::FETCHED_BYTES_MAX,
            entries_max: limits::FETCHED_ENTRIES_MAX,
        }
    }
}

/// Fetches URIs. It belongs to the runtime on which its futures are polled.
#[derive(Debug)]
pub(crate) struct Fetcher {
    pub(super) config: FetcherConfig,
    /// Made by the first URI that needs it.
    #[cfg(feature = "registry")]
    pub(super) client: std::sync::OnceLock<reqwest::Client>,
}

impl Fetcher {
    /// A fetcher with these settings.
    pub(crate) fn new(config: FetcherConfig) -> Self {
        Self {
            config,
            #[cfg(feature = "registry")]
            client: std::sync::OnceLock::new(),
        }
    }

    /// Puts what `uris` name into `sandbox`, in order; files and directories belong to `owner`.
    ///
    /// Local files are read with the rights of `owner`. Dropping the future stops the fetch: when
    /// the drop has returned, nothing more is written into the sandbox. Repeatable: what is there is
    /// replaced. Undo: none, the sandbox goes with the container.
    ///
    /// Errors: `InvalidRequest` (URI, target, unreadable source, bad archive), `Unsupported`,
    /// `NotFound`, `Remote`, `Exhausted` (size, disk), `Host`. All URIs are looked at before the
    /// first is fetched.
    pub(crate) async fn fetch(
        &self,
        uris: &[Uri],
        sandbox: &Path,
        owner: Owner,
    ) -> Result<(), FetchError> {
        let items = uris.iter().map(uri::understand).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = items.first() else { return Ok(()) };
        let (path, uri) = (sandbox.to_owned(), first.shown.clone());
        let directory = blocking(&first.shown, move || {
            Directory::open(&path).map_err(|error| FetchError::Sandbox { uri, error })
        });
        let (gate, _keeper) = Gate::new(directory.await?);
        for item in items {
            let (bytes_max, entries_max) = (self.config.bytes_max, self.config.entries_max);
            let work = Work { item, owner, gate: gate.clone(), bytes_max, entries_max };
            match work.item.source.clone() {
                Source::Local(path) => {
                    let shown = work.item.shown.clone();
                    blocking(&shown, move || local(&work, &path)).await?;
                }
                Source::Http(url) => self.remote(&work, &url).await?,
            }
        }
        Ok(())
    }

    #[cfg(not(feature = "registry"))]
    async fn remote(&self, work: &Work, _: &str) -> Result<(), FetchError> {
        let reason = "this build has no HTTP client (feature `registry`)";
        Err(FetchError::Unsupported { uri: work.item.shown.clone(), reason })
    }
}

fn local(work: &Work, path: &Path) -> Result<(), FetchError> {
    let unreadable = |error| FetchError::Source { uri: work.item.shown.clone(), error };
    let mut file = open_as::read_as(path, work.owner).map_err(unreadable)?;
    let permissions = Permissions::of_source(&file);
    work.deliver(&mut file, permissions)
}

/// Runs what may block where it may.
pub(super) async fn blocking<T: Send + 'static>(
    shown: &str,
    task: impl FnOnce() -> Result<T, FetchError> + Send + 'static,
) -> Result<T, FetchError> {
    let done = spawn_blocking(task).await;
    done.unwrap_or_else(|_| Err(FetchError::Lost { uri: shown.to_owned() }))
}
