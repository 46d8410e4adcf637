//! One layer from its source to a directory, as a stream: received, hashed, decompressed, hashed
//! again, parsed and written, each byte once and none kept.
//!
//! The caller's runtime only moves received pieces into a channel. Two threads do the work: one
//! hashes and decompresses, one parses and writes. Dropping the future closes the channel, and both
//! threads end at their next read.

use std::io::{self, BufRead, Read};
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};

use super::verify::Hasher;
use super::{Blob, BlobStream, StoreError};
use crate::limits;
use crate::model::Digest;
use crate::provisioner::layer::{LayerError, Unpacked, unpack};

/// Pieces between two steps. A piece has at most some hundred KiB: this bounds the memory of a pull.
const PIECES: usize = 8;

/// Bytes that are decompressed at once.
const PIECE: usize = 128 << 10;

/// One layer to unpack.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) blob: Blob,
    pub(super) diff_id: Digest,
    /// The new directory.
    pub(super) into: PathBuf,
}

enum Piece {
    Data(Bytes),
    /// All has come. Without it the sender has given up.
    End,
}

/// Runs one layer to its end. `received` is told how many bytes have come. `hold` is kept as long as
/// the threads live, also after this future was dropped.
pub(super) async fn run<H: Send + 'static>(
    mut stream: BlobStream,
    job: Job,
    hold: H,
    received: impl Fn(u64),
) -> Result<Unpacked, StoreError> {
    let (pieces, input) = mpsc::channel(PIECES);
    let (answer, answered) = oneshot::channel();
    let digest = job.blob.digest.clone();
    let spawned = thread::Builder::new().name("longshore-layer".to_owned()).spawn(move || {
        let result = work(input, &job);
        // First the hold, then the answer: who has the answer may rely on it.
        drop(hold);
        let _ = answer.send(result);
    });
    spawned.map_err(StoreError::file("thread of a layer"))?;
    let mut count = 0;
    while let Some(piece) = stream.next().await {
        let piece =
            piece.map_err(|error| StoreError::Source { reference: digest.to_string(), error })?;
        count += piece.len() as u64;
        received(count);
        // The worker has ended early: it says why.
        if pieces.send(Piece::Data(piece)).await.is_err() {
            break;
        }
    }
    let _ = pieces.send(Piece::End).await;
    answered.await.unwrap_or(Err(StoreError::Withdrawn))
}

fn work(input: mpsc::Receiver<Piece>, job: &Job) -> Result<Unpacked, StoreError> {
    let (plain, output) = blocking::sync_channel(PIECES);
    let (decoded, unpacked) = thread::scope(|scope| {
        let name = "longshore-decode".to_owned();
        let decoder =
            thread::Builder::new().name(name).spawn_scoped(scope, || decode(input, job, plain));
        let unpacked = unpack(PlainReader { output, piece: Bytes::new(), ended: false }, &job.into);
        let decoded = match decoder {
            Ok(decoder) => decoder.join().unwrap_or(Err(Decode::Gone)),
            Err(error) => Err(Decode::Failed(StoreError::file("thread of a layer")(error))),
        };
        (decoded, unpacked)
    });
    let layer = |error| StoreError::Layer { digest: job.blob.digest.clone(), error };
    match (decoded, unpacked) {
        (Ok(()), Ok(unpacked)) => Ok(unpacked),
        // What is wrong with the stream is the cause of what is wrong with the tar.
        (Err(Decode::Failed(error)), _) => Err(error),
        (_, Err(error)) => Err(layer(error)),
        (Err(Decode::Gone), Ok(_)) => Err(StoreError::Withdrawn),
    }
}

/// Why decoding ended early.
enum Decode {
    Failed(StoreError),
    /// The unpacker does not want more; it says why.
    Gone,
}

impl From<StoreError> for Decode {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

fn decode(
    input: mpsc::Receiver<Piece>,
    job: &Job,
    plain: blocking::SyncSender<Piece>,
) -> Result<(), Decode> {
    let fault = Fault::default();
    let counter = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let mut reader = BlobReader {
        input,
        piece: Bytes::new(),
        hasher: Some(Hasher::like(&job.blob.digest)),
        blob: job.blob.clone(),
        count: 0,
        counter: Arc::clone(&counter),
        fault: fault.clone(),
    };
    let mut sink = Sink { hasher: Hasher::like(&job.diff_id), bytes: 0, counter, plain, job };
    let decoded = match compression(&mut reader) {
        Err(error) => Err(Decode::Failed(stream_error(job, &error))),
        Ok(Compression::None) => sink.drain(&mut reader),
        Ok(Compression::Gzip) => sink.drain(&mut flate2::bufread::MultiGzDecoder::new(reader)),
        Ok(Compression::Zstd) => match zstd::stream::read::Decoder::with_buffer(reader) {
            Ok(mut decoder) => sink.drain(&mut decoder),
            Err(error) => Err(Decode::Failed(stream_error(job, &error))),
        },
        Ok(Compression::Other(name)) => Err(Decode::Failed(StoreError::MediaType {
            object: job.blob.digest.to_string(),
            media_type: name.to_owned(),
            hint: "",
        })),
    };
    // What the reader met is the cause; the decoder only saw an end.
    if let Some(error) = fault.take() {
        return Err(Decode::Failed(error));
    }
    decoded?;
    let actual = sink.hasher.finish();
    if actual != job.diff_id {
        let reason =
            format!("unpacked it has the digest {actual}, not the diff id {}", job.diff_id);
        return Err(StoreError::corrupt(&job.blob.digest, reason).into());
    }
    sink.plain.send(Piece::End).map_err(|_| Decode::Gone)
}

fn stream_error(job: &Job, error: &io::Error) -> StoreError {
    StoreError::corrupt(&job.blob.digest, format!("it does not decompress: {error}"))
}

/// What the reader below a decoder met.
#[derive(Debug, Clone, Default)]
struct Fault(Arc<Mutex<Option<StoreError>>>);

impl Fault {
    fn set(&self, error: StoreError) -> io::Error {
        let text = io::Error::other(error.to_string());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        text
    }

