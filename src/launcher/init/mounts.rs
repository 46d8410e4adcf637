//! Mount work inside the container: everything by descriptor, every path through [`path`].

use crate::ops::{F_CREATE, F_OPTIONAL, Op};
use crate::path::{self, Missing};
use crate::plan::Plan;
use crate::sys::{
    self, AT_FDCWD, AT_RECURSIVE, EEXIST, ENOENT, ENOTDIR, O_NOFOLLOW, O_PATH, Result, S_IFBLK,
    S_IFCHR, S_IFDIR, S_IFMT,
};
use crate::sys_mount::{
    self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};

/// What hides masked paths. A copy is attached for each; the first one is the mount itself, because
/// a kernel before 6.15 copies only what is attached.
#[derive(Clone, Copy)]
pub struct Mask {
    fd: i32,
    attached: bool,
}

impl Mask {
    pub const NONE: Self = Self { fd: -1, attached: false };

    pub fn fd(&self) -> i32 {
        self.fd
    }

    /// A detached mount to attach, made by `make` when it is the first.
    fn take(&mut self, make: impl FnOnce() -> Result<i32>) -> Result<i32> {
        if self.fd < 0 {
            self.fd = make()?;
        }
        if self.attached { sys_mount::clone_tree(self.fd) } else { Ok(self.fd) }
    }

    /// After `fd` of [`Mask::take`] was attached, or could not be.
    fn attached(&mut self, fd: i32, done: Result<()>) -> Result<()> {
        if fd != self.fd {
            sys::close(fd);
        } else if done.is_ok() {
            self.attached = true;
        }
        done
    }
}

/// Makes the detached mount `root` the root; the old one is left for good.
pub fn enter_root(root: i32) -> Result<()> {
    // Stacked on the old root: no mount point is needed, and none is left behind.
    let top = sys::open_at(AT_FDCWD, c"/", O_PATH, 0)?;
    sys_mount::attach(root, top)?;
    sys::close(top);
    sys::fchdir(root)?;
    sys_mount::pivot_here()
}

/// `OP_MOUNT_FS`.
pub fn mount_fs(plan: &Plan, op: &Op) -> Result<()> {
    let context = sys_mount::fs_open(plan.text(u64::from(op.text2)))?;
    let mounted = configure(plan, op, context);
    sys::close(context);
    let mount = mounted?;
    let done = attach_at(plan, op, mount);
    sys::close(mount);
    done
}

fn configure(plan: &Plan, op: &Op, context: i32) -> Result<i32> {
    for pair in plan.words(op.a, op.count * 2).chunks_exact(2) {
        sys_mount::fs_config(context, plan.text(pair[0]), plan.text(pair[1]))?;
    }
    sys_mount::fs_mount(context, op.b)
}

/// `OP_MOUNT_FD`.
pub fn mount_fd(plan: &Plan, op: &Op, mount: i32) -> Result<()> {
    attach_at(plan, op, mount)
}

/// `OP_BIND`.
pub fn bind(plan: &Plan, op: &Op) -> Result<()> {
    let source = path::open(plan.text(u64::from(op.text2)), 0)?;
    let copy = sys_mount::clone_tree(source);
    sys::close(source);
    let copy = copy?;
    let done = sys_mount::add_attributes(copy, op.b, AT_RECURSIVE)
        .and_then(|()| attach_at(plan, op, copy));
    sys::close(copy);
    done
}

fn attach_at(plan: &Plan, op: &Op, mount: i32) -> Result<()> {
    let missing = match (op.flags & F_CREATE != 0, sys::stat(mount)?.mode & S_IFMT) {
        (false, _) => Missing::Fail,
        (true, S_IFDIR) => Missing::Directory,
        (true, _) => Missing::File,
    };
    let target = path::open_or_make(plan.text(u64::from(op.text)), missing)?;
    let done = sys_mount::attach(mount, target);
    sys::close(target);
    done
}

/// `OP_MKNOD`: the node exactly, whatever had its name before, as a mount of its own.
pub fn make_node(plan: &Plan, op: &Op) -> Result<()> {
    let kind = if op.flags & crate::ops::F_CHARACTER != 0 { S_IFCHR } else { S_IFBLK };
    path::in_parent(plan.text(u64::from(op.text)), |parent, name| {
        match sys::mknod_at(parent, name, kind | op.a as u32, op.b) {
            Err(EEXIST) if is_node(parent, name, kind, op.b) => Ok(()),
            made => made,
        }?;
        let node = sys::open_at(parent, name, O_PATH | O_NOFOLLOW, 0)?;
        // A mount of its own, over itself: it stays a device when the directory has none any more.
        let done = sys_mount::clone_tree(node).and_then(|copy| {
            let done = sys_mount::attach(copy, node);
            sys::close(copy);
            done
        });
        sys::close(node);
        done
    })
}

