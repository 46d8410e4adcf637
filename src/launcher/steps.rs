//! What the init does, step by step: as data, as text for messages, and as bytes for the init.
//!
//! Pure. The bytes are those of `init/ops.rs`.

use std::fmt;
use std::path::PathBuf;

use super::ops::*;
use crate::model::{MountFlags, RlimitKind};

/// Index of a descriptor in the request.
pub(crate) type Fd = i32;

/// One operation of the init.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    JoinCgroup {
        fd: Fd,
        path: PathBuf,
        version: CgroupVersion,
        birthplace: bool,
    },
    UnshareCgroup,
    UnshareMounts,
    EnterHostMounts {
        fd: Fd,
    },
    EnterHostRoot {
        fd: Fd,
    },
    FollowHostMounts,
    OomScoreAdj(i32),
    /// Takes what hides paths from the place where the init starts.
    KeepMasks(MaskPlace),
    KeepKill {
        fd: Fd,
    },
    EnterRoot {
        fd: Fd,
    },
    Barrier,
    MountFs {
        kind: String,
        options: Vec<(String, String)>,
        at: Target,
    },
    MountFd {
        fd: Fd,
        source: PathBuf,
        /// The source is known to be one.
        directory: bool,
        at: Target,
    },
    Bind {
        source: PathBuf,
        at: Target,
    },
    Mkdir {
        path: PathBuf,
        mode: u32,
    },
    Symlink {
        target: PathBuf,
        link: PathBuf,
    },
    Mknod {
        path: PathBuf,
        character: bool,
        mode: u32,
        major: u32,
        minor: u32,
    },
    Mask(PathBuf),
    Readonly(PathBuf),
    NoDevices(PathBuf),
    /// A mount of an earlier step becomes read-only, now that its mount points are made.
    ReadonlyMount {
        path: PathBuf,
        optional: bool,
    },
    ReadonlyRoot,
    Hostname(String),
    EnterTree(PathBuf),
    LeaveTree,
    PreExec {
        /// The agent's mount namespace, followed by its root; `None` where the init is there.
        host: Option<Fd>,
        executable: String,
        search: String,
        argv: Vec<String>,
        environment: Vec<String>,
    },
    Fork,
    Rlimit {
        kind: RlimitKind,
        soft: u64,
        hard: u64,
    },
    Chdir(PathBuf),
    Groups(Vec<u32>),
    KeepCaps,
    CapBounding(u64),
    User {
        uid: u32,
        gid: u32,
    },
    Caps {
        effective: u64,
        ambient: u64,
    },
    DieWithInit,
    NoNewPrivs,
    Seccomp(Vec<u64>),
    Exec {
        executable: String,
        search: String,
        argv: Vec<String>,
        environment: Vec<String>,
    },
}

/// Which files a cgroup has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupVersion {
    V1,
    V2,
}

/// Where the init is when it takes what hides paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MaskPlace {
    /// In the spawner's few mounts, which have an empty directory for it.
    Spawner,
    /// In the host's.
    Host,
}

