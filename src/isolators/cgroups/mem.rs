//! `cgroups/mem`: a hard memory limit, exactly as written, swap included.
//!
//! When it is reached and nothing can be reclaimed, the kernel's OOM killer ends one process of the
//! container. The payload may survive that: the watch tells that it happened, the end of the container
//! is the payload's.
//!
//! Kernel: cgroup controller `memory`; the peak needs Linux 5.19 on v2. Undo: the cgroup is removed.

use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::place::{Place, refused};
use crate::isolators::{Host, Isolator, IsolatorError, Watch};
use crate::limits;
use crate::linux::cgroups::{Before, Controller, Group, MemoryEvents, OomNotifier, Version};
use crate::model::{
    Bytes, ContainerId, LaunchContext, LaunchInfo, Limitation, LimitedResource, Resources, Usage,
};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Mem {
    place: Place,
}

/// v1 notifies before it kills: the count follows within this time, if it kills at all.
const KILL_FOLLOWS: Duration = Duration::from_millis(20);

/// The kernel rounds limits down to pages; those of other sizes are multiples of this one.
const PAGE: u64 = 4096;

/// Looks at the count that often after a notification of v1.
const KILL_FOLLOWS_TIMES: u32 = 25;

impl Isolator for Mem {
    const NAME: &'static str = "cgroups/mem";
    const NESTING: bool = true;
    /// The limit in bytes, once there is one.
    type Container = Option<u64>;

    fn create(host: &Host) -> Result<Self, IsolatorError> {
        Ok(Self { place: Place::new(host, &[Controller::Memory])? })
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, Self::Container), IsolatorError> {
        let cgroups = self.place.make(id)?;
        let limit = self.limit(id, &context.config.resources, Before::Defaults)?;
        Ok((LaunchInfo { cgroups, ..LaunchInfo::default() }, limit))
    }

    fn watch(&self, id: &ContainerId, container: &Self::Container) -> Option<Watch> {
        let group = self.place.group(id, 0).ok()?;
        let limit = *container;
        // Registered here, not in the future: an event before its first poll is not lost.
        let notifier = OomNotifier::new(&group);
        Some(Box::pin(async move {
            let events = wait_for_kill(notifier?, group.version()).await?;
            let peak = group.memory_peak().ok().flatten();
            Ok(limitation(in_force(&group, limit), peak, events))
        }))
    }

    /// What is in use when nobody is left is the kernel's.
    fn last(
        &self,
        id: &ContainerId,
        container: &Self::Container,
    ) -> Result<(Usage, Option<Limitation>), IsolatorError> {
        let group = self.place.group(id, 0)?;
        let (events, memory_peak) = (group.memory_events()?, group.memory_peak()?);
        let limitation = struck(events).then(|| limitation(*container, memory_peak, events));
        let oom_kills = Some(events.oom_kills);
        Ok((Usage { memory_peak, oom_kills, ..Usage::default() }, limitation))
    }

    fn update(
        &self,
        id: &ContainerId,
        container: &mut Self::Container,
        resources: &Resources,
    ) -> Result<(), IsolatorError> {
        if let Some(limit) = self.limit(id, resources, Before::Anything)? {
            *container = Some(limit);
        }
        Ok(())
    }

    fn usage(&self, id: &ContainerId, _: &Self::Container) -> Result<Usage, IsolatorError> {
        let group = self.place.group(id, 0)?;
        Ok(Usage {
            memory: Some(group.memory()?),
            memory_peak: group.memory_peak()?,
            oom_kills: Some(group.memory_events()?.oom_kills),
            ..Usage::default()
        })
    }

    fn cleanup(&self, id: &ContainerId, _: Option<&Self::Container>) -> Result<(), IsolatorError> {
        self.place.remove(id)
    }
}

impl Mem {
    /// Sets the limit, if there is to be one, and answers with it.
    fn limit(
        &self,
        id: &ContainerId,
        resources: &Resources,
        before: Before,
    ) -> Result<Option<u64>, IsolatorError> {
        let Some(Bytes(bytes)) = resources.memory else { return Ok(None) };
        if bytes < limits::MEMORY_LIMIT_MIN {
            return Err(IsolatorError::Invalid(format!(
                "a memory limit of {bytes} bytes is below {}",
                limits::MEMORY_LIMIT_MIN
            )));
        }
        self.place.group(id, 0)?.set_memory(bytes, before).map_err(refused)?;
        Ok(Some(bytes))
    }
}

/// The limit that struck: the one known when the watch began, unless an update has moved it since.
fn in_force(group: &Group, known: Option<u64>) -> Option<u64> {
    let now = group.memory_limit().ok().flatten();
    let same = |bytes: &u64| known.is_some_and(|known| known / PAGE == bytes / PAGE);
    now.filter(|bytes| !same(bytes)).or(known)
}

/// The limit made the kernel kill; the host's own lack of memory is not the container's limit.
fn struck(events: MemoryEvents) -> bool {
    events.at_limit && events.oom_kills > 0
}

async fn wait_for_kill(
    notifier: OomNotifier,
    version: Version,
) -> Result<MemoryEvents, IsolatorError> {
    let before = notifier.before();
    if struck(before) {
        return Ok(before);
    }
    #[expect(deprecated, reason = "its replacement is unsafe; the notifier owns what it names")]
    let ready = AsyncFd::with_interest(notifier, Interest::READABLE).map_err(|error| {
        IsolatorError::Kernel(crate::linux::Error::from_io("epoll_ctl(OOM notifier)", &error))
    })?;
    let looks = match version {
        Version::V1 => KILL_FOLLOWS_TIMES,
        Version::V2 => 1,
    };
    loop {
        match ready.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            // The reactor is shutting down, and so are we.
            Err(_) => return std::future::pending().await,
        }
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(KILL_FOLLOWS).await;
            }
            match ready.get_ref().check() {
                Ok(events) if struck(events) => return Ok(events),
                Ok(_) => {}
                // The container is being removed; whoever waits for us is about to go as well.
                Err(error) if matches!(error.errno, Errno::NOENT | Errno::NODEV) => {
                    return std::future::pending().await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn limitation(limit: Option<u64>, peak: Option<u64>, events: MemoryEvents) -> Limitation {
    Limitation { resource: LimitedResource::Mem, limit, message: message(limit, peak, events) }
}

fn message(limit: Option<u64>, peak: Option<u64>, events: MemoryEvents) -> String {
    let limit = limit.map_or_else(String::new, |bytes| format!(" of {bytes} bytes"));
    let peak =
        peak.map_or_else(String::new, |bytes| format!(", {bytes} bytes were in use at most"));
    let killed = match events.oom_kills {
        1 => "1 process was killed".to_owned(),
        more => format!("{more} processes were killed"),
    };
    format!("memory limit{limit} reached: {killed}{peak}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_memory_limit_and_what_happened() {
        let events = MemoryEvents { at_limit: true, oom_kills: 2 };
        assert_eq!(
            message(Some(33_554_432), Some(33_550_336), events),
            "memory limit of 33554432 bytes reached: 2 processes were killed, \
             33550336 bytes were in use at most"
        );
        let events = MemoryEvents { oom_kills: 1, ..events };
        assert_eq!(message(None, None, events), "memory limit reached: 1 process was killed");
    }

    #[test]
    fn a_kill_by_the_hosts_own_need_is_no_limitation() {
        assert!(!struck(MemoryEvents { at_limit: false, oom_kills: 1 }));
        assert!(!struck(MemoryEvents { at_limit: true, oom_kills: 0 }));
        assert!(struck(MemoryEvents { at_limit: true, oom_kills: 1 }));
    }
}
