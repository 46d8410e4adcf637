//! Files in memory that nobody can change any more.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;

use super::Error;
use super::error::Called;

/// A sealed file in memory, close-on-exec, with `bytes` in it, that can be executed.
///
/// Kernel: memfd_create(2), Linux 3.17; `MFD_EXEC` from 6.3 on, where it keeps a strict
/// `vm.memfd_noexec` from warning about us.
pub(crate) fn program(name: &str, bytes: &[u8]) -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = match memfd_create(name, flags | MemfdFlags::EXEC) {
        Err(Errno::INVAL) => memfd_create(name, flags),
        created => created,
    };
    fill(fd.called(|| format!("memfd_create({name:?}, CLOEXEC|ALLOW_SEALING|EXEC)"))?, bytes)
}

/// A sealed file in memory, close-on-exec, with `bytes` in it.
pub(crate) fn data(name: &str, bytes: &[u8]) -> Result<OwnedFd, Error> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create(name, flags)
        .called(|| format!("memfd_create({name:?}, CLOEXEC|ALLOW_SEALING)"))?;
    fill(fd, bytes)
}

fn fill(fd: OwnedFd, bytes: &[u8]) -> Result<OwnedFd, Error> {
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes).called(|| format!("write(memfd, {} bytes)", bytes.len()))?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, all).called(|| "fcntl(memfd, F_ADD_SEALS)".to_owned())?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_cannot_be_changed() {
        let fd = program("test", b"abc").expect("memfd works everywhere");
        let mut file = std::fs::File::from(fd);
        let error = file.write_all(b"d").expect_err("sealed");
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    }
}
