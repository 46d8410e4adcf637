//! System calls with types, and nothing else: every `unsafe` block of a caller would be one of these.
//!
//! An error is the positive number that errno(3) would hold.

use core::ffi::CStr;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "x86_64.rs"]
mod machine;

pub use machine::{nr, syscall};

/// The positive error number.
pub type Errno = i32;
/// What a call answers.
pub type Result<T> = core::result::Result<T, Errno>;

pub const EPERM: Errno = 1;
pub const ENOENT: Errno = 2;
pub const EINTR: Errno = 4;
pub const E2BIG: Errno = 7;
pub const EAGAIN: Errno = 11;
pub const EACCES: Errno = 13;
pub const EEXIST: Errno = 17;
pub const ENOTDIR: Errno = 20;
pub const EINVAL: Errno = 22;
pub const ENAMETOOLONG: Errno = 36;
pub const ENOSYS: Errno = 38;
pub const ELOOP: Errno = 40;
pub const EBADMSG: Errno = 74;
pub const EOPNOTSUPP: Errno = 95;

// Numbers that are the same on every machine: the calls since 2019.
pub const NR_CLONE3: usize = 435;
pub const NR_CLOSE_RANGE: usize = 436;

pub const AT_FDCWD: i32 = -100;
pub const AT_EMPTY_PATH: u32 = 0x1000;
pub const AT_RECURSIVE: u32 = 0x8000;

pub const O_WRONLY: u32 = 1;
pub const O_CREAT: u32 = 0o100;
pub const O_EXCL: u32 = 0o200;
pub const O_CLOEXEC: u32 = 0o2000000;
pub const O_PATH: u32 = 0o10000000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: u32 = 0o200000;
#[cfg(target_arch = "x86_64")]
pub const O_NOFOLLOW: u32 = 0o400000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: u32 = 0o40000;
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: u32 = 0o100000;

pub const CLONE_PIDFD: u64 = 0x1000;
pub const CLONE_PARENT: u64 = 0x8000;
pub const CLONE_NEWNS: u64 = 0x20000;
pub const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

pub const SIGKILL: i32 = 9;
pub const SIGCHLD: i32 = 17;

pub const S_IFMT: u32 = 0o170000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFLNK: u32 = 0o120000;

/// One call; its answer, or the error.
///
/// # Safety
/// As [`syscall`].
pub unsafe fn call(number: usize, args: &[usize]) -> Result<usize> {
    let mut six = [0; 6];
    let mut i = 0;
    while i < args.len() && i < 6 {
        six[i] = args[i];
        i += 1;
    }
    // SAFETY: the caller's promise.
    let answer = unsafe { syscall(number, six) };
    if answer < 0 { Err(-answer as i32) } else { Ok(answer as usize) }
}

/// A call whose arguments are plain numbers.
pub fn plain(number: usize, args: &[usize]) -> Result<usize> {
    // SAFETY: no argument is a pointer; the callers below pass only numbers.
    unsafe { call(number, args) }
}

/// A descriptor as an argument.
pub fn at(fd: i32) -> usize {
    fd as isize as usize
}

/// A string as an argument.
pub fn ptr(text: &CStr) -> usize {
    text.as_ptr() as usize
}

pub fn exit(code: i32) -> ! {
    loop {
        let _ = plain(nr::EXIT_GROUP, &[code as usize]);
    }
}

pub fn close(fd: i32) {
    let _ = plain(nr::CLOSE, &[at(fd)]);
}

/// Closes everything from `first` on.
pub fn close_from(first: u32) {
    if plain(NR_CLOSE_RANGE, &[first as usize, u32::MAX as usize, 0]).is_ok() {
        return;
    }
    // Linux before 5.9, or a filter in between. What the embedder holds is below its limit, which
    // may have been lowered since, so a generous bound is taken instead; done once per spawner.
    for fd in first..65536 {
        close(fd as i32);
    }
}

/// Closes `first` to `last`, both included.
pub fn close_range(first: i32, last: i32) {
    if first > last || plain(NR_CLOSE_RANGE, &[at(first), at(last), 0]).is_ok() {
        return;
    }
    for fd in first..=last {
        close(fd);
    }
}

/// Marks everything from `first` on to be closed by exec. Every descriptor of ours is already: this
/// is the second lock.
pub fn close_from_on_exec(first: u32) {
    let _ = plain(NR_CLOSE_RANGE, &[first as usize, u32::MAX as usize, 4]);
}

