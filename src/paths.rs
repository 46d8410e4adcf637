//! Every path on disk.
//!
//! ```text
//! <work_dir>/                              persistent
//!   containers/<id>/                       sandbox: stdout, stderr, fetched files
//!   trash/                                 sandboxes that are being removed
//!   claims/<00..ff>                        a byte for each id; locked while a container has it
//!   provisioner/containers/<id>/backends/<backend>/{rootfses,scratch}/<uuid>/
//!   provisioner/targets/<hex>/             an image shown by `provision REF DIR`
//!   store/                                 images; laid out by provisioner/stores/cache.rs
//! <runtime_dir>/                           lost at reboot, best a tmpfs
//!   numbering                              epoch of the events, and how often agents started
//!   containers/<id>/{checkpoint,status}    one container
//!   records/<id>                           ended ones, until acknowledged or aged out
//!   run/<id>                               lock of one `longshore run`
//!   claims/<00..ff>                        as in the work directory
//!   cgroups/<controller>/                  v1 hierarchies that the host had not mounted
//! ```

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::{ContainerId, Digest};

/// Builds every path from the two roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    work_dir: PathBuf,
    runtime_dir: PathBuf,
}

impl Paths {
    /// Paths below these two, which should be absolute.
    pub fn new(work_dir: impl Into<PathBuf>, runtime_dir: impl Into<PathBuf>) -> Self {
        Self { work_dir: work_dir.into(), runtime_dir: runtime_dir.into() }
    }

    /// The persistent root.
    pub fn work_dir(&self) -> &Path {
        &self.work_dir
    }

    /// The root that a reboot empties.
    pub fn runtime_dir(&self) -> &Path {
        &self.runtime_dir
    }

    /// The image store, unless the operator put it elsewhere.
    pub fn store(&self) -> PathBuf {
        self.work_dir.join("store")
    }

    /// The container's working directory on the host.
    pub fn sandbox(&self, id: &ContainerId) -> PathBuf {
        self.work_dir.join(nested("containers", id))
    }

    /// Sandboxes that are being removed.
    pub fn trash(&self) -> PathBuf {
        self.work_dir.join("trash")
    }

    /// Where ids are claimed among all who share the work directory.
    pub fn work_claims(&self) -> PathBuf {
        self.work_dir.join("claims")
    }

    /// Where ids are claimed among all who share the runtime directory.
    pub fn runtime_claims(&self) -> PathBuf {
        self.runtime_dir.join("claims")
    }

    /// Root of all provisioned root file systems.
    pub fn provisioner(&self) -> PathBuf {
        self.work_dir.join("provisioner")
    }

    /// What the provisioner keeps of one container.
    pub fn provisioned(&self, id: &ContainerId) -> PathBuf {
        self.provisioner().join(nested("containers", id))
    }

    /// What the provisioner keeps of an image shown at a directory of the operator's choice.
    pub fn provisioned_at(&self, target: &Path) -> PathBuf {
        let name = Digest::of(target.as_os_str().as_bytes());
        self.provisioner().join("targets").join(name.hex())
    }

    /// What one backend keeps of one container.
    pub fn backend(&self, id: &ContainerId, backend: &str) -> PathBuf {
        self.provisioned(id).join("backends").join(backend)
    }

    /// All containers' runtime directories.
    pub fn containers(&self) -> PathBuf {
        self.runtime_dir.join("containers")
    }

    /// The container's runtime directory.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.runtime_dir.join(nested("containers", id))
    }

    /// The container's checkpoint.
    pub fn checkpoint(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("checkpoint")
    }

    /// The raw wait status that the init writes.
    pub fn status(&self, id: &ContainerId) -> PathBuf {
        self.container(id).join("status")
    }

    /// Records of ended containers.
    pub fn records(&self) -> PathBuf {
        self.runtime_dir.join("records")
    }

    /// Locks of the runs that own containers.
    pub fn run_locks(&self) -> PathBuf {
        self.runtime_dir.join("run")
    }

    /// Lock of the `longshore run` that owns a container.
    pub fn run_lock(&self, id: &ContainerId) -> PathBuf {
        self.run_locks().join(id.as_str())
    }

    /// Epoch of the events, and how often an agent has started here.
    pub fn numbering(&self) -> PathBuf {
        self.runtime_dir.join("numbering")
    }

    /// v1 hierarchies that Longshore mounted itself.
    pub fn cgroup_mounts(&self) -> PathBuf {
        self.runtime_dir.join("cgroups")
    }
}

/// A container's cgroup below our root in each hierarchy: `a/mesos/b` for `a.b`. The separator keeps
/// our cgroups apart from those that a container makes itself.
pub(crate) fn cgroup(id: &ContainerId) -> PathBuf {
    PathBuf::from(id.as_str().replace('.', "/mesos/"))
}

/// `containers/<a>/containers/<b>` for `a.b`.
fn nested(directory: &str, id: &ContainerId) -> PathBuf {
    id.levels().flat_map(|level| [directory, level]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nested_container_lives_below_its_parent() {
        let paths = Paths::new("/w", "/r");
        let id: ContainerId = "a.b".parse().expect("valid");
        assert_eq!(paths.sandbox(&id), Path::new("/w/containers/a/containers/b"));
        assert_eq!(paths.status(&id), Path::new("/r/containers/a/containers/b/status"));
        assert_eq!(
            paths.backend(&id, "overlay"),
            Path::new("/w/provisioner/containers/a/containers/b/backends/overlay")
        );
        assert_eq!(cgroup(&id), Path::new("a/mesos/b"));
    }
}