/// Where a mount goes, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) flags: MountFlags,
    pub(crate) optional: bool,
    /// A missing target is made.
    pub(crate) create: bool,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::JoinCgroup { path, .. } => write!(f, "join cgroup {}", path.display()),
            Self::UnshareCgroup => f.write_str("unshare the cgroup namespace"),
            Self::UnshareMounts => f.write_str("unshare the mount namespace"),
            Self::EnterHostMounts { .. } => f.write_str("enter the agent's mount namespace"),
            Self::EnterHostRoot { .. } => f.write_str("enter the agent's root"),
            Self::FollowHostMounts => f.write_str("make the mounts slaves of the host's"),
            Self::OomScoreAdj(value) => write!(f, "set oom_score_adj to {value}"),
            Self::KeepMasks(_) => f.write_str("open /dev/null"),
            Self::KeepKill { .. } => f.write_str("keep cgroup.kill"),
            Self::EnterRoot { .. } => f.write_str("enter the root file system"),
            Self::Barrier => f.write_str("wait for the release"),
            Self::MountFs { kind, at, .. } => write!(f, "mount {kind} at {}", at.path.display()),
            Self::MountFd { source, at, .. } | Self::Bind { source, at } => {
                write!(f, "mount {} at {}", source.display(), at.path.display())
            }
            Self::Mkdir { path, .. } => write!(f, "make directory {}", path.display()),
            Self::Symlink { link, .. } => write!(f, "make link {}", link.display()),
            Self::Mknod { path, .. } => write!(f, "make device {}", path.display()),
            Self::Mask(path) => write!(f, "mask {}", path.display()),
            Self::ReadonlyMount { path, .. } => write!(f, "make {} read-only", path.display()),
            Self::NoDevices(path) => write!(f, "close {} to devices", path.display()),
            Self::Readonly(path) => write!(f, "make {} read-only", path.display()),
            Self::ReadonlyRoot => f.write_str("make the root file system read-only"),
            Self::Hostname(name) => write!(f, "set hostname {name}"),
            Self::EnterTree(path) => write!(f, "go to the task's root {}", path.display()),
            Self::LeaveTree => f.write_str("come back from the task's root"),
            Self::PreExec { executable, .. } => write!(f, "run pre-exec command {executable}"),
            Self::Fork => f.write_str("fork the payload"),
            Self::Rlimit { kind, .. } => {
                write!(f, "set rlimit {}", format!("{kind:?}").to_uppercase())
            }
            Self::Chdir(path) => write!(f, "chdir {}", path.display()),
            Self::Groups(_) => f.write_str("set the supplementary groups"),
            Self::KeepCaps => f.write_str("keep capabilities"),
            Self::CapBounding(_) => f.write_str("set the bounding set"),
            Self::User { uid, gid } => write!(f, "switch to user {uid}:{gid}"),
            Self::Caps { .. } => f.write_str("set capabilities"),
            Self::DieWithInit => f.write_str("bind the payload to its init"),
            Self::NoNewPrivs => f.write_str("set no_new_privs"),
            Self::Seccomp(_) => f.write_str("load the seccomp filter"),
            Self::Exec { executable, .. } => write!(f, "exec {executable}"),
        }
    }
}

/// The plan's bytes, as the init maps them.
pub(crate) fn encode(steps: &[Step], flags: u32) -> Vec<u8> {
    let base = HEADER_SIZE + steps.len() * OP_SIZE;
    let mut data = Data { base, bytes: Vec::new() };
    let ops: Vec<Op> = steps.iter().map(|step| op(step, &mut data)).collect();
    data.bytes.push(0);
    let size = base + data.bytes.len();
    let mut out = Vec::with_capacity(size);
    let narrow = |number: usize| u32::try_from(number).expect("a plan is smaller than 4 GiB");
    for word in [MAGIC, narrow(size), narrow(ops.len()), flags] {
        out.extend(word.to_ne_bytes());
    }
    for op in ops {
        for word in [op.code, op.flags, op.fd.cast_unsigned(), op.count, op.text, op.text2] {
            out.extend(word.to_ne_bytes());
        }
        out.extend(op.a.to_ne_bytes());
        out.extend(op.b.to_ne_bytes());
    }
    out.extend(data.bytes);
    out
}

/// What the operations point to.
struct Data {
    base: usize,
    bytes: Vec<u8>,
}

impl Data {
    fn offset(&self) -> u64 {
        (self.base + self.bytes.len()) as u64
    }

    /// A string, NUL-terminated. One that has a NUL itself was refused when it was compiled.
    fn text(&mut self, text: &[u8]) -> u32 {
        let offset = u32::try_from(self.offset()).expect("a plan is smaller than 4 GiB");
        self.bytes.extend(text);
        self.bytes.push(0);
        offset
    }