/// `OP_ATTRIBUTES`: of a mount that is there already.
pub fn set_attributes(plan: &Plan, op: &Op) -> Result<()> {
    let target = path::open(plan.text(u64::from(op.text)), 0)?;
    let done = sys_mount::add_attributes(target, op.b, 0);
    sys::close(target);
    done
}

fn is_node(parent: i32, name: &core::ffi::CStr, kind: u32, device: u64) -> bool {
    let Ok(fd) = sys::open_at(parent, name, O_PATH | O_NOFOLLOW, 0) else { return false };
    let same = sys::stat(fd).is_ok_and(|stat| {
        stat.mode & S_IFMT == kind && encode_device(stat.device_major, stat.device_minor) == device
    });
    sys::close(fd);
    same
}

/// A device number as mknod(2) takes it.
pub fn encode_device(major: u32, minor: u32) -> u64 {
    u64::from(minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12)
}

/// `OP_SYMLINK`.
pub fn make_link(plan: &Plan, op: &Op) -> Result<()> {
    path::in_parent(plan.text(u64::from(op.text)), |parent, name| {
        match sys::symlink_at(plan.text(u64::from(op.text2)), parent, name) {
            Err(EEXIST) => Ok(()),
            made => made,
        }
    })
}

/// `OP_MASK`: a directory under an empty read-only one, anything else under /dev/null.
pub fn mask(plan: &Plan, op: &Op, files: &mut Mask, directories: &mut Mask) -> Result<()> {
    let target = match path::open(plan.text(u64::from(op.text)), 0) {
        Err(ENOENT | ENOTDIR) => return Ok(()),
        opened => opened?,
    };
    let done = match sys::stat(target)?.mode & S_IFMT {
        S_IFDIR => cover(target, directories, empty_directory),
        _ => cover(target, files, || Err(ENOENT)),
    };
    sys::close(target);
    done
}

fn cover(target: i32, mask: &mut Mask, make: fn() -> Result<i32>) -> Result<()> {
    let fd = mask.take(make)?;
    let done = sys_mount::attach(fd, target);
    mask.attached(fd, done)
}

fn empty_directory() -> Result<i32> {
    let context = sys_mount::fs_open(c"tmpfs")?;
    let quiet = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    let mount = sys_mount::fs_config(context, c"mode", c"0555")
        .and_then(|()| sys_mount::fs_config(context, c"size", c"4096"))
        .and_then(|()| sys_mount::fs_mount(context, quiet));
    sys::close(context);
    mount
}

/// A detached mount of the null device where the init starts, before that place is left.
pub fn null_device() -> Result<Mask> {
    let null = match sys::open_at(AT_FDCWD, c"/dev/null", O_PATH | O_NOFOLLOW, 0) {
        Ok(fd) => fd,
        Err(errno) => return Err(errno),
    };
    let copy = sys_mount::clone_tree(null);
    sys::close(null);
    Ok(Mask { fd: copy?, attached: false })
}

/// `OP_READONLY`.
pub fn make_readonly(plan: &Plan, op: &Op) -> Result<()> {
    let target = match path::open(plan.text(u64::from(op.text)), 0) {
        Err(ENOENT | ENOTDIR) => return Ok(()),
        opened => opened?,
    };
    let copy = sys_mount::clone_tree(target);
    let done = copy.and_then(|copy| {
        let done = sys_mount::add_attributes(copy, MOUNT_ATTR_RDONLY, AT_RECURSIVE)
            .and_then(|()| sys_mount::attach(copy, target));
        sys::close(copy);
        done
    });
    sys::close(target);
    done
}

/// `OP_READONLY_ROOT`.
pub fn make_root_readonly() -> Result<()> {
    let root = sys::open_at(AT_FDCWD, c"/", O_PATH, 0)?;
    let done = sys_mount::add_attributes(root, MOUNT_ATTR_RDONLY, 0);
    sys::close(root);
    done
}

/// The answer of an operation that may fail.
pub fn lenient(op: &Op, done: Result<()>) -> Result<()> {
    if op.flags & F_OPTIONAL != 0 { Ok(()) } else { done }
}
