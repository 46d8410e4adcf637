//! What `docker save` writes: an archive with `manifest.json`, the oldest shape with `repositories`
//! only, and the newest, which is an OCI layout as well.
//!
//! An archive has no manifest with digests. One is made from what it has, so that everything behind
//! is the same for all images: layers are plain tars named by their diff ids.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Reference;
use crate::limits;
use crate::model::Digest;
use crate::provisioner::stores::manifest::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST};
use crate::provisioner::stores::oci::{Blobs, LayoutSource, Range, choose};
use crate::provisioner::stores::pull::blocking_source;
use crate::provisioner::stores::verify::Hasher;
use crate::provisioner::stores::{Blob, BlobStream, BoxFuture, RawManifest, Source, SourceError};

/// One image of an archive.
#[derive(Debug)]
struct ArchiveSource {
    name: String,
    manifest: Bytes,
    config: (Digest, Bytes),
    layers: HashMap<Digest, Range>,
}

/// Opens `path` for the image `tag` (`REPO:TAG` or `TAG`), or for its only one. Blocks.
pub(crate) fn open(path: &Path, tag: Option<&str>) -> Result<Arc<dyn Source>, SourceError> {
    let tags: Vec<String> = tag.map(str::to_owned).into_iter().collect();
    open_as(path, &tags)
}

/// Finds the archive of a reference in a directory that stands for a registry, and opens it.
///
/// The file is called as the reference is written, or as it is when normalised. Blocks.
pub(crate) fn on_shelf(
    directory: &Path,
    written: &str,
    reference: &Reference,
) -> Result<Arc<dyn Source>, SourceError> {
    let short = reference.repository.strip_prefix("library/").unwrap_or(&reference.repository);
    let tag = reference.tag.as_deref().unwrap_or("latest");
    let mut names = vec![written.to_owned()];
    for repository in [short, reference.repository.as_str()] {
        names.push(format!("{repository}:{tag}"));
        if tag == "latest" {
            names.push(repository.to_owned());
        }
    }
    // A name is a path below the directory and nothing else.
    names.retain(|name| name.split('/').all(|part| !matches!(part, "" | "." | "..")));
    let found = names.iter().map(|name| directory.join(format!("{name}.tar")));
    let found: Vec<_> = found.filter(|path| path.is_file()).collect();
    let Some(path) = found.first() else {
        let place = directory.display();
        return Err(SourceError::NotFound(format!("archive {written}.tar in {place}")));
    };
    let repositories = [
        short.to_owned(),
        reference.repository.clone(),
        format!("{}/{}", reference.registry(), reference.repository),
    ];
    let tags: Vec<String> = repositories.iter().map(|name| format!("{name}:{tag}")).collect();
    open_as(path, &tags)
}

/// `tags`: names of the wanted image, any of which will do; none: the only image.
fn open_as(path: &Path, tags: &[String]) -> Result<Arc<dyn Source>, SourceError> {
    let blobs = Blobs::archive(path)?;
    let name = path.display().to_string();
    if let Some(tag) = layout_tag(&blobs, tags)? {
        return Ok(Arc::new(LayoutSource::new(blobs, name, tag)));
    }
    let archive = Archive { blobs, name };
    let source = match archive.json("manifest.json")? {
        Some(manifest) => archive.by_manifest(&manifest, tags)?,
        None => match archive.json("repositories")? {
            Some(repositories) => archive.by_repositories(&repositories, tags)?,
            None => return Err(archive.corrupt("it has neither manifest.json nor repositories")),
        },
    };
    Ok(Arc::new(source))
}

/// The tag by which the archive's OCI layout, if it has one, knows the image.
fn layout_tag(blobs: &Blobs, tags: &[String]) -> Result<Option<Option<String>>, SourceError> {
    let (Some(_), Some(index)) = (blobs.find("oci-layout")?, blobs.read("index.json")?) else {
        return Ok(None);
    };
    let Ok(index) = serde_json::from_slice::<Value>(&index) else { return Ok(None) };
    let entries = index.get("manifests").and_then(Value::as_array).cloned().unwrap_or_default();
    let known = |tag: Option<&str>| choose(&entries, tag).is_ok();
    Ok(match tags {
        [] => known(None).then_some(None),
        tags => tags.iter().find(|tag| known(Some(tag))).map(|tag| Some(tag.clone())),
    })
}

