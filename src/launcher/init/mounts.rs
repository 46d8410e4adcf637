//! Mount work inside the container: everything by descriptor, every path through [`path`].

use crate::fresh::{Fresh, Spot};
use crate::ops::{F_CREATE, F_DIRECTORY, F_OPTIONAL, Op};
use crate::path::{self, Missing, Way};
use crate::plan::Plan;
use crate::sys::{
    self, AT_FDCWD, AT_RECURSIVE, EBADMSG, EEXIST, EINVAL, ENOENT, ENOTDIR, O_NOFOLLOW, O_PATH,
    Result, S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT,
};
use crate::sys_mount::{
    self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};
use crate::sys_path::Links;

/// What hides masked paths.
pub struct Masks {
    files: Mask,
    directories: Mask,
}

impl Masks {
    pub const NONE: Self = Self { files: Mask::NONE, directories: Mask::NONE };

    /// The highest descriptor that is kept, or -1.
    pub fn last(&self) -> i32 {
        let [a, b] = [&self.files, &self.directories].map(|mask| mask.first.max(mask.spare));
        a.max(b)
    }
}

/// What hides paths of one kind. A copy is attached for each; the first one is the mount itself,
/// because a kernel before 6.15 copies only what is attached.
struct Mask {
    first: i32,
    attached: bool,
    /// A copy that is not attached yet, or -1.
    spare: i32,
}

impl Mask {
    const NONE: Self = Self { first: -1, attached: false, spare: -1 };

    /// A detached mount to attach, made by `make` when it is the first.
    fn take(&mut self, make: fn() -> Result<i32>) -> Result<i32> {
        if self.first < 0 {
            self.first = make()?;
        }
        if !self.attached {
            return Ok(self.first);
        }
        if self.spare < 0 {
            self.spare = sys_mount::clone_tree(self.first)?;
        }
        Ok(self.spare)
    }

