//! Figures of a tree of processes, from proc(5).

use std::collections::HashMap;

use rustix::io::Errno;

use crate::linux::Error;
use crate::linux::error::Called;

/// What the living processes of a tree, and the dead ones they waited for, have used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TreeUsage {
    /// CPU time in user mode, in nanoseconds.
    pub user_ns: u64,
    /// CPU time in the kernel, in nanoseconds.
    pub system_ns: u64,
    /// Resident memory in bytes; shared pages count for each process.
    pub resident_bytes: u64,
    /// Living processes.
    pub processes: u64,
}

/// What we want of `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: i32,
    user_ticks: u64,
    system_ticks: u64,
    start_time: u64,
    resident_pages: u64,
}

/// A process, told apart from any other that ever has its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) pid: i32,
    pub(crate) start_time: u64,
}

/// Every process below `root`, zombies included. `None`: it is gone, or its number is another's by now.
///
/// Processes come and go while this looks: who wants all of them looks until nobody new is found.
pub(crate) fn descendants(root: Identity) -> Result<Option<Vec<Identity>>, Error> {
    let all = all()?;
    if all.get(&root.pid).is_none_or(|found| found.start_time != root.start_time) {
        return Ok(None);
    }
    let below = walk(&all, root.pid).into_iter().filter(|pid| *pid != root.pid);
    let identity =
        |pid: i32| all.get(&pid).map(|stat| Identity { pid, start_time: stat.start_time });
    Ok(Some(below.filter_map(identity).collect()))
}

/// Sums up the process `pid` and its descendants. `None`: it is gone, or the number is another's by
/// now, which `start_time` (field 22 of proc_pid_stat(5)) tells.
///
/// Processes come and go while this looks; one that does is counted or not.
pub fn usage_of_tree(pid: i32, start_time: u64) -> Result<Option<TreeUsage>, Error> {
    let all = all()?;
    if all.get(&pid).is_none_or(|root| root.start_time != start_time) {
        return Ok(None);
    }
    Ok(Some(sum(&all, pid)))
}

fn all() -> Result<HashMap<i32, Stat>, Error> {
    let entries = std::fs::read_dir("/proc").called(|| "readdir(\"/proc\")".to_owned())?;
    let mut all = HashMap::new();
    for entry in entries {
        let entry = entry.called(|| "readdir(\"/proc\")".to_owned())?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match std::fs::read_to_string(entry.path().join("stat")) {
            Ok(text) => all.extend(parse(&text).map(|stat| (pid, stat))),
            Err(error) if is_gone(&error) => {}
            other => {
                other.called(|| format!("read(\"/proc/{pid}/stat\")"))?;
            }
        }
    }
    Ok(all)
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

/// The name, field 2, may hold blanks and parentheses: what counts comes behind its last one.
fn parse(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // Field N of the manual is fields[N - 3].
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        // Its own time, and that of the children it has waited for.
        user_ticks: number(14)?.saturating_add(number(16)?),
        system_ticks: number(15)?.saturating_add(number(17)?),
        start_time: number(22)?,
        resident_pages: number(24)?,
    })
}

/// The root and its descendants.
fn walk(all: &HashMap<i32, Stat>, root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (pid, stat) in all {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        // A process is its own ancestor in no table, but ours was not read at one instant: taking
        // each list of children once ends the walk in any case.
        open.extend(children.remove(&pid).unwrap_or_default());
        found.push(pid);
    }
    found
}

fn sum(all: &HashMap<i32, Stat>, root: i32) -> TreeUsage {
    let ns_per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let page = rustix::param::page_size() as u64;
    let mut usage = TreeUsage::default();
    for pid in walk(all, root) {
        let Some(stat) = all.get(&pid) else { continue };
        usage.user_ns = usage.user_ns.saturating_add(stat.user_ticks.saturating_mul(ns_per_tick));
        usage.system_ns =
            usage.system_ns.saturating_add(stat.system_ticks.saturating_mul(ns_per_tick));
        usage.resident_bytes =
            usage.resident_bytes.saturating_add(stat.resident_pages.saturating_mul(page));
        usage.processes += 1;
    }
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "42 (a b) c) S 7 42 42 0 -1 4194560 113 5 0 0 11 3 2 1 20 0 1 0 9999 \
                        2646016 230 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0";

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = parse(LINE).expect("parsed");
        let (user_ticks, system_ticks) = (13, 4);
        let expected =
            Stat { parent: 7, user_ticks, system_ticks, start_time: 9999, resident_pages: 230 };
        assert_eq!(stat, expected);
        assert_eq!(parse("42 (a"), None);
    }

    #[test]
    fn only_the_tree_is_summed_up() {
        let stat = |parent| Stat { parent, ..parse(LINE).expect("parsed") };
        let all = HashMap::from([(10, stat(1)), (11, stat(10)), (12, stat(11)), (20, stat(1))]);
        assert_eq!(sum(&all, 10).processes, 3);
        assert_eq!(sum(&all, 20).processes, 1);
        let circle = HashMap::from([(1, stat(2)), (2, stat(1))]);
        assert!(sum(&circle, 1).processes <= 3, "a table that was read in pieces ends as well");
    }

    #[test]
    fn a_number_that_was_taken_again_is_not_counted() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let start = all().expect("read").get(&own).expect("this process").start_time;
        let usage = usage_of_tree(own, start).expect("read").expect("alive");
        assert!(usage.resident_bytes > 0 && usage.processes >= 1, "{usage:?}");
        assert_eq!(usage_of_tree(own, start + 1).expect("read"), None);
    }
}
