//! Whether the kernel answers the calls that nothing stands in for. A filter, as many sandboxes have
//! one, takes a call away on any kernel.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    self, FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags,
};
use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use super::Error;
use super::error::Called;
use super::mount::probe_setattr;

/// A feature that is not there: its row in `docs/kernel-features.md`, and the call that told.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) feature: &'static str,
    pub(crate) error: Error,
}

/// Asks for what every container needs. Changes nothing: where a call must be made in earnest to be
/// asked for at all, it is made in a way that fails. Needs CAP_SYS_ADMIN, or all is refused.
pub(crate) fn needed() -> Result<(), Missing> {
    let of = |feature| move |error| Missing { feature, error };
    statx().map_err(of("statx"))?;
    mount_api().map_err(of("the mount API"))?;
    refused("mount_setattr", probe_setattr()).map_err(of("mount_setattr"))?;
    pidfd().map_err(of("pidfd"))
}

/// What a kernel without the call, or a filter, answers; every other answer is of the call itself.
fn refused<T>(call: &str, answer: Result<T, Errno>) -> Result<(), Error> {
    match answer {
        Err(errno @ (Errno::NOSYS | Errno::PERM)) => Err(Error::new(call, errno)),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn statx() -> Result<(), Error> {
    refused("statx", rustix::fs::statx(CWD, "/", AtFlags::empty(), StatxFlags::empty()))
}

fn mount_api() -> Result<(), Error> {
    let open = || rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = open().called(|| "open(\"/\", PATH)".to_owned())?;
    let context = mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC);
    refused("fsopen", context.as_ref().map_err(|errno| *errno))?;
    if let Ok(context) = context {
        refused("fsconfig", mount::fsconfig_set_string(&context, "mode", "755"))?;
    }
    // A directory is no context, and nothing has an empty name.
    let flags = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    refused("fsmount", mount::fsmount(&root, flags.0, flags.1))?;
    refused("open_tree", mount::open_tree(&root, "", OpenTreeFlags::OPEN_TREE_CLOEXEC))?;
    refused("move_mount", mount::move_mount(&root, "", &root, "", MoveMountFlags::empty()))
}

fn pidfd() -> Result<(), Error> {
    let own = pidfd_open(getpid(), PidfdFlags::empty());
    refused("pidfd_open", own.as_ref().map_err(|errno| *errno))?;
    // SIGCONT, to a directory that is no process: nobody hears it.
    let nobody = rustix::fs::open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let nobody = nobody.called(|| "open(\"/\")".to_owned())?;
    refused("pidfd_send_signal", pidfd_send_signal(&nobody, Signal::CONT))
}

#[cfg(all(test, feature = "root-tests"))]
mod root_tests {
    use nix::libc;

    use super::*;
    use crate::linux::without::{Answer, answering};

    #[test]
    fn a_kernel_that_has_everything_lacks_nothing() {
        needed().expect("Linux 5.12, and no filter");
    }

    #[test]
    fn each_call_that_is_taken_away_is_named_with_its_feature() {
        for (call, name, feature) in [
            (libc::SYS_statx, "statx", "statx"),
            (libc::SYS_fsopen, "fsopen", "the mount API"),
            (libc::SYS_fsconfig, "fsconfig", "the mount API"),
            (libc::SYS_fsmount, "fsmount", "the mount API"),
            (libc::SYS_open_tree, "open_tree", "the mount API"),
            (libc::SYS_move_mount, "move_mount", "the mount API"),
            (libc::SYS_mount_setattr, "mount_setattr", "mount_setattr"),
            (libc::SYS_pidfd_open, "pidfd_open", "pidfd"),
            (libc::SYS_pidfd_send_signal, "pidfd_send_signal", "pidfd"),
        ] {
            for (answer, errno) in [(Answer::Missing, "ENOSYS"), (Answer::Refused, "EPERM")] {
                let asked = std::thread::spawn(move || {
                    answering(answer, &[call]).expect("root may hide calls from itself");
                    needed()
                });
                let missing = asked.join().expect("no panic").expect_err(name);
                assert_eq!(missing.feature, feature);
                assert_eq!(missing.error.to_string(), format!("{name} = {errno}"));
            }
        }
    }
}
