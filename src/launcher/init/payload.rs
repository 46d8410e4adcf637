//! The payload's process, from the fork to exec. What fails here is told to the init.

use core::ffi::CStr;

use crate::mounts::lenient;
use crate::ops::*;
use crate::plan::Plan;
use crate::sys::{self, EACCES, EBADMSG, ENAMETOOLONG, ENOENT, ENOTDIR, Errno, Result};
use crate::{sys_identity, sys_mount};

/// The highest capability that the kernel can have: the sets have 64 bits.
const CAPABILITIES: u64 = 64;

/// What the payload's process tells the init when it cannot go on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Failure {
    /// Index of the operation.
    pub op: u32,
    /// Why.
    pub errno: Errno,
}

impl Failure {
    /// As it travels in the pipe.
    pub fn encode(self) -> [u8; 8] {
        let (op, errno) = (self.op.to_ne_bytes(), self.errno.to_ne_bytes());
        [op[0], op[1], op[2], op[3], errno[0], errno[1], errno[2], errno[3]]
    }

    /// The reverse of [`Failure::encode`].
    pub fn decode(b: [u8; 8]) -> Self {
        Self {
            op: u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            errno: Errno::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        }
    }
}

/// Does the operations from `first` on; the last one is exec. `errors` is closed by exec.
pub fn run(plan: &Plan, first: u32, fds: &[i32], errors: i32) -> ! {
    if let Err(errno) = begin(fds) {
        fail(errors, first, errno);
    }
    for index in first..plan.header.op_count {
        let op = plan.op(index);
        if let Err(errno) = lenient(&op, perform(plan, &op)) {
            fail(errors, index, errno);
        }
    }
    fail(errors, OP_INDEX_PLAN, EBADMSG)
}

/// Does what every process of a container begins with.
fn begin(fds: &[i32]) -> Result<()> {
    sys::new_session();
    sys::umask(0o022);
    for stream in 0..3 {
        sys::dup_to(fds[FD_STDIN + stream], stream as i32)?;
    }
    sys::close_from_on_exec(3);
    Ok(())
}

/// Executes the command of [`OP_PRE_EXEC`], operation `op.1`. `host` is the host's mount namespace and
/// root, unless this process is there already.
pub fn run_before(
    plan: &Plan,
    op: (&Op, u32),
    fds: &[i32],
    host: Option<(i32, i32)>,
    errors: i32,
) -> ! {
    let begun = begin(fds).and_then(|()| host.map_or(Ok(()), enter_host));
    let errno = match begun {
        Ok(()) => execute(plan, op.0),
        Err(errno) => errno,
    };
    fail(errors, op.1, errno)
}

/// Into the host's file system, in a mount namespace whose mounts go with this process and its own.
fn enter_host((mounts, root): (i32, i32)) -> Result<()> {
    const MS_SLAVE: u64 = 1 << 19;
    sys::set_namespace(mounts, sys::CLONE_NEWNS)?;
    sys::fchdir(root)?;
    sys::chroot(c".")?;
    sys::unshare(sys::CLONE_NEWNS)?;
    sys_mount::propagation(MS_SLAVE)
}

fn fail(errors: i32, op: u32, errno: Errno) -> ! {
    let _ = sys::write(errors, &Failure { op, errno }.encode());
    sys::exit(1)
}

