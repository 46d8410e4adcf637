//! The long-lived process that clones an init for each container.
//!
//! It lives in a mount namespace of its own with one small file system, so that a clone copies a
//! handful of mounts, however many the host has, and in a few pages of memory, however large the
//! embedder is. `CLONE_PARENT` makes the agent the parent of each init.
//!
//! The posix launcher's spawner stays where the agent is: it may be any user's.

use core::ffi::CStr;

use crate::mounts;
use crate::ops::*;
use crate::start::{self, Birth};
use crate::sys::{self, EBADMSG, EINVAL, ENOSYS, Message, O_PATH, Result};
use crate::sys_mount;

/// Where the agent's socket is; the only thing besides 0, 1 and 2 that is open.
const SOCKET: i32 = 3;

/// Room for `FDS_MAX` descriptors: a header of 16 bytes and 4 for each.
const CONTROL_WORDS: usize = (16 + FDS_MAX * 4).div_ceil(8);

/// A request as it came.
struct Received {
    request: Request,
    fds: [i32; FDS_MAX],
    count: usize,
}

/// Which mounts a spawner sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Home {
    /// A few of its own.
    Own,
    /// The agent's.
    Shared,
}

/// Serves requests until the agent is gone.
pub fn run(home: Home) -> ! {
    sys::block_signals(u64::MAX);
    sys::default_signals();
    sys::close_from(SOCKET as u32 + 1);
    sys::new_session();
    sys::set_name(c"longshore-spawn");
    let ready = prepare(home);
    answer(Reply { pid: 0, errno: ready.err().unwrap_or(0) }, None);
    if ready.is_err() {
        sys::exit(1);
    }
    loop {
        let received = match receive() {
            Ok(Some(received)) => received,
            Ok(None) => sys::exit(0),
            Err(errno) => {
                answer(Reply { pid: 0, errno }, None);
                continue;
            }
        };
        serve(&received);
        received.close();
    }
}

/// Streams and a working directory that hold nothing of the embedder.
fn prepare(home: Home) -> Result<()> {
    let nothing = sys::event_fd()?;
    for standard in 0..3 {
        sys::dup_to(nothing, standard)?;
    }
    sys::close(nothing);
    sys::umask(0);
    match home {
        Home::Own => furnish(),
        Home::Shared => sys::chdir(c"/"),
    }
}

/// A mount namespace with nothing of the host in it.
fn furnish() -> Result<()> {
    const PR_SET_DUMPABLE: usize = 4;
    sys::prctl(PR_SET_DUMPABLE, [0; 4])?;
    sys::unshare(sys::CLONE_NEWNS)?;
    sys_mount::propagation(sys_mount::MS_PRIVATE)?;
    let context = sys_mount::fs_open(c"tmpfs")?;
    sys_mount::fs_config(context, c"mode", c"0755")?;
    sys_mount::fs_config(context, c"size", c"64k")?;
    let root = sys_mount::fs_mount(context, 0)?;
    mounts::enter_root(root)?;
    sys::close(root);
    // Both fully visible, or the kernel would let no user namespace below mount its own.
    for (kind, place) in [(c"proc", c"/proc"), (c"sysfs", c"/sys")] {
        sys::mkdir_at(sys::AT_FDCWD, place, 0o755)?;
        mount_at(kind, place)?;
    }
    sys::mkdir_at(sys::AT_FDCWD, c"/dev", 0o755)?;
    let null = mounts::encode_device(1, 3);
    sys::mknod_at(sys::AT_FDCWD, c"/dev/null", sys::S_IFCHR | 0o666, null)?;
    sys::mkdir_at(sys::AT_FDCWD, EMPTY_DIRECTORY, 0o555)?;
    // Copies of both are in every container: nobody may change them for the others.
    sys_mount::fs_read_only(context)?;
    sys::close(context);
    Ok(())
}

fn mount_at(kind: &CStr, place: &CStr) -> Result<()> {
    let context = sys_mount::fs_open(kind)?;
    let mount = sys_mount::fs_mount(context, 0)?;
    sys::close(context);
    let target = sys::open_at(sys::AT_FDCWD, place, O_PATH, 0)?;
    let done = sys_mount::attach(mount, target);
    sys::close(target);
    sys::close(mount);
    done
}

impl Received {
    fn fds(&self) -> &[i32] {
        &self.fds[..self.count]
    }

    fn close(&self) {
        // They came together, into the lowest numbers that were free: nothing of ours is between them.
        let (mut first, mut last) = (i32::MAX, -1);
        for fd in self.fds() {
            (first, last) = (first.min(*fd), last.max(*fd));
        }
        sys::close_range(first, last);
    }
}

