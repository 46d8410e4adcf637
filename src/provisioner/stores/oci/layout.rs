//! The index of a layout, and its blobs as a [`Source`].

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::blobs::Blobs;
use crate::model::Digest;
use crate::provisioner::stores::manifest::OCI_INDEX;
use crate::provisioner::stores::pull::blocking_source;
use crate::provisioner::stores::verify;
use crate::provisioner::stores::{Blob, BlobStream, BoxFuture, RawManifest, Source, SourceError};

/// `org.opencontainers.image.ref.name`: the tag, or the whole name.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// What containerd and `docker save` call the image.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// One image of a layout.
#[derive(Debug)]
pub(crate) struct LayoutSource {
    blobs: Arc<Blobs>,
    /// For messages.
    name: String,
    tag: Option<String>,
}

impl LayoutSource {
    pub(crate) fn new(blobs: Blobs, name: String, tag: Option<String>) -> Self {
        Self { blobs: Arc::new(blobs), name, tag }
    }
}

impl Source for LayoutSource {
    fn top(&self) -> BoxFuture<'_, Result<RawManifest, SourceError>> {
        let (blobs, name, tag) = (Arc::clone(&self.blobs), self.name.clone(), self.tag.clone());
        Box::pin(blocking_source(move || top(&blobs, &name, tag.as_deref())))
    }

    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<RawManifest, SourceError>> {
        let (blobs, digest) = (Arc::clone(&self.blobs), digest.clone());
        Box::pin(blocking_source(move || {
            let bytes = read(&blobs, &digest)?;
            Ok(RawManifest { bytes, media_type: String::new() })
        }))
    }

    fn blob<'a>(&'a self, blob: &'a Blob) -> BoxFuture<'a, Result<BlobStream, SourceError>> {
        let (blobs, digest) = (Arc::clone(&self.blobs), blob.digest.clone());
        Box::pin(blocking_source(move || {
            let found = blobs.find(&path(&digest))?;
            found.ok_or_else(|| SourceError::NotFound(format!("blob {digest}")))?.stream()
        }))
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn read(blobs: &Blobs, digest: &Digest) -> Result<Bytes, SourceError> {
    let bytes = blobs.read(&path(digest))?;
    let bytes = bytes.ok_or_else(|| SourceError::NotFound(format!("blob {digest}")))?;
    match verify::matches(digest, &bytes) {
        true => Ok(bytes),
        false => Err(SourceError::Corrupt {
            object: digest.to_string(),
            reason: format!("it has the digest {}", Digest::of(&bytes)),
        }),
    }
}

fn top(blobs: &Blobs, name: &str, tag: Option<&str>) -> Result<RawManifest, SourceError> {
    let Some(index) = blobs.read("index.json")? else {
        return Err(SourceError::Invalid(format!("{name} is no OCI layout: it has no index.json")));
    };
    let index: Value = serde_json::from_slice(&index).map_err(|error| SourceError::Corrupt {
        object: format!("{name}/index.json"),
        reason: error.to_string(),
    })?;
    let entries = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let chosen = choose(&entries, tag).map_err(|reason| match reason {
        Choice::None(names) => SourceError::NotFound(format!(
            "{name}: image {}{}",
            tag.unwrap_or("without a tag"),
            offer(&names)
        )),
        Choice::Many(names) => {
            SourceError::Invalid(format!("{name} has several images, name one{}", offer(&names)))
        }
    })?;
    if let [entry] = chosen.as_slice() {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        let digest: Digest = text("digest").parse().map_err(|error| SourceError::Corrupt {
            object: format!("{name}/index.json"),
            reason: format!("{error}"),
        })?;
        return Ok(RawManifest {
            bytes: read(blobs, &digest)?,
            media_type: text("mediaType").to_owned(),
        });
    }
    // One image whose variants are listed side by side: they make an index of their own.
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": chosen });
    let bytes = serde_json::to_vec(&index).expect("JSON values serialise");
    Ok(RawManifest { bytes: bytes.into(), media_type: OCI_INDEX.to_owned() })
}

fn offer(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!(" (it has {})", names.join(", ")),
    }
}

/// Why no entry of an index is the one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// None has this name; these there are.
    None(Vec<String>),
    /// Several, and nothing says which.
    Many(Vec<String>),
}

/// The entries that `tag` names: one, or the variants of one image. Without a tag, the only image,
/// else the one tagged `latest`.
pub(crate) fn choose(entries: &[Value], tag: Option<&str>) -> Result<Vec<Value>, Choice> {
    let annotation =
        |entry: &Value, key: &str| Some(entry.get("annotations")?.get(key)?.as_str()?.to_owned());
    let names = || {
        let mut names: Vec<String> =
            entries.iter().filter_map(|entry| annotation(entry, REF_NAME)).collect();
        names.dedup();
        names
    };
    let wears = |entry: &&Value, tag: &str| {
        let reference = annotation(entry, REF_NAME);
        let image = annotation(entry, IMAGE_NAME);
        reference.as_deref() == Some(tag)
            || image.is_some_and(|image| {
                // `docker.io/library/redis:7` is also `library/redis:7`, `redis:7` and `7`.
                image == tag
                    || image.strip_suffix(tag).is_some_and(|head| head.ends_with(['/', ':']))
            })
    };
    let chosen: Vec<Value> = match tag {
        Some(tag) => entries.iter().filter(|entry| wears(entry, tag)).cloned().collect(),
        None => entries.to_vec(),
    };
    let variants = |chosen: &[Value]| {
        let name = chosen.first().and_then(|entry| annotation(entry, REF_NAME));
        chosen
            .iter()
            .all(|entry| entry.get("platform").is_some() && annotation(entry, REF_NAME) == name)
    };
    match chosen.len() {
        0 => Err(Choice::None(names())),
        1 => Ok(chosen),
        _ if variants(&chosen) => Ok(chosen),
        // Written twice, the same is still one.
        _ if chosen.iter().all(|entry| entry.get("digest") == chosen[0].get("digest")) => {
            Ok(vec![chosen[0].clone()])
        }
        _ if tag.is_none() => choose(entries, Some("latest")).map_err(|_| Choice::Many(names())),
        _ => Err(Choice::Many(names())),
    }
}
