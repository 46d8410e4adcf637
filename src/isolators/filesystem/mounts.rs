//! The file systems and devices that every root file system gets.

use std::path::{Path, PathBuf};

use crate::model::{DeviceNode, FileOperation, Mount, MountFlags, MountSource};

const NOTHING: MountFlags =
    MountFlags { read_only: false, nosuid: false, nodev: false, noexec: false };
const HARMLESS: MountFlags = MountFlags { nosuid: true, nodev: true, noexec: true, ..NOTHING };

/// Hidden from every container: secrets, and what lets it hurt or spy upon the host.
pub(super) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Settings of the host; and where cgroups are shown, once they are.
pub(super) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys/fs/cgroup"];

/// Read-only even where nothing is hidden: it shows, and changes nothing by being written.
pub(super) const SHOWN_ONLY: &[&str] = &["/sys/fs/cgroup"];

/// Name and number of the devices that programs take for granted; the same on every Linux
/// (kernel `Documentation/admin-guide/devices.txt`).
const DEVICES: &[(&str, u32, u32)] = &[
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];

const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

fn filesystem(kind: &str, target: &str, options: &[(&str, &str)], flags: MountFlags) -> Mount {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Mount {
        source: MountSource::Filesystem { kind: kind.to_owned(), options },
        target: target.into(),
        flags,
        optional: false,
    }
}

/// `/proc` of the container's PID namespace.
pub(in crate::isolators) fn proc() -> Mount {
    filesystem("proc", "/proc", &[], HARMLESS)
}

/// Shared memory of the container's own. Programs map it, some with PROT_EXEC.
pub(in crate::isolators) fn shm() -> Mount {
    let flags = MountFlags { noexec: false, ..HARMLESS };
    filesystem("tmpfs", "/dev/shm", &[("mode", "1777")], flags)
}

/// What is mounted in every root file system, in order.
pub(super) fn standard() -> Vec<Mount> {
    let devices = MountFlags { nosuid: true, noexec: true, ..NOTHING };
    vec![
        proc(),
        filesystem("sysfs", "/sys", &[], MountFlags { read_only: true, ..HARMLESS }),
        filesystem("tmpfs", "/sys/fs/cgroup", &[("mode", "755")], HARMLESS),
        filesystem("tmpfs", "/dev", &[("mode", "755"), ("size", "64m")], devices),
        filesystem(
            "devpts",
            "/dev/pts",
            &[("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")],
            devices,
        ),
    ]
}

/// A host path, bound with all mounts below it.
pub(super) fn bind(source: &Path, target: PathBuf, read_only: bool) -> Mount {
    Mount {
        source: MountSource::HostPath(source.to_path_buf()),
        target,
        flags: MountFlags { read_only, ..NOTHING },
        optional: false,
    }
}

/// A host path that has no mounts below it.
pub(super) fn alone(source: &Path, target: PathBuf) -> Mount {
    Mount {
        source: MountSource::HostPathAlone(source.to_path_buf()),
        target,
        flags: NOTHING,
        optional: false,
    }
}

/// A container's own cgroup, to be read where programs look for their limits. Optional: a container
/// runs as well without it.
pub(super) fn cgroup(directory: &Path, target: PathBuf) -> Mount {
    Mount {
        flags: MountFlags { read_only: true, ..HARMLESS },
        optional: true,
        ..alone(directory, target)
    }
}

pub(super) fn devices() -> Vec<DeviceNode> {
    DEVICES
        .iter()
        .map(|(name, major, minor)| DeviceNode {
            path: Path::new("/dev").join(name),
            character: true,
            major: *major,
            minor: *minor,
            mode: 0o666,
        })
        .collect()
}

pub(super) fn links() -> Vec<FileOperation> {
    LINKS
        .iter()
        .map(|(link, target)| FileOperation::Symlink { target: target.into(), link: link.into() })
        .collect()
}
