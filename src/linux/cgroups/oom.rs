//! Notices that a cgroup ran out of memory.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::detect::Version;
use super::group::{Group, MemoryEvents};
use super::{control, tree, v1};
use crate::linux::Error;
use crate::linux::error::Called;

/// Becomes readable when memory ran out, and when the cgroup is removed.
///
/// v2: inotify on `memory.events`; v1: an eventfd registered for `memory.oom_control`.
#[derive(Debug)]
pub struct OomNotifier {
    readiness: OwnedFd,
    group: Group,
    before: MemoryEvents,
}

impl OomNotifier {
    /// Watches the memory cgroup `group` from now on.
    pub fn new(group: &Group) -> Result<Self, Error> {
        let (readiness, before) = match group.version() {
            Version::V1 => register(group)?,
            Version::V2 => (watch(group)?, group.memory_events()?),
        };
        Ok(Self { readiness, group: group.clone(), before })
    }

    /// What has happened before this one watched.
    pub fn before(&self) -> MemoryEvents {
        self.before
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

fn register(group: &Group) -> Result<(OwnedFd, MemoryEvents), Error> {
    let file = group.directory().join("memory.oom_control");
    let control = std::fs::File::open(&file).called(|| format!("open({})", tree::quoted(&file)))?;
    let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
        .map_err(|errno: Errno| Error::new("eventfd2(0, NONBLOCK | CLOEXEC)", errno))?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    control::write(&group.directory().join("cgroup.event_control"), &line)?;
    // The kernel has taken its own references: `control` is closed here. Read after the registration,
    // so that nothing falls between the two.
    let before = v1::memory_events_of(group.directory(), &control::read_open(&control, &file)?)?;
    Ok((event, before))
}
