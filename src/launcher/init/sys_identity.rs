//! The calls that say who a process is and what it may.

use crate::sys::{Result, call, nr, plain};

pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    let args = [0, resource as usize, limit.as_ptr() as usize, 0];
    // SAFETY: the new limit is readable, the old one is not asked for.
    unsafe { call(nr::PRLIMIT64, &args) }.map(drop)
}

pub fn set_groups(groups: &[u32]) -> Result<()> {
    // SAFETY: the list is readable for its length.
    unsafe { call(nr::SETGROUPS, &[groups.len(), groups.as_ptr() as usize]) }.map(drop)
}

pub fn set_user(gid: u32, uid: u32) -> Result<()> {
    plain(nr::SETRESGID, &[gid as usize; 3])?;
    plain(nr::SETRESUID, &[uid as usize; 3]).map(drop)
}

/// capset(2): permitted = effective, and inheritable.
pub fn set_capabilities(effective: u64, inheritable: u64) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = (effective as u32, (effective >> 32) as u32);
    let data = [low, low, inheritable as u32, high, high, (inheritable >> 32) as u32];
    let args = [header.as_ptr() as usize, data.as_ptr() as usize];
    // SAFETY: header and data have the form of version 3.
    unsafe { call(nr::CAPSET, &args) }.map(drop)
}

/// Loads a filter of `count` instructions.
///
/// # Safety
/// `filter` points to `count` readable instructions of eight bytes.
pub unsafe fn load_seccomp(filter: *const u8, count: u32) -> Result<()> {
    const SET_MODE_FILTER: usize = 1;
    let program = [count as usize, filter as usize];
    // SAFETY: sock_fprog is a u16 and a pointer, with padding between on both machines, which are
    // little-endian; the rest is the caller's promise.
    unsafe { call(nr::SECCOMP, &[SET_MODE_FILTER, 0, program.as_ptr() as usize]) }.map(drop)
}
