//! From a source into the cache: manifest, configuration, layers side by side, then in place.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;

use super::cache::{Cache, Staging};
use super::lease::Lease;
use super::manifest::{self, Parsed, Platform};
use super::pipeline::{self, Job};
use super::table::{LayerRow, Row};
use super::verify;
use super::{Blob, RawManifest, Source, SourceError, StoreError};
use crate::limits;
use crate::model::Digest;
use crate::provisioner::layer::{self, Unpacked};

/// Indexes within indexes that are followed.
const INDEX_DEPTH: usize = 4;

/// How far the transfer of one layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Of the blob.
    pub layer: Digest,
    /// Received.
    pub bytes: u64,
    /// Of the whole blob.
    pub total: u64,
}

/// Told of progress, often; must not block.
pub type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

/// One image to bring into the cache.
pub(super) struct Request {
    pub(super) cache: Arc<Cache>,
    pub(super) source: Arc<dyn Source>,
    /// Normalised.
    pub(super) reference: String,
    /// What the reference itself demands.
    pub(super) digest: Option<Digest>,
    pub(super) platform: Platform,
    pub(super) progress: ProgressFn,
}

/// An image that the cache has, and what keeps it there.
#[derive(Debug, Clone)]
pub(super) struct Pulled {
    pub(super) row: Row,
    pub(super) lease: Arc<Lease>,
}

/// What a source says that an image is.
#[derive(Debug)]
struct Plan {
    top: Digest,
    manifest: Digest,
    config: Digest,
    created: Option<String>,
    /// Bottom first.
    layers: Vec<Planned>,
    /// Documents to keep.
    documents: Vec<(Digest, Bytes)>,
}

#[derive(Debug, Clone)]
struct Planned {
    blob: Blob,
    diff_id: Digest,
    chain: Digest,
}

/// Brings one image into the cache and enters it in the table. Dropping the future stops the pull
/// soon and removes what it has made.
pub(super) async fn pull(request: Request) -> Result<Pulled, StoreError> {
    let plan = resolve(&request).await?;
    let cache = Arc::clone(&request.cache);
    let reference = request.reference.clone();
    let prepared = match blocking(move || prepare(&cache, reference, plan)).await? {
        Begun::Known(pulled) => return Ok(pulled),
        Begun::Prepared(prepared) => prepared,
    };
    let staging = Arc::clone(&prepared.staging);
    let unpacked = match fetch_all(&request, &prepared).await {
        Ok(unpacked) => unpacked,
        Err(error) => {
            blocking(move || {
                staging.remove();
                Ok(())
            })
            .await?;
            return Err(error);
        }
    };
    let (cache, reference) = (request.cache, request.reference);
    blocking(move || {
        let finished = finish(&cache, reference, prepared, unpacked);
        staging.remove();
        finished
    })
    .await
}

/// Runs what may block on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // Only a runtime that shuts down loses such work.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Withdrawn))
}

/// The same for sources.
pub(super) async fn blocking_source<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let lost = || SourceError::Invalid("the program is ending".to_owned());
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(lost()))
}

/// Asks what the image is: documents only, no layer.
async fn resolve(request: &Request) -> Result<Plan, StoreError> {
    let name = &request.reference;
    let failed = |error| StoreError::Source { reference: name.clone(), error };
    let mut raw = request.source.top().await.map_err(failed)?;
    let top = match &request.digest {
        None => Digest::of(&raw.bytes),
        Some(digest) if verify::matches(digest, &raw.bytes) => digest.clone(),
        Some(digest) => {
            let reason = format!("the manifest has the digest {}", Digest::of(&raw.bytes));
            return Err(StoreError::corrupt(digest, reason));
        }
    };
    let (mut documents, mut digest) = (Vec::new(), top.clone());
    for _ in 0..INDEX_DEPTH {
        let object = format!("manifest {digest} of {name}");
        documents.push((digest.clone(), raw.bytes.clone()));
        match manifest::parse(&raw, &object)? {
            Parsed::Index(entries) => {
                let chosen = manifest::select(&entries, &request.platform, &object)?;
                raw = named_manifest(request, &chosen).await?;
                digest = chosen.digest;
            }
            Parsed::Manifest(parsed) => {
                let (config, layers) = manifest::contents(&parsed, &object)?;
                return plan(request, Plan::new(top, digest, documents), config, layers).await;
            }
        }
    }
    Err(StoreError::corrupt(name, format!("more than {INDEX_DEPTH} indexes within each other")))
}