struct Archive {
    blobs: Blobs,
    name: String,
}

impl Archive {
    fn corrupt(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Corrupt { object: self.name.clone(), reason: reason.into() }
    }

    fn json(&self, member: &str) -> Result<Option<Value>, SourceError> {
        let Some(bytes) = self.blobs.read(member)? else { return Ok(None) };
        let value = serde_json::from_slice(&bytes);
        value.map(Some).map_err(|error| self.corrupt(format!("{member}: {error}")))
    }

    fn member(&self, name: &str) -> Result<Range, SourceError> {
        self.blobs.find(name)?.ok_or_else(|| self.corrupt(format!("{name} is missing")))
    }

    fn by_manifest(&self, images: &Value, tags: &[String]) -> Result<ArchiveSource, SourceError> {
        let images = images.as_array().ok_or_else(|| self.corrupt("manifest.json is no list"))?;
        let names = |image: &Value| -> Vec<String> {
            let list = image.get("RepoTags").and_then(Value::as_array);
            let text = |name: &Value| name.as_str().map(str::to_owned);
            list.into_iter().flatten().filter_map(text).collect()
        };
        let wanted = |image: &&Value| names(image).iter().any(|name| wears(name, tags));
        let image = match (tags, images.as_slice()) {
            ([], [image]) => image,
            ([], _) => return Err(self.ambiguous(images.iter().flat_map(names).collect())),
            (tags, images) => images.iter().find(wanted).ok_or_else(|| {
                let has = images.iter().flat_map(names).collect::<Vec<_>>().join(", ");
                let (name, wanted) = (&self.name, tags.join(" or "));
                SourceError::NotFound(format!("{name}: image {wanted} (it has {has})"))
            })?,
        };
        let config = image.get("Config").and_then(Value::as_str);
        let config = config.ok_or_else(|| self.corrupt("manifest.json names no configuration"))?;
        let config = self.member(config)?.read()?;
        let layers = image.get("Layers").and_then(Value::as_array);
        let paths = layers.into_iter().flatten().filter_map(Value::as_str);
        let paths: Vec<String> = paths.map(str::to_owned).collect();
        self.image(config, &paths)
    }

    fn ambiguous(&self, names: Vec<String>) -> SourceError {
        SourceError::Invalid(format!(
            "{} has several images, name one (it has {})",
            self.name,
            names.join(", ")
        ))
    }

