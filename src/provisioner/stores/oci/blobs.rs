//! Where the files of a layout or archive are: in a directory, or within a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::limits;
use crate::provisioner::stores::{BlobStream, SourceError};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Links within an archive that are followed to one file.
const LINKS_MAX: usize = 8;

/// Files by their names in a layout.
#[derive(Debug)]
pub(crate) enum Blobs {
    /// A directory.
    Directory(PathBuf),
    /// A tar, with the place of each file in it.
    Archive {
        /// The tar.
        path: PathBuf,
        /// Open.
        file: Arc<File>,
        /// By cleaned name.
        members: HashMap<PathBuf, Member>,
    },
}

/// One member of a tar.
#[derive(Debug, Clone)]
pub(crate) enum Member {
    /// A regular file: its data's place and length.
    File(u64, u64),
    /// Another name.
    Link(PathBuf),
}

/// A file to read from: some range of an open one.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    file: Arc<File>,
    start: u64,
    pub(crate) length: u64,
    path: PathBuf,
}

impl Blobs {
    /// Opens a directory. Blocks.
    pub(crate) fn directory(path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::File { path: path.to_owned(), error };
        match std::fs::metadata(path).map_err(failed)?.is_dir() {
            true => Ok(Self::Directory(path.to_owned())),
            false => Err(failed(io::Error::from(io::ErrorKind::NotADirectory))),
        }
    }

    /// Opens a tar and finds its members. Blocks: reads all headers.
    pub(crate) fn archive(path: &Path) -> Result<Self, SourceError> {
        let failed = |error| SourceError::File { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let mut magic = [0; 4];
        let read = file.read_at(&mut magic, 0).map_err(failed)?;
        if magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
            let path = path.display();
            return Err(SourceError::Invalid(format!(
                "{path} is compressed: an archive is read in place, so decompress it first"
            )));
        }
        if read == 0 {
            return Err(SourceError::Corrupt {
                object: path.display().to_string(),
                reason: "it is empty".to_owned(),
            });
        }
        let members = members(&file).map_err(|error| SourceError::Corrupt {
            object: path.display().to_string(),
            // The parser's words would quote whatever file this is.
            reason: match error.raw_os_error() {
                Some(_) => format!("it cannot be read: {error}"),
                None => "it is no tar".to_owned(),
            },
        })?;
        Ok(Self::Archive { path: path.to_owned(), file: Arc::new(file), members })
    }

    /// Opens one file; `None`: there is none. Blocks.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Range>, SourceError> {
        match self {
            Self::Directory(root) => {
                let path = root.join(name);
                let failed = |error| SourceError::File { path: path.clone(), error };
                let file = match File::open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    result => result.map_err(failed)?,
                };
                let metadata = file.metadata().map_err(failed)?;
                if !metadata.is_file() {
                    return Err(failed(io::Error::other("is no regular file")));
                }
                let length = metadata.len();
                Ok(Some(Range { file: Arc::new(file), start: 0, length, path }))
            }
            Self::Archive { path, file, members } => {
                let mut name = PathBuf::from(name);
                for _ in 0..LINKS_MAX {
                    match members.get(&name) {
                        None => return Ok(None),
                        Some(Member::Link(target)) => name.clone_from(target),
                        Some(Member::File(start, length)) => {
                            let path = path.join(&name);
                            let (start, length) = (*start, *length);
                            return Ok(Some(Range { file: Arc::clone(file), start, length, path }));
                        }
                    }
                }
                Err(SourceError::Corrupt {
                    object: path.display().to_string(),
                    reason: format!("{} is a loop of links", name.display()),
                })
            }
        }
    }

    /// A small file as a whole; `None`: there is none. Blocks.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Bytes>, SourceError> {
        self.find(name)?.map(|range| range.read()).transpose()
    }
}

fn members(file: &File) -> io::Result<HashMap<PathBuf, Member>> {
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(reader);
    let mut members = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        let name = clean(&entry.path()?);
        let kind = entry.header().entry_type();
        let member = if kind.is_file() || kind.is_contiguous() {
            Member::File(entry.raw_file_position(), entry.size())
        } else if kind.is_hard_link() {
            Member::Link(clean(&entry.link_name()?.unwrap_or_default()))
        } else if kind.is_symlink() {
            let parent = name.parent().unwrap_or(Path::new(""));
            Member::Link(clean(&parent.join(entry.link_name()?.unwrap_or_default())))
        } else {
            continue;
        };
        members.insert(name, member);
        if members.len() > limits::ARCHIVE_MEMBERS_MAX {
            return Err(io::Error::other("it has too many members"));
        }
    }
    Ok(members)
}

/// Lexically clean; only ever looked up among the archive's own names.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    clean
}

impl Range {
    /// All of it. Blocks. Refuses what is no document.
    pub(crate) fn read(&self) -> Result<Bytes, SourceError> {
        if self.length > limits::IMAGE_CONFIG_BYTES_MAX {
            return Err(SourceError::Corrupt {
                object: self.path.display().to_string(),
                reason: format!("{} bytes are too many for a document", self.length),
            });
        }
        let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, self.start).map_err(|error| self.failed(error))?;
        Ok(bytes.into())
    }

    fn failed(&self, error: io::Error) -> SourceError {
        SourceError::File { path: self.path.clone(), error }
    }

    /// The bytes from `offset`, for readers on threads that may block.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        self.file.read_at(&mut buffer[..wanted], self.start + offset)
    }

    /// The bytes as a stream, read by a thread that ends when the stream is dropped.
    pub(crate) fn stream(self) -> Result<BlobStream, SourceError> {
        let (sender, mut receiver) = mpsc::channel(4);
        let path = self.path.clone();
        let read = move || {
            let mut offset = 0;
            while offset < self.length {
                let mut piece = vec![0; PIECE];
                let (piece, ended) = match self.read_at(&mut piece, offset) {
                    Ok(0) => return,
                    Ok(length) => {
                        offset += length as u64;
                        piece.truncate(length);
                        (Ok(Bytes::from(piece)), false)
                    }
                    Err(error) => (Err(self.failed(error)), true),
                };
                if sender.blocking_send(piece).is_err() || ended {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("longshore-read".to_owned()).spawn(read);
        spawned.map_err(|error| SourceError::File { path, error })?;
        Ok(Box::pin(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context))))
    }
}
