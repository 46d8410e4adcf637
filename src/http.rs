//! The HTTP client of the rooms that talk to the network: image registries and the fetcher.
//!
//! One place says which certificates are trusted, how redirects are followed, and what a failure is
//! called. A client belongs to the runtime on which it is used, since its idle connections live
//! there; nothing here is process-wide, neither a TLS provider nor a pool.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Response, StatusCode, Url};
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::{Classified, ErrorKind};
use crate::limits;

mod trust;

#[cfg(test)]
#[path = "../tests/support/scripted_http.rs"]
pub(crate) mod scripted;

/// Whether certificates of servers are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// As everybody expects.
    #[default]
    Certificates,
    /// Not at all: whoever sits between can read and change everything. The operator asked for it.
    Nothing,
}

/// Whether `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proxy {
    /// They are.
    #[default]
    Environment,
    /// They are not.
    None,
}

/// How an HTTP client is made.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// PEM files with authorities that are trusted besides the host's.
    pub ca_files: Vec<PathBuf>,
    /// Certificates.
    pub verify: Verify,
    /// Proxies.
    pub proxy: Proxy,
    /// For connecting, TLS included.
    pub connect: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            verify: Verify::default(),
            proxy: Proxy::default(),
            connect: limits::CONNECT,
        }
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file of authorities cannot be used.
    #[error("cannot read certificates of {path}: {reason}")]
    Authorities {
        /// Which.
        path: PathBuf,
        /// One line.
        reason: String,
    },
    /// A proxy of the environment is no URL. Its text is not shown: it may hold a password.
    #[error("the environment's {0} is no URL of a proxy")]
    Proxy(&'static str),
    /// The TLS library refused its settings.
    #[error("cannot set TLS up: {0}")]
    Tls(String),
}

impl Classified for ClientError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Authorities { .. } | Self::Proxy(_) => ErrorKind::InvalidRequest,
            Self::Tls(_) => ErrorKind::Internal,
        }
    }
}

/// A client for the runtime that the caller runs on. Reads the named certificates: blocks shortly.
pub(crate) fn client(config: &HttpConfig) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .tls_backend_preconfigured(tls(config)?)
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
        // Followed by `get` instead, which knows what must not travel to another host.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(config.connect)
        // Its own reading of the environment would send requests for this host to the proxy.
        .no_proxy();
    if config.proxy == Proxy::Environment {
        for proxy in proxies(&|name| std::env::var(name).ok())? {
            builder = builder.proxy(proxy);
        }
    }
    builder.build().map_err(|error| ClientError::Tls(cause(&error)))
}

/// The proxies of an environment. This host is never reached through one.
fn proxies(variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<reqwest::Proxy>, ClientError> {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_lowercase()));
    let except = format!("localhost,127.0.0.0/8,::1,{}", either("NO_PROXY").unwrap_or_default());
    type Make = fn(String) -> reqwest::Result<reqwest::Proxy>;
    let kinds: [(&str, Make); 3] = [
        ("HTTPS_PROXY", |url| reqwest::Proxy::https(url)),
        ("HTTP_PROXY", |url| reqwest::Proxy::http(url)),
        ("ALL_PROXY", |url| reqwest::Proxy::all(url)),
    ];
    let mut proxies = Vec::new();
    for (name, make) in kinds {
        if let Some(url) = either(name).filter(|url| !url.trim().is_empty()) {
            let proxy = make(url).map_err(|_| ClientError::Proxy(name))?;
            proxies.push(proxy.no_proxy(reqwest::NoProxy::from_string(&except)));
        }
    }
    Ok(proxies)
}

fn tls(config: &HttpConfig) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Tls(error.to_string()))?;
    let verifier: Arc<dyn ServerCertVerifier> = match config.verify {
        Verify::Certificates => Arc::new(trust::Authorities::new(provider, named(config)?)),
        Verify::Nothing => Arc::new(trust::Everybody::new(provider)),
    };
    // Rustls calls every verifier of one's own dangerous; the first is its own, made when needed.
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    Ok(builder.with_no_client_auth())
}

/// The authorities that the operator named, which must be readable.
fn named(config: &HttpConfig) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for path in &config.ca_files {
        let refused = |reason: String| ClientError::Authorities { path: path.clone(), reason };
        let certificates = CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| refused(error.to_string()))?;
        if certificates.is_empty() {
            return Err(refused("no certificate in it".to_owned()));
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        }
    }
    Ok(roots)
}

