//! One GET to a registry: proofs, redirects, and patience with servers that have a bad moment.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, RANGE, RETRY_AFTER};
use reqwest::{Client, Response, Url};
use serde_json::Value;

use super::auth::{Authorizer, Refusal};
use super::reference::Reference;
use crate::http::{self, NoAnswer};
use crate::limits;
use crate::provisioner::stores::SourceError;

/// How often, how long.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    pub(super) attempts: u32,
    pub(super) stall: Duration,
    pub(super) backoff: Duration,
}

/// What is asked of a repository.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    /// Below `/v2/<repository>/`.
    pub(super) path: &'a str,
    /// `Accept`.
    pub(super) accept: Option<&'static str>,
    /// First byte wanted; 0 asks for everything.
    pub(super) from: u64,
}

/// Why an attempt has failed.
#[derive(Debug)]
pub(super) enum Failed {
    /// Another one may succeed.
    Again {
        /// What it ends in when it was the last.
        error: SourceError,
        /// What the server asked for.
        after: Option<Duration>,
    },
    /// It will not get better.
    Final(SourceError),
}

impl From<NoAnswer> for Failed {
    fn from(none: NoAnswer) -> Self {
        let error = SourceError::Remote { url: none.url, reason: none.reason };
        match none.transient {
            true => Self::Again { error, after: None },
            false => Self::Final(error),
        }
    }
}

impl Failed {
    pub(super) fn into_error(self) -> SourceError {
        match self {
            Self::Again { error, .. } | Self::Final(error) => error,
        }
    }
}

/// One repository of one registry.
#[derive(Debug)]
pub(super) struct Repository {
    client: Client,
    reference: Reference,
    authorizer: Authorizer,
    pub(super) patience: Patience,
}

impl Repository {
    pub(super) fn new(
        client: Client,
        reference: Reference,
        authorizer: Authorizer,
        patience: Patience,
    ) -> Self {
        Self { client, reference, authorizer, patience }
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The head of the answer 200, 206 or, where a part was asked for, 416.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Response, SourceError> {
        let mut failures = 0;
        loop {
            match self.attempt(ask).await {
                Ok(response) => return Ok(response),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Again { error, after }) => {
                    failures += 1;
                    if failures >= self.patience.attempts {
                        return Err(error);
                    }
                    self.pause(failures, after).await;
                }
            }
        }
    }

    /// Waits before the attempt after the `failures`-th failure.
    pub(super) async fn pause(&self, failures: u32, asked: Option<Duration>) {
        let doubled = self.patience.backoff.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let pause = asked.unwrap_or(doubled).min(limits::FETCH_BACKOFF_MAX);
        tokio::time::sleep(pause).await;
    }

    async fn attempt(&self, ask: Ask<'_>) -> Result<Response, Failed> {
        let sent = self.authorizer.header().await;
        let answer = self.send(ask, sent.clone()).await?;
        if answer.response.status().as_u16() != 401 || answer.elsewhere {
            return self.judge(ask, answer.response).await;
        }
        let headers = answer.response.headers().clone();
        // The connection goes back to the pool before the token server is asked.
        drop(answer);
        let refusal = Refusal { sent: sent.as_ref(), headers: &headers };
        let stall = self.patience.stall;
        let header = self.authorizer.renew(&self.client, stall, refusal).await?;
        let answer = self.send(ask, Some(header)).await?;
        self.judge(ask, answer.response).await
    }

    async fn send(
        &self,
        ask: Ask<'_>,
        authorization: Option<HeaderValue>,
    ) -> Result<http::Answer, Failed> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = ask.accept {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        if ask.from > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", ask.from));
            headers.insert(RANGE, range.expect("digits and ASCII are a header value"));
        }
        let url = self.url(ask.path);
        let get = http::Get { url, headers, authorization, patience: self.patience.stall };
        Ok(http::get(&self.client, &get).await?)
    }

    fn url(&self, path: &str) -> Url {
        let base = self.reference.base_url();
        let url = format!("{base}/v2/{}/{path}", self.reference.repository);
        Url::parse(&url).expect("a validated reference makes an URL")
    }

    async fn judge(&self, ask: Ask<'_>, response: Response) -> Result<Response, Failed> {
        let stall = self.patience.stall;
        match (response.status().as_u16(), ask.from) {
            (200, _) | (206 | 416, 1..) => Ok(response),
            (404, _) => Err(Failed::Final(SourceError::NotFound(self.object(ask.path)))),
            (401 | 403, _) => Err(self.authorizer.denied(&words(response, stall).await)),
            _ => Err(refused(response, stall).await),
        }
    }

    /// What people call it: the image, or a blob of it.
    fn object(&self, path: &str) -> String {
        let name = self.reference.canonical();
        match path.strip_prefix("manifests/") {
            Some(manifest) if manifest == self.reference.manifest() => name,
            Some(manifest) => format!("manifest {manifest} of {name}"),
            None => format!("{} of {name}", path.replacen("blobs/", "blob ", 1)),
        }
    }
}

/// Any other status: its own words, and whether to come back.
pub(super) async fn refused(response: Response, stall: Duration) -> Failed {
    let transient = matches!(response.status().as_u16(), 429 | 500 | 502 | 503 | 504);
    let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    // The other form, a date, is not worth a clock that may differ: back off as usual.
    let after = after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    let url = http::shown(response.url());
    let error = SourceError::Remote { url, reason: words(response, stall).await };
    if transient { Failed::Again { error, after } } else { Failed::Final(error) }
}

/// `HTTP 403: requested access to the resource is denied`, one line.
pub(super) async fn words(response: Response, stall: Duration) -> String {
    let status = format!("HTTP {}", response.status());
    let body = read(response, limits::TOKEN_BYTES_MAX, stall).await.unwrap_or_default();
    let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    let first = answer.pointer("/errors/0");
    let field = |name| first.and_then(|error| error.get(name)).and_then(Value::as_str);
    let details = answer.get("details").and_then(Value::as_str);
    match field("message").or_else(|| field("code")).or(details) {
        Some(text) => format!("{status}: {}", http::one_line(text)),
        None => status,
    }
}

/// A whole body of at most `limit` bytes, which may not stop coming for `stall`.
pub(super) async fn read(
    mut response: Response,
    limit: u64,
    stall: Duration,
) -> Result<Bytes, Failed> {
    let url = http::shown(response.url());
    let mut body = BytesMut::new();
    while let Some(chunk) = chunk(&mut response, stall).await.map_err(|reason| {
        let error = SourceError::Remote { url: url.clone(), reason };
        Failed::Again { error, after: None }
    })? {
        if (body.len() + chunk.len()) as u64 > limit {
            let reason = format!("larger than {limit} bytes");
            return Err(Failed::Final(SourceError::Corrupt { object: url, reason }));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The next bytes of a body, its end, or why there is neither.
pub(super) async fn chunk(
    response: &mut Response,
    stall: Duration,
) -> Result<Option<Bytes>, String> {
    match tokio::time::timeout(stall, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(http::cause(&error)),
        Err(_) => Err(format!("stalled: no byte within {stall:?}")),
    }
}
