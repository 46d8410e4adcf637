//! Credentials from a Docker `config.json`: today's `{"auths": {…}}` and the old flat form.
//!
//! Credential helpers are not run: a name in a file shall not start programs of the agent's user.

use std::fmt;
use std::path::PathBuf;

use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use serde_json::{Map, Value};

use crate::error::{Classified, ErrorKind};

/// People paste base64 with and without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What proves who we are. Prints nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// For Basic, and to get tokens with.
    Password {
        /// User.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// A token for the registry itself (`registrytoken`).
    Token(String),
}

impl Credentials {
    /// The value of an `Authorization` header.
    pub(super) fn header(&self) -> String {
        match self {
            Self::Password { username, password } => {
                format!("Basic {}", BASE64.encode(format!("{username}:{password}")))
            }
            Self::Token(token) => format!("Bearer {token}"),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// The credentials of all registries.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    /// By `HOST[:PORT]`, lower case; in the order of the file's keys.
    entries: Vec<(String, Credentials)>,
}

/// A docker config that cannot be used. Shows nothing of its content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read.
    #[error("cannot read the docker config {path}: {error}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
    /// Not JSON, or no object.
    #[error("the docker config is not a JSON object: {0}")]
    Json(String),
    /// An entry is damaged.
    #[error("the docker config's credentials of {0:?} are not base64 of USER:PASSWORD")]
    Entry(String),
}

impl Classified for CredentialsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidRequest
    }
}

impl DockerConfig {
    /// The value of `--docker-config`: the JSON text itself, or the path of a file with it
    /// (`/path` or `file:///path`). Reads a file: blocks.
    pub fn load(value: &str) -> Result<Self, CredentialsError> {
        if value.trim_start().starts_with('{') {
            return Self::parse(value);
        }
        let path = PathBuf::from(value.strip_prefix("file://").unwrap_or(value));
        let text = std::fs::read_to_string(&path)
            .map_err(|error| CredentialsError::File { path, error })?;
        Self::parse(&text)
    }

    /// Reads the text of a `config.json`.
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        // serde_json names line and column of a syntax error, nothing of the text.
        let value =
            serde_json::from_str(text).map_err(|e| CredentialsError::Json(e.to_string()))?;
        let Value::Object(config) = value else {
            return Err(CredentialsError::Json("it is another kind of value".to_owned()));
        };
        let auths = match config.get("auths") {
            Some(Value::Object(auths)) => auths,
            Some(_) | None => &config,
        };
        let mut entries = Vec::new();
        for (key, value) in auths {
            let Value::Object(entry) = value else { continue };
            if let Some(credentials) = read_entry(key, entry)? {
                entries.push((registry_of(key), credentials));
            }
        }
        Ok(Self { entries })
    }

    /// The credentials for a registry, `HOST[:PORT]` as references name it.
    pub fn lookup(&self, registry: &str) -> Option<&Credentials> {
        let wanted = registry_of(registry);
        self.entries.iter().find(|(name, _)| *name == wanted).map(|(_, credentials)| credentials)
    }
}

fn read_entry(
    key: &str,
    entry: &Map<String, Value>,
) -> Result<Option<Credentials>, CredentialsError> {
    let text = |name| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    if let Some(token) = text("registrytoken") {
        return Ok(Some(Credentials::Token(token.to_owned())));
    }
    if let Some(auth) = text("auth") {
        let decoded = BASE64.decode(auth.trim()).ok().and_then(|b| String::from_utf8(b).ok());
        let pair = decoded.as_deref().and_then(|pair| pair.split_once(':'));
        let (username, password) = pair.ok_or_else(|| CredentialsError::Entry(key.to_owned()))?;
        let (username, password) =
            (username.to_owned(), password.trim_end_matches('\0').to_owned());
        return Ok(Some(Credentials::Password { username, password }));
    }
    Ok(match (text("username"), text("password")) {
        (Some(username), Some(password)) => {
            let (username, password) = (username.to_owned(), password.to_owned());
            Some(Credentials::Password { username, password })
        }
        _ => None,
    })
}

/// `https://index.docker.io/v1/` → `docker.io`; all names *below* Docker Hub's domain are one, a
/// name that merely contains it is somebody else.
fn registry_of(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let host = key.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let bare = host.strip_suffix(":443").unwrap_or(&host);
    match bare == "docker.io" || bare.ends_with(".docker.io") {
        true => "docker.io".to_owned(),
        false => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(config: &DockerConfig, registry: &str) -> Option<String> {
        config.lookup(registry).map(|credentials| match credentials {
            Credentials::Password { username, password } => format!("{username}:{password}"),
            Credentials::Token(token) => format!("token {token}"),
        })
    }

    #[test]
    fn todays_and_the_old_form_are_read() {
        let auths = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "aHViOnB3"},
            "reg.io:5000": {"username": "u", "password": "p:q"},
            "http://Other.io/v2/": {"auth": "YTpi"},
            "token.io": {"registrytoken": "t"},
            "empty.io": {}, "helper.io": {"auth": ""}
        }, "credHelpers": {"x": "y"}}"#;
        let config = DockerConfig::parse(auths).expect("valid");
        let known = |registry| user(&config, registry);
        assert_eq!(known("docker.io").as_deref(), Some("hub:pw"));
        assert_eq!(known("registry-1.docker.io").as_deref(), Some("hub:pw"));
        assert_eq!(known("reg.io:5000").as_deref(), Some("u:p:q"));
        assert_eq!(known("other.io").as_deref(), Some("a:b"));
        assert_eq!(known("token.io").as_deref(), Some("token t"));
        for stranger in ["reg.io", "reg.io:5001", "empty.io", "helper.io", "x"] {
            assert_eq!(known(stranger), None, "{stranger}");
        }
        let flat = DockerConfig::parse(r#"{"reg.io": {"auth": "YTpi", "email": "x"}}"#);
        assert_eq!(user(&flat.expect("valid"), "reg.io").as_deref(), Some("a:b"));
    }

    #[test]
    fn a_name_that_only_contains_docker_io_gets_no_credentials_of_the_hub() {
        let config = DockerConfig::parse(r#"{"auths": {"docker.io": {"auth": "YTpi"}}}"#);
        let config = config.expect("valid");
        for stranger in ["docker.io.evil.com", "notdocker.io", "evil.com/docker.io"] {
            assert_eq!(user(&config, stranger), None, "{stranger}");
        }
    }

    #[test]
    fn the_flag_is_text_or_a_path() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), r#"{"auths": {"r.io": {"auth": "YTpi"}}}"#).expect("written");
        let path = file.path().to_str().expect("utf-8");
        for value in [path, &format!("file://{path}"), r#" {"r.io": {"auth": "YTpi"}}"#] {
            let config = DockerConfig::load(value).expect("valid");
            assert_eq!(user(&config, "r.io").as_deref(), Some("a:b"));
        }
        assert!(matches!(DockerConfig::load("/no/such"), Err(CredentialsError::File { .. })));
    }

    #[test]
    fn secrets_are_in_no_debug_output_and_in_no_error() {
        let config = DockerConfig::parse(r#"{"auths": {"r.io": {"auth": "dTpzZWNyZXQ="}}}"#);
        assert!(!format!("{:?}", config.expect("valid")).contains("secret"));
        for bad in ["{\"auths\": {\"r.io\": {\"auth\": \"secret\"}}}", "{\"secret", "[\"secret\"]"]
        {
            let line = DockerConfig::parse(bad).expect_err("damaged").to_string();
            assert!(!line.contains("secret"), "{line}");
        }
    }
}
