//! The front door: one store, whatever the image's type.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};

use super::cache::Cache;
use super::lease::Lease;
use super::manifest::{self, Platform};
use super::origin::{FileState, Named, Origin, Registries};
use super::prune::{ImageRow, Pruned};
use super::pull::{self, Progress, ProgressFn, Pulled, blocking};
use super::table::Row;
use super::{BoxFuture, StoreError};
use crate::model::{Digest, ImageConfig, ImageReference, PullPolicy};

/// Pause between two looks whether another process has ended its pull of the same image.
const ANOTHER_PROCESS: Duration = Duration::from_millis(20);

/// Files on this host whose state is remembered.
const SEEN_MAX: usize = 1024;

/// Where the store is and where images come from.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The store's directory; made if missing.
    pub directory: PathBuf,
    /// `--docker-registry`: a URL, or the absolute path of a directory of `docker save` archives.
    /// Empty: Docker Hub.
    pub docker_registry: String,
    /// What images must be for.
    pub platform: Platform,
    /// Credentials of registries.
    #[cfg(feature = "registry")]
    pub credentials: super::docker::DockerConfig,
    /// How registries are spoken to.
    #[cfg(feature = "registry")]
    pub client: super::docker::RegistryConfig,
}

impl StoreConfig {
    /// A store in this directory, for this host, with Docker Hub as the default registry.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            docker_registry: String::new(),
            platform: Platform::host(),
            #[cfg(feature = "registry")]
            credentials: Default::default(),
            #[cfg(feature = "registry")]
            client: Default::default(),
        }
    }
}

/// One layer, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDir {
    /// Its tree, whiteouts in overlay's form.
    pub path: PathBuf,
    /// Its name in the store; `None` for a directory of the caller's.
    pub chain: Option<Digest>,
}

/// An image that is here, and stays as long as this value, or a copy of it, does.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// Normalised.
    pub reference: String,
    /// Of the manifest for this platform; `None` for a plain directory.
    pub digest: Option<Digest>,
    /// What the image wants to run.
    pub config: ImageConfig,
    /// Bottom first; never empty.
    pub layers: Vec<LayerDir>,
    held: Option<Held>,
}

#[derive(Debug, Clone)]
struct Held {
    cache: Arc<Cache>,
    pins: Vec<Digest>,
    /// Keeps a prune away, also one of another process.
    _lease: Arc<Lease>,
}

impl StoredImage {
    /// Whether [`Self::hold_for`] has anything to hold: not so of a directory of the caller's.
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Lets the container whose directory is `owner` use this image for as long as that exists,
    /// whichever process lives.
    pub(crate) fn hold_for(&self, owner: &Path) -> Result<(), StoreError> {
        match &self.held {
            Some(held) => held.cache.lease_for(owner, held.pins.clone()),
            None => Ok(()),
        }
    }
}

/// The image store. Cheap to clone; all clones share pulls.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

struct Inner {
    cache: Arc<Cache>,
    platform: Platform,
    registries: Registries,
    flights: Mutex<HashMap<String, Flight>>,
    /// What files on this host were like when their images were last looked at.
    seen: Mutex<HashMap<String, FileState>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ImageStore").field("directory", &self.cache.root()).finish_non_exhaustive()
    }
}

type Answer = Result<Pulled, Arc<StoreError>>;

/// A pull that somebody waits for.
struct Flight {
    pull: WeakShared<BoxFuture<'static, Answer>>,
    listeners: Arc<Listeners>,
}

/// Who is told of a pull's progress.
#[derive(Default)]
struct Listeners(Mutex<Vec<ProgressFn>>);

impl Listeners {
    fn tell(&self, progress: &Progress) {
        for listener in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            listener(progress);
        }
    }

    fn add(self: &Arc<Self>, listener: ProgressFn) -> Listening {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&listener));
        Listening(Arc::clone(self), listener)
    }
}

/// Ends to listen when dropped.
struct Listening(Arc<Listeners>, ProgressFn);

impl Drop for Listening {
    fn drop(&mut self) {
        let mut listeners = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = listeners.iter().position(|other| Arc::ptr_eq(other, &self.1)) {
            listeners.remove(at);
        }
    }
}

impl ImageStore {
    /// Opens the store, makes it if it is not there, and removes what pulls that died have left.
    ///
    /// Blocks. Errors: a directory that cannot be used, a table that does not parse, a registry
    /// that is no URL and no path.
    pub fn open(config: StoreConfig) -> Result<Self, StoreError> {
        let registries = Registries::new(&config)?;
        let cache = Cache::open(&config.directory)?;
        let (platform, flights, seen) = (config.platform, Mutex::default(), Mutex::default());
        Ok(Self { inner: Arc::new(Inner { cache, platform, registries, flights, seen }) })
    }

