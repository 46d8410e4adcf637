//! Overlay and bind mounts that are attached nowhere, and attaching them where the host must see them.
//!
//! Kernel: fsopen(2), fsmount(2), open_tree(2), move_mount(2), Linux 5.2; mount_setattr(2), 5.12;
//! `lowerdir+`, 6.5. Where they lack, mount(2) does the same.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{
    self, FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags,
    MoveMountFlags, OpenTreeFlags, UnmountFlags,
};

use super::Error;
use super::error::Called;

/// The layers of an overlay.
#[derive(Debug, Clone, Copy)]
pub struct Stack<'a> {
    /// Read-only, the topmost first.
    pub lower: &'a [PathBuf],
    /// What is written.
    pub upper: &'a Path,
    /// Overlayfs' own, on the file system of `upper`.
    pub work: &'a Path,
}

/// Whether what is written must survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The upper directory is scratch: unmounting syncs nothing.
    Volatile,
    /// As any file system.
    Durable,
}

/// One page, less the NUL: what mount(2) copies of its options.
const OPTIONS_MAX: usize = 4095;

/// Mounts an overlay that is attached nowhere; the last descriptor or mount namespace unmounts it.
/// Device nodes of the layers do not open.
///
/// Errors: what the kernel says, `ENOSYS` where it has no detached mounts, `EINVAL` where it has no
/// `lowerdir+`.
pub fn overlay(stack: Stack<'_>, durability: Durability) -> Result<OwnedFd, Error> {
    let context = mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .called(|| "fsopen(\"overlay\")".to_owned())?;
    let set = |key: &str, value: &Path| {
        mount::fsconfig_set_string(&context, key, value)
            .called(|| format!("fsconfig(\"{key}\", {value:?})"))
    };
    set("source", Path::new("overlay"))?;
    for lower in stack.lower {
        let lower = Short::of(lower)?;
        set("lowerdir+", lower.path())?;
    }
    let (upper, work) = (Short::of(stack.upper)?, Short::of(stack.work)?);
    set("upperdir", upper.path())?;
    set("workdir", work.path())?;
    if durability == Durability::Volatile {
        mount::fsconfig_set_flag(&context, "volatile")
            .called(|| "fsconfig(\"volatile\")".to_owned())?;
    }
    mount::fsconfig_create(&context)
        .called(|| format!("fsconfig(overlay of {} layers, CREATE)", stack.lower.len()))?;
    mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NODEV)
        .called(|| "fsmount(overlay, MOUNT_ATTR_NODEV)".to_owned())
}

/// A path that fits into an fsconfig(2) value, which ends at 255 bytes.
enum Short<'a> {
    Path(&'a Path),
    /// The directory, open, by its name in /proc.
    Descriptor {
        name: PathBuf,
        _open: OwnedFd,
    },
}

impl<'a> Short<'a> {
    fn of(path: &'a Path) -> Result<Self, Error> {
        use std::os::unix::ffi::OsStrExt;
        if path.as_os_str().as_bytes().len() < 250 {
            return Ok(Self::Path(path));
        }
        let (name, open) = by_descriptor(path)?;
        Ok(Self::Descriptor { name, _open: open })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Path(path) => path,
            Self::Descriptor { name, .. } => name,
        }
    }
}

fn by_descriptor(path: &Path) -> Result<(PathBuf, OwnedFd), Error> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = rustix::fs::open(path, flags, Mode::empty())
        .called(|| format!("open({path:?}, O_PATH|O_DIRECTORY)"))?;
    Ok((PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd())), open))
}

/// Mounts an overlay at `target` by mount(2), for kernels without the calls of [`overlay`].
///
/// The layers are named by descriptors, since the options must fit into one page: some 200 layers.
pub fn overlay_at(stack: Stack<'_>, durability: Durability, target: &Path) -> Result<(), Error> {
    let mut open = Vec::with_capacity(stack.lower.len() + 2);
    let mut name = |path: &Path| -> Result<String, Error> {
        let (name, descriptor) = by_descriptor(path)?;
        open.push(descriptor);
        Ok(name.display().to_string())
    };
    let lower = stack.lower.iter().map(|path| name(path)).collect::<Result<Vec<_>, _>>()?;
    let (upper, work) = (name(stack.upper)?, name(stack.work)?);
    let mut options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    if durability == Durability::Volatile {
        options.push_str(",volatile");
    }
    let call = || format!("mount(\"overlay\", {target:?}, \"overlay\", NODEV, {options:?})");
    if options.len() > OPTIONS_MAX {
        return Err(Error::new(call(), Errno::TOOBIG));
    }
    let text =
        std::ffi::CString::new(options.as_str()).map_err(|_| Error::new(call(), Errno::INVAL))?;
    match mount::mount("overlay", target, "overlay", MountFlags::NODEV, Some(text.as_c_str())) {
        // `volatile` came with Linux 5.10.
        Err(Errno::INVAL) if durability == Durability::Volatile => {
            overlay_at(stack, Durability::Durable, target)
        }
        result => result.called(call),
    }
}

