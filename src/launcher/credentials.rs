//! Who runs the payload: looked up where the payload will live.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;

use super::LauncherError;
use super::user::{self, Credentials, UserFile};
use crate::linux;
use crate::linux::root::{self, Content};
use crate::model::LaunchInfo;

/// A passwd or group file that is longer than this is no such file.
const USER_FILE_BYTES: u64 = 4 << 20;

/// Who runs the payload. In an image of its own somebody always does: root, if nobody is named.
pub(super) fn credentials(
    launch: &LaunchInfo,
    rootfs: Option<BorrowedFd<'_>>,
) -> Result<Option<Credentials>, LauncherError> {
    let host;
    let (user, root) = match (&launch.user, rootfs) {
        (None, None) if launch.supplementary_groups.is_empty() => return Ok(None),
        (None, None) => return Ok(Some(own_credentials()?)),
        (user, Some(root)) => (user.clone(), root),
        (user @ Some(_), None) => {
            host = root::open_directory(Path::new("/"))?;
            (user.clone(), host.as_fd())
        }
    };
    let read = |path: &str| -> Result<UserFile, linux::Error> {
        Ok(match root::read_file(root, path, USER_FILE_BYTES)? {
            Content::Missing => UserFile::Missing,
            Content::NoFile => UserFile::NoFile,
            Content::Bytes(bytes) => UserFile::Text(String::from_utf8_lossy(&bytes).into_owned()),
        })
    };
    let user = user.unwrap_or_else(|| crate::model::User("0".to_owned()));
    Ok(Some(user::resolve(&user, &read("etc/passwd")?, &read("etc/group")?)?))
}

/// What this process runs with itself.
pub(super) fn own_credentials() -> Result<Credentials, linux::Error> {
    let groups = nix::unistd::getgroups().map_err(|errno| {
        linux::Error::new("getgroups()", Errno::from_raw_os_error(errno as i32))
    })?;
    Ok(Credentials {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups: groups.into_iter().map(nix::unistd::Gid::as_raw).collect(),
        home: None,
    })
}

/// Whose the payload's files are: uid and gid.
pub(super) fn owner(credentials: Option<&Credentials>) -> (u32, u32) {
    match credentials {
        Some(who) => (who.uid, who.gid),
        None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
    }
}
