//! Settings that all commands share: flag over environment over `--config` file over default.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use longshore::config::{Config, Launcher, check_directory, executor_environment};
use longshore::paths::Paths;
use serde::{Deserialize, Deserializer};

use super::exit::Complaint;

/// Where containers and images are kept when nobody says otherwise.
const WORK_DIR: &str = "/var/lib/longshore";
/// What a reboot may take, when nobody says otherwise.
const RUNTIME_DIR: &str = "/run/longshore";

/// The shared flags; the same names, in a `--config` file and with `LONGSHORE_` in the environment.
#[derive(Debug, Clone, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(next_help_heading = "Settings (also LONGSHORE_… in the environment, and in --config)")]
pub(crate) struct Shared {
    /// Images and sandboxes are kept here [default: /var/lib/longshore]
    #[arg(long, value_name = "DIR", env = "LONGSHORE_WORK_DIR", hide_env = true)]
    work_dir: Option<PathBuf>,
    /// State that need not survive a reboot [default: /run/longshore]
    #[arg(long, value_name = "DIR", env = "LONGSHORE_RUNTIME_DIR", hide_env = true)]
    runtime_dir: Option<PathBuf>,
    /// Name of our cgroup in each hierarchy [default: longshore]
    #[arg(long, value_name = "NAME", env = "LONGSHORE_CGROUPS_ROOT", hide_env = true)]
    cgroups_root: Option<String>,
    /// Isolators in use, separated by commas; replaces the default set
    #[arg(long, value_name = "A,B,…", env = "LONGSHORE_ISOLATION", hide_env = true)]
    #[serde(deserialize_with = "words")]
    isolation: Option<String>,
    /// What starts processes: linux (needs root) or posix [default: linux for root, else posix]
    #[arg(long, value_name = "NAME", env = "LONGSHORE_LAUNCHER", hide_env = true)]
    launcher: Option<String>,
    /// Kinds of images: docker, oci [default: all that the isolators can serve]
    #[arg(long, value_name = "A,B", env = "LONGSHORE_IMAGE_PROVIDERS", hide_env = true)]
    #[serde(deserialize_with = "words")]
    image_providers: Option<String>,
    /// How layers become a root: overlay, copy, bind [default: the first that works]
    #[arg(long, value_name = "NAME", env = "LONGSHORE_IMAGE_PROVISIONER_BACKEND", hide_env = true)]
    image_provisioner_backend: Option<String>,
    /// Where roots are mounted: private (in the container only) or host [default: private]
    #[arg(long, value_name = "WHERE", env = "LONGSHORE_ROOTFS_MOUNT", hide_env = true)]
    rootfs_mount: Option<String>,
    /// Registry of images named without one, or a directory of `docker save` archives
    #[arg(long, value_name = "URL|PATH", env = "LONGSHORE_DOCKER_REGISTRY", hide_env = true)]
    docker_registry: Option<String>,
    /// Credentials of registries: a file, or the JSON itself [default: docker's own file]
    #[arg(long, value_name = "FILE|JSON", env = "LONGSHORE_DOCKER_CONFIG", hide_env = true)]
    docker_config: Option<String>,
    /// Images are kept here [default: <work-dir>/store]
    #[arg(long, value_name = "DIR", env = "LONGSHORE_DOCKER_STORE_DIR", hide_env = true)]
    docker_store_dir: Option<PathBuf>,
    /// Where a container with its own root sees its sandbox [default: /mnt/mesos/sandbox]
    #[arg(long, value_name = "DIR", env = "LONGSHORE_SANDBOX_DIRECTORY", hide_env = true)]
    sandbox_directory: Option<PathBuf>,
    /// Variables below all others, a JSON object of strings or a file with one: what an agent gives
    /// its executors; with run its container
    #[arg(long, value_name = "JSON|FILE", env = "LONGSHORE_EXECUTOR_ENVIRONMENT_VARIABLES")]
    #[arg(hide_env = true)]
    #[serde(deserialize_with = "json")]
    executor_environment_variables: Option<String>,
    /// A TOML file with these settings
    #[arg(long, value_name = "FILE", env = "LONGSHORE_CONFIG", hide_env = true)]
    #[serde(skip)]
    config: Option<PathBuf>,
}

/// What the flags, the environment and the file come to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) paths: Paths,
    pub(crate) config: Config,
}

