//! What the compiler calls without being asked: there is no libc to have it.

/// Compares.
///
/// # Safety
/// As memcmp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    for i in 0..count {
        // SAFETY: the caller promises `count` bytes at both. Volatile, or the compiler would see a
        // memcmp in this loop and call it.
        let (a, b) = unsafe { (left.add(i).read_volatile(), right.add(i).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// Compares for equality.
///
/// # Safety
/// As bcmp(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, count: usize) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { memcmp(left, right, count) }
}

/// Copies where the two may overlap.
///
/// # Safety
/// As memmove(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    let forward = (to as usize) <= (from as usize);
    for step in 0..count {
        let i = if forward { step } else { count - 1 - step };
        // SAFETY: the caller promises `count` bytes at both; the direction never overwrites what
        // is still to be read. Volatile, or the compiler would see a memmove in this loop.
        unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
    }
    to
}

/// strlen(3): `CStr::from_ptr` calls it.
///
/// # Safety
/// As strlen(3).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut count = 0;
    // SAFETY: the caller promises a NUL at the end. Volatile for the same reason as above.
    while unsafe { text.add(count).read_volatile() } != 0 {
        count += 1;
    }
    count
}

/// Named by the unwind tables of `core`; nothing here unwinds, so it is never called.
#[unsafe(no_mangle)]
pub extern "C" fn rust_eh_personality() {}
