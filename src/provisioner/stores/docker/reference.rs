//! Names of images in registries: `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`. Pure.
//!
//! A name is normalised before it is a key, so that `alpine`, `library/alpine:latest` and
//! `docker.io/alpine` are one image. Everything that could leave a path, a header or a line is
//! refused here, so nobody later has to look.
//!
//! Source: distribution `reference` grammar; OCI distribution-spec, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use crate::error::{Classified, ErrorKind};
use crate::model::Digest;
use crate::provisioner::stores::SourceError;

/// What Docker Hub is called in a canonical name.
const HUB: &str = "docker.io";

/// Where Docker Hub answers.
const HUB_API: &str = "registry-1.docker.io";

/// Bytes of a repository; registries refuse longer ones.
const REPOSITORY_MAX: usize = 255;

/// Bytes of a tag.
const TAG_MAX: usize = 128;

/// Bytes of a host name (RFC 1035).
const HOST_MAX: usize = 253;

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The port of an URL that names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// A name that cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {}: {reason}", shown(text))]
pub struct InvalidReference {
    /// `image reference` or `registry`.
    what: &'static str,
    /// As it was given.
    text: String,
    /// What is wrong with it.
    reason: &'static str,
}

/// A hostile name must not fill a terminal or start a line of its own.
fn shown(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl Classified for InvalidReference {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidRequest
    }
}

impl From<InvalidReference> for SourceError {
    fn from(error: InvalidReference) -> Self {
        Self::Invalid(error.to_string())
    }
}

/// The registry of names that have none: the value of `--docker-registry`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRegistry {
    host: String,
    port: Option<u16>,
    scheme: Scheme,
}

impl Default for DefaultRegistry {
    /// Docker Hub.
    fn default() -> Self {
        Self { host: HUB.to_owned(), port: None, scheme: Scheme::Https }
    }
}

impl fmt::Display for DefaultRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl FromStr for DefaultRegistry {
    type Err = InvalidReference;

    /// Reads `http://HOST[:PORT]`, `https://HOST[:PORT]` or `HOST[:PORT]`; the paths `/`, `/v1/` and
    /// `/v2/` are habits and mean nothing.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidReference { what: "registry", text: text.to_owned(), reason };
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(_) => return Err(invalid("the scheme is neither http nor https")),
            None => (None, text),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
            return Err(invalid("a registry has no path"));
        }
        if authority.contains('@') {
            return Err(invalid("credentials belong into the docker config"));
        }
        let (host, port) = host_and_port(authority).map_err(invalid)?;
        let scheme = scheme.unwrap_or_else(|| scheme_by_port(&host, port));
        Ok(Self { host, port, scheme })
    }
}

/// What a name means, normalised.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reference {
    /// Lower case; `docker.io` for Docker Hub; IPv6 addresses in brackets.
    pub host: String,
    /// As written.
    pub port: Option<u16>,
    /// How the registry is spoken to.
    pub scheme: Scheme,
    /// With `library/` where Docker Hub has it.
    pub repository: String,
    /// `None` only where a digest says which.
    pub tag: Option<String>,
    /// Which manifest, exactly.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads a name as Docker users write it; `default` serves names without a registry.
    ///
    /// Errors: [`InvalidReference`], one line that shows the text and says what is wrong.
    pub fn parse(text: &str, default: &DefaultRegistry) -> Result<Self, InvalidReference> {
        Self::read(text, default).map_err(|reason| InvalidReference {
            what: "image reference",
            text: text.to_owned(),
            reason,
        })
    }

    fn read(text: &str, default: &DefaultRegistry) -> Result<Self, &'static str> {
        let (name, digest) = split_digest(text)?;
        let (name, tag) = split_tag(name)?;
        let (registry, path) = split_registry(name);
        let (host, port) = match registry {
            Some(registry) => host_and_port(registry)?,
            None => (default.host.clone(), default.port),
        };
        check_repository(path)?;
        // Where a registry is written, its repositories are taken literally; Docker Hub has none of
        // one component, so there the prefix is always meant.
        let hub = host == HUB;
        let repository = match (registry.is_none() || hub) && !path.contains('/') {
            true => format!("library/{path}"),
            false => path.to_owned(),
        };
        let scheme = match (&host, port) == (&default.host, default.port) {
            true => default.scheme,
            false => scheme_by_port(&host, port),
        };
        let tag = match (tag, &digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Ok(Self { host, port, scheme, repository, tag, digest })
    }

    /// The name in the cache, in events and in messages: `docker.io/library/alpine:latest`.
    pub fn canonical(&self) -> String {
        let name = format!("{}/{}", self.registry(), self.repository);
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("{name}@{digest}"),
            (None, Some(tag)) => format!("{name}:{tag}"),
            (None, None) => name,
        }
    }

    /// `HOST[:PORT]`: the registry as credentials and people name it.
    pub fn registry(&self) -> String {
        authority(&self.host, self.port)
    }

    /// What stands for the manifest in a request: digest or tag.
    pub fn manifest(&self) -> &str {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, Some(tag)) => tag,
            (None, None) => "latest",
        }
    }

    /// Where the registry answers, without a slash at the end: `https://registry-1.docker.io`.
    pub fn base_url(&self) -> String {
        let host = if self.host == HUB { HUB_API } else { &self.host };
        format!("{}://{}", self.scheme, authority(host, self.port))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical())
    }
}

