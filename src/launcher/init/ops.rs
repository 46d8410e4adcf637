//! The plan's format: what the launcher writes and the init reads. One file, included by both.
//!
//! A plan is one block of native-endian memory: a [`Header`], `op_count` operations of fixed size,
//! then whatever the operations point to by offset from the start: arrays of `u64` offsets, arrays
//! of `u32`, a seccomp filter, and NUL-terminated strings. The last byte is NUL. Offset 0 is the
//! header, so it means "nothing" wherever a string or an array is expected.
//!
//! Descriptors travel beside the plan; an operation names them by their index in that list.

/// First word of every plan and request; the last digit is the version of the format.
pub const MAGIC: u32 = 0x4c53_4804;

/// Descriptors that one request may carry: the kernel's `SCM_MAX_FD`.
pub const FDS_MAX: usize = 253;

/// Index of the plan itself.
pub const FD_PLAN: usize = 0;
/// Index of the channel to the agent: release in, reports out.
pub const FD_CHANNEL: usize = 1;
/// Index of the status file.
pub const FD_STATUS: usize = 2;
/// Index of the payload's stdin; stdout and stderr follow.
pub const FD_STDIN: usize = 3;
/// The first index that an operation names.
pub const FD_FIRST_FREE: usize = 6;

/// The block's head.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u32,
    /// Bytes of the whole block.
    pub size: u32,
    /// Operations that follow.
    pub op_count: u32,
    /// `LIFE_…`.
    pub flags: u32,
}

/// The payload dies when the agent's end of the channel is closed.
pub const LIFE_WITH_AGENT: u32 = 1;
/// Neither a namespace nor a cgroup holds the processes together: the init ends what its payload has
/// left before it ends itself, and the kernel ends the payload if it cannot.
pub const LIFE_ENDS_TREE: u32 = 1 << 1;

/// argv[0] of a spawner in a mount namespace of its own.
pub const NAME_LINUX: &core::ffi::CStr = c"longshore-init";
/// What hides directories: empty, and read-only for good, in the mount namespace of such a spawner.
pub const EMPTY_DIRECTORY: &core::ffi::CStr = c"/empty";
/// argv[0] of a spawner in the agent's mount namespace, which takes no privilege.
pub const NAME_POSIX: &core::ffi::CStr = c"longshore-posix";

/// What the agent sends on the channel to let the init go on to the payload.
pub const SAY_RELEASE: u8 = 1;
/// What the agent sends to have the payload killed, and the init live to tell.
pub const SAY_KILL: u8 = 9;

/// One operation. What the fields mean stands at the `OP_…` constants.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// `OP_…`.
    pub code: u32,
    /// `F_…`.
    pub flags: u32,
    /// Index of a descriptor, or -1.
    pub fd: i32,
    /// Elements of the array at `a`.
    pub count: u32,
    /// Offset of a string.
    pub text: u32,
    /// Offset of a second string.
    pub text2: u32,
    /// A number, or the offset of an array.
    pub a: u64,
    /// A number.
    pub b: u64,
}

/// Bytes of an encoded [`Header`].
pub const HEADER_SIZE: usize = 16;
/// Bytes of an encoded [`Op`].
pub const OP_SIZE: usize = 40;

const _: () = assert!(size_of::<Header>() == HEADER_SIZE && size_of::<Op>() == OP_SIZE);

/// Join the cgroup whose directory is `fd`: writes `0` to `tasks`, with [`F_V2`] to `cgroup.procs`.
pub const OP_JOIN_CGROUP: u32 = 1;
/// unshare(2) with flags `a`.
pub const OP_UNSHARE: u32 = 2;
/// setns(2) to `fd`, of the kind `a`.
pub const OP_SETNS: u32 = 3;
/// Make the directory `fd` the root.
pub const OP_CHROOT_FD: u32 = 4;
/// Set the propagation of every mount to `a` (`MS_SLAVE`, `MS_PRIVATE`).
pub const OP_PROPAGATION: u32 = 5;
/// Make the detached mount `fd` the root, and leave the old one for good.
pub const OP_ENTER_ROOT: u32 = 6;
/// Wait for the agent's release.
pub const OP_BARRIER: u32 = 7;
/// Mount a new file system of type `text2` at `text` with attributes `b`; its options are `count`
/// pairs of offsets in the array at `a`.
pub const OP_MOUNT_FS: u32 = 8;
/// Attach the detached mount `fd` at `text`.
pub const OP_MOUNT_FD: u32 = 9;
/// Bind the container's own path `text2` at `text` with attributes `b`.
pub const OP_BIND: u32 = 10;
/// Make the directory `text` and its parents with mode `a`.
pub const OP_MKDIR: u32 = 11;
/// Make the link `text` that says `text2`; an existing name is left alone.
pub const OP_SYMLINK: u32 = 12;
/// Make the node `text` with mode `a` and device number `b`.
pub const OP_MKNOD: u32 = 13;
/// Hide `text`.
pub const OP_MASK: u32 = 14;
/// Make `text` and what is mounted below read-only.
pub const OP_READONLY: u32 = 15;
/// Make the root itself read-only.
pub const OP_READONLY_ROOT: u32 = 16;
/// sethostname(2) to `text`.
pub const OP_HOSTNAME: u32 = 17;
/// Write `text` to the own `oom_score_adj`, in the /proc of the place where the init starts.
pub const OP_OOM_SCORE_ADJ: u32 = 18;
/// Fork the payload's process; it does what follows, and the init waits for it.
pub const OP_FORK: u32 = 19;
/// setrlimit(2): resource `count`, soft `a`, hard `b`.
pub const OP_RLIMIT: u32 = 20;
/// chdir(2) to `text`.
pub const OP_CHDIR: u32 = 21;
/// setgroups(2) to the `count` words at `a`.
pub const OP_GROUPS: u32 = 22;
/// Keep capabilities over the switch of the user.
pub const OP_KEEP_CAPS: u32 = 23;
/// setresgid(2) to `a`, setresuid(2) to `b`.
pub const OP_USER: u32 = 24;
/// Drop what is not in `a` from the bounding set.
pub const OP_CAP_BOUNDING: u32 = 25;
/// Set permitted and effective to `a`, inheritable and ambient to `b`.
pub const OP_CAPS: u32 = 26;
/// No process of the container gains privileges through exec.
pub const OP_NO_NEW_PRIVS: u32 = 27;
/// Load the filter of `count` instructions at `a`.
pub const OP_SECCOMP: u32 = 28;
/// Execute `text`, found in the colon-separated directories `text2` if it has no slash; argv is the
/// array of `count` offsets at `a`, the environment the one at `b`, both ended by a 0.
pub const OP_EXEC: u32 = 29;
/// Keep the null device of the place where the init starts, and its empty directory `text` if it has
/// one: [`OP_MASK`] needs them.
pub const OP_KEEP_NULL: u32 = 30;

