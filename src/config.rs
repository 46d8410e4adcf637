//! Every setting of a containerizer, typed with its unit, validated once at start.
//!
//! What a container is asked to be is `spec.rs`; bounds and deadlines are `limits.rs`. The two
//! directories are not here: without them there is no containerizer, so its builder asks for them.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use crate::error::{Classified, ErrorKind, Stage};
pub use crate::isolators::ImageProvider;
use crate::isolators::{Asked, LauncherKind, SelectError, Selection, select};
use crate::launcher::{self, Lifetime};
use crate::limits;
use crate::model::AgentInfo;
use crate::provisioner::{DefaultRegistry, InvalidReference};

mod agent;

pub use agent::executor_environment;

/// Isolators in use when none are named and containers have images.
pub use crate::isolators::DEFAULT_FOR_IMAGES as ISOLATION;
/// Isolators of `longshore run` without an image.
pub use crate::isolators::DEFAULT_WITHOUT_IMAGE as ISOLATION_WITHOUT_IMAGE;

/// Every setting. Start from [`Config::default`] and change what differs.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Name of our cgroup in each hierarchy.
    pub cgroups_root: String,
    /// Isolators by name, any order; `None`: [`ISOLATION`].
    pub isolation: Option<Vec<String>>,
    /// What starts processes; `None`: linux where this process may have namespaces and mounts, else
    /// posix.
    pub launcher: Option<Launcher>,
    /// Kinds of images; `None`: all that the isolators can serve.
    pub image_providers: Option<Vec<ImageProvider>>,
    /// How layers become a root file system; `None`: the first that the host has of overlay, copy.
    pub image_provisioner_backend: Option<Backend>,
    /// Where root file systems are mounted.
    pub rootfs_mount: RootfsMount,
    /// The registry of images named without one.
    pub docker_registry: DockerRegistry,
    /// Credentials: JSON as in `~/.docker/config.json`, or the path of such a file.
    pub docker_config: Option<String>,
    /// Where images are kept; `None`: below the work directory.
    pub docker_store_dir: Option<PathBuf>,
    /// Where the sandbox appears in a container with its own root.
    pub sandbox_directory: PathBuf,
    /// What containers die with.
    pub lifetime: Lifetime,
    /// What executors are told of their agent.
    pub agent: AgentInfo,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cgroups_root: "longshore".to_owned(),
            isolation: None,
            launcher: None,
            image_providers: None,
            image_provisioner_backend: None,
            rootfs_mount: RootfsMount::default(),
            docker_registry: DockerRegistry::default(),
            docker_config: None,
            docker_store_dir: None,
            sandbox_directory: PathBuf::from("/mnt/mesos/sandbox"),
            lifetime: Lifetime::Independent,
            agent: AgentInfo::default(),
        }
    }
}

impl Config {
    /// Checks each setting, and whether they fit together.
    ///
    /// Errors: the first that is wrong.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        check_cgroups_root(&self.cgroups_root)?;
        check_directory("sandbox-directory", &self.sandbox_directory)?;
        if let Some(directory) = &self.docker_store_dir {
            check_directory("docker-store-dir", directory)?;
        }
        agent::check(&self.agent)
    }

    /// The launcher that was given, or the one that suits this process.
    pub fn launcher(&self) -> LauncherKind {
        match self.launcher {
            Some(Launcher::Linux) => LauncherKind::Linux,
            Some(Launcher::Posix) => LauncherKind::Posix,
            None => launcher::automatic(),
        }
    }

    /// The isolators, the launcher and the kinds of images, if they fit together.
    ///
    /// Errors: a name nobody knows, or a set that contradicts itself.
    pub fn selection(&self) -> Result<Selection, SelectError> {
        self.selection_among(&[])
    }

    /// The same where the embedder has registered isolators of these names.
    ///
    /// Errors: also a name that cannot be registered.
    pub fn selection_among(&self, registered: &[&'static str]) -> Result<Selection, SelectError> {
        let asked = Asked {
            isolation: self.isolation.as_deref(),
            launcher: Some(self.launcher()),
            image_providers: self.image_providers.as_deref(),
            registered,
        };
        select(asked, ISOLATION)
    }
}

/// Both directories of a containerizer must be usable as they stand in checkpoints and mounts.
///
/// Errors: a path that is relative or has a `..`.
pub fn check_directory(setting: &'static str, path: &Path) -> Result<(), InvalidConfig> {
    let plain = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    match path.is_absolute() && plain && path != Path::new("/") {
        true => Ok(()),
        false => Err(InvalidConfig::Directory { setting, path: path.to_owned() }),
    }
}

/// Both directories of a containerizer, and that they are two.
pub(crate) fn check_directories(work_dir: &Path, runtime_dir: &Path) -> Result<(), InvalidConfig> {
    check_directory("work-dir", work_dir)?;
    check_directory("runtime-dir", runtime_dir)?;
    match work_dir.components().eq(runtime_dir.components()) {
        true => Err(InvalidConfig::OneDirectory { path: work_dir.to_owned() }),
        false => Ok(()),
    }
}

/// One component, so that it can neither leave the hierarchy nor be mistaken for a control file.
fn check_cgroups_root(name: &str) -> Result<(), InvalidConfig> {
    let wrong = name.is_empty() || matches!(name, "." | "..") || name.len() > 200;
    match wrong || name.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace()) {
        true => Err(InvalidConfig::CgroupsRoot { name: name.to_owned() }),
        false => Ok(()),
    }
}

