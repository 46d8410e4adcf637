//! From a reference to its key in the store and to the source that has it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::docker::{DefaultRegistry, Reference, archive};
use super::image_store::StoreConfig;
use super::oci::{Blobs, LayoutSource};
use super::pull::blocking;
use super::{Source, SourceError, StoreError};
use crate::model::{Digest, ImageReference};

/// What a reference means to this store.
#[derive(Debug, Clone)]
pub(super) struct Named {
    /// Normalised: the name in the table.
    pub(super) key: String,
    /// What the manifest must be, if the reference says so.
    pub(super) digest: Option<Digest>,
    pub(super) origin: Origin,
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileState {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub(super) enum Origin {
    Registry(Reference),
    /// A directory of `docker save` archives in the place of a registry.
    Shelf {
        directory: PathBuf,
        written: String,
        reference: Reference,
    },
    Layout {
        path: PathBuf,
        tag: Option<String>,
    },
    LayoutArchive {
        path: PathBuf,
        tag: Option<String>,
    },
    DockerArchive {
        path: PathBuf,
        tag: Option<String>,
    },
    Rootfs(PathBuf),
}

impl Origin {
    /// On this host, where looking costs little.
    pub(super) fn is_here(&self) -> bool {
        !matches!(self, Self::Registry(_))
    }

    /// What the file that says what the image is is like now; `None` where none does, or none can be
    /// looked at.
    pub(super) fn state(&self) -> Option<FileState> {
        let path = match self {
            Self::Layout { path, .. } => &path.join("index.json"),
            Self::LayoutArchive { path, .. } | Self::DockerArchive { path, .. } => path,
            Self::Registry(_) | Self::Shelf { .. } | Self::Rootfs(_) => return None,
        };
        let metadata = path.metadata().ok()?;
        Some(FileState {
            file: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            // Moves with every change of content or name, and cannot be set.
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Makes sources.
#[derive(Debug)]
pub(super) struct Registries {
    default: DefaultRegistry,
    shelf: Option<PathBuf>,
    #[cfg(feature = "registry")]
    client: Client,
}

impl Registries {
    pub(super) fn new(config: &StoreConfig) -> Result<Self, StoreError> {
        let text = config.docker_registry.as_str();
        let shelf = text.starts_with('/').then(|| PathBuf::from(text));
        let default = match text.is_empty() || shelf.is_some() {
            true => DefaultRegistry::default(),
            false => text.parse().map_err(|error: super::docker::InvalidReference| {
                StoreError::Reference { reference: text.to_owned(), reason: error.to_string() }
            })?,
        };
        Ok(Self {
            default,
            shelf,
            #[cfg(feature = "registry")]
            client: Client::new(config),
        })
    }

    /// What `reference` means. Pure, but for paths that are made absolute and a layout whose path
    /// has a colon.
    pub(super) fn name(&self, reference: &ImageReference) -> Result<Named, StoreError> {
        let local = |scheme: &str, path: &Path, tag: &Option<String>| {
            let path = std::path::absolute(path).map_err(StoreError::file(path))?;
            let tail = tag.as_ref().map_or_else(String::new, |tag| format!(":{tag}"));
            Ok::<_, StoreError>((format!("{scheme}:{}{tail}", path.display()), path))
        };
        let (key, digest, origin) = match reference {
            ImageReference::Docker(text) => return self.docker(text),
            ImageReference::OciLayout { path, tag } => {
                let (path, tag) = split_again(path, tag);
                let (key, path) = local("oci", &path, &tag)?;
                (key, None, Origin::Layout { path, tag })
            }
            ImageReference::OciArchive { path, tag } => {
                let (path, tag) = split_again(path, tag);
                let (key, path) = local("oci-archive", &path, &tag)?;
                (key, None, Origin::LayoutArchive { path, tag })
            }
            ImageReference::DockerArchive { path, tag } => {
                let (key, path) = local("docker-archive", path, tag)?;
                (key, None, Origin::DockerArchive { path, tag: tag.clone() })
            }
            ImageReference::Rootfs(path) => {
                let (key, path) = local("rootfs", path, &None)?;
                (key, None, Origin::Rootfs(path))
            }
        };
        Ok(Named { key, digest, origin })
    }

    fn docker(&self, text: &str) -> Result<Named, StoreError> {
        let reference = Reference::parse(text, &self.default).map_err(|error| {
            StoreError::Reference { reference: text.to_owned(), reason: error.to_string() }
        })?;
        let (key, digest) = (reference.canonical(), reference.digest.clone());
        let origin = match &self.shelf {
            None => Origin::Registry(reference),
            Some(directory) => {
                let (directory, written) = (directory.clone(), text.to_owned());
                Origin::Shelf { directory, written, reference }
            }
        };
        Ok(Named { key, digest, origin })
    }

    /// The source of an image that is not a plain directory.
    pub(super) async fn source(&self, named: &Named) -> Result<Arc<dyn Source>, StoreError> {
        if let Origin::Registry(reference) = &named.origin {
            return self.registry(reference.clone(), &named.key).await;
        }
        let named = named.clone();
        blocking(move || {
            open(&named.origin).map_err(|error| StoreError::Source { reference: named.key, error })
        })
        .await
    }

    #[cfg(feature = "registry")]
    async fn registry(
        &self,
        reference: Reference,
        _key: &str,
    ) -> Result<Arc<dyn Source>, StoreError> {
        Ok(Arc::new(self.client.get().await?.source(reference)))
    }

    #[cfg(not(feature = "registry"))]
    async fn registry(
        &self,
        _reference: Reference,
        key: &str,
    ) -> Result<Arc<dyn Source>, StoreError> {
        let reason = "this build has no registry client (feature `registry`)";
        Err(StoreError::Unsupported { reference: key.to_owned(), reason })
    }
}

fn open(origin: &Origin) -> Result<Arc<dyn Source>, SourceError> {
    match origin {
        Origin::Layout { path, tag } => {
            let blobs = Blobs::directory(path)?;
            Ok(Arc::new(LayoutSource::new(blobs, path.display().to_string(), tag.clone())))
        }
        Origin::LayoutArchive { path, tag } => {
            let blobs = Blobs::archive(path)?;
            Ok(Arc::new(LayoutSource::new(blobs, path.display().to_string(), tag.clone())))
        }
        Origin::DockerArchive { path, tag } => archive::open(path, tag.as_deref()),
        Origin::Shelf { directory, written, reference } => {
            archive::on_shelf(directory, written, reference)
        }
        Origin::Registry(_) | Origin::Rootfs(_) => {
            Err(SourceError::Invalid("neither a layout nor an archive".to_owned()))
        }
    }
}

/// A tag may itself have a colon (`oci:DIR:library/redis:7`): the path is the longest beginning
/// that exists.
fn split_again(path: &Path, tag: &Option<String>) -> (PathBuf, Option<String>) {
    let (Some(tag), Some(text)) = (tag, path.to_str()) else {
        return (path.to_owned(), tag.clone());
    };
    let mut end = text.len();
    let mut rest = tag.clone();
    loop {
        if Path::new(&text[..end]).symlink_metadata().is_ok() {
            return (PathBuf::from(&text[..end]), Some(rest));
        }
        let Some(colon) = text[..end].rfind(':') else { break };
        rest = format!("{}:{rest}", &text[colon + 1..end]);
        end = colon;
    }
    // A path with a colon and no tag, or one that is not there at all.
    let whole = PathBuf::from(format!("{text}:{tag}"));
    match whole.symlink_metadata().is_ok() {
        true => (whole, None),
        false => (path.to_owned(), Some(tag.clone())),
    }
}

/// The registry client, made when it is first needed: it reads the host's certificates.
#[cfg(feature = "registry")]
struct Client {
    config: super::docker::RegistryConfig,
    credentials: super::docker::DockerConfig,
    made: tokio::sync::OnceCell<super::docker::Registry>,
}

#[cfg(feature = "registry")]
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Credentials are in there.
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

#[cfg(feature = "registry")]
impl Client {
    fn new(config: &StoreConfig) -> Self {
        Self {
            config: config.client.clone(),
            credentials: config.credentials.clone(),
            made: tokio::sync::OnceCell::new(),
        }
    }

    async fn get(&self) -> Result<&super::docker::Registry, StoreError> {
        self.made
            .get_or_try_init(|| async {
                let (config, credentials) = (self.config.clone(), self.credentials.clone());
                blocking(move || {
                    super::docker::Registry::new(&config, credentials).map_err(|error| {
                        StoreError::Reference {
                            reference: "registry client".to_owned(),
                            reason: error.to_string(),
                        }
                    })
                })
                .await
            })
            .await
    }
}

#[cfg(all(test, not(feature = "registry")))]
mod tests {
    use super::*;
    use crate::error::{Classified as _, ErrorKind};

    #[tokio::test]
    async fn without_the_client_a_registry_is_unsupported_and_the_line_names_the_feature() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = StoreConfig::new(directory.path());
        let registries = Registries::new(&config).expect("no registry is asked");
        let image = ImageReference::Docker("alpine".to_owned());
        let named = registries.name(&image).expect("it has a name");
        let error = registries.source(&named).await.err().expect("nobody can ask");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("feature `registry`"), "{error}");
    }
}
