//! One file over HTTP: received here, written by a thread that may block.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Client, Response, Url};
use tokio::sync::mpsc;

use super::FetchError;
use super::fetch::{Fetcher, blocking};
use super::write::{Permissions, Work};
use crate::http::{self, Get};
use crate::limits;

/// Chunks between network and disk.
const CHUNKS: usize = 8;

/// What the writer is told.
#[derive(Debug)]
enum Part {
    Chunk(Bytes),
    /// The body came to its announced end.
    End,
}

/// Why a download has not come to its end.
#[derive(Debug)]
enum Broken {
    /// Another attempt may succeed.
    Again(FetchError),
    /// It will not get better.
    Final(FetchError),
    /// The writer has gone; it knows why.
    Writer,
}

impl Fetcher {
    /// Downloads and delivers, again where the network failed.
    pub(super) async fn remote(&self, work: &Work, url: &str) -> Result<(), FetchError> {
        let uri = work.item.shown.clone();
        let url = Url::parse(url)
            .map_err(|_| FetchError::Invalid { uri: uri.clone(), reason: "it is no URL" })?;
        let client = self.client(&uri).await?;
        let mut failures = 0;
        loop {
            match self.attempt(&client, work, &url).await {
                Ok(()) => return Ok(()),
                Err(Broken::Final(error)) => return Err(error),
                Err(Broken::Writer) => return Err(FetchError::Lost { uri }),
                Err(Broken::Again(error)) => {
                    failures += 1;
                    if failures >= self.config.attempts {
                        return Err(error);
                    }
                    let doubled = self.config.backoff.saturating_mul(1 << (failures - 1).min(16));
                    tokio::time::sleep(doubled.min(limits::FETCH_BACKOFF_MAX)).await;
                }
            }
        }
    }

    async fn client(&self, uri: &str) -> Result<Client, FetchError> {
        if let Some(client) = self.client.get() {
            return Ok(client.clone());
        }
        let (config, shown) = (self.config.http.clone(), uri.to_owned());
        let made = blocking(uri, move || {
            let failed = |error: http::ClientError| error.to_string();
            http::client(&config)
                .map_err(|error| FetchError::Remote { uri: shown, reason: failed(error) })
        });
        let made = made.await?;
        Ok(self.client.get_or_init(|| made).clone())
    }

    async fn attempt(&self, client: &Client, work: &Work, url: &Url) -> Result<(), Broken> {
        let stall = self.config.stall;
        let response = ask(client, work, url, stall).await?;
        let (sender, receiver) = mpsc::channel(CHUNKS);
        let writer = {
            let work = work.clone();
            let uri = work.item.shown.clone();
            async move {
                blocking(&uri, move || {
                    let mut parts = Parts { receiver, rest: Bytes::new(), ended: false };
                    work.deliver(&mut parts, Permissions::PLAIN)
                })
                .await
            }
        };
        // Both at once: the writer makes room for what the network brings.
        let (pumped, written) = tokio::join!(pump(response, work, stall, sender), writer);
        match (pumped, written) {
            (Ok(()), written) => written.map_err(Broken::Final),
            (Err(Broken::Writer), Err(error)) => Err(Broken::Final(error)),
            (Err(broken), _) => Err(broken),
        }
    }
}

async fn ask(client: &Client, work: &Work, url: &Url, stall: Duration) -> Result<Response, Broken> {
    let uri = || work.item.shown.clone();
    let (headers, authorization) = (HeaderMap::new(), None);
    let get = Get { url: url.clone(), headers, authorization, patience: stall };
    let answer = http::get(client, &get).await.map_err(|none| {
        // A server that cannot be reached is named with its port; the URI stands before it.
        let reason = match none.url == http::shown(url) {
            true => none.reason,
            false => format!("{}: {}", none.url, none.reason),
        };
        let error = FetchError::Remote { uri: uri(), reason };
        if none.transient { Broken::Again(error) } else { Broken::Final(error) }
    })?;
    let status = answer.response.status();
    let refused = || FetchError::Remote { uri: uri(), reason: format!("HTTP {status}") };
    match status.as_u16() {
        200 => {}
        404 | 410 => return Err(Broken::Final(FetchError::NotFound { uri: uri() })),
        429 | 500 | 502 | 503 | 504 => return Err(Broken::Again(refused())),
        _ => return Err(Broken::Final(refused())),
    }
    if answer.response.content_length().is_some_and(|length| length > work.bytes_max) {
        return Err(Broken::Final(work.too_large(work.bytes_max, "bytes")));
    }
    Ok(answer.response)
}

/// Hands the body to the writer. Dropping `sender` without [`Part::End`] tells it of a cut.
async fn pump(
    mut response: Response,
    work: &Work,
    stall: Duration,
    sender: mpsc::Sender<Part>,
) -> Result<(), Broken> {
    loop {
        let cut =
            |reason| Broken::Again(FetchError::Remote { uri: work.item.shown.clone(), reason });
        let part = match tokio::time::timeout(stall, response.chunk()).await {
            Ok(Ok(Some(bytes))) => Part::Chunk(bytes),
            Ok(Ok(None)) => Part::End,
            Ok(Err(error)) => return Err(cut(http::cause(&error))),
            Err(_) => return Err(cut(format!("stalled: no byte within {stall:?}"))),
        };
        let ended = matches!(part, Part::End);
        sender.send(part).await.map_err(|_| Broken::Writer)?;
        if ended {
            return Ok(());
        }
    }
}

/// The chunks as a file that can be read.
#[derive(Debug)]
struct Parts {
    receiver: mpsc::Receiver<Part>,
    rest: Bytes,
    ended: bool,
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Part::Chunk(bytes)) => self.rest = bytes,
                Some(Part::End) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}
