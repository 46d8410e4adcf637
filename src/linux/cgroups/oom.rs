//! Notices that a cgroup ran out of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::detect::Version;
use super::group::{Group, MemoryEvents};
use super::{control, tree};
use crate::linux::Error;
use crate::linux::error::Called;

/// Becomes readable when memory ran out, and when the cgroup is removed.
///
/// v2: inotify on `memory.events`; v1: an eventfd registered for `memory.oom_control`.
#[derive(Debug)]
pub struct OomNotifier {
    readiness: OwnedFd,
    group: Group,
}

impl OomNotifier {
    /// Watches the memory cgroup `group`. What happened before is seen by [`Self::check`] only.
    pub fn new(group: &Group) -> Result<Self, Error> {
        let readiness = match group.version() {
            Version::V1 => register(group)?,
            Version::V2 => watch(group)?,
        };
        Ok(Self { readiness, group: group.clone() })
    }

    /// Takes the readiness away, then reads the counters: an event after this call makes the
    /// descriptor readable again. v1 notifies *before* it kills, so the count may rise a moment
    /// later without another event.
    ///
    /// Errors: ENOENT or ENODEV when the cgroup is gone.
    pub fn check(&self) -> Result<MemoryEvents, Error> {
        let mut buffer = [0u8; 4096];
        while rustix::io::read(&self.readiness, &mut buffer).is_ok_and(|length| length > 0) {}
        self.group.memory_events()
    }
}

impl AsFd for OomNotifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }
}

impl AsRawFd for OomNotifier {
    fn as_raw_fd(&self) -> RawFd {
        self.readiness.as_raw_fd()
    }
}

fn watch(group: &Group) -> Result<OwnedFd, Error> {
    let file = group.directory().join("memory.events");
    let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
    let inotify = inotify::init(flags).called(|| "inotify_init1(NONBLOCK | CLOEXEC)".to_owned())?;
    inotify::add_watch(&inotify, &file, inotify::WatchFlags::MODIFY)
        .called(|| format!("inotify_add_watch({}, MODIFY)", tree::quoted(&file)))?;
    Ok(inotify)
}

fn register(group: &Group) -> Result<OwnedFd, Error> {
    let file = group.directory().join("memory.oom_control");
    let control = std::fs::File::open(&file).called(|| format!("open({})", tree::quoted(&file)))?;
    let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .map_err(|errno: Errno| Error::new("eventfd2(0, NONBLOCK | CLOEXEC)", errno))?;
    // The kernel takes its own references: `control` may be closed afterwards.
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    control::write(&group.directory().join("cgroup.event_control"), &line)?;
    Ok(event)
}
