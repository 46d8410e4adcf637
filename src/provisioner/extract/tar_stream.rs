//! Reads a tar from front to back: ustar, GNU and pax, sparse files included.
//!
//! Header fields are parsed by the crate `tar`. The framing is ours, since extension headers must
//! be bounded and the two kinds of sparse files read alike.

use std::io::{self, BufRead};

use tar::Header;

use crate::limits;
use crate::linux::fs::{Attributes, Node, Time};

mod fields;

use fields::{number, time};

/// What an entry makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that says this.
    Symlink(Vec<u8>),
    /// Another name of this entry.
    Hardlink(Vec<u8>),
    /// A device or pipe.
    Node(Node),
}

/// One entry, with all its extension headers applied.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// As written.
    pub(crate) name: Vec<u8>,
    /// What it makes.
    pub(crate) kind: EntryKind,
    /// Owner, mode, time.
    pub(crate) attributes: Attributes,
    /// From `SCHILY.xattr.` records.
    pub(crate) xattrs: Vec<(String, Vec<u8>)>,
    /// Bytes of the file when unpacked.
    pub(crate) size: u64,
    /// Ranges of a sparse file that have data: offset and length; `None`: all of it.
    pub(crate) ranges: Option<Ranges>,
}

/// Offset and length of each range of a sparse file that has data.
pub(crate) type Ranges = Vec<(u64, u64)>;

/// Keys and values of pax records, in their order.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Why a tar cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TarError {
    /// The stream failed below the tar.
    #[error(transparent)]
    Read(io::Error),
    /// The stream is no tar, or a damaged one.
    #[error("malformed tar at byte {position}: {reason}")]
    Malformed {
        /// Of the plain stream.
        position: u64,
        /// One line.
        reason: &'static str,
    },
    /// An entry of a kind that no image layer has.
    #[error("tar entry {name:?} has the unsupported type {typeflag:?}")]
    Unsupported {
        /// As written.
        name: String,
        /// Of the header.
        typeflag: char,
    },
}

const BLOCK: u64 = 512;

/// Entries of a tar, one after the other.
#[derive(Debug)]
pub(crate) struct TarStream<R> {
    reader: R,
    position: u64,
    /// Bytes of the current entry that were not read yet, and the padding behind.
    remaining: u64,
    padding: u64,
}

/// What the extension headers before an entry say.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Records,
}

impl Extensions {
    /// The last record of this key counts.
    fn get(&self, key: &str) -> Option<&[u8]> {
        self.pax.iter().rev().find(|(k, _)| k == key.as_bytes()).map(|(_, value)| value.as_slice())
    }

    fn number(&self, key: &str) -> Option<u64> {
        std::str::from_utf8(self.get(key)?).ok()?.trim().parse().ok()
    }
}