    fn align(&mut self) {
        while !self.offset().is_multiple_of(8) {
            self.bytes.push(0);
        }
    }

    fn words(&mut self, words: impl IntoIterator<Item = u64>) -> u64 {
        self.align();
        let offset = self.offset();
        for word in words {
            self.bytes.extend(word.to_ne_bytes());
        }
        offset
    }

    fn small_words(&mut self, words: &[u32]) -> u64 {
        self.align();
        let offset = self.offset();
        for word in words {
            self.bytes.extend(word.to_ne_bytes());
        }
        offset
    }

    /// Strings, then the array of their offsets, ended by a 0.
    fn texts<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> u64 {
        let mut offsets: Vec<u64> =
            texts.into_iter().map(|text| u64::from(self.text(text.as_bytes()))).collect();
        offsets.push(0);
        self.words(offsets)
    }

    fn path(&mut self, path: &std::path::Path) -> u32 {
        use std::os::unix::ffi::OsStrExt;
        self.text(path.as_os_str().as_bytes())
    }
}

const NOTHING: Op = Op { code: 0, flags: 0, fd: -1, count: 0, text: 0, text2: 0, a: 0, b: 0 };

fn op(step: &Step, data: &mut Data) -> Op {
    match step {
        Step::Rlimit { .. }
        | Step::Chdir(_)
        | Step::Groups(_)
        | Step::KeepCaps
        | Step::CapBounding(_)
        | Step::User { .. }
        | Step::Caps { .. }
        | Step::DieWithInit
        | Step::NoNewPrivs
        | Step::Seccomp(_)
        | Step::Exec { .. } => payload_op(step, data),
        Step::MountFs { .. }
        | Step::MountFd { .. }
        | Step::Bind { .. }
        | Step::Mkdir { .. }
        | Step::Symlink { .. }
        | Step::Mknod { .. }
        | Step::Mask(_)
        | Step::Readonly(_)
        | Step::NoDevices(_)
        | Step::ReadonlyMount { .. }
        | Step::ReadonlyRoot => tree_op(step, data),
        Step::JoinCgroup { .. }
        | Step::UnshareCgroup
        | Step::UnshareMounts
        | Step::EnterHostMounts { .. }
        | Step::EnterHostRoot { .. }
        | Step::FollowHostMounts
        | Step::OomScoreAdj(_)
        | Step::KeepMasks(_)
        | Step::KeepKill { .. }
        | Step::EnterRoot { .. }
        | Step::Barrier
        | Step::Hostname(_)
        | Step::EnterTree(_)
        | Step::LeaveTree
        | Step::PreExec { .. }
        | Step::Fork => place_op(step, data),
    }
}

