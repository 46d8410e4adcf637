//! `filesystem/linux`: a container has a root file system and a mount namespace of its own.
//!
//! With an image: `/proc`, `/sys`, `/dev` with the usual devices, a terminal file system, the sandbox
//! at `--sandbox-directory`, the container's cgroups to read, and volumes; what of `/proc` and `/sys`
//! would give the host away is hidden or read-only. Without: the host's files, and volumes over them
//! that nobody else sees.
//!
//! Whoever has a root of its own also has a name and a cgroup root of its own: a payload that may
//! set the host's name (CAP_SYS_ADMIN) sets its own, and `/proc/self/cgroup` says `/` instead of where
//! on the host it is. The name is the host's until somebody sets it, because the network is the
//! host's: programs look their own name up, and only the host's is known to the resolver.
//!
//! Kernel: mount_namespaces(7) and the mount API, Linux 5.2; uts_namespaces(7), cgroup_namespaces(7).
//! Undo: none needed, mounts and namespaces die with the last process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use super::mounts;
use super::posix::on_the_host;
use super::volumes::{self, Ground};
use crate::isolators::{Host, Isolator, IsolatorError};
use crate::linux::Error;
use crate::linux::cgroups::{Cgroups, Controller, Version};
use crate::model::{
    ContainerConfig, ContainerId, LaunchContext, LaunchInfo, Mount, MountSource, Namespace,
    Provisioned, Rootfs, TaskLaunch, User,
};
use crate::paths;

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Linux {
    sandbox_directory: PathBuf,
    isolation: Vec<String>,
    cgroups: Arc<Cgroups>,
    kernel: Kernel,
}

/// What kernels can be built without; a container runs as well without it.
#[derive(Debug, Clone, Copy)]
struct Kernel {
    uts: bool,
    cgroup_namespace: bool,
}

impl Isolator for Linux {
    const NAME: &'static str = "filesystem/linux";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(host: &Host) -> Result<Self, IsolatorError> {
        if !rustix::process::geteuid().is_root() {
            return Err(IsolatorError::Unsupported {
                feature: "mount namespaces",
                detail: "filesystem/linux needs root".to_owned(),
            });
        }
        crate::isolators::namespaces::require("mnt")?;
        Ok(Self {
            sandbox_directory: host.sandbox_directory.clone(),
            isolation: host.isolation.clone(),
            cgroups: Arc::clone(&host.cgroups),
            kernel: Kernel {
                uts: crate::isolators::namespaces::require("uts").is_ok(),
                cgroup_namespace: crate::isolators::namespaces::require("cgroup").is_ok(),
            },
        })
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let info = match &context.provisioned {
            Some(provisioned) => self.in_an_image(id, &context.config, provisioned)?,
            None => in_the_hosts_files(&context.config)?,
        };
        let hostname = context.config.hostname.clone();
        let namespaces = self.namespaces(context.provisioned.is_some(), hostname.is_some())?;
        Ok((LaunchInfo { namespaces, hostname, ..info }, ()))
    }
}

fn in_the_hosts_files(config: &ContainerConfig) -> Result<LaunchInfo, IsolatorError> {
    let ground = Ground::Host { sandbox: &config.sandbox };
    Ok(LaunchInfo { volumes: volumes::mounts(&config.volumes, ground)?, ..on_the_host(config) })
}

impl Linux {
    /// On the host's file system a container keeps the host's, unless it is given a name.
    fn namespaces(
        &self,
        own_root: bool,
        named: bool,
    ) -> Result<BTreeSet<Namespace>, IsolatorError> {
        let mut all = BTreeSet::from([Namespace::Mnt]);
        if named {
            // A name that nobody can be given is refused; one that nobody asked for is not missed.
            crate::isolators::namespaces::require("uts")?;
        }
        if named || (own_root && self.kernel.uts) {
            all.insert(Namespace::Uts);
        }
        if own_root && self.kernel.cgroup_namespace {
            all.insert(Namespace::Cgroup);
        }
        Ok(all)
    }

