//! Which isolators, which launcher, which image providers. Pure: flags in, decision out.
//!
//! What was given must be consistent; what was not given is chosen so that it is.

use std::collections::BTreeSet;

use super::TABLE;
use crate::error::{Classified, ErrorKind};
use crate::model::ImageReference;

/// The isolators of a container with an image, unless the operator names others.
pub const DEFAULT_FOR_IMAGES: &[&str] = &[
    "filesystem/linux",
    "docker/runtime",
    "cgroups/cpu",
    "cgroups/mem",
    "cgroups/pids",
    "namespaces/pid",
    "namespaces/ipc",
    "linux/capabilities",
    "posix/rlimits",
];

/// The isolators of `longshore run` without an image, unless the operator names others.
pub const DEFAULT_WITHOUT_IMAGE: &[&str] = &["posix/cpu", "posix/mem"];

/// How first processes are started and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LauncherKind {
    /// With namespaces and cgroups.
    Linux,
    /// With nothing but a session.
    Posix,
}

impl std::str::FromStr for LauncherKind {
    type Err = SelectError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "linux" => Ok(Self::Linux),
            "posix" => Ok(Self::Posix),
            _ => Err(SelectError::UnknownLauncher { name: text.to_owned() }),
        }
    }
}

/// A kind of image that containers may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ImageProvider {
    /// Docker registries and archives.
    Docker,
    /// OCI layouts and archives.
    Oci,
}

impl ImageProvider {
    /// The kind of this image.
    pub const fn of(image: &ImageReference) -> Self {
        match image {
            ImageReference::Docker(_) | ImageReference::DockerArchive { .. } => Self::Docker,
            ImageReference::OciLayout { .. }
            | ImageReference::OciArchive { .. }
            | ImageReference::Rootfs(_) => Self::Oci,
        }
    }

    /// As the operator writes it, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Oci => "oci",
        }
    }

    /// Without it an image of this kind would not run as it was made to.
    fn needs(self) -> &'static str {
        match self {
            Self::Docker => "docker/runtime",
            Self::Oci => "filesystem/linux",
        }
    }
}

impl std::str::FromStr for ImageProvider {
    type Err = SelectError;

    /// In any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Docker, Self::Oci]
            .into_iter()
            .find(|provider| provider.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| SelectError::UnknownProvider { name: text.to_owned() })
    }
}

/// What the operator gave; `None` is not given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'a> {
    /// `--isolation`, split at commas.
    pub isolation: Option<&'a [String]>,
    /// `--launcher`.
    pub launcher: Option<LauncherKind>,
    /// `--image-providers`.
    pub image_providers: Option<&'a [ImageProvider]>,
    /// Names of the isolators that the embedder has registered, each free to be named.
    pub registered: &'a [&'static str],
}

/// What is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Names: those of the table in table order, then the embedder's in the order in which they were
    /// named.
    pub isolation: Vec<String>,
    /// How first processes are started.
    pub launcher: LauncherKind,
    /// Kinds of images.
    pub image_providers: BTreeSet<ImageProvider>,
    /// Lines for the operator: names that were rewritten.
    pub warnings: Vec<String>,
}

/// Why flags do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectError {
    /// One name twice.
    #[error("isolator {name} is named twice in --isolation")]
    Duplicate {
        /// Which.
        name: String,
    },
    /// No such isolator.
    #[error("unknown isolator {name:?} in --isolation; known are {known}")]
    Unknown {
        /// As given.
        name: String,
        /// All names, with commas.
        known: String,
    },
    /// A name that an embedder cannot give to an isolator.
    #[error("isolator {name:?} cannot be registered: {reason}")]
    Registered {
        /// Which.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// Two file systems.
    #[error("--isolation needs exactly one of filesystem/linux and filesystem/posix, got both")]
    Filesystems,
    /// One isolator needs another one.
    #[error("{isolator} needs {needs} in --isolation")]
    Needs {
        /// Which.
        isolator: String,
        /// The other.
        needs: &'static str,
    },
    /// An isolator needs the other launcher.
    #[error("{isolator} needs --launcher=linux, which needs root")]
    NeedsLauncher {
        /// Which.
        isolator: String,
    },
    /// A kind of image needs an isolator.
    #[error("image provider {provider} needs {needs} in --isolation")]
    ProviderNeeds {
        /// Which.
        provider: &'static str,
        /// The isolator.
        needs: &'static str,
    },
    /// Images need the Linux launcher.
    #[error("--image-providers needs --launcher=linux, which needs root")]
    ProvidersNeedLauncher,
    /// No such launcher.
    #[error("unknown launcher {name:?}; known are linux, posix")]
    UnknownLauncher {
        /// As given.
        name: String,
    },
    /// No such kind of image.
    #[error("unknown image provider {name:?}; known are docker, oci")]
    UnknownProvider {
        /// As given.
        name: String,
    },
}