/// One GET, redirects included.
#[derive(Debug, Clone)]
pub(crate) struct Get {
    /// Where the first request goes.
    pub(crate) url: Url,
    /// Sent with every request.
    pub(crate) headers: HeaderMap,
    /// Sent as long as redirects stay on the first host.
    pub(crate) authorization: Option<HeaderValue>,
    /// The head of each answer must have come by then.
    pub(crate) patience: Duration,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status, headers, and the body to be read.
    pub(crate) response: Response,
    /// A redirect left the first host, so that the answer says nothing about our credentials.
    pub(crate) elsewhere: bool,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoAnswer {
    /// `HOST:PORT` that could not be reached, or the URL without its secrets.
    pub(crate) url: String,
    /// One line.
    pub(crate) reason: String,
    /// Another attempt may succeed.
    pub(crate) transient: bool,
}

/// Sends `get` and follows up to [`limits::REDIRECTS_MAX`] redirects.
///
/// Credentials never leave the origin (scheme, host and port) of the first request, and a redirect
/// from TLS to plain text is refused: it would take the protection away without a word.
pub(crate) async fn get(client: &Client, get: &Get) -> Result<Answer, NoAnswer> {
    let mut url = get.url.clone();
    for _ in 0..=limits::REDIRECTS_MAX {
        let elsewhere = url.origin() != get.url.origin();
        let response = send(client, get, &url, elsewhere).await?;
        if !is_redirect(response.status()) {
            return Ok(Answer { response, elsewhere });
        }
        url = redirected(&url, &response)?;
    }
    Err(permanent(&get.url, format!("more than {} redirects", limits::REDIRECTS_MAX)))
}

async fn send(client: &Client, get: &Get, url: &Url, bare: bool) -> Result<Response, NoAnswer> {
    let mut request = client.get(url.clone()).headers(get.headers.clone());
    if let (Some(authorization), false) = (&get.authorization, bare) {
        request = request.header(AUTHORIZATION, authorization.clone());
    }
    match tokio::time::timeout(get.patience, request.send()).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(unanswered(url, &error)),
        Err(_) => Err(NoAnswer {
            url: shown(url),
            reason: format!("stalled: no answer within {:?}", get.patience),
            transient: true,
        }),
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirected(from: &Url, response: &Response) -> Result<Url, NoAnswer> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| permanent(from, "redirect to nowhere"))?;
    let to = from.join(location).map_err(|_| permanent(from, "redirect to no URL"))?;
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => Ok(to),
        ("https", "http") => Err(permanent(from, "redirect from https to http refused")),
        _ => Err(permanent(from, format!("redirect to scheme {:?} refused", to.scheme()))),
    }
}

fn permanent(url: &Url, reason: impl Into<String>) -> NoAnswer {
    NoAnswer { url: shown(url), reason: reason.into(), transient: false }
}

fn unanswered(url: &Url, error: &reqwest::Error) -> NoAnswer {
    let tls = has_tls_cause(error);
    let reason = match error.is_timeout() && error.is_connect() {
        true => "cannot connect: timed out".to_owned(),
        false if error.is_connect() => format!("cannot connect: {}", cause(error)),
        false => cause(error),
    };
    let url = if error.is_connect() { host_and_port(url) } else { shown(url) };
    // A certificate does not get better by asking again.
    NoAnswer { url, reason, transient: !tls && !error.is_builder() }
}

fn has_tls_cause(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if inner.is_some_and(|inner| inner.is::<rustls::Error>()) || error.is::<rustls::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// `HOST:PORT`, the port also where the URL leaves it out.
fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// An URL for people: without user, password and query, which carry secrets (signed URLs).
pub(crate) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The innermost cause of a failed transfer, in one line.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    // The outer texts hold the whole URL, query included; the innermost does not.
    let text = match error.source() {
        Some(_) => innermost.to_string(),
        None => error.status().map_or_else(|| "transfer failed".to_owned(), |s| s.to_string()),
    };
    let text = text.split(" (os error").next().unwrap_or_default().to_owned();
    one_line(&lower_first(&text))
}

fn lower_first(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |c| c.to_lowercase().chain(rest).collect())
}

/// Somebody else's words, fit for one line of ours.
pub(crate) fn one_line(text: &str) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::scripted::{Answer, Server};
    use super::*;

    /// What a client with this proxy gets from `url`.
    async fn through(proxy: String, exceptions: &str, url: &str) -> Result<u16, NoAnswer> {
        let variable = |name: &str| match name {
            "http_proxy" => Some(proxy.clone()),
            "NO_PROXY" => Some(exceptions.to_owned()),
            _ => None,
        };
        let mut builder = Client::builder().no_proxy();
        builder = builder.tls_backend_preconfigured(tls(&HttpConfig::default()).expect("settings"));
        for proxy in proxies(&variable).expect("valid") {
            builder = builder.proxy(proxy);
        }
        let get = Get {
            url: Url::parse(url).expect("an URL"),
            headers: HeaderMap::new(),
            authorization: None,
            patience: Duration::from_secs(20),
        };
        let answer = super::get(&builder.build().expect("a client"), &get).await?;
        Ok(answer.response.status().as_u16())
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_other_hosts_and_never_for_this_one() {
        let proxy = Server::start(|_, _| Answer::new(299, "")).await;
        let url = format!("http://{}", proxy.authority());
        let far = "http://far.invalid/x";
        assert_eq!(through(url.clone(), "", far).await.expect("by the proxy"), 299);
        assert_eq!(proxy.requests()[0].target, far);
        assert!(through(url.clone(), "far.invalid", far).await.is_err());

        let here = Server::start(|_, _| Answer::new(204, "")).await;
        let address = format!("http://{}/x", here.authority());
        assert_eq!(through(url, "", &address).await.expect("directly"), 204);
        assert_eq!((proxy.requests().len(), here.requests().len()), (1, 1));
    }

    #[test]
    fn a_proxy_that_is_no_url_is_named_without_its_text() {
        let variable = |name: &str| (name == "HTTPS_PROXY").then(|| "http://:secret :x".to_owned());
        let error = proxies(&variable).expect_err("no URL").to_string();
        assert_eq!(error, "the environment's HTTPS_PROXY is no URL of a proxy");
    }
}
