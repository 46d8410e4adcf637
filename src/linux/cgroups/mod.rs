//! cgroup hierarchies: v1, v2 and hybrid hosts, found once at start and decided per controller.
//!
//! A container is known here by a relative path (`a`, nested `a/mesos/b`): this room knows no ids.
//!
//! ```text
//! v1   <hierarchy>/<root>/<path>          limits and processes, once per hierarchy
//! v2   <mount>/<root>/<path>              limits
//!      <mount>/<root>/<path>/leaf         processes: a cgroup with controllers below it may have none
//! ```
//!
//! The *kill group* holds every process of a container, so that all can be ended at once: it lives in
//! the v2 tree where there is one, even without controllers (`cgroup.kill`), else in the v1 freezer's.
//! A v2 tree without controllers needs no `leaf`; one that is there, of an earlier version, is left to
//! its processes and removed with its container.
//!
//! Paths are relative to the mounts that this process sees: in a container or a cgroup namespace
//! our cgroups lie below its own. A controller that the kernel has and that nobody mounted is
//! reported as absent: no isolator of today needs one.

mod control;
mod detect;
mod group;
mod hierarchies;
mod kill;
mod oom;
#[cfg(all(test, feature = "root-tests"))]
mod root_tests;
mod tree;
mod v1;
mod v2;

pub use detect::{Controller, Version};
pub use group::{Before, CpuUsage, Group, MemoryEvents};
pub use hierarchies::{Cgroups, KeptRoot};
pub use oom::OomNotifier;
