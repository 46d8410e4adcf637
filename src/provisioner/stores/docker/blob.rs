//! The bytes of one blob as one stream, over as many connections as it takes.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use reqwest::Response;
use reqwest::header::CONTENT_RANGE;

use super::request::{Ask, Repository, chunk};
use crate::http;
use crate::provisioner::stores::{Blob, BlobStream, SourceError};

/// A blob on its way.
struct Transfer {
    repository: Arc<Repository>,
    blob: Blob,
    /// Bytes handed out.
    delivered: u64,
    /// Where the next bytes come from; `None`: to be asked for.
    body: Option<Body>,
    /// The server answers ranges wrongly: ask for everything, and skip.
    whole: bool,
    /// Cuts since the last byte was handed out.
    cuts: u32,
    /// Nothing more will come.
    over: bool,
}

struct Body {
    response: Response,
    /// Bytes still to come that were handed out before.
    skip: u64,
}

/// Opens a blob; the stream goes on by itself where a connection is cut or stalls.
pub(super) async fn open(
    repository: Arc<Repository>,
    blob: Blob,
) -> Result<BlobStream, SourceError> {
    let mut transfer =
        Transfer { repository, blob, delivered: 0, body: None, whole: false, cuts: 0, over: false };
    // Asked here and not with the first poll, so that a missing blob is known before any work.
    transfer.reopen().await?;
    Ok(Box::pin(stream::unfold(transfer, |mut transfer| async move {
        let item = transfer.next().await?;
        Some((item, transfer))
    })))
}

impl Transfer {
    async fn next(&mut self) -> Option<Result<Bytes, SourceError>> {
        while !self.over {
            match self.step().await {
                Ok(None) => {}
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// One chunk of the network; `None`: nothing new in it, or the end.
    async fn step(&mut self) -> Result<Option<Bytes>, SourceError> {
        let stall = self.repository.patience.stall;
        let Some(body) = &mut self.body else {
            self.reopen().await?;
            return Ok(None);
        };
        match chunk(&mut body.response, stall).await {
            Ok(Some(bytes)) => {
                let old = body.skip.min(bytes.len() as u64);
                body.skip -= old;
                // `old` is at most the length, which is an usize.
                self.deliver(bytes.slice(usize::try_from(old).unwrap_or(bytes.len())..))
            }
            // Once all is there it does not matter how the connection ends.
            Ok(None) | Err(_) if self.delivered == self.blob.size => {
                self.over = true;
                Ok(None)
            }
            Ok(None) => self.cut("the server ended the transfer".to_owned()).await,
            Err(reason) => self.cut(reason).await,
        }
    }

    fn deliver(&mut self, bytes: Bytes) -> Result<Option<Bytes>, SourceError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        self.delivered += bytes.len() as u64;
        self.cuts = 0;
        if self.delivered > self.blob.size {
            let object = self.blob.digest.to_string();
            let reason = format!("larger than its {} bytes", self.blob.size);
            return Err(SourceError::Corrupt { object, reason });
        }
        Ok(Some(bytes))
    }

    async fn cut(&mut self, reason: String) -> Result<Option<Bytes>, SourceError> {
        let url = self.body.take().map(|body| http::shown(body.response.url()));
        self.cuts += 1;
        if self.cuts >= self.repository.patience.attempts {
            let reason = format!("{reason} after {} of {} bytes", self.delivered, self.blob.size);
            return Err(SourceError::Remote { url: url.unwrap_or_default(), reason });
        }
        self.repository.pause(self.cuts, None).await;
        Ok(None)
    }

    /// Asks for what is missing. A server that ignores the range sends everything again, and one
    /// that answers another range is asked for everything: the bytes known already are skipped.
    async fn reopen(&mut self) -> Result<(), SourceError> {
        let path = format!("blobs/{}", self.blob.digest);
        let from = if self.whole { 0 } else { self.delivered };
        let response = self.repository.ask(Ask { path: &path, accept: None, from }).await?;
        let start = match response.status().as_u16() {
            206 => range_start(&response),
            416 => None,
            _ => Some(0),
        };
        match start {
            Some(start) if start <= self.delivered => {
                self.body = Some(Body { response, skip: self.delivered - start });
            }
            Some(_) | None => self.whole = true,
        }
        Ok(())
    }
}

/// The first byte of `Content-Range: bytes 5-9/10`.
fn range_start(response: &Response) -> Option<u64> {
    let value = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let range = value.trim().strip_prefix("bytes")?.trim_start();
    range.split_once('-')?.0.trim().parse().ok()
}