    fn in_an_image(
        &self,
        id: &ContainerId,
        config: &ContainerConfig,
        provisioned: &Provisioned,
    ) -> Result<LaunchInfo, IsolatorError> {
        let mut mounts = mounts::standard();
        mounts.extend(self.cgroup_mounts(id));
        if !self.has("namespaces/ipc") {
            mounts.push(mounts::shm());
        }
        mounts.push(mounts::alone(&config.sandbox, self.sandbox_directory.clone()));
        let ground = Ground::Rootfs { sandbox: &self.sandbox_directory };
        let volumes = volumes::mounts(&config.volumes, ground)?;
        if provisioned.read_only {
            leave_out_sys(&provisioned.rootfs, &mut mounts)?;
            let all = [mounts.as_slice(), volumes.as_slice()].concat();
            check_mount_points(&provisioned.rootfs, &all, &self.sandbox_directory)?;
        }
        let (masked, read_only) = match config.unmasked {
            true => (&[][..], mounts::SHOWN_ONLY),
            false => (mounts::MASKED, mounts::READ_ONLY),
        };
        let paths = |list: &[&str]| list.iter().map(PathBuf::from).collect();
        Ok(LaunchInfo {
            mounts,
            volumes,
            devices: mounts::devices(),
            file_operations: mounts::links(),
            masked_paths: paths(masked),
            readonly_paths: paths(read_only),
            ..self.runs_as(config)
        })
    }

    /// Who and where, if no other isolator reads the image's configuration.
    fn runs_as(&self, config: &ContainerConfig) -> LaunchInfo {
        if self.has("docker/runtime") {
            return LaunchInfo::default();
        }
        let working_directory = config.working_directory.clone();
        let user = config.command.user.clone().map(User);
        match config.shape.task() {
            None => LaunchInfo { working_directory, user, ..LaunchInfo::default() },
            Some(_) => LaunchInfo {
                task: TaskLaunch { working_directory, user, ..TaskLaunch::default() },
                ..LaunchInfo::default()
            },
        }
    }

    /// The container's own cgroups, where programs such as language runtimes look for their limits.
    fn cgroup_mounts(&self, id: &ContainerId) -> Vec<Mount> {
        let root = Path::new("/sys/fs/cgroup");
        let path = paths::cgroup(id);
        let mut found: Vec<Mount> = Vec::new();
        for (isolator, controllers) in [
            ("cgroups/cpu", self.cgroups.cpu_controllers()),
            ("cgroups/mem", &[Controller::Memory]),
            ("cgroups/pids", &[Controller::Pids]),
        ] {
            for controller in controllers.iter().filter(|_| self.has(isolator)) {
                let Some(group) = self.cgroups.group(*controller, &path) else { continue };
                let target = match group.version() {
                    Version::V1 => root.join(controller.name()),
                    Version::V2 => root.to_path_buf(),
                };
                let mount = mounts::cgroup(group.directory(), target);
                if !found.contains(&mount) {
                    found.push(mount);
                }
            }
        }
        // The v2 cgroup would cover the others.
        found.sort_by_key(|mount| mount.target != root);
        found
    }

    fn has(&self, isolator: &str) -> bool {
        self.isolation.iter().any(|name| name == isolator)
    }
}

/// A root file system without `/sys` that cannot get one does without: few programs look there.
fn leave_out_sys(rootfs: &Rootfs, mounts: &mut Vec<Mount>) -> Result<(), IsolatorError> {
    if !exists_in(&open_root(rootfs)?, Path::new("/sys"))? {
        mounts.retain(|mount| !mount.target.starts_with("/sys"));
    }
    Ok(())
}

/// Nothing can be made in a root file system that is read-only: what is mounted must have its place
/// there. What is mounted below another mount has its place in that one.
fn check_mount_points(
    rootfs: &Rootfs,
    mounts: &[Mount],
    sandbox: &Path,
) -> Result<(), IsolatorError> {
    let root = open_root(rootfs)?;
    for (index, mount) in mounts.iter().enumerate().filter(|(_, mount)| !mount.optional) {
        let covered =
            mounts[..index].iter().any(|earlier| mount.target.starts_with(&earlier.target));
        if covered || exists_in(&root, &mount.target)? {
            continue;
        }
        let what = match (&mount.source, mount.target == sandbox) {
            (_, true) => "for the sandbox",
            (MountSource::Filesystem { .. }, false) => "for a file system that every container has",
            (
                MountSource::HostPath(_)
                | MountSource::HostPathAlone(_)
                | MountSource::ContainerPath(_),
                false,
            ) => "for a volume",
        };
        return Err(IsolatorError::Invalid(format!(
            "the image's root file system is read-only and has no {} {what}; add it to the image, \
             or use another backend",
            mount.target.display()
        )));
    }
    Ok(())
}

