//! The registry client: one image's manifests and blobs over the distribution protocol.
//!
//! Source: OCI distribution-spec, "Pull".

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response};
use serde_json::Value;
use sha2::{Digest as _, Sha512};

use super::auth::Authorizer;
use super::blob;
use super::credentials::DockerConfig;
use super::reference::Reference;
use super::request::{self, Ask, Failed, Patience, Repository};
use crate::http::{self, ClientError, HttpConfig};
use crate::limits;
use crate::model::Digest;
use crate::provisioner::stores::{Blob, BlobStream, BoxFuture, RawManifest, Source, SourceError};

/// Indexes and manifests of OCI and Docker; schema 1 is not asked for, since nothing makes it now.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// Certificates, proxies, connecting.
    pub http: HttpConfig,
    /// A server that sends nothing for this long is stalled.
    pub stall: Duration,
    /// Attempts at one request, and at a blob without a new byte; the first included, at least 1.
    pub attempts: u32,
    /// Pause before the second attempt; doubles with each one.
    pub backoff: Duration,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            stall: limits::FETCH_STALL,
            attempts: limits::FETCH_ATTEMPTS,
            backoff: limits::FETCH_BACKOFF,
        }
    }
}

/// A client of registries. It belongs to the runtime on which its sources are polled.
#[derive(Debug, Clone)]
pub struct Registry {
    client: Client,
    credentials: DockerConfig,
    patience: Patience,
}

impl Registry {
    /// A client with these settings and credentials. Reads the named certificates: blocks shortly.
    pub fn new(config: &RegistryConfig, credentials: DockerConfig) -> Result<Self, ClientError> {
        let patience = Patience {
            attempts: config.attempts.max(1),
            stall: config.stall,
            backoff: config.backoff,
        };
        Ok(Self { client: http::client(&config.http)?, credentials, patience })
    }

    /// The source of one image. Asks nobody yet.
    pub fn source(&self, reference: Reference) -> RegistrySource {
        let credentials = self.credentials.lookup(&reference.registry()).cloned();
        let authorizer = Authorizer::new(&reference, credentials);
        let (client, patience) = (self.client.clone(), self.patience.clone());
        let repository = Repository::new(client, reference, authorizer, patience);
        RegistrySource { repository: Arc::new(repository) }
    }
}

/// One image in a registry.
#[derive(Debug, Clone)]
pub struct RegistrySource {
    repository: Arc<Repository>,
}

impl Source for RegistrySource {
    fn top(&self) -> BoxFuture<'_, Result<RawManifest, SourceError>> {
        let reference = self.repository.reference();
        let digest = reference.digest.as_ref();
        Box::pin(self.fetch_manifest(reference.manifest(), digest))
    }

    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<RawManifest, SourceError>> {
        Box::pin(self.fetch_manifest(digest.as_str(), Some(digest)))
    }

    fn blob<'a>(&'a self, blob: &'a Blob) -> BoxFuture<'a, Result<BlobStream, SourceError>> {
        Box::pin(blob::open(Arc::clone(&self.repository), blob.clone()))
    }
}

impl RegistrySource {
    /// A manifest is small: one that is cut is asked for again as a whole.
    async fn fetch_manifest(
        &self,
        name: &str,
        digest: Option<&Digest>,
    ) -> Result<RawManifest, SourceError> {
        let path = format!("manifests/{name}");
        let patience = &self.repository.patience;
        let mut cuts = 0;
        loop {
            let ask = Ask { path: &path, accept: Some(ACCEPT), from: 0 };
            let response = self.repository.ask(ask).await?;
            let declared = content_type(&response);
            match request::read(response, limits::MANIFEST_BYTES_MAX, patience.stall).await {
                Ok(bytes) => return self.check(bytes, &declared, digest),
                Err(Failed::Again { .. }) if cuts + 1 < patience.attempts => {
                    cuts += 1;
                    self.repository.pause(cuts, None).await;
                }
                Err(failed) => return Err(failed.into_error()),
            }
        }
    }

    /// Refuses what cannot be a manifest; what it says is for whoever asked to judge.
    fn check(
        &self,
        bytes: Bytes,
        declared: &str,
        digest: Option<&Digest>,
    ) -> Result<RawManifest, SourceError> {
        let name = self.repository.reference().canonical();
        let corrupt =
            |reason: String| SourceError::Corrupt { object: format!("manifest of {name}"), reason };
        if let Some(expected) = digest {
            let actual = digest_like(expected, &bytes);
            if actual != *expected {
                return Err(corrupt(format!("it is {actual}, asked was {expected}")));
            }
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(&bytes) else {
            return Err(corrupt(format!("it is not a JSON object ({declared})")));
        };
        // Proxies and plain file servers say `application/json`; the manifest itself knows better.
        let own = fields.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        let known = [declared, own].into_iter().find(|name| is_manifest(name));
        let media_type = known.map(str::to_owned).ok_or_else(|| {
            corrupt(format!("unsupported media type {:?}", http::one_line(declared)))
        })?;
        Ok(RawManifest { bytes, media_type })
    }
}

fn is_manifest(media_type: &str) -> bool {
    !media_type.is_empty() && ACCEPT.split(", ").any(|known| known == media_type)
}

fn content_type(response: &Response) -> String {
    let value = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.and_then(|v| v.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase()
}

/// The digest of `bytes` by the algorithm of `other`.
fn digest_like(other: &Digest, bytes: &[u8]) -> Digest {
    match other.algorithm() {
        "sha512" => Digest::from_sha512(&Sha512::digest(bytes)),
        _ => Digest::of(bytes),
    }
}
