//! The container's init: a small static program of its own, with no library and no allocation.
//!
//! It is executed once as the *spawner* and clones itself for each container. The clone does what
//! its plan says ([`ops`]), forks the payload, waits for it, and writes down how it ended. See
//! `docs/decisions/0001-how-a-container-is-started.md`.
//!
//! * [`spawner`]: the long-lived process that clones; lives in a mount namespace of its own.
//! * [`plan`]: the plan in memory.
//! * [`start`]: the operations before the payload's process exists, [`mounts`] among them.
//! * [`payload`]: the operations in the payload's process, up to exec.
//! * [`supervise`]: waiting, forwarding signals, reporting.
//! * [`tree`]: ending what the payload has left, where the kernel does not.
//! * [`path`]: paths that cannot leave the container's root; [`fresh`]: what needs no path.
//! * [`sys`], [`sys_path`], [`sys_mount`], [`sys_identity`], [`sys_children`]: calls with types.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

mod fresh;
mod memory;
mod mounts;
mod ops;
mod path;
mod payload;
mod plan;
mod spawner;
mod start;
mod supervise;
mod sys;
mod sys_children;
mod sys_identity;
mod sys_mount;
mod sys_path;
mod tree;

/// The first Rust code. The stack holds argc, argv and the environment; only argv[0] is of interest.
extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel starts every program with argc, then argv, on its stack.
    let name = unsafe { *stack.add(1) } as *const core::ffi::c_char;
    if name.is_null() {
        sys::exit(74);
    }
    // SAFETY: argv[0] is there, and a C string that nobody writes to.
    let name = unsafe { core::ffi::CStr::from_ptr(name) };
    let home = match name {
        name if name == ops::NAME_LINUX => spawner::Home::Own,
        name if name == ops::NAME_POSIX => spawner::Home::Shared,
        _ => sys::exit(75),
    };
    spawner::run(home)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Only a bug of ours leads here. The agent sees the channel closed and no report.
    sys::exit(70)
}
