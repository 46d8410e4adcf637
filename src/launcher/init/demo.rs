//! A small static program to put into images: the quickstart's payload, and the tests'.
//!
//! The first argument says what to do; none prints a greeting. No library, as the init.
#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

use core::ffi::CStr;

#[expect(dead_code, reason = "shared with the init")]
mod memory;
#[expect(dead_code, reason = "shared with the init, which needs more of it")]
mod sys;

/// The stack of a fresh program: argc, then argv, then the environment, each list ended by null.
extern "C" fn main(stack: *const usize) -> ! {
    // SAFETY: the kernel put argc there.
    let argc = unsafe { *stack };
    let text = |index: usize| {
        // SAFETY: argv follows argc, and has `argc` C strings; every caller stays below.
        unsafe { CStr::from_ptr(*stack.add(1 + index) as *const core::ffi::c_char) }.to_bytes()
    };
    let args = |from: usize| (from..argc).map(&text);
    match if argc > 1 { text(1) } else { b"" } {
        b"echo" => args(2).for_each(line),
        b"exit" => sys::exit(if argc > 2 { number(text(2)) } else { 0 }),
        b"signal" if argc > 2 => sys::kill(getpid(), number(text(2))),
        b"pause" => wait_for_ever(),
        b"stubborn" => stubborn(),
        b"env" => environment(stack, argc),
        b"id" => identity(),
        b"cwd" => working_directory(),
        b"cat" => args(2).for_each(show),
        b"" => line(b"hello from a container"),
        _ => {
            line(b"usage: echo LINE... | exit N | signal N | pause | stubborn | env | id | cwd | cat");
            sys::exit(64);
        }
    }
    sys::exit(0)
}

fn line(text: &[u8]) {
    let _ = sys::write(1, text);
    let _ = sys::write(1, b"\n");
}

fn number(text: &[u8]) -> i32 {
    text.iter().fold(0_i32, |sum, digit| {
        sum.wrapping_mul(10).wrapping_add(i32::from(digit.wrapping_sub(b'0')))
    })
}

fn print_number(mut number: u32) {
    let mut digits = [0_u8; 10];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    let _ = sys::write(1, &digits[at..]);
}

fn wait_for_ever() -> ! {
    loop {
        let _ = sys::poll(&mut []);
    }
}

/// Waits, and lets no signal end it but those that cannot be held back.
fn stubborn() -> ! {
    sys::block_signals(u64::MAX);
    line(b"ready");
    wait_for_ever()
}

fn environment(stack: *const usize, argc: usize) {
    let mut at = argc + 2;
    loop {
        // SAFETY: the environment follows argv and its null, and ends with a null.
        let entry = unsafe { *stack.add(at) };
        if entry == 0 {
            return;
        }
        // SAFETY: every entry before the null is a C string.
        line(unsafe { CStr::from_ptr(entry as *const core::ffi::c_char) }.to_bytes());
        at += 1;
    }
}

fn identity() {
    print_number(getuid());
    let _ = sys::write(1, b":");
    print_number(getgid());
    let _ = sys::write(1, b"\n");
}

fn working_directory() {
    let mut buffer = [0_u8; 4096];
    match getcwd(&mut buffer) {
        // The kernel counts the NUL.
        Ok(count) => line(&buffer[..count - 1]),
        Err(_) => sys::exit(1),
    }
}

fn show(path: &[u8]) {
    let mut buffer = [0_u8; 4096];
    if path.len() >= buffer.len() {
        sys::exit(1);
    }
    buffer[..path.len()].copy_from_slice(path);
    let name = CStr::from_bytes_until_nul(&buffer).unwrap_or(c"");
    let Ok(fd) = sys::open_at(sys::AT_FDCWD, name, 0, 0) else { sys::exit(1) };
    let mut piece = [0_u8; 4096];
    while let Ok(count) = sys::read(fd, &mut piece) {
        if count == 0 {
            break;
        }
        let _ = sys::write(1, &piece[..count]);
    }
    sys::close(fd);
}

#[cfg(target_arch = "x86_64")]
mod nr {
    pub const GETPID: usize = 39;
    pub const GETCWD: usize = 79;
    pub const GETUID: usize = 102;
    pub const GETGID: usize = 104;
}
#[cfg(target_arch = "aarch64")]
mod nr {
    pub const GETPID: usize = 172;
    pub const GETCWD: usize = 17;
    pub const GETUID: usize = 174;
    pub const GETGID: usize = 176;
}

fn getuid() -> u32 {
    sys::plain(nr::GETUID, &[]).unwrap_or(0) as u32
}

fn getgid() -> u32 {
    sys::plain(nr::GETGID, &[]).unwrap_or(0) as u32
}

fn getcwd(buffer: &mut [u8]) -> sys::Result<usize> {
    // SAFETY: the buffer is writable for its length.
    unsafe { sys::call(nr::GETCWD, &[buffer.as_mut_ptr() as usize, buffer.len()]) }
}

fn getpid() -> i32 {
    sys::plain(nr::GETPID, &[]).unwrap_or(0) as i32
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(70)
}
