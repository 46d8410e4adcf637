//! The plan in memory: mapped privately, checked once, then read in place.

use core::ffi::CStr;

use crate::ops::{HEADER_SIZE, Header, MAGIC, OP_SIZE, Op};
use crate::sys::{self, EBADMSG, Result};

/// A mapped plan.
#[derive(Clone, Copy)]
pub struct Plan {
    base: *mut u8,
    size: usize,
    pub header: Header,
}

impl Plan {
    /// Maps `size` bytes of `fd` and checks that they are a plan of our version.
    pub fn map(fd: i32, size: usize) -> Result<Self> {
        if size <= HEADER_SIZE {
            return Err(EBADMSG);
        }
        let base = sys::map(fd, size)?;
        // SAFETY: the mapping is page-aligned and longer than a header.
        let header = unsafe { *base.cast::<Header>() };
        // SAFETY: the mapping has `size` bytes.
        let last = unsafe { *base.add(size - 1) };
        let ops_end = HEADER_SIZE as u64 + u64::from(header.op_count) * OP_SIZE as u64;
        let sound = header.magic == MAGIC
            && header.size as usize == size
            && ops_end < size as u64
            && last == 0;
        if sound { Ok(Self { base, size, header }) } else { Err(EBADMSG) }
    }

    /// Gives the memory back; the plan is not read again.
    pub fn unmap(self) {
        // SAFETY: the plan is consumed, and nothing else keeps what it pointed to.
        unsafe { sys::unmap(self.base, self.size) }
    }

    /// Operation `index`.
    pub fn op(&self, index: u32) -> Op {
        if index >= self.header.op_count {
            sys::exit(71);
        }
        let offset = HEADER_SIZE + index as usize * OP_SIZE;
        // SAFETY: below op_count, so inside the mapping; header and operations are multiples of 8.
        unsafe { *self.base.add(offset).cast::<Op>() }
    }

    /// The string at `offset`; the last byte of the plan is NUL, so every string ends inside.
    pub fn text(&self, offset: u64) -> &CStr {
        if offset >= self.size as u64 {
            sys::exit(72);
        }
        // SAFETY: inside the mapping, and a NUL follows before its end.
        unsafe { CStr::from_ptr(self.base.add(offset as usize).cast_const().cast()) }
    }

    /// Where `count` elements of `width` bytes begin.
    fn array(&self, offset: u64, count: u64, width: u64) -> *mut u8 {
        let end = count.checked_mul(width).and_then(|bytes| bytes.checked_add(offset));
        match end {
            Some(end) if end <= self.size as u64 && offset % width == 0 => {
                // SAFETY: inside the mapping.
                unsafe { self.base.add(offset as usize) }
            }
            _ => sys::exit(73),
        }
    }

    /// `count` words of eight bytes at `offset`.
    pub fn words(&self, offset: u64, count: u32) -> &[u64] {
        let start = self.array(offset, u64::from(count), 8);
        // SAFETY: the whole array is inside the mapping, aligned, and initialised.
        unsafe { core::slice::from_raw_parts(start.cast_const().cast(), count as usize) }
    }

    /// `count` words of four bytes at `offset`.
    pub fn small_words(&self, offset: u64, count: u32) -> &[u32] {
        let start = self.array(offset, u64::from(count), 4);
        // SAFETY: the whole array is inside the mapping, aligned, and initialised.
        unsafe { core::slice::from_raw_parts(start.cast_const().cast(), count as usize) }
    }

    /// A filter of `count` instructions at `offset`.
    pub fn filter(&self, offset: u64, count: u32) -> *const u8 {
        self.array(offset, u64::from(count), 8).cast_const()
    }

    /// Turns the offsets at `offset`, up to the first 0, into addresses, as exec wants them. Once.
    pub fn pointers(&self, offset: u64) -> *const usize {
        let mut i = 0;
        loop {
            let word: *mut u64 = self.array(offset + i * 8, 1, 8).cast();
            // SAFETY: inside the mapping and aligned.
            let text = unsafe { *word };
            if text == 0 {
                return self.array(offset, i + 1, 8).cast_const().cast();
            }
            let address = self.text(text).as_ptr() as u64;
            // SAFETY: inside the mapping, which is private and writable; no reference to it lives.
            unsafe { *word = address };
            i += 1;
        }
    }
}