/// What starts processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launcher {
    /// Namespaces and cgroups; needs root.
    Linux,
    /// A session and a tree of processes; any user may. No images, and no isolator that needs a
    /// namespace or a cgroup.
    Posix,
}

/// How layers become a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// Stacked by the kernel; nothing is copied.
    Overlay,
    /// Copied for each container.
    Copy,
    /// The only layer itself, read-only.
    Bind,
}

/// Where root file systems are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
#[non_exhaustive]
pub enum RootfsMount {
    /// In the container's mount namespace only; the kernel unmounts them with the last process.
    #[default]
    Private,
    /// On the host, below the work directory, for everyone to see.
    Host,
}

/// Implements the operator's words of a closed choice, both ways.
macro_rules! words {
    ($type:ident, $setting:literal, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every choice, as the operator writes it.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl FromStr for $type {
            type Err = InvalidConfig;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                // Mesos wrote some of them in capitals.
                match text.to_ascii_lowercase().as_str() {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(InvalidConfig::Choice {
                        setting: $setting,
                        text: text.to_owned(),
                        choices: Self::WORDS,
                    }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $word),+ })
            }
        }
    };
}

words!(Launcher, "launcher", Linux = "linux", Posix = "posix");
words!(Backend, "image-provisioner-backend", Overlay = "overlay", Copy = "copy", Bind = "bind");
words!(RootfsMount, "rootfs-mount", Private = "private", Host = "host");

/// The registry of images that are named without one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DockerRegistry {
    /// A registry.
    Remote(DefaultRegistry),
    /// A directory with `docker save` archives: `<DIR>/REPO:TAG.tar`.
    Archives(PathBuf),
}

impl Default for DockerRegistry {
    fn default() -> Self {
        Self::Remote(DefaultRegistry::default())
    }
}

impl FromStr for DockerRegistry {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("file://").unwrap_or(text) {
            path if path.starts_with('/') => Ok(Self::Archives(PathBuf::from(path))),
            _ => text.parse().map(Self::Remote),
        }
    }
}

/// Why a containerizer cannot start with these settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// Not an absolute path that stands for itself.
    #[error("{setting} {} is not an absolute path without '..'", path.display())]
    Directory {
        /// Which.
        setting: &'static str,
        /// As given.
        path: PathBuf,
    },
    /// Both have `containers/`, for different things.
    #[error("work-dir and runtime-dir are both {}", path.display())]
    OneDirectory {
        /// As given.
        path: PathBuf,
    },
    /// Not one component.
    #[error("cgroups-root {name:?} is not a plain name")]
    CgroupsRoot {
        /// As given.
        name: String,
    },
    /// None of the words.
    #[error("{setting} {text:?} is not one of {}", choices.join(", "))]
    Choice {
        /// Which.
        setting: &'static str,
        /// As given.
        text: String,
        /// What it can be.
        choices: &'static [&'static str],
    },
    /// Not variables.
    #[error("executor-environment-variables {reason}")]
    ExecutorEnvironment {
        /// What is wrong with them.
        reason: String,
    },
    /// Longer than the address of a Unix socket can be.
    #[error("domain socket {} has more than {} bytes", path.display(), limits::SOCKET_PATH_MAX)]
    SocketPath {
        /// As given.
        path: PathBuf,
    },
}

impl Classified for InvalidConfig {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidRequest
    }

    fn stage(&self) -> Option<Stage> {
        Some(Stage::Configure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_cgroups_root_is_one_plain_name() {
        for bad in ["", ".", "..", "a/b", "/a", "a b", "a\n"] {
            let config = Config { cgroups_root: bad.to_owned(), ..Config::default() };
            assert!(config.validate().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_directory_is_absolute_and_stands_for_itself() {
        for bad in ["", "/", "a", "./a", "/a/../b"] {
            assert!(check_directory("work-dir", Path::new(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(check_directory("work-dir", Path::new("/var/lib/longshore")), Ok(()));
        let both = |work, runtime| check_directories(Path::new(work), Path::new(runtime));
        assert_eq!(both("/w", "/w/run"), Ok(()));
        for (work, runtime) in [("/w", "/w/"), ("w", "/r"), ("/w", "r")] {
            assert!(both(work, runtime).is_err(), "{work} {runtime}");
        }
    }

    #[test]
    fn a_choice_reads_in_any_case_and_names_its_words_otherwise() {
        assert_eq!("overlay".parse(), Ok(Backend::Overlay));
        let error = "zfs".parse::<Backend>().expect_err("unknown");
        assert_eq!(
            error.to_string(),
            "image-provisioner-backend \"zfs\" is not one of overlay, copy, bind"
        );
    }

    #[test]
    fn a_registry_is_an_address_or_a_directory_of_archives() {
        let archives = |text: &str| matches!(text.parse(), Ok(DockerRegistry::Archives(_)));
        assert!(archives("/images") && archives("file:///images"));
        let remote = |text: &str| matches!(text.parse(), Ok(DockerRegistry::Remote(_)));
        assert!(remote("http://127.0.0.1:5000") && remote("localhost:5000"));
        assert!("ftp://x".parse::<DockerRegistry>().is_err());
    }
}