    /// Ends when nothing is left of pulls that nobody waits for any more. Their threads notice that
    /// within a block of the layer that they unpack.
    pub async fn settled(&self) {
        self.inner.cache.settled().await;
    }

    /// The normalised text of a reference: its key in the store, in events and in messages.
    pub fn normalise(&self, reference: &ImageReference) -> Result<String, StoreError> {
        Ok(self.inner.registries.name(reference)?.key)
    }

    /// The image, pulled if the policy says so. Dropping the future withdraws the caller: a pull
    /// goes on while anybody waits for it, and stops with the last.
    ///
    /// Layouts, archives and directories on this host are looked at again whenever their files have
    /// changed, unless the policy is `Never`: nothing but new layers is read. Must run within a tokio runtime with time.
    pub async fn get(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
        progress: Option<ProgressFn>,
    ) -> Result<StoredImage, StoreError> {
        let named = self.inner.registries.name(reference)?;
        if let Origin::Rootfs(path) = &named.origin {
            let (path, reference) = (path.clone(), named.key);
            return blocking(move || plain_directory(path, reference)).await;
        }
        let state = named.origin.state();
        let known = match (policy, named.origin.is_here()) {
            (PullPolicy::Missing, true) if !self.inner.is_unchanged(&named.key, state) => None,
            (PullPolicy::Always, _) => None,
            (PullPolicy::Missing | PullPolicy::Never, _) => self.inner.known(&named.key).await?,
        };
        let pulled = match (known, policy) {
            (Some(pulled), _) => pulled,
            (None, PullPolicy::Never) => return Err(StoreError::Absent(named.key)),
            (None, PullPolicy::Always | PullPolicy::Missing) => {
                let key = named.key.clone();
                let pulled = self.join(named, policy, progress).await?;
                self.inner.note(key, state);
                pulled
            }
        };
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.stored(pulled)).await
    }

    /// The image, if it is here and nobody has to be asked for it; `None`: [`Self::get`] must look.
    /// For threads that may block: it costs them less than to hand the question on.
    pub(crate) fn get_here(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
    ) -> Result<Option<StoredImage>, StoreError> {
        let named = self.inner.registries.name(reference)?;
        if let Origin::Rootfs(path) = &named.origin {
            return plain_directory(path.clone(), named.key).map(Some);
        }
        let changed = || !self.inner.is_unchanged(&named.key, named.origin.state());
        if policy == PullPolicy::Always
            || (policy == PullPolicy::Missing && named.origin.is_here() && changed())
        {
            return Ok(None);
        }
        let known = self.inner.known_here(&named.key)?;
        known.map(|pulled| self.inner.stored(pulled)).transpose()
    }

    /// Waits for the pull of this image, and starts it if nobody has.
    async fn join(
        &self,
        named: Named,
        policy: PullPolicy,
        progress: Option<ProgressFn>,
    ) -> Result<Pulled, StoreError> {
        let (pull, listeners) = self.flight(named, policy);
        let _listening = progress.map(|progress| listeners.add(progress));
        pull.await.map_err(StoreError::Joined)
    }

    fn flight(
        &self,
        named: Named,
        policy: PullPolicy,
    ) -> (Shared<BoxFuture<'static, Answer>>, Arc<Listeners>) {
        let mut flights = self.inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.pull.upgrade().is_some());
        if let Some(flight) = flights.get(&named.key) {
            // One that has its answer is no pull any more: `Always` means to look again.
            if let Some(pull) = flight.pull.upgrade().filter(|pull| pull.peek().is_none()) {
                return (pull, Arc::clone(&flight.listeners));
            }
        }
        let listeners = Arc::new(Listeners::default());
        let (inner, told) = (Arc::clone(&self.inner), Arc::clone(&listeners));
        let key = named.key.clone();
        let pull: BoxFuture<'static, Answer> =
            Box::pin(async move { inner.pull(named, policy, told).await.map_err(Arc::new) });
        let pull = pull.shared();
        if let Some(weak) = pull.downgrade() {
            flights.insert(key, Flight { pull: weak, listeners: Arc::clone(&listeners) });
        }
        (pull, listeners)
    }

    /// All images of the store, by name.
    pub async fn list(&self) -> Result<Vec<ImageRow>, StoreError> {
        let cache = Arc::clone(&self.inner.cache);
        blocking(move || cache.list()).await
    }

    /// Removes the images that are neither in `keep` nor used by a container or a pull, of this
    /// process or another. Waits for no pull.
    pub async fn prune(&self, keep: &[ImageReference]) -> Result<Pruned, StoreError> {
        let keep = keep.iter().map(|reference| self.normalise(reference));
        let keep = keep.collect::<Result<Vec<_>, _>>()?;
        let cache = Arc::clone(&self.inner.cache);
        blocking(move || cache.prune(&keep)).await
    }

    /// Ends what [`StoredImage::hold_for`] said of this directory. Blocks.
    pub(crate) fn release(&self, owner: &Path) -> Result<(), StoreError> {
        self.inner.cache.release(owner)
    }

    /// Where the store is.
    pub fn directory(&self) -> &Path {
        self.inner.cache.root()
    }
}

