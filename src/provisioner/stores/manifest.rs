//! What manifests, indexes and configurations say. Pure: bytes in, plan out.
//!
//! Source: OCI image-spec; Docker "Image Manifest Version 2, Schema 2".

use std::fmt;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde_json::Value;

use super::{Blob, RawManifest, StoreError};
use crate::limits;
use crate::model::{Digest, ImageConfig};

pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An uncompressed layer, as `docker save` has it.
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";

const LAYER_TYPES: [&str; 9] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    DOCKER_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];

/// The operating system and processor that an image must be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// As Go names it: `amd64`, `arm64`, `arm`.
    pub architecture: String,
    /// `v7`; only 32 bit ARM has several that matter.
    pub variant: Option<String>,
}

impl Platform {
    /// This host's.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" if cfg!(target_endian = "little") => ("ppc64le", None),
            "powerpc64" => ("ppc64", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        let variant = variant.map(str::to_owned);
        Self { architecture: architecture.to_owned(), variant }
    }

    /// How well a variant suits: the higher the better, `None` not at all.
    fn suits(&self, architecture: &str, variant: Option<&str>) -> Option<u32> {
        if architecture != self.architecture {
            return None;
        }
        let level = |variant: &str| variant.trim_start_matches('v').parse::<u32>().ok();
        match (architecture, &self.variant, variant) {
            // Newer ARM processors run what older ones do, and the best that they run is wanted.
            ("arm", Some(own), Some(other)) => {
                let (own, other) = (level(own)?, level(other)?);
                (other <= own).then_some(other + 1)
            }
            // 64 bit ARM: v8 is what everybody means. amd64: v2 and up need not run here.
            ("arm64", _, Some("v8")) | ("amd64", _, Some("v1")) => Some(2),
            (_, _, None) => Some(1),
            (_, own, other) => (own.as_deref() == other).then_some(3),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// What a name stands for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// Variants of an image.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Box<ImageManifest>),
}

/// Reads an index or a manifest; `object` names it in errors.
pub(crate) fn parse(raw: &RawManifest, object: &str) -> Result<Parsed, StoreError> {
    let corrupt = |reason: String| StoreError::corrupt(object, reason);
    if raw.bytes.len() as u64 > limits::MANIFEST_BYTES_MAX {
        return Err(StoreError::Limit {
            object: object.to_owned(),
            what: "bytes of a manifest",
            limit: limits::MANIFEST_BYTES_MAX,
        });
    }
    let value: Value = serde_json::from_slice(&raw.bytes)
        .map_err(|error| corrupt(format!("the manifest is no JSON: {error}")))?;
    let declared = raw.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let media_type = media_type(&value, &declared).map_err(|media_type| StoreError::MediaType {
        object: object.to_owned(),
        hint: schema_one_hint(&media_type),
        media_type,
    })?;
    // The same bytes must not be an index to one reader and a manifest to another.
    if value.get("manifests").is_some() && value.get("layers").is_some() {
        return Err(corrupt("it is an index and a manifest at once".to_owned()));
    }
    match media_type {
        Shape::Index => serde_json::from_value::<ImageIndex>(value)
            .map(|index| Parsed::Index(index.manifests().clone()))
            .map_err(|error| corrupt(format!("the index does not parse: {error}"))),
        Shape::Manifest => serde_json::from_value::<ImageManifest>(value)
            .map(|manifest| Parsed::Manifest(Box::new(manifest)))
            .map_err(|error| corrupt(format!("the manifest does not parse: {error}"))),
    }
}

enum Shape {
    Index,
    Manifest,
}

/// Decides by the declared type and the one inside, which must not contradict; some registries
/// declare nothing useful. `Err`: the type that we do not read.
fn media_type(value: &Value, declared: &str) -> Result<Shape, String> {
    let shape = |text: &str| match text {
        OCI_INDEX | DOCKER_LIST => Some(Shape::Index),
        OCI_MANIFEST | DOCKER_MANIFEST => Some(Shape::Manifest),
        _ => None,
    };
    let vague = matches!(
        declared,
        "" | "application/json" | "text/plain" | "application/octet-stream" | "text/json"
    );
    if value.get("fsLayers").is_some() || value.get("schemaVersion") == Some(&Value::from(1)) {
        return Err("application/vnd.docker.distribution.manifest.v1+json".to_owned());
    }
    let inner = value.get("mediaType").and_then(Value::as_str);
    match (inner, vague) {
        (Some(inner), false) if inner != declared => {
            Err(format!("{declared} outside, {inner} inside"))
        }
        (Some(inner), _) => shape(inner).ok_or_else(|| inner.to_owned()),
        (None, false) => shape(declared).ok_or_else(|| declared.to_owned()),
        (None, true) if value.get("manifests").is_some() => Ok(Shape::Index),
        (None, true) if value.get("layers").is_some() => Ok(Shape::Manifest),
        (None, true) => Err(declared.to_owned()),
    }
}

fn schema_one_hint(media_type: &str) -> &'static str {
    match media_type.contains("manifest.v1") {
        true => "; Docker's schema 1 is obsolete: push the image again with a current tool",
        false => "",
    }
}

/// The variant of an index for this platform.
pub(crate) fn select(
    manifests: &[Descriptor],
    platform: &Platform,
    object: &str,
) -> Result<Blob, StoreError> {
    let mut best: Option<(u32, &Descriptor)> = None;
    let mut offered = Vec::new();
    for descriptor in manifests {
        let Some(offer) = descriptor.platform() else {
            // An index of one entry needs no platform to be clear.
            if manifests.len() == 1 {
                best = Some((1, descriptor));
            }
            continue;
        };
        let (os, architecture) = (offer.os().to_string(), offer.architecture().to_string());
        let variant = offer.variant().as_deref();
        offered.push(variant.map_or_else(
            || format!("{os}/{architecture}"),
            |variant| format!("{os}/{architecture}/{variant}"),
        ));
        let suits = if os == "linux" { platform.suits(&architecture, variant) } else { None };
        // The first of equals counts, as the spec has it.
        if suits.is_some_and(|suits| best.is_none_or(|(other, _)| suits > other)) {
            best = suits.map(|suits| (suits, descriptor));
        }
    }
    match best {
        Some((_, descriptor)) => blob(descriptor, object),
        None => Err(StoreError::Platform {
            wanted: platform.to_string(),
            offered: match offered.is_empty() {
                true => "none that names its platform".to_owned(),
                false => offered.join(", "),
            },
        }),
    }
}

/// Our form of a descriptor.
pub(crate) fn blob(descriptor: &Descriptor, object: &str) -> Result<Blob, StoreError> {
    let digest = descriptor.digest().to_string().parse();
    let digest = digest.map_err(|error| StoreError::corrupt(object, error))?;
    Ok(Blob { digest, size: descriptor.size() })
}

/// The configuration and the layers that a manifest names, bottom first.
pub(crate) fn contents(
    manifest: &ImageManifest,
    object: &str,
) -> Result<(Blob, Vec<Blob>), StoreError> {
    let unsupported = |descriptor: &Descriptor| StoreError::MediaType {
        object: descriptor.digest().to_string(),
        media_type: descriptor.media_type().to_string(),
        hint: "",
    };
    let config = manifest.config();
    if ![OCI_CONFIG, DOCKER_CONFIG].contains(&config.media_type().to_string().as_str()) {
        return Err(unsupported(config));
    }
    let layers = manifest.layers();
    if layers.is_empty() {
        return Err(StoreError::corrupt(object, "the image has no layers"));
    }
    if layers.len() > limits::LAYERS_MAX {
        return Err(StoreError::Limit {
            object: object.to_owned(),
            what: "layers",
            limit: limits::LAYERS_MAX as u64,
        });
    }
    let layer = |descriptor: &Descriptor| match LAYER_TYPES
        .contains(&descriptor.media_type().to_string().as_str())
    {
        true => blob(descriptor, object),
        false => Err(unsupported(descriptor)),
    };
    let layers = layers.iter().map(layer).collect::<Result<_, _>>()?;
    Ok((blob(config, object)?, layers))
}

/// What an image's configuration says.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) config: ImageConfig,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) created: Option<String>,
}