impl Classified for SelectError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidRequest
    }
}

/// Decides, with `default` as the isolators where none were named: one of the two constants.
///
/// The consistency rules hold for what was given. What was not given follows from it: the posix
/// launcher has the set without images, and providers are those that the named isolators can serve.
pub fn select(asked: Asked<'_>, default: &[&str]) -> Result<Selection, SelectError> {
    check_registered(asked.registered)?;
    let mut warnings = Vec::new();
    let launcher = asked.launcher.unwrap_or(LauncherKind::Linux);
    let mut names: BTreeSet<String> = match (asked.isolation, launcher) {
        (Some(given), _) => rewrite(given, &mut warnings)?,
        (None, LauncherKind::Posix) => owned(DEFAULT_WITHOUT_IMAGE),
        (None, LauncherKind::Linux) if asked.image_providers.is_some_and(|p| !p.is_empty()) => {
            owned(DEFAULT_FOR_IMAGES)
        }
        (None, LauncherKind::Linux) => owned(default),
    };
    if !names.iter().any(|name| name.starts_with("filesystem/")) {
        names.insert("filesystem/posix".to_owned());
    }
    check_known(&names, asked.registered)?;
    check_together(&names, launcher)?;
    let image_providers = match asked.image_providers {
        Some(given) => check_providers(given, &names, launcher)?,
        None => servable(&names, launcher),
    };
    let built_in = TABLE.iter().map(|entry| entry.name).filter(|name| names.contains(*name));
    let given = asked.isolation.unwrap_or_default().iter().map(|name| name.trim());
    let embedders = given.filter(|name| asked.registered.contains(name));
    let isolation = built_in.chain(embedders).map(str::to_owned).collect();
    Ok(Selection { isolation, launcher, image_providers, warnings })
}

fn owned(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Refuses what is named twice, and replaces names of the past and names of groups.
fn rewrite(given: &[String], warnings: &mut Vec<String>) -> Result<BTreeSet<String>, SelectError> {
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for name in given.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
        if !seen.insert(name) {
            return Err(SelectError::Duplicate { name: name.to_owned() });
        }
        let replacement: &[&str] = match name {
            "process" => &["posix/cpu", "posix/mem"],
            "cgroups" => &["cgroups/cpu", "cgroups/mem"],
            "posix/disk" => &["disk/du"],
            "cgroups/all" => &["cgroups/cpu", "cgroups/mem", "cgroups/pids"],
            _ => &[name],
        };
        if matches!(name, "process" | "cgroups" | "posix/disk") {
            let line = format!("isolator {name} is deprecated, use {}", replacement.join(","));
            warnings.push(line);
        }
        names.extend(replacement.iter().map(|name| (*name).to_owned()));
    }
    Ok(names)
}

/// A registered name can be told apart from every other one that `--isolation` takes.
fn check_registered(registered: &[&'static str]) -> Result<(), SelectError> {
    for (index, name) in registered.iter().enumerate() {
        let of_a_group = ["process", "cgroups", "posix/disk", "cgroups/all"].contains(name);
        let odd = |c: char| c == ',' || c.is_whitespace() || c.is_control();
        let reason = match *name {
            "" => "the name is empty",
            _ if name.contains(odd) => "the name has a comma or white space",
            _ if of_a_group || TABLE.iter().any(|entry| entry.name == *name) => {
                "a built-in one has this name"
            }
            _ if registered[..index].contains(name) => "it is registered twice",
            _ => continue,
        };
        return Err(SelectError::Registered { name: (*name).to_owned(), reason });
    }
    Ok(())
}

fn check_known(names: &BTreeSet<String>, registered: &[&str]) -> Result<(), SelectError> {
    let known = TABLE.iter().map(|entry| entry.name).chain(registered.iter().copied());
    let known: Vec<&str> = known.collect();
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(SelectError::Unknown { name: name.clone(), known: known.join(", ") }),
        None => Ok(()),
    }
}

