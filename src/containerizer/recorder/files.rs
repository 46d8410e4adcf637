//! Directories of containers, whatever the embedder's umask is: payloads of other users pass them.

use std::io;
use std::path::Path;

use crate::linux::fs::{SHARED, make_directories};

/// Makes a directory with its parents. One that is there is fine.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    make_directories(path, SHARED)
}