pub fn read(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    loop {
        // SAFETY: the buffer is writable for its whole length.
        match unsafe { call(nr::READ, &[at(fd), buffer.as_mut_ptr() as usize, buffer.len()]) } {
            Err(EINTR) => {}
            answer => return answer,
        }
    }
}

pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    loop {
        // SAFETY: the slice is readable for its whole length.
        match unsafe { call(nr::WRITE, &[at(fd), bytes.as_ptr() as usize, bytes.len()]) } {
            Err(EINTR) => {}
            answer => return answer,
        }
    }
}

/// Sends a packet; a reader that is gone is an error and no signal.
pub fn send(fd: i32, bytes: &[u8]) -> Result<usize> {
    const MSG_NOSIGNAL: usize = 0x4000;
    // SAFETY: the slice is readable for its whole length; no address is given.
    unsafe { call(nr::SENDTO, &[at(fd), bytes.as_ptr() as usize, bytes.len(), MSG_NOSIGNAL, 0, 0]) }
}

/// Receives a packet without waiting; 0 is the end.
pub fn receive_now(fd: i32, buffer: &mut [u8]) -> Result<usize> {
    const MSG_DONTWAIT: usize = 0x40;
    // SAFETY: the buffer is writable for its whole length; no address is asked for.
    unsafe {
        call(
            nr::RECVFROM,
            &[at(fd), buffer.as_mut_ptr() as usize, buffer.len(), MSG_DONTWAIT, 0, 0],
        )
    }
}

/// msghdr of sendmsg(2) and recvmsg(2).
#[repr(C)]
pub struct Message {
    pub name: usize,
    pub name_len: u32,
    pub iov: usize,
    pub iov_len: usize,
    pub control: usize,
    pub control_len: usize,
    pub flags: u32,
}

/// recvmsg(2), descriptors close-on-exec.
///
/// # Safety
/// The message points to writable memory of the lengths it names.
pub unsafe fn receive_message(fd: i32, message: &mut Message) -> Result<usize> {
    const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;
    loop {
        let args = [at(fd), &raw mut *message as usize, MSG_CMSG_CLOEXEC];
        // SAFETY: the caller's promise.
        match unsafe { call(nr::RECVMSG, &args) } {
            Err(EINTR) => {}
            answer => return answer,
        }
    }
}

/// sendmsg(2).
///
/// # Safety
/// The message points to readable memory of the lengths it names.
pub unsafe fn send_message(fd: i32, message: &Message) -> Result<usize> {
    const MSG_NOSIGNAL: usize = 0x4000;
    // SAFETY: the caller's promise.
    unsafe { call(nr::SENDMSG, &[at(fd), &raw const *message as usize, MSG_NOSIGNAL]) }
}

/// Maps `size` bytes of `fd`: private and writable.
pub fn map(fd: i32, size: usize) -> Result<*mut u8> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE: usize = 2;
    // SAFETY: the kernel chooses the address, nothing of ours is replaced.
    let address = unsafe { call(nr::MMAP, &[0, size, PROT_READ_WRITE, MAP_PRIVATE, at(fd), 0]) }?;
    Ok(address as *mut u8)
}

/// Unmaps what [`map`] gave.
///
/// # Safety
/// Nothing refers to the memory any more.
pub unsafe fn unmap(address: *mut u8, size: usize) {
    // SAFETY: the caller's promise.
    let _ = unsafe { call(nr::MUNMAP, &[address as usize, size]) };
}

/// Gives back the stack's pages that deeper calls have used and nobody needs any more.
pub fn forget_deeper_stack() {
    const MADV_DONTNEED: usize = 4;
    const PAGE: usize = 4096;
    const DEPTH: usize = 24 * PAGE;
    let here = 0_u8;
    // One page is left alone: this frame, the call's, and what lies below the stack pointer.
    let end = (&raw const here as usize & !(PAGE - 1)) - PAGE;
    // SAFETY: everything below is deeper in the stack than any frame that will be returned to; it
    // reads as zeroes when it is used again. Where nothing is mapped the kernel goes on.
    let _ = unsafe { call(nr::MADVISE, &[end - DEPTH, DEPTH, MADV_DONTNEED]) };
}

/// Every signal to its default, also those that the embedder ignores: SIGCHLD ignored would reap
/// the payload behind our back.
pub fn default_signals() {
    // Handler 0 is SIG_DFL; no flags, no restorer, an empty mask.
    let default = [0_usize; 4];
    for signal in 1..=64 {
        // SAFETY: the structure is longer than the kernel's on either machine, and readable.
        let _ = unsafe { call(nr::RT_SIGACTION, &[signal, default.as_ptr() as usize, 0, 8]) };
    }
}