impl Inner {
    /// Whether the file behind an image is as it was when it was last looked at.
    fn is_unchanged(&self, key: &str, state: Option<FileState>) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_some() && seen.get(key).copied() == state
    }

    /// Notes what the file was like before it was looked at.
    fn note(&self, key: String, state: Option<FileState>) {
        if let Some(state) = state {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() >= SEEN_MAX {
                // Forgotten means looked at again.
                seen.clear();
            }
            seen.insert(key, state);
        }
    }

    /// The image as the table has it, pinned; `None`: not there, or not whole.
    async fn known(&self, key: &str) -> Result<Option<Pulled>, StoreError> {
        let (cache, key) = (Arc::clone(&self.cache), key.to_owned());
        blocking(move || known(&cache, &key)).await
    }

    /// The same on this thread, which may block.
    fn known_here(&self, key: &str) -> Result<Option<Pulled>, StoreError> {
        known(&self.cache, key)
    }

    async fn pull(
        &self,
        named: Named,
        policy: PullPolicy,
        listeners: Arc<Listeners>,
    ) -> Result<Pulled, StoreError> {
        let _lock = loop {
            if let Some(lock) = self.cache.pull_lock(&named.key)? {
                break lock;
            }
            tokio::time::sleep(ANOTHER_PROCESS).await;
        };
        if policy == PullPolicy::Missing && !named.origin.is_here() {
            // Another process may just have done it.
            if let Some(pulled) = self.known(&named.key).await? {
                return Ok(pulled);
            }
        }
        let source = self.registries.source(&named).await?;
        let progress: ProgressFn = Arc::new(move |progress| listeners.tell(progress));
        pull::pull(pull::Request {
            cache: Arc::clone(&self.cache),
            source,
            reference: named.key,
            digest: named.digest,
            platform: self.platform.clone(),
            progress,
        })
        .await
    }

    fn stored(&self, pulled: Pulled) -> Result<StoredImage, StoreError> {
        let Pulled { row, lease } = pulled;
        let object = format!("configuration {} of {}", row.config, row.reference);
        let bytes = self.cache.read_blob(&row.config)?.ok_or_else(|| StoreError::Damaged {
            path: self.cache.blob(&row.config),
            reason: "is gone although it is pinned".to_owned(),
        })?;
        let parsed = manifest::configuration(&bytes, &self.platform, &object)?;
        let layer =
            |chain: &Digest| LayerDir { path: self.cache.tree(chain), chain: Some(chain.clone()) };
        let held = Held { cache: Arc::clone(&self.cache), pins: pins(&row), _lease: lease };
        Ok(StoredImage {
            layers: row.layers.iter().map(|row| layer(&row.chain)).collect(),
            reference: row.reference,
            digest: Some(row.manifest),
            config: parsed.config,
            held: Some(held),
        })
    }
}

fn known(cache: &Arc<Cache>, key: &str) -> Result<Option<Pulled>, StoreError> {
    let table = cache.table()?;
    let Some(row) = table.find(key).cloned() else { return Ok(None) };
    // Pinned first: what is there then, stays.
    let lease = cache.lease(pins(&row))?;
    let whole = cache.has(&row.config, row.layers.iter().map(|layer| &layer.chain))?;
    Ok(whole.then_some(Pulled { row, lease }))
}

/// Everything of the store that an image needs.
pub(super) fn pins(row: &Row) -> Vec<Digest> {
    let documents = [&row.manifest, &row.top, &row.config];
    documents.into_iter().chain(row.layers.iter().map(|layer| &layer.chain)).cloned().collect()
}

/// `rootfs:DIR`: the directory itself is the only layer.
fn plain_directory(path: PathBuf, reference: String) -> Result<StoredImage, StoreError> {
    let metadata = std::fs::metadata(&path).map_err(StoreError::file(&path))?;
    if !metadata.is_dir() {
        let reason = "is no directory".to_owned();
        return Err(StoreError::Reference { reference, reason });
    }
    Ok(StoredImage {
        reference,
        digest: None,
        config: ImageConfig::default(),
        layers: vec![LayerDir { path, chain: None }],
        held: None,
    })
}