impl Plan {
    fn new(top: Digest, manifest: Digest, documents: Vec<(Digest, Bytes)>) -> Self {
        let config = manifest.clone();
        Self { top, manifest, config, created: None, layers: Vec::new(), documents }
    }
}

/// A manifest that an index names: from the cache if it is there, and verified either way.
async fn named_manifest(request: &Request, blob: &Blob) -> Result<RawManifest, StoreError> {
    let (cache, digest) = (Arc::clone(&request.cache), blob.digest.clone());
    if let Some(bytes) = blocking(move || cache.read_blob(&digest)).await? {
        return Ok(RawManifest { bytes: bytes.into(), media_type: String::new() });
    }
    let raw = request.source.manifest(&blob.digest).await;
    let raw =
        raw.map_err(|error| StoreError::Source { reference: request.reference.clone(), error })?;
    check_document(blob, &raw.bytes)?;
    Ok(raw)
}

fn check_document(blob: &Blob, bytes: &[u8]) -> Result<(), StoreError> {
    if bytes.len() as u64 != blob.size {
        let reason = format!("it has {} bytes instead of {}", bytes.len(), blob.size);
        return Err(StoreError::corrupt(&blob.digest, reason));
    }
    match verify::matches(&blob.digest, bytes) {
        true => Ok(()),
        false => {
            let reason = format!("it has the digest {}", Digest::of(bytes));
            Err(StoreError::corrupt(&blob.digest, reason))
        }
    }
}

/// Adds what the configuration says.
async fn plan(
    request: &Request,
    mut plan: Plan,
    config: Blob,
    layers: Vec<Blob>,
) -> Result<Plan, StoreError> {
    let bytes = config_bytes(request, &config).await?;
    let object = format!("configuration {} of {}", config.digest, request.reference);
    let parsed = manifest::configuration(&bytes, &request.platform, &object)?;
    if parsed.diff_ids.len() != layers.len() {
        let (ids, layers) = (parsed.diff_ids.len(), layers.len());
        return Err(StoreError::corrupt(object, format!("{ids} diff ids for {layers} layers")));
    }
    let chains = verify::chain(&parsed.diff_ids);
    let parts = layers.into_iter().zip(parsed.diff_ids).zip(chains);
    plan.layers = parts.map(|((blob, diff_id), chain)| Planned { blob, diff_id, chain }).collect();
    plan.created = parsed.created;
    plan.documents.push((config.digest.clone(), bytes));
    plan.config = config.digest;
    Ok(plan)
}

async fn config_bytes(request: &Request, config: &Blob) -> Result<Bytes, StoreError> {
    let (cache, digest) = (Arc::clone(&request.cache), config.digest.clone());
    if let Some(bytes) = blocking(move || cache.read_blob(&digest)).await? {
        return Ok(bytes.into());
    }
    if config.size > limits::IMAGE_CONFIG_BYTES_MAX {
        return Err(StoreError::Limit {
            object: config.digest.to_string(),
            what: "bytes of an image configuration",
            limit: limits::IMAGE_CONFIG_BYTES_MAX,
        });
    }
    let failed = |error| StoreError::Source { reference: request.reference.clone(), error };
    let mut stream = request.source.blob(config).await.map_err(failed)?;
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(failed)?);
        if bytes.len() as u64 > config.size {
            break;
        }
    }
    check_document(config, &bytes)?;
    Ok(bytes.freeze())
}

/// A pull whose parts are known and pinned.
struct Prepared {
    plan: Plan,
    lease: Arc<Lease>,
    staging: Arc<Staging>,
    /// Layers that the cache lacks, with their places in the image.
    missing: Vec<(usize, Planned)>,
}

/// What there is to do after the documents are known.
enum Begun {
    /// Nothing: all of it is in the cache.
    Known(Pulled),
    Prepared(Prepared),
}

/// Pins everything the image needs, and only then looks what is there already.
fn prepare(cache: &Arc<Cache>, reference: String, plan: Plan) -> Result<Begun, StoreError> {
    let documents = plan.documents.iter().map(|(digest, _)| digest);
    let pins = documents.chain(plan.layers.iter().map(|layer| &layer.chain));
    let lease = cache.lease(pins.cloned().collect())?;
    let mut missing = Vec::new();
    for (index, layer) in plan.layers.iter().enumerate() {
        if cache.layer_bytes(&layer.chain)?.is_none() {
            missing.push((index, layer.clone()));
        }
    }
    let mut documents = plan.documents.iter().map(|(digest, _)| digest);
    let documented = documents
        .try_fold(true, |all, digest| Ok(all && cache.has(digest, std::iter::empty())?))?;
    if missing.is_empty() && documented {
        let row = row(cache, reference, &plan)?;
        cache.enter(row.clone())?;
        return Ok(Begun::Known(Pulled { row, lease }));
    }
    let staging = Arc::new(cache.stage()?);
    Ok(Begun::Prepared(Prepared { plan, lease, staging, missing }))
}