/// Blocks the signals whose bits are set, and no others.
pub fn block_signals(mask: u64) {
    const SIG_SETMASK: usize = 2;
    // SAFETY: the mask is eight readable bytes.
    let _ = unsafe { call(nr::RT_SIGPROCMASK, &[SIG_SETMASK, &raw const mask as usize, 0, 8]) };
}

/// A descriptor from which every signal is read.
pub fn signal_fd() -> Result<i32> {
    const SFD_CLOEXEC_NONBLOCK: usize = 0o2004000;
    let all = u64::MAX;
    // SAFETY: the mask is eight readable bytes.
    unsafe { call(nr::SIGNALFD4, &[at(-1), &raw const all as usize, 8, SFD_CLOEXEC_NONBLOCK]) }
        .map(|fd| fd as i32)
}

/// Something harmless to stand at a descriptor.
pub fn event_fd() -> Result<i32> {
    plain(nr::EVENTFD2, &[0, 0]).map(|fd| fd as i32)
}

/// pollfd of poll(2); a negative `fd` is not looked at.
#[repr(C)]
pub struct Poll {
    pub fd: i32,
    pub events: i16,
    pub ready: i16,
}

impl Poll {
    pub const READABLE: i16 = 1;

    pub fn readable(fd: i32) -> Self {
        Self { fd, events: Self::READABLE, ready: 0 }
    }
}

/// Waits until one is ready.
pub fn poll(fds: &mut [Poll]) -> Result<usize> {
    loop {
        // SAFETY: the array is writable for its length; no timeout and no mask are given.
        match unsafe { call(nr::PPOLL, &[fds.as_mut_ptr() as usize, fds.len(), 0, 0, 0]) } {
            Err(EINTR) => {}
            answer => return answer,
        }
    }
}

pub fn kill(pid: i32, signal: i32) {
    let _ = plain(nr::KILL, &[at(pid), signal as usize]);
}

/// clone_args of clone3(2).
#[repr(C)]
#[derive(Default)]
pub struct CloneArgs {
    pub flags: u64,
    pub pidfd: u64,
    pub child_tid: u64,
    pub parent_tid: u64,
    pub exit_signal: u64,
    pub stack: u64,
    pub stack_size: u64,
    pub tls: u64,
    pub set_tid: u64,
    pub set_tid_size: u64,
    pub cgroup: u64,
}

/// clone3(2) in the manner of fork(2): 0 in the child.
///
/// # Safety
/// Neither `CLONE_VM` nor a stack; `pidfd`, where asked for, points to four writable bytes.
pub unsafe fn clone3(args: &CloneArgs) -> Result<i32> {
    // SAFETY: the caller's promise; the memory is copied, so both sides go on with what they had.
    unsafe { call(NR_CLONE3, &[&raw const *args as usize, size_of::<CloneArgs>()]) }
        .map(|pid| pid as i32)
}

/// clone(2) in the manner of fork(2): 0 in the child. The low byte of the flags is the exit signal.
///
/// # Safety
/// No `CLONE_VM`; with `CLONE_PIDFD`, `pidfd` points to four writable bytes.
pub unsafe fn clone(flags: u64, pidfd: *mut i32) -> Result<i32> {
    // SAFETY: the caller's promise; the memory is copied, so both sides go on with what they had.
    unsafe { call(nr::CLONE, &[flags as usize, 0, pidfd as usize, 0, 0]) }.map(|pid| pid as i32)
}