impl Shared {
    /// Reads the file, if one is named, and checks everything.
    pub(crate) fn resolve(self) -> Result<Settings, Complaint> {
        let merged = match self.config.clone() {
            Some(path) => self.over(read(&path)?),
            None => self,
        };
        merged.checked()
    }

    /// What is given here, else what is given there.
    fn over(self, below: Self) -> Self {
        Self {
            work_dir: self.work_dir.or(below.work_dir),
            runtime_dir: self.runtime_dir.or(below.runtime_dir),
            cgroups_root: self.cgroups_root.or(below.cgroups_root),
            isolation: self.isolation.or(below.isolation),
            launcher: self.launcher.or(below.launcher),
            image_providers: self.image_providers.or(below.image_providers),
            image_provisioner_backend: self
                .image_provisioner_backend
                .or(below.image_provisioner_backend),
            rootfs_mount: self.rootfs_mount.or(below.rootfs_mount),
            docker_registry: self.docker_registry.or(below.docker_registry),
            docker_config: self.docker_config.or(below.docker_config),
            docker_store_dir: self.docker_store_dir.or(below.docker_store_dir),
            sandbox_directory: self.sandbox_directory.or(below.sandbox_directory),
            executor_environment_variables: self
                .executor_environment_variables
                .or(below.executor_environment_variables),
            config: self.config,
        }
    }

    fn checked(self) -> Result<Settings, Complaint> {
        let mut config = Config::default();
        if let Some(name) = self.cgroups_root {
            config.cgroups_root = name;
        }
        config.isolation = self.isolation.map(|list| split(&list));
        config.launcher = self.launcher.map(|name| parsed(&name)).transpose()?;
        if let Some(list) = self.image_providers {
            let providers = split(&list).iter().map(|name| parsed(name)).collect::<Result<_, _>>();
            config.image_providers = Some(providers?);
        }
        config.image_provisioner_backend =
            self.image_provisioner_backend.map(|name| parsed(&name)).transpose()?;
        set(&mut config.rootfs_mount, self.rootfs_mount)?;
        set(&mut config.docker_registry, self.docker_registry)?;
        config.docker_config = self.docker_config.or_else(docker_config);
        config.docker_store_dir = self.docker_store_dir.map(absolute).transpose()?;
        if let Some(directory) = self.sandbox_directory {
            config.sandbox_directory = directory;
        }
        if let Some(text) = self.executor_environment_variables {
            let variables = executor_environment(&text).map_err(Complaint::usage)?;
            config.agent.executor_environment_variables = variables;
        }
        config.validate().map_err(Complaint::usage)?;
        // Who may have the launcher that is needed is a matter of the start.
        let mut meant = config.clone();
        meant.launcher.get_or_insert(Launcher::Linux);
        meant.selection().map_err(Complaint::usage)?;
        let work_dir = absolute(self.work_dir.unwrap_or_else(|| WORK_DIR.into()))?;
        let runtime_dir = absolute(self.runtime_dir.unwrap_or_else(|| RUNTIME_DIR.into()))?;
        check_directory("work-dir", &work_dir).map_err(Complaint::usage)?;
        check_directory("runtime-dir", &runtime_dir).map_err(Complaint::usage)?;
        Ok(Settings { paths: Paths::new(work_dir, runtime_dir), config })
    }
}

fn read(path: &Path) -> Result<Shared, Complaint> {
    let failed = |error: &dyn std::fmt::Display| {
        Complaint::usage(format_args!("config file {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    from_toml(&text).map_err(|error| failed(&error.message()))
}

/// Both spellings of a name, as on the command line.
fn from_toml(text: &str) -> Result<Shared, toml::de::Error> {
    let table: toml::Table = toml::from_str(text)?;
    let mut spelled = toml::Table::new();
    for (name, value) in table {
        let name = name.replace('_', "-");
        if spelled.insert(name.clone(), value).is_some() {
            return Err(serde::de::Error::custom(format!("{name} is given in both spellings")));
        }
    }
    Shared::deserialize(toml::Value::Table(spelled))
}

/// A list, or one text with commas.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Text(String),
        List(Vec<String>),
    }
    Ok(Some(match Words::deserialize(deserializer)? {
        Words::Text(text) => text,
        Words::List(list) => list.join(","),
    }))
}

/// JSON as a text, or the same as a table.
fn json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Json {
        Text(String),
        Table(serde_json::Map<String, serde_json::Value>),
    }
    Ok(Some(match Json::deserialize(deserializer)? {
        Json::Text(text) => text,
        Json::Table(table) => serde_json::Value::Object(table).to_string(),
    }))
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn set<T>(setting: &mut T, text: Option<String>) -> Result<(), Complaint>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    if let Some(text) = text {
        *setting = parsed(&text)?;
    }
    Ok(())
}

