//! What is mounted where. Pure: text in, layout out.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A resource controller that Longshore uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU time: weight and quota.
    Cpu,
    /// CPU time used; a part of `Cpu` on v2.
    Cpuacct,
    /// Memory.
    Memory,
    /// Number of processes.
    Pids,
    /// Stops all processes; a part of every cgroup on v2.
    Freezer,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Cpuacct, Self::Memory, Self::Pids, Self::Freezer];

    /// As the kernel writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Freezer => "freezer",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.name() == name)
    }
}

/// Which interface a controller has on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// A hierarchy of its own, or shared with others.
    V1,
    /// The unified hierarchy.
    V2,
}

/// Where the processes of a cgroup are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Members {
    /// In it.
    Here,
    /// In one below: it may pass controllers down, and then must hold no process itself.
    InLeaf,
}

/// The cgroup mounts of a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    /// Mount point of each v1 controller.
    pub(super) v1: BTreeMap<Controller, PathBuf>,
    /// Mount point of the unified hierarchy.
    pub(super) v2: Option<PathBuf>,
    /// Controllers that the unified hierarchy has.
    pub(super) unified: BTreeSet<Controller>,
    /// Every cgroup of the unified hierarchy counts CPU time, whichever controllers it has.
    pub(super) counts_time: bool,
    /// Mount points of v1 hierarchies that have the cpuset controller, too.
    pub(super) cpusets: BTreeSet<PathBuf>,
}

impl Layout {
    /// Reads /proc/self/mountinfo, proc_pid_mountinfo(5). The unified hierarchy's controllers are
    /// in a file there: [`Self::with_unified`].
    ///
    /// Of several mounts of one hierarchy the first writable one is taken.
    pub(super) fn from_mountinfo(text: &str) -> Self {
        let mut layout = Self::default();
        let mounts: Vec<Entry> = text.lines().filter_map(entry).collect();
        let (writable, others): (Vec<&Entry>, Vec<&Entry>) =
            mounts.iter().partition(|mount| mount.writable);
        for mount in writable.into_iter().chain(others) {
            match mount.kind {
                Kind::V2 => {
                    layout.v2.get_or_insert_with(|| mount.target.clone());
                }
                Kind::V1 { ref controllers, cpuset } => {
                    if cpuset {
                        layout.cpusets.insert(mount.target.clone());
                    }
                    for controller in controllers {
                        layout.v1.entry(*controller).or_insert_with(|| mount.target.clone());
                    }
                }
            }
        }
        layout
    }

    /// Adds what `cgroup.controllers` of the unified hierarchy's root says. A controller is in one
    /// hierarchy only; one that is mounted as v1 is v1.
    pub(super) fn with_unified(mut self, controllers: &str) -> Self {
        self.unified = controllers
            .split_ascii_whitespace()
            .filter_map(Controller::from_name)
            .filter(|controller| !self.v1.contains_key(controller))
            .collect();
        self
    }

    /// The interface of `controller`, if it is mounted.
    pub(super) fn version(&self, controller: Controller) -> Option<Version> {
        let unified = match controller {
            Controller::Cpuacct => self.unified.contains(&Controller::Cpu),
            // Every v2 cgroup but the root has `cgroup.freeze`.
            Controller::Freezer => self.v2.is_some(),
            Controller::Cpu | Controller::Memory | Controller::Pids => {
                self.unified.contains(&controller)
            }
        };
        match (self.v1.contains_key(&controller), unified) {
            (true, _) => Some(Version::V1),
            (false, true) => Some(Version::V2),
            (false, false) => None,
        }
    }
}

impl Layout {
    /// What limits and counts CPU time. `cpuacct` is left out where it would be a cgroup of its own and
    /// tell what the unified hierarchy tells as well.
    pub(super) fn cpu(&self) -> &'static [Controller] {
        let apart = self.v1.get(&Controller::Cpu) != self.v1.get(&Controller::Cpuacct);
        match apart && self.counts_time {
            true => &[Controller::Cpu],
            false => &[Controller::Cpu, Controller::Cpuacct],
        }
    }

    /// Where the processes are in a cgroup with this interface.
    pub(super) fn members(&self, version: Version) -> Members {
        match version {
            Version::V2 if !self.unified.is_empty() => Members::InLeaf,
            // Where all controllers are v1, nobody passes any down.
            Version::V1 | Version::V2 => Members::Here,
        }
    }
}

