//! The content of one file into another.
//!
//! Kernel: `FICLONE` (ioctl_ficlonerange(2)), Linux 4.5, where the file system shares blocks; else
//! copy_file_range(2), Linux 4.5; else by hand.

use std::fs::File;

use rustix::fs as sys;
use rustix::io::Errno;

use super::stat;
use crate::linux::Error;
use crate::linux::error::Called;

/// Copies the content of `from` to the new file `to`: shared blocks where the file system can, else
/// the data without its holes.
pub fn copy_content(from: &File, to: &File) -> Result<(), Error> {
    if sys::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let length = stat(from)?.st_size;
    let length = u64::try_from(length).unwrap_or(0);
    sys::ftruncate(to, length).called(|| format!("ftruncate({length})"))?;
    let mut position = 0;
    while position < length {
        let start = match sys::seek(from, sys::SeekFrom::Data(position)) {
            Ok(start) => start,
            // No data to the end.
            Err(Errno::NXIO) => break,
            // A file system without holes.
            Err(_) => position,
        };
        let end = sys::seek(from, sys::SeekFrom::Hole(start)).unwrap_or(length).max(start);
        copy_range(from, to, start, end.min(length))?;
        position = end.max(start + 1);
    }
    Ok(())
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> Result<(), Error> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let left = usize::try_from(end - read_at).unwrap_or(1 << 30).min(1 << 30);
        match sys::copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), left) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return copy_by_hand(from, to, read_at, end);
            }
            Err(errno) => return Err(Error::new("copy_file_range()", errno)),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, start: u64, end: u64) -> Result<(), Error> {
    use std::os::unix::fs::FileExt;
    let mut buffer = vec![0; 128 << 10];
    let mut position = start;
    while position < end {
        let want = usize::try_from(end - position).unwrap_or(buffer.len()).min(buffer.len());
        let got = from.read_at(&mut buffer[..want], position).called(|| "pread()".to_owned())?;
        if got == 0 {
            break;
        }
        to.write_all_at(&buffer[..got], position).called(|| "pwrite()".to_owned())?;
        position += got as u64;
    }
    Ok(())
}
