//! Who supervises whom: the actors of a runtime as a tree. Asks no actor.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::control::ActorStatus;
use crate::pid::AnyPid;
use crate::runtime::Runtime;
use crate::supervise::{ChildState, ChildStatus};

/// An actor and those below it: a part of [`Runtime::tree`]. Printed, it is one line for each.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Branch {
    /// Its name.
    pub name: Arc<str>,
    /// The actor; nothing while a supervisor waits to start it.
    pub actor: Option<ActorStatus>,
    /// The view of its supervisor, if it has one.
    pub child: Option<ChildStatus>,
    /// Its children, in their order.
    pub children: Vec<Branch>,
    /// When it was looked at.
    at: Instant,
}

impl Runtime {
    /// Every actor below its supervisor; those without one in start order. Asks no actor, so it answers while any
    /// thread is stuck. Each line is true by itself; a tree that changes meanwhile may show some of each.
    pub fn tree(&self) -> Vec<Branch> {
        let actors = self.inner.actors_in_start_order();
        let ids: HashMap<u64, usize> =
            actors.iter().enumerate().map(|(at, pid)| (pid.id(), at)).collect();
        let mut below: HashMap<u64, Vec<AnyPid>> = HashMap::new();
        let mut roots = Vec::new();
        for pid in actors {
            match pid.0.control().lineage.as_ref().map(|lineage| lineage.parent) {
                Some(parent) if ids.contains_key(&parent) => {
                    below.entry(parent).or_default().push(pid);
                }
                Some(_) | None => roots.push(pid),
            }
        }
        let at = self.clock().now();
        roots.iter().map(|pid| Branch::of(pid, None, &mut below, at)).collect()
    }
}

impl Branch {
    fn of(
        pid: &AnyPid,
        child: Option<ChildStatus>,
        below: &mut HashMap<u64, Vec<AnyPid>>,
        at: Instant,
    ) -> Self {
        let mut here = below.remove(&pid.id()).unwrap_or_default();
        let roster = pid.0.control().roster.get();
        let listed = roster.map_or_else(Vec::new, |roster| roster.children());
        let mut children = Vec::new();
        for status in listed {
            let found = here.iter().position(|pid| Some(pid) == status.pid.as_ref());
            children.push(match found {
                Some(found) => Self::of(&here.remove(found), Some(status), below, at),
                None => Self::waiting(status, at),
            });
        }
        // Those that came between the two looks.
        children.extend(here.iter().map(|pid| Self::of(pid, None, below, at)));
        Self { name: pid.name_arc(), actor: Some(pid.status()), child, children, at }
    }

    fn waiting(status: ChildStatus, at: Instant) -> Self {
        let name = Arc::clone(&status.name);
        Self { name, actor: None, child: Some(status), children: Vec::new(), at }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        write!(f, "{:indent$}{}", "", self.name)?;
        if let Some(actor) = &self.actor {
            let (group, index) = actor.arbiter;
            write!(f, " {} {group}/{index}", actor.kind)?;
            match &actor.current {
                Some(turn) => {
                    let age = self.at.saturating_duration_since(turn.since);
                    write!(f, " {} for {age:?}", turn.label)?;
                }
                None => write!(f, " idle")?,
            }
            write!(f, ", {} of {} wait, {} handled", actor.depth, actor.capacity, actor.handled)?;
        }
        if let Some(child) = &self.child {
            match child.state {
                ChildState::Running => {}
                ChildState::Waiting => write!(f, " waits to be started")?,
                ChildState::Starting => write!(f, ", starting")?,
                ChildState::Stopping => write!(f, ", stopping")?,
            }
            if let Some(exit) = &child.last_exit {
                write!(f, ", restarts: {}, the last one {exit}", child.restarts)?;
            }
        }
        writeln!(f)?;
        self.children.iter().try_for_each(|child| child.write(f, indent + 2))
    }
}

impl fmt::Display for Branch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}