    /// The shape of Docker before 1.10: layers name their parents, the top one has the configuration,
    /// and nothing has a digest.
    fn by_repositories(&self, all: &Value, tags: &[String]) -> Result<ArchiveSource, SourceError> {
        let mut known = Vec::new();
        for (repository, of) in all.as_object().into_iter().flatten() {
            for (tag, top) in of.as_object().into_iter().flatten() {
                let top = top.as_str().unwrap_or_default().to_owned();
                known.push((format!("{repository}:{tag}"), top));
            }
        }
        let top = match (tags, known.as_slice()) {
            ([], [(_, top)]) => top.clone(),
            ([], _) => {
                return Err(self.ambiguous(known.into_iter().map(|(name, _)| name).collect()));
            }
            (tags, known) => match known.iter().find(|(name, _)| wears(name, tags)) {
                Some((_, top)) => top.clone(),
                None => {
                    let wanted = tags.join(" or ");
                    return Err(SourceError::NotFound(format!("{}: image {wanted}", self.name)));
                }
            },
        };
        let (mut chain, mut next, mut config) = (Vec::new(), Some(top), None);
        while let Some(id) = next {
            if chain.len() == limits::LAYERS_MAX {
                return Err(self.corrupt("its layers have no end"));
            }
            let layer = self.json(&format!("{id}/json"))?;
            let layer = layer.ok_or_else(|| self.corrupt(format!("{id}/json is missing")))?;
            next = layer.get("parent").and_then(Value::as_str).map(str::to_owned);
            config.get_or_insert(layer);
            chain.push(format!("{id}/layer.tar"));
        }
        chain.reverse();
        let diff_ids = chain.iter().map(|path| Ok(self.digest(&self.member(path)?)?.to_string()));
        let diff_ids = diff_ids.collect::<Result<Vec<_>, SourceError>>()?;
        let top = config.unwrap_or_default();
        let part = |key: &str, default: &str| {
            top.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let config = json!({
            "architecture": part("architecture", "amd64"), "os": part("os", "linux"),
            "created": part("created", "1970-01-01T00:00:00Z"),
            "config": top.get("config").cloned().unwrap_or(json!({})),
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        self.image(serde_json::to_vec(&config).expect("JSON values serialise").into(), &chain)
    }

    fn digest(&self, range: &Range) -> Result<Digest, SourceError> {
        let mut hasher = Hasher::like(&Digest::of(b""));
        let (mut offset, mut buffer) = (0, vec![0; 256 << 10]);
        loop {
            match range.read_at(&mut buffer, offset) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    offset += length as u64;
                }
                Err(error) => {
                    return Err(SourceError::File { path: self.name.clone().into(), error });
                }
            }
        }
    }

    /// The image with this configuration and these layers, bottom first.
    fn image(&self, config: Bytes, paths: &[String]) -> Result<ArchiveSource, SourceError> {
        let parsed: Value = serde_json::from_slice(&config)
            .map_err(|error| self.corrupt(format!("configuration: {error}")))?;
        let ids = parsed.pointer("/rootfs/diff_ids").and_then(Value::as_array);
        let ids: Vec<&str> = ids.into_iter().flatten().filter_map(Value::as_str).collect();
        if ids.len() != paths.len() {
            let (ids, paths) = (ids.len(), paths.len());
            return Err(self.corrupt(format!("{ids} diff ids for {paths} layers")));
        }
        let (mut layers, mut descriptors) = (HashMap::new(), Vec::new());
        for (path, id) in paths.iter().zip(ids) {
            let range = self.member(path)?;
            let mut magic = [0; 4];
            let read = range.read_at(&mut magic, 0).unwrap_or(0);
            // Plain, its digest is the diff id; some tools compress, and say the digest nowhere.
            let digest = match &magic[..read] {
                [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] => self.digest(&range)?,
                _ => id.parse().map_err(|error| self.corrupt(format!("{error}")))?,
            };
            descriptors.push(json!({
                "mediaType": DOCKER_LAYER, "digest": digest, "size": range.length,
            }));
            layers.insert(digest, range);
        }
        let digest = Digest::of(&config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": DOCKER_MANIFEST, "layers": descriptors,
            "config": { "mediaType": DOCKER_CONFIG, "digest": digest, "size": config.len() },
        });
        let manifest = serde_json::to_vec(&manifest).expect("JSON values serialise").into();
        Ok(ArchiveSource { name: self.name.clone(), manifest, config: (digest, config), layers })
    }
}

/// Whether the name `REPO:TAG` of an archive is one of `tags`, which may be a tag alone.
fn wears(name: &str, tags: &[String]) -> bool {
    tags.iter().any(|tag| {
        name == tag
            || name.rsplit_once(':').is_some_and(|(_, own)| own == tag)
            || name.strip_suffix(tag.as_str()).is_some_and(|head| head.ends_with('/'))
            || (!tag.contains(':') && name == format!("{tag}:latest"))
    })
}

impl Source for ArchiveSource {
    fn top(&self) -> BoxFuture<'_, Result<RawManifest, SourceError>> {
        let bytes = self.manifest.clone();
        let media_type = DOCKER_MANIFEST.to_owned();
        Box::pin(std::future::ready(Ok(RawManifest { bytes, media_type })))
    }

    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<RawManifest, SourceError>> {
        let missing = format!("{}: manifest {digest}", self.name);
        Box::pin(std::future::ready(Err(SourceError::NotFound(missing))))
    }

    fn blob<'a>(&'a self, blob: &'a Blob) -> BoxFuture<'a, Result<BlobStream, SourceError>> {
        let (digest, bytes) = &self.config;
        if *digest == blob.digest {
            let bytes = bytes.clone();
            let once = futures_util::stream::once(std::future::ready(Ok(bytes)));
            return Box::pin(std::future::ready(Ok(Box::pin(once) as BlobStream)));
        }
        let range = self.layers.get(&blob.digest).cloned();
        let missing = format!("{}: blob {}", self.name, blob.digest);
        Box::pin(blocking_source(move || match range {
            Some(range) => range.stream(),
            None => Err(SourceError::NotFound(missing)),
        }))
    }
}