    fn take(&self) -> Option<StoreError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The blob as it comes; at its end size and digest are verified.
struct BlobReader {
    input: mpsc::Receiver<Piece>,
    piece: Bytes,
    /// `None` once the end was seen.
    hasher: Option<Hasher>,
    blob: Blob,
    count: u64,
    counter: Arc<std::sync::atomic::AtomicU64>,
    fault: Fault,
}

impl BlobReader {
    fn receive(&mut self) -> io::Result<()> {
        while self.piece.is_empty() {
            let Some(hasher) = &mut self.hasher else { return Ok(()) };
            match self.input.blocking_recv() {
                None => return Err(self.fault.set(StoreError::Withdrawn)),
                Some(Piece::End) => return self.end(),
                Some(Piece::Data(piece)) => {
                    hasher.update(&piece);
                    self.count += piece.len() as u64;
                    self.piece = piece;
                }
            }
            if self.count > self.blob.size {
                let reason = format!("it has more than its {} bytes", self.blob.size);
                return Err(self.fault.set(StoreError::corrupt(&self.blob.digest, reason)));
            }
            self.counter.store(self.count, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let reason = match hasher.finish() {
            _ if self.count != self.blob.size => {
                format!("it ends after {} of {} bytes", self.count, self.blob.size)
            }
            actual if actual != self.blob.digest => format!("it has the digest {actual}"),
            _ => return Ok(()),
        };
        Err(self.fault.set(StoreError::corrupt(&self.blob.digest, reason)))
    }
}

impl BufRead for BlobReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.receive()?;
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

fn read_buffered(reader: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    let available = reader.fill_buf()?;
    let length = available.len().min(buffer.len());
    buffer[..length].copy_from_slice(&available[..length]);
    reader.consume(length);
    Ok(length)
}

enum Compression {
    None,
    Gzip,
    Zstd,
    /// Known, but no image layer has it.
    Other(&'static str),
}

/// Looks at the first bytes: what they are counts more than what the manifest calls them, and the
/// digests of both forms are verified anyway.
fn compression(reader: &mut BlobReader) -> io::Result<Compression> {
    reader.receive()?;
    // A first piece of less than the longest magic is joined with what follows.
    while reader.piece.len() < 6 && reader.hasher.is_some() {
        let mut joined = reader.piece.split_off(0).to_vec();
        reader.piece = Bytes::new();
        reader.receive()?;
        joined.extend_from_slice(&reader.piece);
        let grown = !reader.piece.is_empty();
        reader.piece = Bytes::from(joined);
        if !grown {
            break;
        }
    }
    Ok(match &*reader.piece {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Other("application/x-xz"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Other("application/x-bzip2"),
        _ => Compression::None,
    })
}

/// Where plain bytes go: hashed, bounded, and on to the unpacker.
struct Sink<'a> {
    hasher: Hasher,
    bytes: u64,
    counter: Arc<std::sync::atomic::AtomicU64>,
    plain: blocking::SyncSender<Piece>,
    job: &'a Job,
}

impl Sink<'_> {
    fn drain(&mut self, reader: &mut impl Read) -> Result<(), Decode> {
        let mut gone = false;
        loop {
            let mut piece = vec![0; PIECE];
            let mut filled = 0;
            let mut ended = false;
            while filled < piece.len() && !ended {
                match reader.read(&mut piece[filled..]) {
                    Ok(length) => {
                        filled += length;
                        ended = length == 0;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(stream_error(self.job, &error).into()),
                }
            }
            piece.truncate(filled);
            self.hasher.update(&piece);
            self.bound(filled as u64)?;
            gone |= self.plain.send(Piece::Data(Bytes::from(piece))).is_err();
            if gone {
                return Err(Decode::Gone);
            }
            if ended {
                return Ok(());
            }
        }
    }

    /// Stops what expands without measure before the disk is full of it.
    fn bound(&mut self, more: u64) -> Result<(), StoreError> {
        self.bytes += more;
        let limit = |what, limit| {
            Err(StoreError::Limit { object: self.job.blob.digest.to_string(), what, limit })
        };
        if self.bytes > limits::LAYER_BYTES_MAX {
            return limit("unpacked bytes of a layer", limits::LAYER_BYTES_MAX);
        }
        let received = self.counter.load(std::sync::atomic::Ordering::Relaxed).max(1);
        if self.bytes > limits::LAYER_RATIO_FREE_BYTES
            && self.bytes / received > limits::LAYER_RATIO_MAX
        {
            return limit("times its compressed size", limits::LAYER_RATIO_MAX);
        }
        Ok(())
    }
}

/// The plain stream as the unpacker reads it.
struct PlainReader {
    output: blocking::Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl BufRead for PlainReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() && !self.ended {
            match self.output.recv() {
                Ok(Piece::Data(piece)) => self.piece = piece,
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::Error::other("the stream was cut")),
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, length: usize) {
        self.piece.advance(length);
    }
}

impl Read for PlainReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_buffered(self, buffer)
    }
}

/// So that an error of the unpacker can be told with its layer by whoever finishes it.
pub(super) fn named(digest: &Digest) -> impl Fn(LayerError) -> StoreError {
    let digest = digest.clone();
    move |error| StoreError::Layer { digest: digest.clone(), error }
}