/// The next request; `None` when the agent is gone.
fn receive() -> Result<Option<Received>> {
    let mut words = [0_u32; REQUEST_SIZE / 4];
    let mut control = [0_u64; CONTROL_WORDS];
    let mut iov = [words.as_mut_ptr() as usize, REQUEST_SIZE];
    let mut message = Message {
        name: 0,
        name_len: 0,
        iov: iov.as_mut_ptr() as usize,
        iov_len: 1,
        control: control.as_mut_ptr() as usize,
        control_len: size_of_val(&control),
        flags: 0,
    };
    // SAFETY: the message points to the three buffers above, with their lengths.
    let size = unsafe { sys::receive_message(SOCKET, &mut message) }?;
    if size == 0 {
        return Ok(None);
    }
    let mut received = Received { request: decode(&words), fds: [-1; FDS_MAX], count: 0 };
    // The first control message: length, level and type (1, 1 = SOL_SOCKET, SCM_RIGHTS), data.
    if message.control_len >= 16 && control[1] == 1 | 1 << 32 {
        received.count = ((control[0] as usize).saturating_sub(16) / 4).min(FDS_MAX);
        for index in 0..received.count {
            let word = control[2 + index / 2];
            received.fds[index] = (word >> (32 * (index % 2))) as u32 as i32;
        }
    }
    let sound = size == REQUEST_SIZE
        && received.request.magic == MAGIC
        && received.count >= FD_FIRST_FREE
        && message.flags & 0x8 == 0;
    if sound {
        return Ok(Some(received));
    }
    received.close();
    Err(EBADMSG)
}

fn decode(w: &[u32; REQUEST_SIZE / 4]) -> Request {
    Request {
        magic: w[0],
        plan_size: w[1],
        clone_flags: u64::from(w[2]) | u64::from(w[3]) << 32,
        cgroup: w[4] as i32,
        reserved: w[5] as i32,
    }
}

/// Clones, and answers with the process and its pidfd.
fn serve(received: &Received) {
    let mut pidfd = -1;
    let (pid, joined) = match clone(received, &mut pidfd) {
        Ok(cloned) => cloned,
        Err(errno) => return answer(Reply { pid: 0, errno }, None),
    };
    if pid == 0 {
        // The agent must see the end of this socket when the spawner dies.
        sys::close(SOCKET);
        start::run(Birth {
            plan_size: received.request.plan_size as usize,
            fds: received.fds(),
            joined,
        });
    }
    answer(Reply { pid, errno: 0 }, Some(pidfd));
    sys::close(pidfd);
}

/// The process, 0 in itself, and whether it was born in its cgroup.
fn clone(received: &Received, pidfd: &mut i32) -> Result<(i32, bool)> {
    let request = &received.request;
    let flags = request.clone_flags | sys::CLONE_PARENT | sys::CLONE_PIDFD;
    if let Some(cgroup) = usize::try_from(request.cgroup).ok().and_then(|i| received.fds().get(i)) {
        let args = sys::CloneArgs {
            flags: flags | sys::CLONE_INTO_CGROUP,
            pidfd: &raw mut *pidfd as u64,
            cgroup: *cgroup as u64,
            ..sys::CloneArgs::default()
        };
        // SAFETY: no shared memory; the pidfd's place is writable.
        match unsafe { sys::clone3(&args) } {
            // An old kernel, or a filter that hides the call: the init joins by itself.
            Err(ENOSYS | EINVAL | sys::EPERM | sys::E2BIG | sys::EOPNOTSUPP) => {}
            answer => return answer.map(|pid| (pid, true)),
        }
    }
    // SAFETY: no shared memory; the pidfd's place is writable.
    unsafe { sys::clone(flags, &raw mut *pidfd) }.map(|pid| (pid, false))
}

/// Sends an answer, with a descriptor where there is one. An agent that is gone is seen by `receive`.
fn answer(reply: Reply, fd: Option<i32>) {
    let mut words = [reply.pid, reply.errno];
    let mut iov = [words.as_mut_ptr() as usize, REPLY_SIZE];
    // Length, level and type as in `receive`, one descriptor.
    let control = [20_u64, 1 | 1 << 32, u64::from(fd.unwrap_or(-1) as u32)];
    let message = Message {
        name: 0,
        name_len: 0,
        iov: iov.as_mut_ptr() as usize,
        iov_len: 1,
        control: control.as_ptr() as usize,
        control_len: if fd.is_some() { size_of_val(&control) } else { 0 },
        flags: 0,
    };
    // SAFETY: the message points to the buffers above, with their lengths.
    let _ = unsafe { sys::send_message(SOCKET, &message) };
}
