//! The init from its birth to the fork of the payload.

use crate::fresh::Fresh;
use crate::mounts::{self, Masks};
use crate::ops::*;
use crate::path;
use crate::payload;
use crate::plan::Plan;
use crate::supervise::{self, Channel};
use crate::sys::{self, EBADMSG, EINVAL, Errno, Result};
use crate::sys_mount;

/// What the clone got from the spawner.
pub struct Birth<'a> {
    /// Bytes of the plan.
    pub plan_size: usize,
    /// The request's descriptors, in order.
    pub fds: &'a [i32],
    /// Born in its v2 cgroup.
    pub joined: bool,
}

/// The init of one container, until the payload's process exists.
struct Init<'a> {
    birth: Birth<'a>,
    channel: Channel,
    masks: Masks,
    fresh: Fresh,
    /// The root that was left for a task's; -1 unless one is.
    outside: i32,
}

/// Does the plan. Never returns.
pub fn run(birth: Birth<'_>) -> ! {
    const PR_SET_CHILD_SUBREAPER: usize = 36;
    sys::new_session();
    sys::set_name(c"longshore-init");
    // Without a PID namespace, orphans of the payload come to us as they would to a pid 1.
    let _ = sys::prctl(PR_SET_CHILD_SUBREAPER, [1, 0, 0, 0]);
    sys::umask(0);
    let signals = sys::signal_fd().unwrap_or(-1);
    let channel = Channel {
        agent: birth.fds[FD_CHANNEL],
        status: birth.fds[FD_STATUS],
        signals,
        kill: -1,
        with_agent: false,
        ends_tree: false,
    };
    let (masks, fresh) = (Masks::NONE, Fresh::NONE);
    let mut init = Init { birth, channel, masks, fresh, outside: -1 };
    let plan = match Plan::map(init.birth.fds[FD_PLAN], init.birth.plan_size) {
        Ok(plan) => plan,
        Err(errno) => init.channel.fail(OP_INDEX_PLAN, errno),
    };
    init.channel.with_agent = plan.header.flags & LIFE_WITH_AGENT != 0;
    init.channel.ends_tree = plan.header.flags & LIFE_ENDS_TREE != 0;
    init.hide();
    for index in 0..plan.header.op_count {
        let op = plan.op(index);
        if op.code == OP_FORK {
            init.fork(plan, index);
        }
        if op.code == OP_PRE_EXEC {
            init.pre_exec(&plan, &op, index);
            continue;
        }
        if let Err(errno) = mounts::lenient(&op, init.perform(&plan, &op)) {
            init.channel.fail(index, errno);
        }
    }
    // A plan that forks nothing is none.
    init.channel.fail(OP_INDEX_PLAN, EINVAL)
}