/// Keep `fd`, the `cgroup.kill` of the container: what is left dies with the agent.
pub const OP_KEEP_KILL: u32 = 31;
/// Make the directory `text` the root until [`OP_LEAVE_TREE`], so that no link in it leads out.
pub const OP_ENTER_TREE: u32 = 32;
/// Go back to the root that [`OP_ENTER_TREE`] has left.
pub const OP_LEAVE_TREE: u32 = 33;
/// Run a command and wait for it; its failure is one of the plan. Fields as [`OP_EXEC`]; `fd` is the
/// host's mount namespace, the descriptor after it the host's root, or -1 where the init is there.
pub const OP_PRE_EXEC: u32 = 34;

/// The kernel kills this process when the init ends. After the switch of the user, which undoes it.
pub const OP_DIE_WITH_INIT: u32 = 35;
/// The mount at `text` gets the attributes `b`, mount_setattr(2); what is mounted below keeps its own.
pub const OP_ATTRIBUTES: u32 = 36;

/// The operation may fail.
pub const F_OPTIONAL: u32 = 1;
/// A missing target is made: a directory, or an empty file where the source is none.
pub const F_CREATE: u32 = 1 << 1;
/// The cgroup is of version 2.
pub const F_V2: u32 = 1 << 2;
/// A character device.
pub const F_CHARACTER: u32 = 1 << 3;

/// The source is known to be a directory.
pub const F_DIRECTORY: u32 = 1 << 5;

/// The v2 cgroup that the process was to be born in ([`Request::cgroup`]).
pub const F_BIRTHPLACE: u32 = 1 << 4;

/// What the agent sends to the spawner, beside the descriptors.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// [`MAGIC`].
    pub magic: u32,
    /// Bytes of the plan.
    pub plan_size: u32,
    /// Namespaces of the clone, `CLONE_NEW…`.
    pub clone_flags: u64,
    /// Index of the directory of the v2 cgroup to be born in, or -1.
    pub cgroup: i32,
    /// Always 0.
    pub reserved: i32,
}

/// Bytes of an encoded [`Request`].
pub const REQUEST_SIZE: usize = 24;

/// What the spawner answers, with the pidfd where the clone succeeded. The first answer of a
/// spawner belongs to no request: it says that the spawner is ready, or why it cannot be.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The new process, in the agent's PID namespace.
    pub pid: i32,
    /// Why there is none, or 0.
    pub errno: i32,
}

/// Bytes of an encoded [`Reply`].
pub const REPLY_SIZE: usize = 8;

/// What the init tells the agent.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// `REPORT_…`.
    pub kind: u32,
    /// Index of the operation that failed.
    pub op: u32,
    /// Why it failed; 0 if it is [`OP_PRE_EXEC`] and its command did.
    pub errno: i32,
    /// The raw wait status of the payload, or of the command that failed.
    pub status: i32,
}

/// Bytes of an encoded [`Report`].
pub const REPORT_SIZE: usize = 16;

const _: () = assert!(
    size_of::<Request>() == REQUEST_SIZE
        && size_of::<Reply>() == REPLY_SIZE
        && size_of::<Report>() == REPORT_SIZE
);

/// The payload's program runs.
pub const REPORT_STARTED: u32 = 1;
/// An operation failed; nothing runs.
pub const REPORT_FAILED: u32 = 2;
/// The payload ended, or a signal ended the init before there was one.
pub const REPORT_ENDED: u32 = 3;

/// The operation of a failure that is none of the plan's: the init could not read its plan.
pub const OP_INDEX_PLAN: u32 = u32::MAX;