/// Namespaces, cgroups and the root.
fn place_op(step: &Step, data: &mut Data) -> Op {
    const CLONE_NEWNS: u64 = 0x0002_0000;
    const CLONE_NEWCGROUP: u64 = 0x0200_0000;
    const MS_SLAVE: u64 = 1 << 19;
    match step {
        Step::JoinCgroup { fd, version, birthplace, .. } => {
            let v2 = if *version == CgroupVersion::V2 { F_V2 } else { 0 };
            let birthplace = if *birthplace { F_BIRTHPLACE } else { 0 };
            Op { code: OP_JOIN_CGROUP, fd: *fd, flags: v2 | birthplace, ..NOTHING }
        }
        Step::UnshareCgroup => Op { code: OP_UNSHARE, a: CLONE_NEWCGROUP, ..NOTHING },
        Step::UnshareMounts => Op { code: OP_UNSHARE, a: CLONE_NEWNS, ..NOTHING },
        Step::EnterHostMounts { fd } => Op { code: OP_SETNS, fd: *fd, a: CLONE_NEWNS, ..NOTHING },
        Step::EnterHostRoot { fd } => Op { code: OP_CHROOT_FD, fd: *fd, ..NOTHING },
        Step::FollowHostMounts => Op { code: OP_PROPAGATION, a: MS_SLAVE, ..NOTHING },
        Step::OomScoreAdj(value) => {
            let text = data.text(value.to_string().as_bytes());
            // Lowering it takes a capability that not every root has, and nobody's payload
            // depends on it.
            Op { code: OP_OOM_SCORE_ADJ, flags: F_OPTIONAL, text, ..NOTHING }
        }
        Step::KeepMasks(place) => {
            let empty = match place {
                MaskPlace::Spawner => EMPTY_DIRECTORY,
                MaskPlace::Host => c"",
            };
            Op { code: OP_KEEP_NULL, text: data.text(empty.to_bytes()), ..NOTHING }
        }
        Step::KeepKill { fd } => Op { code: OP_KEEP_KILL, fd: *fd, ..NOTHING },
        Step::EnterRoot { fd } => Op { code: OP_ENTER_ROOT, fd: *fd, ..NOTHING },
        Step::Barrier => Op { code: OP_BARRIER, ..NOTHING },
        Step::Hostname(name) => {
            Op { code: OP_HOSTNAME, text: data.text(name.as_bytes()), ..NOTHING }
        }
        Step::EnterTree(path) => Op { code: OP_ENTER_TREE, text: data.path(path), ..NOTHING },
        Step::LeaveTree => Op { code: OP_LEAVE_TREE, ..NOTHING },
        Step::PreExec { host, executable, search, argv, environment } => {
            let op = program([executable, search], argv, environment, data);
            Op { code: OP_PRE_EXEC, fd: host.unwrap_or(-1), ..op }
        }
        Step::Fork => Op { code: OP_FORK, ..NOTHING },
        _ => unreachable!("`op` sends other steps elsewhere"),
    }
}

/// The container's tree.
fn tree_op(step: &Step, data: &mut Data) -> Op {
    match step {
        Step::MountFs { kind, options, at } => {
            let text2 = data.text(kind.as_bytes());
            let texts = options.iter().flat_map(|(key, value)| [key.as_str(), value.as_str()]);
            let a = data.texts(texts);
            let count = u32::try_from(options.len()).expect("few options");
            let b = attributes(at.flags);
            Op { code: OP_MOUNT_FS, count, text2, a, b, ..target(at, data) }
        }
        Step::MountFd { fd, directory, at, .. } => {
            let target = target(at, data);
            let directory = if *directory { F_DIRECTORY } else { 0 };
            Op { code: OP_MOUNT_FD, fd: *fd, flags: target.flags | directory, ..target }
        }
        Step::Bind { source, at } => {
            let text2 = data.path(source);
            Op { code: OP_BIND, text2, b: attributes(at.flags), ..target(at, data) }
        }
        Step::Mkdir { path, mode } => {
            Op { code: OP_MKDIR, text: data.path(path), a: u64::from(*mode), ..NOTHING }
        }
        Step::Symlink { target, link } => {
            let text2 = data.path(target);
            Op { code: OP_SYMLINK, text: data.path(link), text2, ..NOTHING }
        }
        Step::Mknod { path, character, mode, major, minor } => Op {
            code: OP_MKNOD,
            flags: if *character { F_CHARACTER } else { 0 },
            text: data.path(path),
            a: u64::from(*mode),
            b: u64::from(minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12),
            ..NOTHING
        },
        Step::Mask(path) => Op { code: OP_MASK, text: data.path(path), ..NOTHING },
        Step::NoDevices(path) => {
            let b = attributes(MountFlags { nodev: true, ..MountFlags::default() });
            Op { code: OP_ATTRIBUTES, text: data.path(path), b, ..NOTHING }
        }
        Step::ReadonlyMount { path, optional } => Op {
            code: OP_ATTRIBUTES,
            flags: if *optional { F_OPTIONAL } else { 0 },
            text: data.path(path),
            b: attributes(MountFlags { read_only: true, ..MountFlags::default() }),
            ..NOTHING
        },
        Step::Readonly(path) => Op { code: OP_READONLY, text: data.path(path), ..NOTHING },
        Step::ReadonlyRoot => Op { code: OP_READONLY_ROOT, ..NOTHING },
        _ => unreachable!("`op` sends other steps elsewhere"),
    }
}

