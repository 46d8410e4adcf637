//! Control files of the unified hierarchy.
//!
//! Source: kernel `Documentation/admin-guide/cgroup-v2.rst`.

use std::path::Path;

use rustix::io::Errno;

use super::control::{is_missing, keyed, read, read_number, write};
use super::detect::Controller;
use super::group::{Before, CpuUsage, MemoryEvents};
use super::tree;
use crate::linux::Error;

/// Of one CPU; the kernel's own default.
const WEIGHT_DEFAULT: u64 = 100;

/// The kernel's bounds of `cpu.weight`.
const WEIGHT: (f64, f64) = (1.0, 10_000.0);

/// Over which a quota is counted; the kernel's own default.
pub(super) const PERIOD_US: u64 = 100_000;

/// The kernel's lower bound of a quota.
const QUOTA_MIN_US: f64 = 1_000.0;

/// Quota and period for so many CPUs, in microseconds.
///
/// A quota below the kernel's least is reached with a longer period, so that it bites exactly.
pub(super) fn quota(cpus: f64) -> (u64, u64) {
    #[expect(clippy::cast_precision_loss, reason = "100,000 is exact in a double")]
    let quota = cpus * PERIOD_US as f64;
    let exact = |us: f64| us.round().max(QUOTA_MIN_US) as u64;
    match quota < QUOTA_MIN_US {
        // The longest period the kernel takes is one second.
        true => (exact(quota * 10.0), PERIOD_US * 10),
        false => (exact(quota), PERIOD_US),
    }
}

/// Lets the cgroup `directory` have `controller`: every cgroup above it, from the mount on, must
/// pass it down.
///
/// Errors: EBUSY where processes live in one of them (the no-internal-process rule); ENOENT where
/// the hierarchy above the mount does not pass it down.
pub(super) fn enable(mount: &Path, directory: &Path, controller: Controller) -> Result<(), Error> {
    let controller = match controller {
        Controller::Cpuacct => Controller::Cpu,
        // Part of every cgroup: nothing to pass down.
        Controller::Freezer => return Ok(()),
        Controller::Cpu | Controller::Memory | Controller::Pids => controller,
    };
    let mut above: Vec<&Path> =
        directory.ancestors().skip(1).take_while(|level| level.starts_with(mount)).collect();
    above.reverse();
    for level in above {
        let file = level.join("cgroup.subtree_control");
        let on = read(&file)?.split_ascii_whitespace().any(|name| name == controller.name());
        if !on {
            write(&file, &format!("+{}", controller.name())).map_err(explain)?;
        }
    }
    Ok(())
}

/// Seen where this process lives in a container or a cgroup namespace of its own: what it sees as
/// the root of the hierarchy is none, and holds processes.
fn explain(error: Error) -> Error {
    match error.errno {
        Errno::BUSY => Error::new(
            format!("{}: processes live in this cgroup, they must move into one below", error.call),
            Errno::BUSY,
        ),
        _ => error,
    }
}

pub(super) fn set_cpus(directory: &Path, cpus: f64, before: Before) -> Result<(), Error> {
    let weight = (cpus * WEIGHT_DEFAULT as f64).clamp(WEIGHT.0, WEIGHT.1).floor() as u64;
    if before == Before::Anything || weight != WEIGHT_DEFAULT {
        write(&directory.join("cpu.weight"), &weight.to_string())?;
    }
    let (quota_us, period_us) = quota(cpus);
    write(&directory.join("cpu.max"), &format!("{quota_us} {period_us}"))
}

/// A limit below what is in use would not be refused here: the OOM killer would strike at once.
/// So what can be reclaimed is reclaimed first, and the rest is our refusal.
pub(super) fn set_memory(directory: &Path, limit_bytes: u64, before: Before) -> Result<(), Error> {
    let in_use = match before {
        Before::Defaults => 0,
        Before::Anything => read_number(&directory.join("memory.current"))?,
    };
    if in_use > limit_bytes {
        make_room(directory, limit_bytes)?;
    }
    write(&directory.join("memory.max"), &limit_bytes.to_string())?;
    // Swap is absent where the kernel has none or does not count it.
    match write(&directory.join("memory.swap.max"), "0") {
        Err(error) if is_missing(&error) => Ok(()),
        other => other,
    }
}

