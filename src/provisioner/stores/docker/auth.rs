//! Proves to a registry who we are, when it asks: Basic, and tokens of its token server.
//!
//! Nothing is sent unasked: the first request of an image is anonymous, the challenge of the answer
//! says what to bring. What was accepted is kept for the next requests until it expires or is
//! refused.
//!
//! Source: distribution `spec/auth/token.md`.

use std::time::{Duration, Instant};

use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Url};
use serde_json::Value;
use tokio::sync::Mutex;

use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::reference::{Reference, Scheme};
use super::request::{self, Failed};
use crate::http;
use crate::limits;
use crate::provisioner::stores::SourceError;

/// The proofs for one repository of one registry.
#[derive(Debug)]
pub(super) struct Authorizer {
    registry: String,
    scheme: Scheme,
    repository: String,
    credentials: Option<Credentials>,
    current: Mutex<Option<Proof>>,
}

/// What the registry accepted last.
#[derive(Debug, Clone)]
struct Proof {
    /// Marked sensitive: prints nothing.
    header: HeaderValue,
    /// Not to be used any more then.
    expires: Option<Instant>,
}

/// A refusal of the registry: what was sent, and what it wants to see.
#[derive(Debug)]
pub(super) struct Refusal<'a> {
    pub(super) sent: Option<&'a HeaderValue>,
    pub(super) headers: &'a HeaderMap,
}

impl Authorizer {
    pub(super) fn new(reference: &Reference, credentials: Option<Credentials>) -> Self {
        Self {
            registry: reference.registry(),
            scheme: reference.scheme,
            repository: reference.repository.clone(),
            credentials,
            current: Mutex::new(None),
        }
    }

    /// What to send with the next request.
    pub(super) async fn header(&self) -> Option<HeaderValue> {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|proof| proof.expires.is_some_and(|e| e <= Instant::now()))
        {
            *current = None;
        }
        current.as_ref().map(|proof| proof.header.clone())
    }

    /// A new proof after a refusal.
    ///
    /// Blobs of one image are refused together when a token ends: the first one that comes here asks
    /// for the next token, the others find it.
    pub(super) async fn renew(
        &self,
        client: &Client,
        patience: Duration,
        refusal: Refusal<'_>,
    ) -> Result<HeaderValue, Failed> {
        let mut current = self.current.lock().await;
        if let Some(proof) = current.as_ref().filter(|proof| Some(&proof.header) != refusal.sent) {
            return Ok(proof.header.clone());
        }
        *current = None;
        let proof = self.prove(client, patience, refusal.headers).await?;
        let header = proof.header.clone();
        *current = Some(proof);
        Ok(header)
    }

    async fn prove(
        &self,
        client: &Client,
        patience: Duration,
        headers: &HeaderMap,
    ) -> Result<Proof, Failed> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|v| v.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(challenge::parse).collect();
        let find = |scheme| challenges.iter().find(|c| c.scheme == scheme);
        match (find("bearer"), find("basic"), &self.credentials) {
            (Some(_), _, Some(token @ Credentials::Token(_))) => proof(&token.header(), None),
            (Some(bearer), _, _) => self.token(client, patience, bearer).await,
            (None, Some(_), Some(password @ Credentials::Password { .. })) => {
                proof(&password.header(), None)
            }
            (None, Some(_), _) => Err(self.denied("no credentials for it in the docker config")),
            (None, None, _) => Err(self.denied("its challenge is neither Bearer nor Basic")),
        }
    }

    async fn token(
        &self,
        client: &Client,
        patience: Duration,
        bearer: &Challenge,
    ) -> Result<Proof, Failed> {
        let url = self.token_url(bearer)?;
        let password = match &self.credentials {
            Some(password @ Credentials::Password { .. }) => Some(secret(&password.header())?),
            Some(Credentials::Token(_)) | None => None,
        };
        let get = http::Get { url, headers: HeaderMap::new(), authorization: password, patience };
        let asked = Instant::now();
        let answer = http::get(client, &get).await?;
        let status = answer.response.status();
        match status.as_u16() {
            200 => {}
            400 | 401 | 403 | 404 => {
                let words = request::words(answer.response, patience).await;
                return Err(self.denied(&format!("its token server says {words}")));
            }
            _ => return Err(request::refused(answer.response, patience).await),
        }
        let shown = http::shown(answer.response.url());
        let body = request::read(answer.response, limits::TOKEN_BYTES_MAX, patience).await?;
        read_token(&body, asked).ok_or_else(|| {
            Failed::Final(SourceError::Remote {
                url: shown,
                reason: "the token server answered without a token".to_owned(),
            })
        })?
    }

    /// Where to ask. Passwords travel there, so a registry behind TLS may not send us to plain text.
    fn token_url(&self, bearer: &Challenge) -> Result<Url, Failed> {
        let realm = bearer.parameter("realm").and_then(|realm| Url::parse(realm).ok());
        let mut url = realm.ok_or_else(|| self.denied("its challenge names no token server"))?;
        match (url.scheme(), self.scheme) {
            ("https", _) | ("http", Scheme::Http) => {}
            _ => return Err(self.denied("its token server does not use https")),
        }
        let all = format!("repository:{}:pull", self.repository);
        let mut query = url.query_pairs_mut();
        if let Some(service) = bearer.parameter("service") {
            query.append_pair("service", service);
        }
        for scope in bearer.parameter("scope").unwrap_or(&all).split_whitespace() {
            query.append_pair("scope", scope);
        }
        drop(query);
        Ok(url)
    }

    pub(super) fn denied(&self, reason: &str) -> Failed {
        Failed::Final(SourceError::Denied {
            registry: self.registry.clone(),
            object: self.repository.clone(),
            reason: reason.to_owned(),
        })
    }
}

/// The token and its end; `None` where the answer has none.
fn read_token(body: &[u8], asked: Instant) -> Option<Result<Proof, Failed>> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).filter(|t| !t.is_empty());
    let token = text("token").or_else(|| text("access_token"))?;
    let age = answer.get("expires_in").and_then(Value::as_u64);
    let age = age.map_or(limits::TOKEN_AGE, Duration::from_secs);
    // A day is enough for any pull, and keeps the sum in range whatever the server says.
    let age = age.min(Duration::from_secs(86_400)).saturating_sub(limits::TOKEN_MARGIN);
    Some(proof(&format!("Bearer {token}"), Some(asked + age)))
}

fn proof(header: &str, expires: Option<Instant>) -> Result<Proof, Failed> {
    Ok(Proof { header: secret(header)?, expires })
}

fn secret(header: &str) -> Result<HeaderValue, Failed> {
    let mut value = HeaderValue::from_str(header).map_err(|_| {
        let reason = "credentials with characters that no header can carry";
        Failed::Final(SourceError::Invalid(reason.to_owned()))
    })?;
    value.set_sensitive(true);
    Ok(value)
}