/// Reads a configuration; `object` names it in errors.
pub(crate) fn configuration(
    bytes: &[u8],
    platform: &Platform,
    object: &str,
) -> Result<Configuration, StoreError> {
    let parsed: ImageConfiguration = serde_json::from_slice(bytes).map_err(|error| {
        StoreError::corrupt(object, format!("the image configuration does not parse: {error}"))
    })?;
    let (os, architecture) = (parsed.os().to_string(), parsed.architecture().to_string());
    let variant = parsed.variant().as_deref();
    let fits = os == "linux" && platform.suits(&architecture, variant).is_some();
    // Images made by hand often name no platform.
    if !(fits || (os.is_empty() && architecture.is_empty())) {
        let (wanted, offered) = (platform.to_string(), format!("{os}/{architecture}"));
        return Err(StoreError::Platform { wanted, offered });
    }
    let diff_id = |text: &String| {
        text.parse::<Digest>()
            .map_err(|error| StoreError::corrupt(object, format!("diff id {error}")))
    };
    let diff_ids = parsed.rootfs().diff_ids().iter().map(diff_id).collect::<Result<_, _>>()?;
    let created = parsed.created().clone();
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let config = parsed.config().clone().unwrap_or_default();
    let config = ImageConfig {
        user: given(config.user()),
        env: config.env().clone().unwrap_or_default(),
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        working_dir: given(config.working_dir()),
        stop_signal: given(config.stop_signal()),
        labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
    };
    Ok(Configuration { config, diff_ids, created })
}

#[cfg(test)]
mod tests;