/// Unpacks the missing layers. When it answers, no thread of it runs any more.
async fn fetch_all(
    request: &Request,
    prepared: &Prepared,
) -> Result<Vec<(usize, Unpacked)>, StoreError> {
    // Each thread holds a sender: when the last is gone, so are the threads.
    let (running, mut ended) = mpsc::channel::<()>(1);
    let fetches = prepared.missing.iter().map(|(index, planned)| {
        let hold = (running.clone(), Arc::clone(&prepared.staging));
        let into = prepared.staging.path().join(format!("layer-{index}"));
        async move { Ok((*index, fetch(request, planned, into, hold).await?)) }
    });
    let fetches: Vec<_> = fetches.collect();
    let unpacked =
        stream::iter(fetches).buffer_unordered(limits::BLOBS_IN_FLIGHT).try_collect().await;
    drop(running);
    let _ = ended.recv().await;
    unpacked
}

async fn fetch<H: Send + 'static>(
    request: &Request,
    planned: &Planned,
    into: PathBuf,
    hold: H,
) -> Result<Unpacked, StoreError> {
    let (blob, diff_id) = (planned.blob.clone(), planned.diff_id.clone());
    let stream = request.source.blob(&blob).await;
    let stream = stream
        .map_err(|error| StoreError::Source { reference: request.reference.clone(), error })?;
    let received = |bytes| {
        let layer = planned.blob.digest.clone();
        (request.progress)(&Progress { layer, bytes, total: planned.blob.size });
    };
    pipeline::run(stream, Job { blob, diff_id, into }, hold, received).await
}

/// Finishes the layers bottom first, moves everything in place, and enters the image.
fn finish(
    cache: &Cache,
    reference: String,
    prepared: Prepared,
    mut unpacked: Vec<(usize, Unpacked)>,
) -> Result<Pulled, StoreError> {
    let Prepared { plan, lease, staging, .. } = prepared;
    unpacked.sort_by_key(|(index, _)| *index);
    // Where each layer's tree is now: staged or in the cache.
    let mut trees: Vec<PathBuf> = plan.layers.iter().map(|l| cache.tree(&l.chain)).collect();
    let mut staged = Vec::new();
    for (index, layer) in unpacked {
        let directory = staging.path().join(format!("layer-{index}"));
        trees[index] = directory.join(layer::TREE);
        let bytes = layer.bytes;
        let below: Vec<PathBuf> = trees[..index].iter().rev().cloned().collect();
        layer.finish(&below).map_err(pipeline::named(&plan.layers[index].blob.digest))?;
        let path = directory.join("bytes");
        std::fs::write(&path, bytes.to_string()).map_err(StoreError::file(&path))?;
        staged.push((directory, plan.layers[index].chain.clone()));
    }
    let mut documents = Vec::new();
    for (index, (digest, bytes)) in plan.documents.iter().enumerate() {
        if cache.read_blob(digest)?.is_none() {
            let path = staging.path().join(format!("document-{index}"));
            std::fs::write(&path, bytes).map_err(StoreError::file(&path))?;
            documents.push((path, digest.clone()));
        }
    }
    if !(staged.is_empty() && documents.is_empty()) {
        cache.commit(&staged, &documents)?;
    }
    let row = row(cache, reference, &plan)?;
    cache.enter(row.clone())?;
    Ok(Pulled { row, lease })
}

fn row(cache: &Cache, reference: String, plan: &Plan) -> Result<Row, StoreError> {
    let mut layers = Vec::with_capacity(plan.layers.len());
    for Planned { chain, .. } in &plan.layers {
        let bytes = cache.layer_bytes(chain)?.ok_or_else(|| StoreError::Damaged {
            path: cache.layer(chain),
            reason: "is gone although this pull has pinned it".to_owned(),
        })?;
        layers.push(LayerRow { chain: chain.clone(), bytes });
    }
    Ok(Row {
        reference,
        manifest: plan.manifest.clone(),
        top: plan.top.clone(),
        config: plan.config.clone(),
        layers,
        created: plan.created.clone(),
    })
}