    /// Hides something by `attach`, which gets what to attach.
    fn cover(
        &mut self,
        make: fn() -> Result<i32>,
        attach: impl FnOnce(i32) -> Result<()>,
    ) -> Result<()> {
        let mount = self.take(make)?;
        attach(mount)?;
        if self.attached {
            sys::close(mount);
            self.spare = -1;
        }
        self.attached = true;
        Ok(())
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
pub fn mount_fs(plan: &Plan, op: &Op, fresh: &mut Fresh) -> Result<()> {
    let kind = plan.text(u64::from(op.text2));
    let context = sys_mount::fs_open(kind)?;
    let mounted = configure(plan, op, context);
    sys::close(context);
    let mount = mounted?;
    let directory = Op { flags: op.flags | F_DIRECTORY, ..*op };
    let done = attach_at(plan, &directory, mount, fresh);
    if done != Ok(Way::Plain) || !fresh.keep(kind, op.text, mount) {
        sys::close(mount);
    }
    done.map(drop)
}

fn configure(plan: &Plan, op: &Op, context: i32) -> Result<i32> {
    for pair in plan.words(op.a, op.count * 2).chunks_exact(2) {
        sys_mount::fs_config(context, plan.text(pair[0]), plan.text(pair[1]))?;
    }
    sys_mount::fs_mount(context, op.b)
}

/// `OP_MOUNT_FD`.
pub fn mount_fd(plan: &Plan, op: &Op, mount: i32, fresh: &mut Fresh) -> Result<()> {
    attach_at(plan, op, mount, fresh).map(drop)
}

/// `OP_BIND`.
pub fn bind(plan: &Plan, op: &Op, fresh: &mut Fresh) -> Result<()> {
    let source = path::open(plan.text(u64::from(op.text2)), 0)?;
    let copy = sys_mount::clone_tree(source);
    sys::close(source);
    let copy = copy?;
    let done = sys_mount::add_attributes(copy, op.b, AT_RECURSIVE)
        .and_then(|()| attach_at(plan, op, copy, fresh));
    sys::close(copy);
    done.map(drop)
}

/// Attaches `mount` at the operation's target, and says how that was found.
fn attach_at(plan: &Plan, op: &Op, mount: i32, fresh: &mut Fresh) -> Result<Way> {
    let path = plan.text(u64::from(op.text));
    if op.flags & (F_CREATE | F_DIRECTORY) == F_CREATE | F_DIRECTORY {
        if let Some(Spot { place, name }) = fresh.ours(plan, path) {
            match sys::mkdir_at(place, name, 0o755) {
                // What is there may be a link that the plan has made.
                Err(EEXIST) => {}
                made => {
                    made?;
                    sys_mount::attach_at(mount, place, name, Links::Refuse)?;
                    return Ok(Way::Plain);
                }
            }
        }
    }
    let (target, way) = path::open_or_make(path, || missing(op, mount))?;
    let done = sys_mount::attach(mount, target);
    sys::close(target);
    fresh.cover(plan, path, way);
    done.map(|()| way)
}

fn missing(op: &Op, mount: i32) -> Result<Missing> {
    if op.flags & F_CREATE == 0 {
        return Ok(Missing::Fail);
    }
    if op.flags & F_DIRECTORY != 0 {
        return Ok(Missing::Directory);
    }
    match sys::stat(mount)?.mode & S_IFMT {
        S_IFDIR => Ok(Missing::Directory),
        _ => Ok(Missing::File),
    }
}

/// `OP_MKNOD`: the node exactly, whatever had its name before, as a mount of its own.
pub fn make_node(plan: &Plan, op: &Op, fresh: &Fresh) -> Result<()> {
    in_directory(plan, op, fresh, |parent, name| {
        let kind = if op.flags & crate::ops::F_CHARACTER != 0 { S_IFCHR } else { S_IFBLK };
        match sys::mknod_at(parent, name, kind | op.a as u32, op.b) {
            Err(EEXIST) if is_node(parent, name, kind, op.b) => Ok(()),
            made => made,
        }?;
        // A mount of its own, over itself: it stays a device when the directory has none any more.
        let copy = sys_mount::clone_at(parent, name)?;
        let done = sys_mount::attach_at(copy, parent, name, Links::Refuse);
        sys::close(copy);
        done
    })
}

/// Does `act` on the directory and the name of the operation's path.
fn in_directory(
    plan: &Plan,
    op: &Op,
    fresh: &Fresh,
    act: impl FnOnce(i32, &core::ffi::CStr) -> Result<()>,
) -> Result<()> {
    let path = plan.text(u64::from(op.text));
    match fresh.ours(plan, path) {
        Some(Spot { place, name }) => act(place, name),
        None => path::in_parent(path, act),
    }
}

/// `OP_ATTRIBUTES`: of a mount that is there already.
pub fn set_attributes(plan: &Plan, op: &Op, fresh: &Fresh) -> Result<()> {
    let path = plan.text(u64::from(op.text));
    if let Some(mount) = fresh.mount_at(plan, path) {
        return sys_mount::add_attributes(mount, op.b, 0);
    }
    let target = path::open(path, 0)?;
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
pub fn make_link(plan: &Plan, op: &Op, fresh: &Fresh) -> Result<()> {
    in_directory(plan, op, fresh, |parent, name| {
        match sys::symlink_at(plan.text(u64::from(op.text2)), parent, name) {
            Err(EEXIST) => Ok(()),
            made => made,
        }
    })
}

/// `OP_MASK`: a directory under an empty read-only one, anything else under /dev/null.
pub fn mask(plan: &Plan, op: &Op, masks: &mut Masks, fresh: &mut Fresh) -> Result<()> {
    let path = plan.text(u64::from(op.text));
    let done = match fresh.kernels(plan, path) {
        Some(spot) => mask_spot(&spot, masks),
        None => Err(EINVAL),
    };
    let way = match done {
        // What kind it is has to be asked.
        Err(EINVAL | ENOTDIR) => mask_path(path, masks)?,
        done => done.map(|()| Way::Plain)?,
    };
    fresh.cover(plan, path, way);
    Ok(())
}

/// Finds out what kind it is by trying: the kernel puts no file over a directory, and none over a file.
fn mask_spot(spot: &Spot<'_>, masks: &mut Masks) -> Result<()> {
    let attach = |mount| sys_mount::attach_at(mount, spot.place, spot.name, Links::Follow);
    let done = match masks.files.cover(null_is_kept, attach) {
        Err(EINVAL | ENOTDIR) => masks.directories.cover(empty_directory, attach),
        done => done,
    };
    if done == Err(ENOENT) { Ok(()) } else { done }
}

fn mask_path(path: &core::ffi::CStr, masks: &mut Masks) -> Result<Way> {
    let (target, way) = match path::open_way(path) {
        Err(ENOENT | ENOTDIR) => return Ok(Way::Plain),
        opened => opened?,
    };
    let attach = |mount| sys_mount::attach(mount, target);
    let done = match sys::stat(target).map(|stat| stat.mode & S_IFMT) {
        Ok(S_IFDIR) => masks.directories.cover(empty_directory, attach),
        Ok(_) => masks.files.cover(null_is_kept, attach),
        Err(errno) => Err(errno),
    };
    sys::close(target);
    done.map(|()| way)
}

/// A plan that hides something keeps the null device first.
fn null_is_kept() -> Result<i32> {
    Err(EBADMSG)
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

/// `OP_KEEP_NULL`: takes what hides paths from the place where the init starts, before that is left.
pub fn keep_masks(empty: &core::ffi::CStr) -> Result<Masks> {
    let mut masks = Masks::NONE;
    masks.files.first = sys_mount::clone_at(AT_FDCWD, c"/dev/null")?;
    if !empty.is_empty() {
        masks.directories.first = sys_mount::clone_at(AT_FDCWD, empty)?;
    }
    Ok(masks)
}

/// `OP_READONLY`.
pub fn make_readonly(plan: &Plan, op: &Op, fresh: &mut Fresh) -> Result<()> {
    let path = plan.text(u64::from(op.text));
    let done = match fresh.kernels(plan, path) {
        Some(Spot { place, name }) => sys_mount::clone_tree_at(place, name).and_then(|copy| {
            attach_readonly(copy, |copy| sys_mount::attach_at(copy, place, name, Links::Follow))
        }),
        None => return make_path_readonly(plan, path, fresh),
    };
    match done {
        Err(ENOENT | ENOTDIR) => Ok(()),
        done => {
            fresh.cover(plan, path, Way::Plain);
            done
        }
    }
}

fn make_path_readonly(plan: &Plan, path: &core::ffi::CStr, fresh: &mut Fresh) -> Result<()> {
    let (target, way) = match path::open_way(path) {
        Err(ENOENT | ENOTDIR) => return Ok(()),
        opened => opened?,
    };
    let done = sys_mount::clone_tree(target)
        .and_then(|copy| attach_readonly(copy, |copy| sys_mount::attach(copy, target)));
    sys::close(target);
    fresh.cover(plan, path, way);
    done
}

/// Attaches the detached `copy` by `attach`, and closes it.
fn attach_readonly(copy: i32, attach: impl FnOnce(i32) -> Result<()>) -> Result<()> {
    let done = sys_mount::add_attributes(copy, MOUNT_ATTR_RDONLY, AT_RECURSIVE)
        .and_then(|()| attach(copy));
    sys::close(copy);
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