impl<R: BufRead> TarStream<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, position: 0, remaining: 0, padding: 0 }
    }

    fn malformed<T>(&self, reason: &'static str) -> Result<T, TarError> {
        Err(TarError::Malformed { position: self.position, reason })
    }

    /// The next entry; `None` at the end of the archive. Data of the last one is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip(self.remaining + self.padding)?;
            let Some(header) = self.header()? else { return Ok(None) };
            let stored = self.field(&header.as_old().size)?;
            match header.as_old().linkflag[0] {
                b'x' | b'X' => {
                    let data = self.extension(stored)?;
                    extensions.pax = self.records(&data)?;
                }
                // Global records are comments in practice; image builders ignore them too.
                b'g' => drop(self.extension(stored)?),
                b'L' => extensions.long_name = Some(self.text(stored)?),
                b'K' => extensions.long_link = Some(self.text(stored)?),
                typeflag => return self.entry(&header, typeflag, &extensions).map(Some),
            }
        }
    }

    /// Reads what the rest of the stream has, past the end of the archive.
    pub(crate) fn drain(mut self) -> Result<(), TarError> {
        loop {
            let length = self.reader.fill_buf().map_err(TarError::Read)?.len();
            if length == 0 {
                return Ok(());
            }
            self.reader.consume(length);
        }
    }

    /// Some bytes of the current entry's stored data; empty at its end. Consume what was used.
    pub(crate) fn data(&mut self) -> Result<&[u8], TarError> {
        if self.remaining == 0 {
            return Ok(&[]);
        }
        let position = self.position;
        let buffer = self.reader.fill_buf().map_err(TarError::Read)?;
        if buffer.is_empty() {
            return Err(TarError::Malformed { position, reason: "ends within a file" });
        }
        let length = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        Ok(&buffer[..length])
    }

    pub(crate) fn consume(&mut self, length: usize) {
        self.reader.consume(length);
        self.position += length as u64;
        self.remaining -= length as u64;
    }

    fn header(&mut self) -> Result<Option<Header>, TarError> {
        let mut block = [0; 512];
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                // Some writers leave the end marker out.
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return self.malformed("ends within a header"),
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TarError::Read(error)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = |signed: bool| -> i64 {
            let value = |(at, byte): (usize, &u8)| match at {
                148..156 => i64::from(b' '),
                _ if signed => i64::from(byte.cast_signed()),
                _ => i64::from(*byte),
            };
            block.iter().enumerate().map(value).sum()
        };
        let written = number(&header.as_old().cksum);
        if written != Some(sum(false)) && written != Some(sum(true)) {
            return self.malformed("header checksum does not match");
        }
        self.position += BLOCK;
        Ok(Some(header))
    }

    /// A field that must be a number that is not negative.
    fn field(&self, bytes: &[u8]) -> Result<u64, TarError> {
        match number(bytes).map(u64::try_from) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) | None => self.malformed("a header field is no number"),
        }
    }

    fn expect_data(&mut self, stored: u64) -> Result<(), TarError> {
        // No honest tar has an entry of 2^60 bytes; sums stay clear of overflow.
        if stored >= 1 << 60 {
            return self.malformed("an entry claims an absurd size");
        }
        self.remaining = stored;
        self.padding = stored.wrapping_neg() % BLOCK;
        Ok(())
    }

    fn extension(&mut self, stored: u64) -> Result<Vec<u8>, TarError> {
        if stored > limits::TAR_EXTENSION_BYTES_MAX {
            return self.malformed("an extension header is too long");
        }
        self.expect_data(stored)?;
        let mut data = Vec::with_capacity(usize::try_from(stored).unwrap_or(0));
        loop {
            let piece = self.data()?;
            if piece.is_empty() {
                return Ok(data);
            }
            data.extend_from_slice(piece);
            let length = piece.len();
            self.consume(length);
        }
    }

    /// A name in a GNU extension: it ends at the first NUL.
    fn text(&mut self, stored: u64) -> Result<Vec<u8>, TarError> {
        let mut data = self.extension(stored)?;
        let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
        data.truncate(end);
        Ok(data)
    }

    /// `LENGTH KEY=VALUE\n`, repeated.
    fn records(&self, data: &[u8]) -> Result<Records, TarError> {
        let mut records = Vec::new();
        let mut rest = data;
        while !rest.is_empty() && rest[0] != 0 {
            let record = rest.iter().position(|byte| *byte == b' ').and_then(|space| {
                let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
                let body = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
                let equals = body.iter().position(|byte| *byte == b'=')?;
                Some((length, body[..equals].to_vec(), body[equals + 1..].to_vec()))
            });
            let Some((length, key, value)) = record else {
                return self.malformed("a pax record does not parse");
            };
            records.push((key, value));
            rest = &rest[length..];
        }
        Ok(records)
    }

    fn entry(
        &mut self,
        header: &Header,
        typeflag: u8,
        extensions: &Extensions,
    ) -> Result<Entry, TarError> {
        let old = header.as_old();
        let mut name = match (extensions.get("path"), &extensions.long_name) {
            (Some(path), _) => path.to_vec(),
            (None, Some(long)) => long.clone(),
            (None, None) => header.path_bytes().into_owned(),
        };
        let link = match (extensions.get("linkpath"), &extensions.long_link) {
            (Some(path), _) => path.to_vec(),
            (None, Some(long)) => long.clone(),
            (None, None) => header.link_name_bytes().map(|l| l.into_owned()).unwrap_or_default(),
        };
        let kind = match typeflag {
            // The oldest tars mark a directory by its name only.
            0 if name.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::Hardlink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::Node(Node::Character(self.major(header)?, self.minor(header)?)),
            b'4' => EntryKind::Node(Node::Block(self.major(header)?, self.minor(header)?)),
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Node(Node::Fifo),
            other => {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Err(TarError::Unsupported { name, typeflag: char::from(other) });
            }
        };
        let mut size = 0;
        let mut ranges = None;
        if kind == EntryKind::File {
            size = match extensions.number("size") {
                Some(size) => size,
                None => self.field(&old.size)?,
            };
            self.expect_data(size)?;
            if typeflag == b'S' {
                (size, ranges) = self.old_sparse(header)?;
            } else if let Some((real, map)) = self.pax_sparse(extensions)? {
                (size, ranges) = (real, Some(map));
                if let Some(real_name) = extensions.get("GNU.sparse.name") {
                    name = real_name.to_vec();
                }
            }
            self.check_ranges(size, ranges.as_deref())?;
        }
        let attributes = self.attributes(header, extensions)?;
        Ok(Entry { name, kind, attributes, xattrs: xattrs(extensions), size, ranges })
    }

    fn attributes(&self, header: &Header, extensions: &Extensions) -> Result<Attributes, TarError> {
        let old = header.as_old();
        let id = |key: &str, field: &[u8]| -> Result<u32, TarError> {
            let value = match extensions.number(key) {
                Some(value) => value,
                None => self.field(field)?,
            };
            u32::try_from(value).or_else(|_| self.malformed("an owner is no 32 bit number"))
        };
        let mode = u32::try_from(self.field(&old.mode)? & 0o7777).unwrap_or(0);
        let mtime = match extensions.get("mtime").and_then(time) {
            Some(time) => time,
            None => Time { seconds: number(&old.mtime).unwrap_or(0), nanoseconds: 0 },
        };
        Ok(Attributes { mode, uid: id("uid", &old.uid)?, gid: id("gid", &old.gid)?, mtime })
    }

    fn device(&self, field: Option<&[u8; 8]>) -> Result<u32, TarError> {
        let value = field.map_or(Ok(0), |field| self.field(field))?;
        u32::try_from(value).or_else(|_| self.malformed("a device number is too large"))
    }

    fn major(&self, header: &Header) -> Result<u32, TarError> {
        let gnu = header.as_gnu().map(|header| &header.dev_major);
        self.device(header.as_ustar().map(|header| &header.dev_major).or(gnu))
    }

    fn minor(&self, header: &Header) -> Result<u32, TarError> {
        let gnu = header.as_gnu().map(|header| &header.dev_minor);
        self.device(header.as_ustar().map(|header| &header.dev_minor).or(gnu))
    }

    /// GNU's old sparse format: the map is in the header and in blocks right behind it, which the
    /// size does not count.
    fn old_sparse(&mut self, header: &Header) -> Result<(u64, Option<Ranges>), TarError> {
        let Some(gnu) = header.as_gnu() else { return self.malformed("sparse without GNU header") };
        let size = self.field(&gnu.realsize)?;
        let mut map = Vec::new();
        let mut take = |this: &Self, sparse: &[tar::GnuSparseHeader]| -> Result<(), TarError> {
            for range in sparse.iter().filter(|range| !range.is_empty()) {
                map.push((this.field(&range.offset)?, this.field(&range.numbytes)?));
            }
            if map.len() > limits::SPARSE_RANGES_MAX {
                return this.malformed("a sparse file has too many ranges");
            }
            Ok(())
        };
        take(self, &gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            let mut block = tar::GnuExtSparseHeader::new();
            self.reader.read_exact(block.as_mut_bytes()).map_err(TarError::Read)?;
            self.position += BLOCK;
            take(self, &block.sparse)?;
            more = block.is_extended();
        }
        Ok((size, Some(map)))
    }

    /// The three pax sparse formats; 1.0 has its map in front of the data.
    fn pax_sparse(&mut self, extensions: &Extensions) -> Result<Option<(u64, Ranges)>, TarError> {
        let real = extensions.number("GNU.sparse.realsize");
        let Some(real) = real.or_else(|| extensions.number("GNU.sparse.size")) else {
            return Ok(None);
        };
        let mut numbers = Vec::new();
        if extensions.number("GNU.sparse.major") == Some(1) {
            numbers = self.sparse_map()?;
        } else if let Some(map) = extensions.get("GNU.sparse.map") {
            let text = String::from_utf8_lossy(map);
            numbers = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        } else {
            let wanted = [b"GNU.sparse.offset".as_slice(), b"GNU.sparse.numbytes"];
            for (_, value) in extensions.pax.iter().filter(|(k, _)| wanted.contains(&&k[..])) {
                let value = String::from_utf8_lossy(value).trim().parse();
                numbers.push(value.or_else(|_| self.malformed("a sparse map does not parse"))?);
            }
        }
        if numbers.len() % 2 != 0 || numbers.len() / 2 > limits::SPARSE_RANGES_MAX {
            return self.malformed("a sparse map does not parse");
        }
        Ok(Some((real, numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())))
    }

    /// Decimal numbers, a line each: how many ranges, then offset and length of each; padded.
    fn sparse_map(&mut self) -> Result<Vec<u64>, TarError> {
        let (mut numbers, mut current, mut used, mut wanted) = (Vec::new(), 0u64, 0u64, 1);
        while numbers.len() < wanted {
            let Some(byte) = self.data()?.first().copied() else {
                return self.malformed("a sparse map ends early");
            };
            self.consume(1);
            used += 1;
            match byte {
                b'0'..=b'9' => {
                    let next =
                        current.checked_mul(10).and_then(|c| c.checked_add(u64::from(byte - b'0')));
                    let Some(next) = next else { return self.malformed("a sparse map overflows") };
                    current = next;
                }
                b'\n' => {
                    numbers.push(std::mem::take(&mut current));
                    if numbers.len() == 1 {
                        let ranges = usize::try_from(numbers[0]).unwrap_or(usize::MAX);
                        if ranges > limits::SPARSE_RANGES_MAX {
                            return self.malformed("a sparse file has too many ranges");
                        }
                        wanted += 2 * ranges;
                    }
                }
                _ => return self.malformed("a sparse map does not parse"),
            }
        }
        let padding = used.wrapping_neg() % BLOCK;
        if padding > self.remaining {
            return self.malformed("a sparse map ends early");
        }
        self.remaining -= padding;
        self.skip_bytes(padding)?;
        numbers.remove(0);
        Ok(numbers)
    }

    fn check_ranges(&self, size: u64, ranges: Option<&[(u64, u64)]>) -> Result<(), TarError> {
        let Some(ranges) = ranges else { return Ok(()) };
        let (mut end, mut data) = (0u64, 0u64);
        for (offset, length) in ranges {
            let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= size);
            let Some(next) = next else {
                return self.malformed("sparse ranges overlap or overrun");
            };
            (end, data) = (next, data + length);
        }
        match data == self.remaining {
            true => Ok(()),
            false => self.malformed("a sparse map and its data differ in size"),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), TarError> {
        self.skip_bytes(bytes)?;
        (self.remaining, self.padding) = (0, 0);
        Ok(())
    }

    fn skip_bytes(&mut self, mut bytes: u64) -> Result<(), TarError> {
        while bytes > 0 {
            let length = self.reader.fill_buf().map_err(TarError::Read)?.len();
            if length == 0 {
                return self.malformed("ends within a file");
            }
            let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(length);
            self.reader.consume(length);
            self.position += length as u64;
            bytes -= length as u64;
        }
        Ok(())
    }
}

fn xattrs(extensions: &Extensions) -> Vec<(String, Vec<u8>)> {
    let named = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let name = key.strip_prefix(b"SCHILY.xattr.")?;
        Some((String::from_utf8(name.to_vec()).ok()?, value.clone()))
    };
    extensions.pax.iter().filter_map(named).collect()
}
