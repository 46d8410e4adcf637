//! Images as the rooms see them.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Digest;

/// Names an image, with the store that has it.
///
/// Text: `docker://[HOST[:PORT]/]REPO[:TAG][@DIGEST]` or the same without the scheme,
/// `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:TAG]`, `rootfs:DIR`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum ImageReference {
    /// A name for a registry, not yet normalised: only the store knows the default registry.
    Docker(String),
    /// An OCI layout directory.
    OciLayout {
        /// The directory.
        path: PathBuf,
        /// `org.opencontainers.image.ref.name`; without, the only image.
        tag: Option<String>,
    },
    /// A tar of an OCI layout directory.
    OciArchive {
        /// The tar.
        path: PathBuf,
        /// As above.
        tag: Option<String>,
    },
    /// What `docker save` writes, both shapes.
    DockerArchive {
        /// The tar.
        path: PathBuf,
        /// `REPO:TAG` or `TAG`; without, the only image.
        tag: Option<String>,
    },
    /// A plain directory as the only layer. Never written to.
    Rootfs(PathBuf),
}

impl FromStr for ImageReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let with_tag = |rest: &str| -> (PathBuf, Option<String>) {
            match rest.rsplit_once(':') {
                Some((path, tag)) if !tag.contains('/') && !path.is_empty() => {
                    (PathBuf::from(path), Some(tag.to_owned()))
                }
                Some(_) | None => (PathBuf::from(rest), None),
            }
        };
        let refused = |reason: &str| Err(format!("image reference {text:?}: {reason}"));
        let by_digest = |rest: &str| {
            let digest = rest.rsplit_once('@').map_or("", |(_, digest)| digest);
            digest.starts_with("sha256:") || digest.starts_with("sha512:")
        };
        let reference = match text.split_once(':') {
            Some(("appc", _)) => return refused("appc images are not supported"),
            Some(("oci" | "oci-archive" | "docker-archive", rest)) if by_digest(rest) => {
                return refused("an image of a layout or an archive has a tag, not a digest");
            }
            Some(("docker", rest)) if rest.starts_with("//") => Self::Docker(rest[2..].to_owned()),
            Some(("oci", rest)) => {
                let (path, tag) = with_tag(rest);
                Self::OciLayout { path, tag }
            }
            Some(("oci-archive", rest)) => {
                let (path, tag) = with_tag(rest);
                Self::OciArchive { path, tag }
            }
            Some(("docker-archive", rest)) => {
                // The tag itself has a colon (`REPO:TAG`): the file ends at the first one.
                let (path, tag) = rest.split_once(':').map_or((rest, None), |(p, t)| (p, Some(t)));
                Self::DockerArchive { path: path.into(), tag: tag.map(str::to_owned) }
            }
            Some(("rootfs", rest)) => Self::Rootfs(PathBuf::from(rest)),
            Some(_) | None => Self::Docker(text.to_owned()),
        };
        match reference.is_empty() {
            true => Err(format!("image reference {text:?} names nothing")),
            false => Ok(reference),
        }
    }
}

impl ImageReference {
    fn is_empty(&self) -> bool {
        match self {
            Self::Docker(name) => name.is_empty(),
            Self::OciLayout { path, .. }
            | Self::OciArchive { path, .. }
            | Self::DockerArchive { path, .. }
            | Self::Rootfs(path) => path.as_os_str().is_empty(),
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tagged =
            |f: &mut fmt::Formatter<'_>, scheme: &str, path: &PathBuf, tag: &Option<String>| {
                write!(f, "{scheme}:{}", path.display())?;
                tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))
            };
        match self {
            Self::Docker(name) => f.write_str(name),
            Self::OciLayout { path, tag } => tagged(f, "oci", path, tag),
            Self::OciArchive { path, tag } => tagged(f, "oci-archive", path, tag),
            Self::DockerArchive { path, tag } => tagged(f, "docker-archive", path, tag),
            Self::Rootfs(path) => write!(f, "rootfs:{}", path.display()),
        }
    }
}

impl fmt::Debug for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for ImageReference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageReference> for String {
    fn from(reference: ImageReference) -> Self {
        match reference {
            // Without the scheme a name such as `oci:1` would read as another store's.
            ImageReference::Docker(name) => format!("docker://{name}"),
            other @ (ImageReference::OciLayout { .. }
            | ImageReference::OciArchive { .. }
            | ImageReference::DockerArchive { .. }
            | ImageReference::Rootfs(_)) => other.to_string(),
        }
    }
}

/// The part of an image's configuration that a launch needs.
///
/// Source: OCI image-spec, "Image Configuration", `config`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImageConfig {
    /// `User`; empty is none.
    pub user: Option<String>,
    /// `Env`, each `K=V`, as written.
    pub env: Vec<String>,
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `WorkingDir`; empty is none.
    pub working_dir: Option<String>,
    /// `StopSignal`, as written: `SIGTERM`, `TERM` or `15`.
    pub stop_signal: Option<String>,
    /// `Labels`.
    pub labels: BTreeMap<String, String>,
}

/// A root file system that is ready to be entered.
#[derive(Debug, Clone)]
pub enum Rootfs {
    /// A directory, or a mount visible on the host.
    Directory(PathBuf),
    /// A detached mount (fsmount(2) or open_tree(2)); the init attaches it in the container's own
    /// mount namespace, and the kernel unmounts it with the last process.
    Detached(Arc<OwnedFd>),
}

/// An image, turned into a root file system for one container.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Provisioned {
    /// What was asked for, normalised: `docker.io/library/redis:7.0`.
    pub reference: String,
    /// Digest of the manifest; `None` for `rootfs:`.
    pub digest: Option<Digest>,
    /// What the image wants to run.
    pub config: ImageConfig,
    /// Where it is.
    pub rootfs: Rootfs,
    /// Name of the backend that made it.
    pub backend: &'static str,
    /// Writable scratch that counts against the sandbox: overlay's upper and work directory.
    pub ephemeral: Vec<PathBuf>,
    /// Nothing in the root file system can be created or changed (backend `bind`).
    pub read_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_reads_and_prints() {
        for text in [
            "redis",
            "127.0.0.1:5000/library/redis:7",
            "oci:/images/redis:latest",
            "oci-archive:/images/redis.tar",
            "docker-archive:/images/redis.tar:library/redis:7",
            "rootfs:/srv/root",
        ] {
            let reference: ImageReference = text.parse().expect("valid");
            assert_eq!(reference.to_string(), text);
            let stored = String::from(reference.clone());
            assert_eq!(stored.parse::<ImageReference>().expect("round trip"), reference);
        }
        // Another store's name, or a path, is not what was meant.
        let digest = "a".repeat(64);
        for text in ["appc:x", "oci:/x@sha256:zz", &format!("docker-archive:/x:7@sha256:{digest}")]
        {
            let refused = text.parse::<ImageReference>().expect_err("refused");
            assert!(refused.contains(text), "{refused}");
        }
        assert!("docker://appc:1".parse::<ImageReference>().is_ok());
        assert!("rootfs:".parse::<ImageReference>().is_err());
        assert!("".parse::<ImageReference>().is_err());
    }
}