fn authority(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn split_digest(text: &str) -> Result<(&str, Option<Digest>), &'static str> {
    let Some((name, digest)) = text.split_once('@') else { return Ok((text, None)) };
    if digest.contains('@') {
        return Err("more than one digest");
    }
    let digest = digest.parse().map_err(|_| "the digest is neither sha256 nor sha512")?;
    Ok((name, Some(digest)))
}

/// A colon with a slash behind it belongs to a port.
fn split_tag(name: &str) -> Result<(&str, Option<&str>), &'static str> {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => {
            check_tag(tag)?;
            Ok((name, Some(tag)))
        }
        Some(_) | None => Ok((name, None)),
    }
}

fn split_registry(name: &str) -> (Option<&str>, &str) {
    match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        Some(_) | None => (None, name),
    }
}

/// `HOST[:PORT]`, normalised; every name of Docker Hub becomes the one.
fn host_and_port(text: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let port = port.map(read_port).transpose()?;
    check_host(host)?;
    let host = host.to_ascii_lowercase();
    match (host.as_str(), port) {
        (HUB | HUB_API | "index.docker.io" | "www.docker.io", None | Some(443)) => {
            Ok((HUB.to_owned(), None))
        }
        _ => Ok((host, port)),
    }
}

fn read_port(text: &str) -> Result<u16, &'static str> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port != 0 => Ok(port),
        Ok(_) | Err(_) => Err("the port is not a number from 1 to 65535"),
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        let valid = address.parse::<std::net::Ipv6Addr>().is_ok();
        return valid.then_some(()).ok_or("the registry is not an IPv6 address");
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    let valid = host.len() <= HOST_MAX && host.split('.').all(label);
    valid.then_some(()).ok_or("the registry is not a host name")
}

fn check_repository(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("no repository");
    }
    if path.len() > REPOSITORY_MAX {
        return Err("the repository is longer than 255 bytes");
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("the repository has upper-case letters");
    }
    match path.split('/').all(is_component) {
        true => Ok(()),
        false => Err("the repository is not lower-case words joined by . _ - and /"),
    }
}

/// Words of `[a-z0-9]+`, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    if !word(first) || !word(last) {
        return false;
    }
    let mut separators = bytes.split(word).filter(|separator| !separator.is_empty());
    separators.all(|s| matches!(s, b"." | b"_" | b"__") || s.iter().all(|b| *b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let rest = |b: u8| word(b) || matches!(b, b'.' | b'-');
    if tag.len() > TAG_MAX {
        return Err("the tag is longer than 128 bytes");
    }
    match tag.bytes().next().is_some_and(word) && tag.bytes().all(rest) {
        true => Ok(()),
        false => Err("the tag is not letters, digits, _ . and -"),
    }
}

/// Where nobody says it: 443 is TLS, 80 is not, this host's other ports are not, everything else is.
fn scheme_by_port(host: &str, port: Option<u16>) -> Scheme {
    let this_host = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match port {
        Some(443) | None => Scheme::Https,
        Some(80) => Scheme::Http,
        Some(_) if this_host => Scheme::Http,
        Some(_) => Scheme::Https,
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