fn parsed<T>(text: &str) -> Result<T, Complaint>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(Complaint::usage)
}

/// A path of the command line starts where the user stands.
fn absolute(path: PathBuf) -> Result<PathBuf, Complaint> {
    std::path::absolute(&path)
        .map_err(|error| Complaint::usage(format_args!("{}: {error}", path.display())))
}

/// Where docker(1) keeps credentials, if it has any: `DOCKER_CONFIG` is the directory.
fn docker_config() -> Option<String> {
    let directory = match std::env::var_os("DOCKER_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".docker"),
    };
    let file = directory.join("config.json");
    file.is_file().then(|| file.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use longshore::config::{Backend, DockerRegistry, RootfsMount};

    use super::*;

    #[test]
    fn the_defaults_need_no_file_and_no_flag() {
        let settings = Shared::default().resolve().expect("valid");
        assert_eq!(settings.paths.work_dir(), Path::new(WORK_DIR));
        assert_eq!(settings.paths.runtime_dir(), Path::new(RUNTIME_DIR));
        assert_eq!(settings.config.isolation, None);
    }

    #[test]
    fn a_file_has_the_flags_names_in_both_spellings_and_lists() {
        let shared = from_toml(
            "work-dir = '/w'\nrootfs_mount = 'host'\nisolation = ['posix/cpu', 'posix/mem']\n\
             image-provisioner-backend = 'copy'\ndocker-registry = '/images'\n",
        )
        .expect("valid");
        let settings = shared.resolve().expect("valid");
        assert_eq!(settings.paths.work_dir(), Path::new("/w"));
        assert_eq!(settings.config.rootfs_mount, RootfsMount::Host);
        assert_eq!(settings.config.image_provisioner_backend, Some(Backend::Copy));
        assert_eq!(settings.config.docker_registry, DockerRegistry::Archives("/images".into()));
        let isolation = settings.config.isolation.expect("given");
        assert_eq!(isolation, ["posix/cpu", "posix/mem"]);
    }

    #[test]
    fn variables_of_executors_are_json_or_a_table() {
        let read = |toml: &str| {
            let shared = from_toml(toml).expect("valid TOML");
            shared.resolve().map(|settings| settings.config.agent.executor_environment_variables)
        };
        let expected = [("A".to_owned(), "b".to_owned())].into();
        for toml in [
            "executor-environment-variables = '{\"A\": \"b\"}'",
            "executor_environment_variables = { A = \"b\" }",
            "[executor-environment-variables]\nA = \"b\"",
        ] {
            assert_eq!(read(toml).expect("valid"), expected, "{toml}");
        }
        let complaint = read("executor-environment-variables = { A = 7 }").expect_err("a number");
        let line = complaint.line.expect("it says why");
        assert!(line.contains("\"A\" that is no string: 7"), "{line}");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let flags = Shared { work_dir: Some("/flag".into()), ..Shared::default() };
        let file = from_toml("work-dir = '/file'\nruntime-dir = '/r'").expect("valid");
        let settings = flags.over(file).resolve().expect("valid");
        assert_eq!(settings.paths.work_dir(), Path::new("/flag"));
        assert_eq!(settings.paths.runtime_dir(), Path::new("/r"));
    }

    #[test]
    fn what_the_file_says_wrong_is_named() {
        assert!(from_toml("work-dri = '/w'").is_err(), "an unknown name");
        assert!(from_toml("work-dir = 7").is_err(), "a number");
        assert!(from_toml("work-dir").is_err(), "no TOML");
        assert!(from_toml("work-dir = '/a'\nwork_dir = '/b'").is_err(), "twice");
    }

    #[test]
    fn contradictions_are_refused() {
        let with = |isolation: &str, providers: Option<&str>| {
            let isolation = Some(isolation.to_owned());
            let image_providers = providers.map(str::to_owned);
            Shared { isolation, image_providers, ..Shared::default() }.resolve()
        };
        assert!(with("filesystem/linux", Some("docker")).is_err(), "docker/runtime is missing");
        assert!(with("namespaces/pid", None).is_err(), "filesystem/linux is missing");
        assert!(with("no/such", None).is_err());
        assert!(with("filesystem/linux,docker/runtime", Some("docker")).is_ok());
    }
}