fn check_together(names: &BTreeSet<String>, launcher: LauncherKind) -> Result<(), SelectError> {
    if names.iter().filter(|name| name.starts_with("filesystem/")).count() > 1 {
        return Err(SelectError::Filesystems);
    }
    for name in names {
        let on_linux = ["cgroups/", "namespaces/", "linux/"].iter().any(|p| name.starts_with(p));
        if launcher == LauncherKind::Posix && (on_linux || name == "filesystem/linux") {
            return Err(SelectError::NeedsLauncher { isolator: name.clone() });
        }
        if name.starts_with("namespaces/") && !names.contains("filesystem/linux") {
            return Err(SelectError::Needs { isolator: name.clone(), needs: "filesystem/linux" });
        }
    }
    Ok(())
}

fn check_providers(
    given: &[ImageProvider],
    names: &BTreeSet<String>,
    launcher: LauncherKind,
) -> Result<BTreeSet<ImageProvider>, SelectError> {
    if !given.is_empty() && launcher != LauncherKind::Linux {
        return Err(SelectError::ProvidersNeedLauncher);
    }
    for provider in given {
        for needs in ["filesystem/linux", provider.needs()] {
            if !names.contains(needs) {
                return Err(SelectError::ProviderNeeds { provider: provider.name(), needs });
            }
        }
    }
    Ok(given.iter().copied().collect())
}