impl Init<'_> {
    /// Nobody in the container may look into this process or take its descriptors. One that shares
    /// its user with payload and agent has no such wall around it, and the agent must find it in a
    /// /proc that hides what others own.
    fn hide(&self) {
        const PR_SET_DUMPABLE: usize = 4;
        if !self.channel.ends_tree {
            let _ = sys::prctl(PR_SET_DUMPABLE, [0; 4]);
        }
    }

    fn fd(&self, op: &Op) -> Result<i32> {
        usize::try_from(op.fd)
            .ok()
            .and_then(|index| self.birth.fds.get(index))
            .copied()
            .ok_or(EBADMSG)
    }

    fn perform(&mut self, plan: &Plan, op: &Op) -> Result<()> {
        let text = plan.text(u64::from(op.text));
        match op.code {
            OP_JOIN_CGROUP => self.join_cgroup(op),
            OP_UNSHARE => sys::unshare(op.a),
            OP_SETNS => sys::set_namespace(self.fd(op)?, op.a),
            OP_CHROOT_FD => sys::fchdir(self.fd(op)?).and_then(|()| sys::chroot(c".")),
            OP_PROPAGATION => sys_mount::propagation(op.a),
            OP_OOM_SCORE_ADJ => {
                write_file(sys::AT_FDCWD, c"/proc/self/oom_score_adj", text.to_bytes())
            }
            OP_KEEP_NULL => mounts::keep_masks(text).map(|masks| self.masks = masks),
            OP_KEEP_KILL => self.fd(op).map(|fd| self.channel.kill = fd),
            OP_ENTER_ROOT => mounts::enter_root(self.fd(op)?),
            OP_BARRIER => {
                self.channel.wait_for_release();
                Ok(())
            }
            OP_MOUNT_FS => mounts::mount_fs(plan, op, &mut self.fresh),
            OP_MOUNT_FD => mounts::mount_fd(plan, op, self.fd(op)?, &mut self.fresh),
            OP_BIND => mounts::bind(plan, op, &mut self.fresh),
            OP_MKDIR => path::make_directories(text, op.a as u32),
            OP_SYMLINK => mounts::make_link(plan, op, &self.fresh),
            OP_MKNOD => mounts::make_node(plan, op, &self.fresh),
            OP_ATTRIBUTES => mounts::set_attributes(plan, op, &self.fresh),
            OP_MASK => mounts::mask(plan, op, &mut self.masks, &mut self.fresh),
            OP_READONLY => mounts::make_readonly(plan, op, &mut self.fresh),
            OP_READONLY_ROOT => mounts::make_root_readonly(),
            OP_HOSTNAME => sys::set_hostname(text),
            OP_ENTER_TREE => self.enter_tree(plan, text),
            OP_LEAVE_TREE => self.leave_tree(plan),
            _ => Err(EBADMSG),
        }
    }

    /// Everything on the way is the agent's own; what lies behind is an image's.
    fn enter_tree(&mut self, plan: &Plan, path: &core::ffi::CStr) -> Result<()> {
        self.fresh.forget(plan);
        self.outside = sys::open_at(sys::AT_FDCWD, c"/", sys::O_PATH | sys::O_DIRECTORY, 0)?;
        let root = path::open(path, sys::O_DIRECTORY)?;
        let entered = sys::fchdir(root).and_then(|()| sys::chroot(c"."));
        sys::close(root);
        entered
    }

    fn leave_tree(&mut self, plan: &Plan) -> Result<()> {
        self.fresh.forget(plan);
        let left = sys::fchdir(self.outside).and_then(|()| sys::chroot(c"."));
        sys::close(self.outside);
        self.outside = -1;
        left
    }

    /// Runs a command and waits for it. Returns when it has succeeded.
    fn pre_exec(&mut self, plan: &Plan, op: &Op, index: u32) {
        let host = match op.fd {
            -1 => Ok(None),
            _ => self.fd(op).and_then(|mounts| {
                self.fd(&Op { fd: op.fd + 1, ..*op }).map(|root| Some((mounts, root)))
            }),
        };
        let spawned = host.and_then(|host| self.spawn(plan, op, index, host));
        let (command, errors) = match spawned {
            Ok(spawned) => spawned,
            Err(errno) => self.channel.fail(index, errno),
        };
        let status = self.channel.wait_for_command(command);
        let mut bytes = [0_u8; 8];
        // Its end of the pipe went with it: what it had to say is there, or nothing is.
        let said = sys::read(errors, &mut bytes);
        sys::close(errors);
        match (said, status) {
            (Ok(8), _) => self.channel.fail(index, payload::Failure::decode(bytes).errno),
            (_, 0) => {}
            (_, status) => self.channel.fail_with(index, 0, status),
        }
    }

    /// The command's process, and the pipe in which it tells why it could not begin.
    fn spawn(
        &self,
        plan: &Plan,
        op: &Op,
        index: u32,
        host: Option<(i32, i32)>,
    ) -> Result<(i32, i32)> {
        let (errors, error_end) = sys::pipe()?;
        // SAFETY: no shared memory, no pidfd.
        match unsafe { sys::clone(sys::SIGCHLD as u64, core::ptr::null_mut()) } {
            Ok(0) => {
                sys::close(errors);
                payload::run_before(plan, (op, index), self.birth.fds, host, error_end)
            }
            Ok(pid) => {
                sys::close(error_end);
                Ok((pid, errors))
            }
            Err(errno) => {
                sys::close(errors);
                sys::close(error_end);
                Err(errno)
            }
        }
    }

    fn join_cgroup(&self, op: &Op) -> Result<()> {
        let directory = self.fd(op)?;
        if op.flags & F_V2 == 0 {
            // One thread: `tasks` moves it without the lock that a whole process needs.
            return write_file(directory, c"tasks", b"0");
        }
        if self.birth.joined && op.flags & F_BIRTHPLACE != 0 {
            return Ok(());
        }
        write_file(directory, c"cgroup.procs", b"0")
    }

    /// Forks the payload, whose operations follow `index`, and waits for it.
    fn fork(&mut self, plan: Plan, index: u32) -> ! {
        let (errors, error_end) = match sys::pipe() {
            Ok(ends) => ends,
            Err(errno) => self.channel.fail(index, errno),
        };
        // SAFETY: no shared memory, no pidfd.
        match unsafe { sys::clone(sys::SIGCHLD as u64, core::ptr::null_mut()) } {
            Ok(0) => {
                sys::close(errors);
                payload::run(&plan, index + 1, self.birth.fds, error_end)
            }
            Ok(pid) => {
                sys::close(error_end);
                self.keep_only_what_is_needed(errors);
                plan.unmap();
                supervise::run(self.channel, pid, errors)
            }
            Err(errno) => self.channel.fail(index, errno),
        }
    }

    /// The channel, the status file, the signals, the kill switch and the payload's word: no directory,
    /// no stream, no mount.
    fn keep_only_what_is_needed(&self, errors: i32) {
        let mut kept = [
            self.channel.agent,
            self.channel.status,
            self.channel.signals,
            self.channel.kill,
            errors,
        ];
        kept.sort_unstable();
        // From one that is kept to the next; -1 stands for what there is not.
        let mut from = 0;
        for fd in kept.into_iter().filter(|fd| *fd >= 0) {
            sys::close_range(from, fd - 1);
            from = fd + 1;
        }
        let kept = [self.masks.last(), self.fresh.last()];
        let last = self.birth.fds.iter().chain(&kept).fold(-1, |last, fd| last.max(*fd));
        sys::close_range(from, last);
    }
}

fn write_file(
    directory: i32,
    name: &core::ffi::CStr,
    bytes: &[u8],
) -> core::result::Result<(), Errno> {
    let fd = sys::open_at(directory, name, sys::O_WRONLY, 0)?;
    let done = sys::write(fd, bytes);
    sys::close(fd);
    done.map(drop)
}