fn target(at: &Target, data: &mut Data) -> Op {
    let optional = if at.optional { F_OPTIONAL } else { 0 };
    let create = if at.create { F_CREATE } else { 0 };
    Op { flags: optional | create, text: data.path(&at.path), ..NOTHING }
}

/// `MOUNT_ATTR_…` bits, mount_setattr(2).
pub(crate) fn attributes(flags: MountFlags) -> u64 {
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    bit(flags.read_only, 1) | bit(flags.nosuid, 2) | bit(flags.nodev, 4) | bit(flags.noexec, 8)
}

/// What happens in the payload's process.
fn payload_op(step: &Step, data: &mut Data) -> Op {
    match step {
        Step::Rlimit { kind, soft, hard } => {
            Op { code: OP_RLIMIT, count: rlimit(*kind), a: *soft, b: *hard, ..NOTHING }
        }
        Step::Chdir(path) => Op { code: OP_CHDIR, text: data.path(path), ..NOTHING },
        Step::Groups(groups) => {
            let count = u32::try_from(groups.len()).expect("few groups");
            Op { code: OP_GROUPS, count, a: data.small_words(groups), ..NOTHING }
        }
        Step::KeepCaps => Op { code: OP_KEEP_CAPS, ..NOTHING },
        Step::CapBounding(keep) => Op { code: OP_CAP_BOUNDING, a: *keep, ..NOTHING },
        Step::User { uid, gid } => {
            Op { code: OP_USER, a: u64::from(*gid), b: u64::from(*uid), ..NOTHING }
        }
        Step::Caps { effective, ambient } => {
            Op { code: OP_CAPS, a: *effective, b: *ambient, ..NOTHING }
        }
        Step::DieWithInit => Op { code: OP_DIE_WITH_INIT, ..NOTHING },
        Step::NoNewPrivs => Op { code: OP_NO_NEW_PRIVS, ..NOTHING },
        Step::Seccomp(filter) => {
            let count = u32::try_from(filter.len()).expect("few instructions");
            Op { code: OP_SECCOMP, count, a: data.words(filter.iter().copied()), ..NOTHING }
        }
        Step::Exec { executable, search, argv, environment } => {
            Op { code: OP_EXEC, ..program([executable, search], argv, environment, data) }
        }
        _ => unreachable!("`op` sends other steps elsewhere"),
    }
}

/// What is executed: the program and where it is searched for, argv and environment.
fn program(names: [&str; 2], argv: &[String], environment: &[String], data: &mut Data) -> Op {
    let [text, text2] = names.map(|name| data.text(name.as_bytes()));
    let a = data.texts(argv.iter().map(String::as_str));
    let b = data.texts(environment.iter().map(String::as_str));
    let count = u32::try_from(argv.len()).expect("few arguments");
    Op { count, text, text2, a, b, ..NOTHING }
}

/// The numbers of setrlimit(2), the same on x86-64 and aarch64.
fn rlimit(kind: RlimitKind) -> u32 {
    match kind {
        RlimitKind::Cpu => 0,
        RlimitKind::Fsize => 1,
        RlimitKind::Data => 2,
        RlimitKind::Stack => 3,
        RlimitKind::Core => 4,
        RlimitKind::Rss => 5,
        RlimitKind::Nproc => 6,
        RlimitKind::Nofile => 7,
        RlimitKind::Memlock => 8,
        RlimitKind::As => 9,
        RlimitKind::Locks => 10,
        RlimitKind::Sigpending => 11,
        RlimitKind::Msgqueue => 12,
        RlimitKind::Nice => 13,
        RlimitKind::Rtprio => 14,
        RlimitKind::Rttime => 15,
    }
}