fn servable(names: &BTreeSet<String>, launcher: LauncherKind) -> BTreeSet<ImageProvider> {
    [ImageProvider::Docker, ImageProvider::Oci]
        .into_iter()
        .filter(|_| launcher == LauncherKind::Linux && names.contains("filesystem/linux"))
        .filter(|provider| names.contains(provider.needs()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ImageProvider::{Docker, Oci};

    fn named(isolation: &str) -> Result<Selection, SelectError> {
        with(Some(isolation), None, None)
    }

    fn with(
        isolation: Option<&str>,
        launcher: Option<LauncherKind>,
        image_providers: Option<&[ImageProvider]>,
    ) -> Result<Selection, SelectError> {
        let isolation: Option<Vec<String>> =
            isolation.map(|text| text.split(',').map(str::to_owned).collect());
        let isolation = isolation.as_deref();
        let registered = &["acme/one", "acme/two"];
        select(Asked { isolation, launcher, image_providers, registered }, DEFAULT_FOR_IMAGES)
    }

    #[test]
    fn isolators_of_the_embedder_come_after_the_table_in_the_order_of_the_flag() {
        let selection = named("acme/two,cgroups/mem, acme/one").expect("consistent");
        assert_eq!(
            selection.isolation,
            ["filesystem/posix", "cgroups/mem", "acme/two", "acme/one"]
        );
        assert!(
            !with(None, None, None).expect("consistent").isolation.contains(&"acme/one".into())
        );
        let error = named("acme/three").expect_err("nobody has it").to_string();
        assert!(
            error.contains("unknown isolator \"acme/three\" in --isolation; known are"),
            "{error}"
        );
        assert!(error.ends_with("acme/one, acme/two"), "{error}");
        assert!(named("acme/one,acme/one").is_err(), "named twice");
    }

    #[test]
    fn a_name_that_is_taken_or_cannot_be_written_cannot_be_registered() {
        for (registered, part) in [
            (vec!["cgroups/mem"], "a built-in one has this name"),
            (vec!["process"], "a built-in one has this name"),
            (vec!["acme/x", "acme/x"], "registered twice"),
            (vec![""], "empty"),
            (vec!["acme/a,b"], "comma"),
        ] {
            let asked = Asked { registered: &registered, ..Asked::default() };
            let error = select(asked, DEFAULT_FOR_IMAGES).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn the_order_is_the_tables_whatever_the_flag_says() {
        let selection = named("linux/nnp,cgroups/mem,filesystem/linux").expect("consistent");
        assert_eq!(selection.isolation, ["filesystem/linux", "cgroups/mem", "linux/nnp"]);
    }

    #[test]
    fn names_of_the_past_are_rewritten_with_a_warning() {
        for (old, new) in [
            ("process", vec!["filesystem/posix", "posix/cpu", "posix/mem"]),
            ("cgroups", vec!["filesystem/posix", "cgroups/cpu", "cgroups/mem"]),
        ] {
            let selection = named(old).expect("consistent");
            assert_eq!(selection.isolation, new);
            assert_eq!(selection.warnings.len(), 1, "{old}");
        }
        let all = named("cgroups/all,cgroups/mem").expect("the one includes the other");
        assert_eq!(all.isolation.len(), 4);
        assert!(all.warnings.is_empty());
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        for (isolation, part) in [
            ("posix/cpu,posix/cpu", "posix/cpu is named twice"),
            ("posix/cpu, posix/cpu", "posix/cpu is named twice"),
            ("filesystem/linux,filesystem/posix", "exactly one"),
            ("network/cni", "unknown isolator \"network/cni\""),
            ("cgroups/memory", "known are filesystem/posix, filesystem/linux"),
            ("posix/disk", "\"disk/du\""),
            ("namespaces/pid", "namespaces/pid needs filesystem/linux"),
        ] {
            let error = named(isolation).expect_err(isolation).to_string();
            assert!(error.contains(part), "{isolation}: {error}");
        }
    }

    #[test]
    fn without_a_file_system_isolator_it_is_the_hosts() {
        assert_eq!(named("").expect("empty is a set too").isolation, ["filesystem/posix"]);
        assert!(named("posix/mem").expect("consistent").image_providers.is_empty());
    }

    #[test]
    fn the_defaults_are_consistent_and_serve_every_image() {
        let images = with(None, None, None).expect("consistent");
        assert_eq!(images.isolation.len(), DEFAULT_FOR_IMAGES.len());
        assert_eq!(images.image_providers, [Docker, Oci].into());
        let host = select(Asked::default(), DEFAULT_WITHOUT_IMAGE).expect("consistent");
        assert_eq!(host.isolation, ["filesystem/posix", "posix/cpu", "posix/mem"]);
        assert!(host.image_providers.is_empty());
    }

    #[test]
    fn the_posix_launcher_has_a_set_of_its_own_and_refuses_what_needs_the_other() {
        let posix = with(None, Some(LauncherKind::Posix), None).expect("consistent");
        assert_eq!(posix.isolation, ["filesystem/posix", "posix/cpu", "posix/mem"]);
        for isolation in ["filesystem/linux", "cgroups/cpu", "linux/capabilities"] {
            let refused = with(Some(isolation), Some(LauncherKind::Posix), None);
            assert!(matches!(refused, Err(SelectError::NeedsLauncher { .. })), "{isolation}");
        }
        let refused = with(None, Some(LauncherKind::Posix), Some(&[Docker]));
        assert!(refused.is_err());
    }

    #[test]
    fn providers_follow_the_isolators_where_they_are_not_given() {
        for (isolation, providers) in [
            ("filesystem/linux,docker/runtime", vec![Docker, Oci]),
            ("filesystem/linux", vec![Oci]),
            ("docker/runtime", vec![]),
        ] {
            let selection = named(isolation).expect("consistent");
            assert_eq!(selection.image_providers, providers.into_iter().collect(), "{isolation}");
        }
    }

    #[test]
    fn providers_that_were_given_demand_their_isolators() {
        let refused = with(Some("filesystem/linux"), None, Some(&[Docker]));
        let needs = "docker/runtime";
        assert_eq!(refused, Err(SelectError::ProviderNeeds { provider: "docker", needs }));
        let refused = with(Some("docker/runtime"), None, Some(&[Oci]));
        let needs = "filesystem/linux";
        assert_eq!(refused, Err(SelectError::ProviderNeeds { provider: "oci", needs }));
        let given = with(None, None, Some(&[Oci])).expect("the default set serves it");
        assert_eq!(given.image_providers, [Oci].into());
        assert!(with(Some("posix/cpu"), None, Some(&[])).is_ok(), "none at all");
    }

    #[test]
    fn providers_and_launchers_are_read_as_the_operator_writes_them() {
        assert_eq!("DOCKER".parse(), Ok(Docker));
        assert_eq!("oci".parse(), Ok(Oci));
        // Until Appc images come, nobody could serve them.
        for unknown in ["rkt", "appc"] {
            let error = unknown.parse::<ImageProvider>().expect_err(unknown).to_string();
            assert!(error.ends_with("known are docker, oci"), "{error}");
        }
        assert_eq!("posix".parse(), Ok(LauncherKind::Posix));
        assert!("Linux".parse::<LauncherKind>().is_err());
    }
}