/// execve(2); returns the error.
///
/// # Safety
/// Both arrays end with a null pointer, and all else in them are C strings.
pub unsafe fn exec(path: &CStr, argv: *const usize, envp: *const usize) -> Errno {
    // SAFETY: the caller's promise.
    match unsafe { call(nr::EXECVE, &[ptr(path), argv as usize, envp as usize]) } {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

pub fn open_at(fd: i32, path: &CStr, flags: u32, mode: u32) -> Result<i32> {
    let flags = flags | O_CLOEXEC;
    // SAFETY: the path is a C string.
    unsafe { call(nr::OPENAT, &[at(fd), ptr(path), flags as usize, mode as usize]) }
        .map(|fd| fd as i32)
}

pub fn mkdir_at(fd: i32, path: &CStr, mode: u32) -> Result<()> {
    // SAFETY: the path is a C string.
    unsafe { call(nr::MKDIRAT, &[at(fd), ptr(path), mode as usize]) }.map(drop)
}

pub fn mknod_at(fd: i32, path: &CStr, mode: u32, device: u64) -> Result<()> {
    // SAFETY: the path is a C string.
    unsafe { call(nr::MKNODAT, &[at(fd), ptr(path), mode as usize, device as usize]) }.map(drop)
}

pub fn symlink_at(target: &CStr, fd: i32, path: &CStr) -> Result<()> {
    // SAFETY: both are C strings.
    unsafe { call(nr::SYMLINKAT, &[ptr(target), at(fd), ptr(path)]) }.map(drop)
}

pub fn readlink_at(fd: i32, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    let args = [at(fd), ptr(path), buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the path is a C string, the buffer is writable for its length.
    unsafe { call(nr::READLINKAT, &args) }
}

/// What is known of a file.
#[derive(Clone, Copy)]
pub struct Stat {
    pub mode: u32,
    pub device_major: u32,
    pub device_minor: u32,
}

/// The file that `fd` stands for.
pub fn stat(fd: i32) -> Result<Stat> {
    const STATX_BASIC: usize = 0x7ff;
    // struct statx: 256 bytes; mode is a u16 at 28, rdev two u32 at 128.
    let mut out = [0_u32; 64];
    let args = [at(fd), ptr(c""), AT_EMPTY_PATH as usize, STATX_BASIC, out.as_mut_ptr() as usize];
    // SAFETY: the path is a C string, the buffer has the size of the structure.
    unsafe { call(nr::STATX, &args) }?;
    Ok(Stat { mode: out[7] & 0xffff, device_major: out[32], device_minor: out[33] })
}

/// The magic number of the file system that `fd` lies on.
pub fn file_system(fd: i32) -> Result<u64> {
    // struct statfs: 120 bytes on both machines; the type is its first word.
    let mut out = [0_u64; 16];
    // SAFETY: the buffer is longer than the structure.
    unsafe { call(nr::FSTATFS, &[at(fd), out.as_mut_ptr() as usize]) }?;
    Ok(out[0])
}

pub fn dup_to(from: i32, to: i32) -> Result<()> {
    plain(nr::DUP3, &[at(from), at(to), 0]).map(drop)
}

/// A pipe, close-on-exec: read end, write end.
pub fn pipe() -> Result<(i32, i32)> {
    let mut ends = [0_i32; 2];
    // SAFETY: two writable descriptors.
    unsafe { call(nr::PIPE2, &[ends.as_mut_ptr() as usize, O_CLOEXEC as usize]) }?;
    Ok((ends[0], ends[1]))
}

pub fn chdir(path: &CStr) -> Result<()> {
    // SAFETY: the path is a C string.
    unsafe { call(nr::CHDIR, &[ptr(path)]) }.map(drop)
}

pub fn fchdir(fd: i32) -> Result<()> {
    plain(nr::FCHDIR, &[at(fd)]).map(drop)
}

pub fn chroot(path: &CStr) -> Result<()> {
    // SAFETY: the path is a C string.
    unsafe { call(nr::CHROOT, &[ptr(path)]) }.map(drop)
}

pub fn unshare(flags: u64) -> Result<()> {
    plain(nr::UNSHARE, &[flags as usize]).map(drop)
}

pub fn set_namespace(fd: i32, kind: u64) -> Result<()> {
    plain(nr::SETNS, &[at(fd), kind as usize]).map(drop)
}

pub fn set_hostname(name: &CStr) -> Result<()> {
    // SAFETY: the name is readable for its length.
    unsafe { call(nr::SETHOSTNAME, &[ptr(name), name.count_bytes()]) }.map(drop)
}

pub fn umask(mask: u32) {
    let _ = plain(nr::UMASK, &[mask as usize]);
}

pub fn new_session() {
    let _ = plain(nr::SETSID, &[]);
}

/// prctl(2) with numbers.
pub fn prctl(option: usize, args: [usize; 4]) -> Result<usize> {
    plain(nr::PRCTL, &[option, args[0], args[1], args[2], args[3]])
}

/// The name that ps(1) shows.
pub fn set_name(name: &CStr) {
    const PR_SET_NAME: usize = 15;
    // SAFETY: the name is a C string; the kernel reads no more than 16 bytes and stops at the NUL.
    let _ = unsafe { call(nr::PRCTL, &[PR_SET_NAME, ptr(name), 0, 0, 0]) };
}