fn make_room(directory: &Path, limit_bytes: u64) -> Result<(), Error> {
    let (current, reclaim) = (directory.join("memory.current"), directory.join("memory.reclaim"));
    let excess = read_number(&current)?.saturating_sub(limit_bytes);
    match write(&reclaim, &excess.to_string()) {
        // EAGAIN: less than that could be reclaimed. Linux before 5.19 has no such file.
        Err(error) if error.errno != Errno::AGAIN && !is_missing(&error) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let in_use = read_number(&current)?;
    if in_use > limit_bytes {
        let file = tree::quoted(&directory.join("memory.max"));
        let call = format!("write({file}, \"{limit_bytes}\"): {in_use} bytes are in use");
        return Err(Error::new(call, Errno::BUSY));
    }
    Ok(())
}

pub(super) fn cpu_usage(directory: &Path) -> Result<CpuUsage, Error> {
    let stat = read(&directory.join("cpu.stat"))?;
    let nanoseconds = |key| keyed(&stat, key).map(|us| us.saturating_mul(1000));
    Ok(CpuUsage {
        total: nanoseconds("usage_usec"),
        user: nanoseconds("user_usec"),
        system: nanoseconds("system_usec"),
        throttled: nanoseconds("throttled_usec"),
    })
}

pub(super) fn memory_events(directory: &Path) -> Result<MemoryEvents, Error> {
    let events = read(&directory.join("memory.events"))?;
    Ok(MemoryEvents {
        at_limit: keyed(&events, "oom").is_some_and(|times| times > 0),
        oom_kills: keyed(&events, "oom_kill").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::linux::cgroups::Version;
    use crate::linux::cgroups::detect::Members;
    use crate::linux::cgroups::group::Group;

    fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a scratch directory");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        directory
    }

    #[test]
    fn a_quota_bites_exactly() {
        assert_eq!(quota(1.0), (100_000, 100_000));
        assert_eq!(quota(1.5), (150_000, 100_000));
        assert_eq!(quota(0.25), (25_000, 100_000));
        assert_eq!(quota(0.005), (5_000, 1_000_000), "below one millisecond per period");
        assert_eq!(quota(0.000_001), (1_000, 1_000_000), "the least the kernel takes");
    }

    #[test]
    fn two_cpus_are_twice_the_weight() {
        let directory = fake(&[("cpu.weight", ""), ("cpu.max", "")]);
        set_cpus(directory.path(), 2.0, Before::Anything).expect("written");
        let text = |name| fs::read_to_string(directory.path().join(name)).expect("readable");
        assert_eq!(text("cpu.weight"), "200");
        assert_eq!(text("cpu.max"), "200000 100000");
    }

    #[test]
    fn a_new_group_keeps_the_kernels_weight_where_that_is_right_and_nobody_looks_what_it_uses() {
        let directory = fake(&[("cpu.max", ""), ("memory.max", "max")]);
        set_cpus(directory.path(), 1.0, Before::Defaults).expect("no weight is written");
        set_memory(directory.path(), 8_388_608, Before::Defaults).expect("nothing is read");
        let text = |name| fs::read_to_string(directory.path().join(name)).expect("readable");
        assert_eq!(
            (text("cpu.max"), text("memory.max")),
            ("100000 100000".into(), "8388608".into())
        );
    }

    #[test]
    fn a_limit_below_what_is_in_use_is_refused_and_nothing_is_written() {
        let directory = fake(&[("memory.current", "9000000\n"), ("memory.max", "max")]);
        let error = set_memory(directory.path(), 5_000_000, Before::Anything).expect_err("in use");
        assert_eq!(error.errno, Errno::BUSY);
        let max = fs::read_to_string(directory.path().join("memory.max")).expect("readable");
        assert_eq!(max, "max");
    }

    #[test]
    fn a_kernel_without_swap_or_peak_is_fine() {
        let directory = fake(&[("memory.current", "4096\n"), ("memory.max", "max")]);
        set_memory(directory.path(), 8_388_608, Before::Anything).expect("written");
        let group = Group::new(Version::V2, Members::InLeaf, directory.path().to_path_buf());
        assert_eq!(group.memory().expect("read"), 4096);
        assert_eq!(group.memory_peak().expect("absent is no failure"), None);
    }

    #[test]
    fn a_controller_is_passed_down_by_every_level_above() {
        let mount = tempfile::tempdir().expect("a scratch directory");
        let (root, group) = (mount.path().join("longshore"), mount.path().join("longshore/a"));
        fs::create_dir_all(&group).expect("directories");
        for (level, on) in [(mount.path(), "cpu memory\n"), (&root, "")] {
            fs::write(level.join("cgroup.subtree_control"), on).expect("written");
        }
        enable(mount.path(), &group, Controller::Memory).expect("enabled");
        let control = |level: &Path| {
            fs::read_to_string(level.join("cgroup.subtree_control")).expect("readable")
        };
        assert_eq!(control(mount.path()), "cpu memory\n", "already on: not written");
        assert_eq!(control(&root), "+memory");
    }
}