struct Entry {
    target: PathBuf,
    writable: bool,
    kind: Kind,
}

enum Kind {
    V1 { controllers: Vec<Controller>, cpuset: bool },
    V2,
}

/// One line of mountinfo: `36 35 98:0 /root /target rw,… [tags] - type source super-options`.
fn entry(line: &str) -> Option<Entry> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(4);
    let (target, options) = (fields.next()?, fields.next()?);
    let mut filesystem = filesystem.split(' ');
    let kind = match filesystem.next()? {
        "cgroup2" => Kind::V2,
        "cgroup" => {
            let options = filesystem.nth(1)?;
            Kind::V1 {
                controllers: options.split(',').filter_map(Controller::from_name).collect(),
                cpuset: options.split(',').any(|option| option == "cpuset"),
            }
        }
        _ => return None,
    };
    let writable = options.split(',').any(|option| option == "rw");
    Some(Entry { target: unescape(target), writable, kind })
}

/// mountinfo writes blank, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let octal = (*byte == b'\\')
            .then(|| field.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(*byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    Path::new(&OsString::from_vec(out)).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,cpuset,memory
37 31 0:34 / /sys/fs/cgroup/freezer ro,relatime - cgroup cgroup rw,freezer
38 31 0:34 / /srv/my\\040freezer rw,relatime - cgroup cgroup rw,freezer
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn each_controller_of_a_hybrid_host_is_decided_by_itself() {
        let layout = Layout::from_mountinfo(HYBRID).with_unified("hugetlb pids memory\n");
        assert_eq!(layout.version(Controller::Cpu), Some(Version::V1));
        assert_eq!(layout.v1[&Controller::Cpu], layout.v1[&Controller::Cpuacct]);
        assert_eq!(layout.version(Controller::Memory), Some(Version::V1), "mounted as v1");
        assert_eq!(layout.version(Controller::Pids), Some(Version::V2));
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(layout.cpusets, [PathBuf::from("/sys/fs/cgroup/memory")].into());
    }

    #[test]
    fn cpuacct_is_left_out_where_it_costs_a_cgroup_and_tells_nothing_new() {
        let both = [Controller::Cpu, Controller::Cpuacct];
        let counts_time = true;
        let together = Layout { counts_time, ..Layout::from_mountinfo(HYBRID) };
        assert_eq!(together.cpu(), both, "it comes with cpu");
        let apart = HYBRID
            .replace("/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu")
            .replace("rw,cpu,cpuacct", "rw,cpu")
            .replace("rw,freezer", "rw,cpuacct");
        let apart = Layout { counts_time, ..Layout::from_mountinfo(&apart) };
        assert!(apart.v1.contains_key(&Controller::Cpuacct));
        assert_eq!(apart.cpu(), [Controller::Cpu]);
        assert_eq!(Layout { counts_time: false, ..apart }.cpu(), both, "nobody else counts");
    }

    #[test]
    fn a_writable_mount_is_preferred_and_its_name_may_have_blanks() {
        let layout = Layout::from_mountinfo(HYBRID);
        assert_eq!(layout.v1[&Controller::Freezer], Path::new("/srv/my freezer"));
    }

    #[test]
    fn a_pure_v2_host_has_no_v1_controller() {
        let line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let layout = Layout::from_mountinfo(line).with_unified("cpuset cpu io memory pids");
        for controller in Controller::ALL {
            assert_eq!(layout.version(controller), Some(Version::V2), "{controller:?}");
        }
    }

    #[test]
    fn a_host_without_cgroups_has_none() {
        let layout = Layout::from_mountinfo("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
        assert_eq!(layout, Layout::default());
        assert_eq!(layout.version(Controller::Freezer), None);
    }
}
