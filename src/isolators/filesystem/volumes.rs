//! Where a volume lands, and whether it can.

use std::path::{Component, Path, PathBuf};

use super::mounts::bind;
use crate::isolators::IsolatorError;
use crate::linux::Error;
use crate::linux::fs::Directory;
use crate::model::{Mount, Volume};

/// What a container's paths are relative to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ground<'a> {
    /// A root file system of its own; the sandbox appears at this path in it.
    Rootfs {
        /// Absolute path in the container.
        sandbox: &'a Path,
    },
    /// The host's file system; the sandbox is this directory.
    Host {
        /// Absolute path on the host.
        sandbox: &'a Path,
    },
}

/// The mounts of `volumes`, in order.
///
/// An absolute target is made in a root file system, and must exist on the host's: no new mount point
/// is made there. A relative one is below the sandbox and is made.
pub(super) fn mounts(volumes: &[Volume], ground: Ground<'_>) -> Result<Vec<Mount>, IsolatorError> {
    volumes
        .iter()
        .map(|volume| {
            check_source(&volume.source)?;
            if let (Ground::Host { sandbox }, false) = (ground, volume.target.is_absolute()) {
                target(&volume.target, ground)?;
                make_place(sandbox, volume)?;
            }
            Ok(bind(&volume.source, target(&volume.target, ground)?, volume.read_only))
        })
        .collect()
}

/// Makes the mount point below the sandbox, as the init does in a root file system of the container's
/// own. Undo: none, it goes with the sandbox.
fn make_place(sandbox: &Path, volume: &Volume) -> Result<(), IsolatorError> {
    let mut directory = Directory::open(sandbox)?;
    let names: Vec<_> = volume
        .target
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name),
            _ => None,
        })
        .collect();
    let Some((last, parents)) = names.split_last() else { return Ok(()) };
    // Step by step and through no link: an earlier payload may have owned this sandbox.
    for name in parents {
        if directory.stat(name)?.is_none() {
            directory.mkdir(name)?;
        }
        directory = directory.child(name)?;
    }
    if directory.stat(last)?.is_some() {
        return Ok(());
    }
    match volume.source.is_dir() {
        true => directory.mkdir(last)?,
        false => drop(directory.create(last)?),
    }
    Ok(())
}

fn check_source(source: &Path) -> Result<(), IsolatorError> {
    if !source.is_absolute() {
        let what = format!("source {} of a volume is not absolute", source.display());
        return Err(IsolatorError::Invalid(what));
    }
    match std::fs::metadata(source) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(IsolatorError::Invalid(
            format!("source {} of a volume does not exist", source.display()),
        )),
        Err(error) => {
            Err(Error::from_io(format!("stat({:?})", source.display().to_string()), &error).into())
        }
    }
}

fn target(target: &Path, ground: Ground<'_>) -> Result<PathBuf, IsolatorError> {
    let climbs = target.components().any(|component| component == Component::ParentDir);
    if climbs || target.as_os_str().is_empty() || target == Path::new("/") {
        let what = format!("target {} of a volume names no place inside", target.display());
        return Err(IsolatorError::Invalid(what));
    }
    let sandbox = match ground {
        Ground::Rootfs { sandbox } => sandbox,
        Ground::Host { sandbox } => {
            if target.is_absolute() && std::fs::metadata(target).is_err() {
                let what = format!(
                    "target {} of a volume does not exist on the host's file system",
                    target.display()
                );
                return Err(IsolatorError::Invalid(what));
            }
            sandbox
        }
    };
    // Joining an absolute path gives that path.
    Ok(sandbox.join(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(source: &str, target: &str) -> Volume {
        Volume { source: source.into(), target: target.into(), read_only: true }
    }

    fn landed(target: &str, ground: Ground<'_>) -> Result<PathBuf, String> {
        mounts(&[volume("/usr", target)], ground)
            .map(|mounts| mounts[0].target.clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_relative_target_is_below_the_sandbox() {
        let rootfs = Ground::Rootfs { sandbox: Path::new("/mnt/mesos/sandbox") };
        assert_eq!(landed("data/x", rootfs), Ok("/mnt/mesos/sandbox/data/x".into()));
        let sandbox = tempfile::tempdir().expect("a scratch directory");
        let host = Ground::Host { sandbox: sandbox.path() };
        assert_eq!(landed("data/x", host), Ok(sandbox.path().join("data/x")));
        assert!(sandbox.path().join("data/x").is_dir(), "the mount point is made");
    }

    #[test]
    fn an_absolute_target_is_made_in_an_image_and_must_exist_on_the_host() {
        let rootfs = Ground::Rootfs { sandbox: Path::new("/mnt/mesos/sandbox") };
        assert_eq!(landed("/not/there", rootfs), Ok("/not/there".into()));
        let host = Ground::Host { sandbox: Path::new("/work/a") };
        assert_eq!(landed("/usr", host), Ok("/usr".into()));
        assert!(landed("/not/there", host).expect_err("refused").contains("does not exist"));
    }

    #[test]
    fn what_climbs_or_is_not_there_is_refused() {
        let rootfs = Ground::Rootfs { sandbox: Path::new("/mnt/mesos/sandbox") };
        for bad in ["../x", "/a/../../x", "", "/"] {
            assert!(landed(bad, rootfs).is_err(), "{bad:?}");
        }
        for bad in ["/not/there", "relative"] {
            assert!(mounts(&[volume(bad, "/x")], rootfs).is_err(), "{bad:?}");
        }
    }
}