fn open_root(rootfs: &Rootfs) -> Result<std::os::fd::OwnedFd, IsolatorError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |what: String| move |errno| Error::new(what, errno);
    let opened = match rootfs {
        Rootfs::Directory(path) => rustix::fs::open(path, flags, Mode::empty())
            .map_err(failed(format!("open({:?}, PATH)", path.display().to_string())))?,
        Rootfs::Detached(mount) => rustix::fs::openat(mount, ".", flags, Mode::empty())
            .map_err(failed("openat(root file system, \".\", PATH)".to_owned()))?,
    };
    Ok(opened)
}

/// Links are followed as the container would: none leads out of `root`.
fn exists_in(root: &std::os::fd::OwnedFd, path: &Path) -> Result<bool, IsolatorError> {
    use rustix::io::Errno;

    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let missing = |errno: &Errno| matches!(*errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP);
    match opened {
        Ok(found) => Ok(rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH).is_ok()),
        Err(errno) if missing(&errno) => Ok(false),
        // No openat2 here: the init finds out, by its own means, and says so.
        Err(Errno::NOSYS | Errno::PERM) => Ok(true),
        Err(errno) => {
            let call = format!("openat2(rootfs, {:?}, IN_ROOT)", path.display().to_string());
            Err(Error::new(call, errno).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolators::tests::{config, context, host, provisioned};
    use crate::model::Volume;

    fn isolator(isolation: &[&str]) -> Linux {
        let host = host(isolation);
        Linux {
            sandbox_directory: host.sandbox_directory,
            isolation: host.isolation,
            cgroups: host.cgroups,
            kernel: Kernel { uts: true, cgroup_namespace: true },
        }
    }

    fn targets(info: &LaunchInfo) -> Vec<&str> {
        info.mounts.iter().chain(&info.volumes).filter_map(|mount| mount.target.to_str()).collect()
    }

    fn prepare(isolation: &[&str], context: &LaunchContext) -> Result<LaunchInfo, IsolatorError> {
        let id = ContainerId::new("a").expect("valid");
        isolator(isolation).prepare(&id, context).map(|(info, ())| info)
    }

    #[test]
    fn a_root_file_system_gets_the_usual_mounts_in_order() {
        let context = context(config(Some("rootfs:/srv")), Some(provisioned("/srv")));
        let info = prepare(&["filesystem/linux"], &context).expect("prepared");
        assert_eq!(
            targets(&info),
            [
                "/proc",
                "/sys",
                "/sys/fs/cgroup",
                "/dev",
                "/dev/pts",
                "/dev/shm",
                "/mnt/mesos/sandbox"
            ]
        );
        assert!(info.namespaces.contains(&Namespace::Mnt));
        assert_eq!(info.devices.len(), 6);
        assert!(info.masked_paths.contains(&"/proc/kcore".into()));
        assert!(info.readonly_paths.contains(&"/proc/sys".into()));
    }

    #[test]
    fn shared_memory_is_the_ipc_isolators_where_there_is_one() {
        let context = context(config(Some("rootfs:/srv")), Some(provisioned("/srv")));
        let info = prepare(&["filesystem/linux", "namespaces/ipc"], &context).expect("prepared");
        assert!(!targets(&info).contains(&"/dev/shm"));
    }

    #[test]
    fn on_the_hosts_files_only_volumes_are_mounted() {
        let sandbox = tempfile::tempdir().expect("a scratch directory");
        let mut config = config(None);
        config.sandbox = sandbox.path().to_owned();
        config.volumes =
            vec![Volume { source: "/usr".into(), target: "data".into(), read_only: true }];
        let info = prepare(&["filesystem/linux"], &context(config, None)).expect("prepared");
        assert_eq!(info.volumes[0].target, sandbox.path().join("data"));
        assert!(info.volumes[0].flags.read_only);
        assert!(info.mounts.is_empty() && info.devices.is_empty() && info.masked_paths.is_empty());
        assert_eq!(info.working_directory.as_deref(), Some(sandbox.path()));
    }

    #[test]
    fn a_root_of_its_own_comes_with_a_name_and_a_cgroup_root_of_its_own() {
        let set = &["filesystem/linux"][..];
        let own = context(config(Some("rootfs:/srv")), Some(provisioned("/srv")));
        let info = prepare(set, &own).expect("prepared");
        assert_eq!(
            info.namespaces,
            [Namespace::Mnt, Namespace::Uts, Namespace::Cgroup].into(),
            "the host's name stays, in a namespace where it can be changed"
        );
        assert_eq!(info.hostname, None);
        let info = prepare(set, &context(config(None), None)).expect("prepared");
        assert_eq!(info.namespaces, [Namespace::Mnt].into(), "on the host's file system");
    }

    #[test]
    fn a_name_comes_with_a_namespace_for_it_whatever_the_root() {
        for image in [None, Some("/srv")] {
            let mut config = config(image.map(|_| "rootfs:/srv"));
            config.hostname = Some("box".to_owned());
            let context = context(config, image.map(provisioned));
            let info = prepare(&["filesystem/linux"], &context).expect("prepared");
            assert!(info.namespaces.contains(&Namespace::Uts), "{image:?}");
            assert_eq!(info.hostname.as_deref(), Some("box"));
        }
    }

    #[test]
    fn what_the_kernel_has_not_is_left_out() {
        let mut isolator = isolator(&["filesystem/linux"]);
        isolator.kernel = Kernel { uts: false, cgroup_namespace: false };
        let namespaces = isolator.namespaces(true, false).expect("nobody asked for a name");
        assert_eq!(namespaces, [Namespace::Mnt].into());
    }

    #[test]
    fn a_read_only_root_must_have_the_mount_points() {
        let root = tempfile::tempdir().expect("a scratch directory");
        let mut image = provisioned(root.path().to_str().expect("text"));
        image.read_only = true;
        let context = context(config(Some("rootfs:/srv")), Some(image));
        let message = || prepare(&["filesystem/linux"], &context).expect_err("refused").to_string();
        assert!(message().contains("has no /proc"), "{}", message());
        for directory in ["proc", "sys", "dev"] {
            std::fs::create_dir(root.path().join(directory)).expect("made");
        }
        assert!(message().contains("has no /mnt/mesos/sandbox for the sandbox"), "{}", message());
        std::fs::create_dir_all(root.path().join("mnt/mesos/sandbox")).expect("made");
        prepare(&["filesystem/linux"], &context).expect("all is there");
    }

    #[test]
    fn a_read_only_root_without_sys_does_without() {
        let root = tempfile::tempdir().expect("a scratch directory");
        for directory in ["proc", "dev", "mnt/mesos/sandbox"] {
            std::fs::create_dir_all(root.path().join(directory)).expect("made");
        }
        let mut image = provisioned(root.path().to_str().expect("text"));
        image.read_only = true;
        let context = context(config(Some("rootfs:/srv")), Some(image));
        let without = prepare(&["filesystem/linux"], &context).expect("prepared");
        assert!(targets(&without).iter().all(|target| !target.starts_with("/sys")));
        assert!(targets(&without).contains(&"/proc"));
        std::fs::create_dir(root.path().join("sys")).expect("made");
        let with = prepare(&["filesystem/linux"], &context).expect("prepared");
        assert!(targets(&with).contains(&"/sys"));
    }

    #[test]
    fn a_link_in_the_image_is_followed_inside_it() {
        let root = tempfile::tempdir().expect("a scratch directory");
        std::os::unix::fs::symlink("/usr", root.path().join("proc")).expect("a link");
        let opened = open_root(&Rootfs::Directory(root.path().into())).expect("opened");
        assert!(!exists_in(&opened, Path::new("/proc")).expect("looked"), "the host has /usr");
        std::fs::create_dir(root.path().join("usr")).expect("made");
        assert!(exists_in(&opened, Path::new("/proc")).expect("looked"));
    }
}