/// A detached copy of the mount at `path`, or of a plain directory, without the mounts below it.
///
/// A mount becomes private first, and so does the copy: below a shared parent, as under systemd, it
/// would be a peer of the mount, which pivot_root(2) refuses.
pub fn clone_mount(path: &Path) -> Result<OwnedFd, Error> {
    match mount::mount_change(path, MountPropagationFlags::PRIVATE) {
        // EINVAL: no mount begins here, so there is none of ours to change.
        Ok(()) | Err(Errno::INVAL) => {}
        failed => failed.called(|| format!("mount({path:?}, PRIVATE)"))?,
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    mount::open_tree(CWD, path, flags).called(|| format!("open_tree({path:?}, OPEN_TREE_CLONE)"))
}

/// Makes the mount at `path` read-only, with no device nodes that open.
pub fn remount_read_only(path: &Path) -> Result<(), Error> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV;
    mount::mount_remount(path, flags, c"")
        .called(|| format!("mount({path:?}, REMOUNT|BIND|RDONLY|NODEV)"))
}

/// Binds `source`, without the mounts below it, onto `target`.
pub fn bind_at(source: &Path, target: &Path) -> Result<(), Error> {
    mount::mount_bind(source, target).called(|| format!("mount({source:?}, {target:?}, BIND)"))
}

/// Attaches a detached mount at `target`.
pub fn attach(detached: impl AsFd, target: &Path) -> Result<(), Error> {
    mount::move_mount(&detached, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .called(|| format!("move_mount(detached, {target:?})"))
}

/// Unmounts on the host reach who copied this mount, and nothing of theirs comes back.
pub fn share_one_way(target: &Path) -> Result<(), Error> {
    for flags in [MountPropagationFlags::DOWNSTREAM, MountPropagationFlags::SHARED] {
        mount::mount_change(target, flags).called(|| format!("mount({target:?}, {flags:?})"))?;
    }
    Ok(())
}

/// Unmounts what is at `target`, as soon as nobody uses it. `false`: nothing was mounted there.
pub fn detach(target: &Path) -> Result<bool, Error> {
    match mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::new(format!("umount2({target:?}, MNT_DETACH)"), errno)),
    }
}

/// Whether `path` is the root of a mount.
pub fn is_mount_point(path: &Path) -> Result<bool, Error> {
    let stat =
        rustix::fs::statx(CWD, path, rustix::fs::AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty());
    match stat {
        Ok(stat) => Ok(stat.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(Error::new(format!("statx({path:?})"), errno)),
    }
}

/// Identifies the mount that an open file is on: for good since Linux 6.8, before that as long as the
/// mount exists.
pub fn mount_id(fd: impl AsFd) -> Result<u64, Error> {
    const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);
    let flags = rustix::fs::AtFlags::EMPTY_PATH;
    rustix::fs::statx(&fd, "", flags, StatxFlags::MNT_ID | UNIQUE)
        .map(|stat| stat.stx_mnt_id)
        .called(|| "statx(STATX_MNT_ID)".to_owned())
}

/// Whether this kernel can mount overlays; loads the module if that is how it is built.
pub fn supports_overlay() -> Result<(), Error> {
    match mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => Ok(()),
        Err(Errno::NOSYS) => {
            let known = std::fs::read_to_string("/proc/filesystems")
                .called(|| "open(\"/proc/filesystems\")".to_owned())?;
            let word = |line: &str| line.split_whitespace().any(|word| word == "overlay");
            match known.lines().any(word) {
                true => Ok(()),
                false => Err(Error::new("mount(\"overlay\")", Errno::NODEV)),
            }
        }
        Err(errno) => Err(Error::new("fsopen(\"overlay\")", errno)),
    }
}
