//! Control files of the v1 controllers.
//!
//! Source: kernel `Documentation/admin-guide/cgroup-v1/memory.rst`, `cpuacct.rst` and
//! `Documentation/scheduler/sched-bwc.rst`.

use std::path::Path;

use rustix::io::Errno;

use super::control::{is_missing, keyed, read, read_number, read_number_if_any, write};
use super::group::{Before, CpuUsage, MemoryEvents};
use super::v2;
use crate::linux::Error;

/// Of one CPU; the kernel's own default.
const SHARES_DEFAULT: u64 = 1024;

/// The kernel's bounds of `cpu.shares`.
const SHARES: (f64, f64) = (2.0, 262_144.0);

pub(super) fn set_cpus(directory: &Path, cpus: f64, before: Before) -> Result<(), Error> {
    let shares = (cpus * SHARES_DEFAULT as f64).clamp(SHARES.0, SHARES.1).floor() as u64;
    if before == Before::Anything || shares != SHARES_DEFAULT {
        write(&directory.join("cpu.shares"), &shares.to_string())?;
    }
    let (quota_us, period_us) = v2::quota(cpus);
    // Whoever sets a bandwidth makes the kernel look at every group of the host, and the usual period
    // is its default.
    let period = directory.join("cpu.cfs_period_us");
    let period_now = match before {
        Before::Defaults => v2::PERIOD_US,
        Before::Anything => read_number(&period)?,
    };
    if period_now != period_us {
        write(&period, &period_us.to_string())?;
    }
    write(&directory.join("cpu.cfs_quota_us"), &quota_us.to_string())
}

/// The kernel demands limit ≤ memory+swap limit at every moment: raising starts with the latter.
pub(super) fn set_memory(directory: &Path, limit_bytes: u64, before: Before) -> Result<(), Error> {
    let limit = directory.join("memory.limit_in_bytes");
    let with_swap = directory.join("memory.memsw.limit_in_bytes");
    let value = limit_bytes.to_string();
    // Absent where the kernel does not count swap.
    let set_with_swap = || match write(&with_swap, &value) {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    };
    if before == Before::Defaults {
        // There is no limit, so any is a lower one.
        write(&limit, &value)?;
        return set_with_swap();
    }
    let old_with_swap = read_number_if_any(&with_swap)?;
    if old_with_swap.is_none_or(|old| limit_bytes >= old) {
        set_with_swap()?;
        return write(&limit, &value);
    }
    let old = read_number(&limit)?;
    write(&limit, &value)?;
    match set_with_swap() {
        // All or nothing: swap in use forbids it.
        Err(error) if error.errno == Errno::BUSY => {
            write(&limit, &old.to_string())?;
            Err(error)
        }
        other => other,
    }
}

pub(super) fn cpu_time(directory: &Path) -> Result<CpuUsage, Error> {
    Ok(CpuUsage {
        total: Some(read_number(&directory.join("cpuacct.usage"))?),
        user: read_number_if_any(&directory.join("cpuacct.usage_user"))?,
        system: read_number_if_any(&directory.join("cpuacct.usage_sys"))?,
        throttled: None,
    })
}

pub(super) fn cpu_throttled(directory: &Path) -> Result<Option<u64>, Error> {
    let stat = read(&directory.join("cpu.stat"))?;
    Ok(keyed(&stat, "throttled_time"))
}

pub(super) fn memory_events(directory: &Path) -> Result<MemoryEvents, Error> {
    match read(&directory.join("memory.oom_control")) {
        Err(error) if is_missing(&error) => memory_events_of(directory, ""),
        control => memory_events_of(directory, &control?),
    }
}

/// Where `memory.oom_control` has been read already.
pub(super) fn memory_events_of(directory: &Path, control: &str) -> Result<MemoryEvents, Error> {
    let oom_kills = keyed(control, "oom_kill");
    // Most containers end without a kill, and nobody asks why nobody was killed.
    let at_limit = oom_kills != Some(0) && was_at_limit(directory)?;
    Ok(MemoryEvents { at_limit, oom_kills: oom_kills.unwrap_or(0) })
}

/// Linux 6.18 does not count `memory.failcnt` any more, so the peak tells. Charges come in batches
/// for each CPU: a container may run out a little before its limit.
fn was_at_limit(directory: &Path) -> Result<bool, Error> {
    let peak = read_number(&directory.join("memory.max_usage_in_bytes"))?;
    let limit = read_number(&directory.join("memory.limit_in_bytes"))?;
    let failures = read_number(&directory.join("memory.failcnt"))?;
    Ok(failures > 0 || peak >= limit - limit / 16)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a scratch directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        directory
    }

    fn text(directory: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(directory.path().join(name)).expect("readable")
    }

    #[test]
    fn half_a_cpu_is_half_the_shares_and_half_the_period() {
        let files = [("cpu.shares", ""), ("cpu.cfs_period_us", "7"), ("cpu.cfs_quota_us", "")];
        let directory = fake(&files);
        set_cpus(directory.path(), 0.5, Before::Anything).expect("written");
        assert_eq!(text(&directory, "cpu.shares"), "512");
        assert_eq!(text(&directory, "cpu.cfs_period_us"), "100000");
        assert_eq!(text(&directory, "cpu.cfs_quota_us"), "50000");
    }

    #[test]
    fn of_a_new_group_only_what_is_not_the_kernels_default_is_written() {
        let directory = fake(&[("cpu.cfs_quota_us", ""), ("memory.limit_in_bytes", "")]);
        set_cpus(directory.path(), 1.0, Before::Defaults).expect("neither shares nor period");
        assert_eq!(text(&directory, "cpu.cfs_quota_us"), "100000");
        let error = set_cpus(directory.path(), 2.0, Before::Defaults).expect_err("other shares");
        assert!(error.call.contains("cpu.shares"), "{error}");
        set_memory(directory.path(), 33_554_432, Before::Defaults).expect("no limit was read");
        assert_eq!(text(&directory, "memory.limit_in_bytes"), "33554432");
    }

    #[test]
    fn a_quota_below_the_kernels_least_has_a_period_of_its_own_in_a_new_group_too() {
        let directory =
            fake(&[("cpu.shares", ""), ("cpu.cfs_period_us", ""), ("cpu.cfs_quota_us", "")]);
        set_cpus(directory.path(), 0.005, Before::Defaults).expect("written");
        assert_eq!(text(&directory, "cpu.cfs_period_us"), "1000000");
        assert_eq!(text(&directory, "cpu.cfs_quota_us"), "5000");
    }

    #[test]
    fn without_swap_accounting_the_limit_stands_alone() {
        let directory = fake(&[("memory.limit_in_bytes", "")]);
        set_memory(directory.path(), 33_554_432, Before::Anything).expect("written");
        assert_eq!(text(&directory, "memory.limit_in_bytes"), "33554432");
    }

    #[test]
    fn without_a_kill_only_the_count_is_read() {
        let directory =
            fake(&[("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")]);
        let events = memory_events(directory.path()).expect("read");
        assert_eq!(events, MemoryEvents::default());
    }

    #[test]
    fn the_oom_count_is_read_where_the_kernel_has_it() {
        let directory = fake(&[
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            ("memory.failcnt", "0\n"),
            ("memory.max_usage_in_bytes", "33550336\n"),
            ("memory.limit_in_bytes", "33554432\n"),
        ]);
        let events = memory_events(directory.path()).expect("read");
        assert_eq!(events, MemoryEvents { at_limit: true, oom_kills: 2 });
    }
}