fn perform(plan: &Plan, op: &Op) -> Result<()> {
    const PR_SET_PDEATHSIG: usize = 1;
    const PR_SET_KEEPCAPS: usize = 8;
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    match op.code {
        OP_RLIMIT => sys_identity::set_rlimit(op.count, op.a, op.b),
        OP_CHDIR => sys::chdir(plan.text(u64::from(op.text))),
        OP_GROUPS => sys_identity::set_groups(plan.small_words(op.a, op.count)),
        OP_KEEP_CAPS => sys::prctl(PR_SET_KEEPCAPS, [1, 0, 0, 0]).map(drop),
        OP_USER => sys_identity::set_user(op.a as u32, op.b as u32),
        OP_CAP_BOUNDING => drop_from_bounding(op.a),
        OP_CAPS => set_capabilities(op.a, op.b),
        OP_DIE_WITH_INIT => sys::prctl(PR_SET_PDEATHSIG, [sys::SIGKILL as usize, 0, 0, 0]).map(drop),
        OP_NO_NEW_PRIVS => sys::prctl(PR_SET_NO_NEW_PRIVS, [1, 0, 0, 0]).map(drop),
        OP_SECCOMP => {
            let filter = plan.filter(op.a, op.count);
            // SAFETY: the plan has checked that the instructions lie inside it.
            unsafe { sys_identity::load_seccomp(filter, op.count) }
        }
        OP_EXEC => Err(execute(plan, op)),
        _ => Err(EBADMSG),
    }
}

fn drop_from_bounding(keep: u64) -> Result<()> {
    const PR_CAPBSET_READ: usize = 23;
    const PR_CAPBSET_DROP: usize = 24;
    for capability in 0..CAPABILITIES {
        if keep & 1 << capability != 0 {
            continue;
        }
        // Above the kernel's last capability the question itself is refused.
        match sys::prctl(PR_CAPBSET_READ, [capability as usize, 0, 0, 0]) {
            Err(_) => break,
            Ok(0) => continue,
            Ok(_) => sys::prctl(PR_CAPBSET_DROP, [capability as usize, 0, 0, 0])?,
        };
    }
    Ok(())
}

/// Inheritable is ambient and no more: a wider one would let any file with inheritable capabilities
/// in the image raise them (CVE-2022-24769).
fn set_capabilities(effective: u64, ambient: u64) -> Result<()> {
    const PR_CAP_AMBIENT: usize = 47;
    const CLEAR_ALL: usize = 4;
    const RAISE: usize = 2;
    sys_identity::set_capabilities(effective, ambient)?;
    sys::prctl(PR_CAP_AMBIENT, [CLEAR_ALL, 0, 0, 0])?;
    for capability in 0..CAPABILITIES {
        if ambient & 1 << capability != 0 {
            sys::prctl(PR_CAP_AMBIENT, [RAISE, capability as usize, 0, 0])?;
        }
    }
    Ok(())
}

fn execute(plan: &Plan, op: &Op) -> Errno {
    let name = plan.text(u64::from(op.text));
    let argv = plan.pointers(op.a);
    let envp = plan.pointers(op.b);
    // What was blocked for the init's sake is not the payload's: it starts with none.
    sys::block_signals(0);
    if name.to_bytes().contains(&b'/') {
        // SAFETY: both arrays were made by the plan, which ends them with a null pointer.
        return unsafe { sys::exec(name, argv, envp) };
    }
    if name.is_empty() {
        return ENOENT;
    }
    // As execvp(3): a file that is found and may not be executed is remembered, and the search
    // goes on.
    let mut refused = ENOENT;
    for directory in plan.text(u64::from(op.text2)).to_bytes().split(|byte| *byte == b':') {
        let mut buffer = [0_u8; 4096];
        let Some(candidate) = join(&mut buffer, directory, name) else {
            refused = ENAMETOOLONG;
            continue;
        };
        // SAFETY: both arrays were made by the plan, which ends them with a null pointer.
        match unsafe { sys::exec(candidate, argv, envp) } {
            ENOENT | ENOTDIR => {}
            EACCES => refused = EACCES,
            errno => return errno,
        }
    }
    refused
}

/// `directory/name`; an empty directory is the working directory, as in every PATH.
fn join<'a>(buffer: &'a mut [u8; 4096], directory: &[u8], name: &CStr) -> Option<&'a CStr> {
    let directory = if directory.is_empty() { b"." } else { directory };
    let name = name.to_bytes_with_nul();
    if directory.len() + 1 + name.len() > buffer.len() {
        return None;
    }
    for (to, from) in buffer.iter_mut().zip(directory.iter().chain(b"/").chain(name)) {
        *to = *from;
    }
    CStr::from_bytes_until_nul(buffer).ok()
}
