//! Who waits for whom: the asks that actors cannot go on without, and the refusal of one that would close a cycle.
//!
//! An actor that awaits an answer beside its mailbox may well be asked in return; most asks are of that kind, and
//! nothing is recorded of them. [`Cx::ask`] is for the other kind: an actor that answers nobody before it has its
//! answer. A cycle of such actors would hang until the deadlines pass, so the ask that would close it fails at once
//! and names them all.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::cx::Cx;
use crate::eventual::Eventual;
use crate::lock;
use crate::outcome::{Fault, Outcome};
use crate::pid::{AnyPid, Handle};
use crate::process::{Message, Process};
use crate::runtime::{Inner, Runtime};

/// An ask that its actor cannot go on without: a line of [`Runtime::waits`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Wait {
    /// Who waits.
    pub from: Arc<str>,
    /// For whom.
    pub to: Arc<str>,
    /// What was asked.
    pub label: &'static str,
    /// Since when.
    pub since: Instant,
}

/// Why an ask was refused: each of these waits for the next, and the last would wait for the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskCycle {
    /// Who is asked what by whom: the asker of each is the actor asked before it, that of the first the last.
    pub hops: Vec<crate::Address>,
}

impl fmt::Display for AskCycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("each would wait for the next: ")?;
        match self.hops.last() {
            Some(last) => f.write_str(&last.to)?,
            None => return Ok(()),
        }
        self.hops.iter().try_for_each(|hop| write!(f, " -{}-> {}", hop.label, hop.to))
    }
}

impl std::error::Error for AskCycle {}

/// The edges of one runtime. Only [`Cx::ask`] takes its lock.
#[derive(Default)]
pub(crate) struct Waits(Mutex<Graph>);

#[derive(Default)]
struct Graph {
    /// By the number of the asker, then by the number of the edge.
    edges: BTreeMap<(u64, u64), Row>,
    next_key: u64,
}

struct Row {
    from: AnyPid,
    to: AnyPid,
    label: &'static str,
    since: Instant,
}

/// One edge. It goes when the ask ends.
pub(crate) struct Edge {
    runtime: Arc<Inner>,
    key: (u64, u64),
}

impl Edge {
    pub(crate) fn remove(&self) {
        let removed = lock(&self.runtime.waits.0).edges.remove(&self.key);
        drop(removed);
    }
}

impl Waits {
    /// Adds an edge, unless it would close a cycle. One lock for the look and the entry: of two asks that would
    /// close it together, one comes first.
    fn add(&self, row: Row) -> Result<(u64, u64), AskCycle> {
        let mut graph = lock(&self.0);
        if let Some(hops) = graph.path(&row) {
            return Err(AskCycle { hops });
        }
        graph.next_key += 1;
        let key = (row.from.id(), graph.next_key);
        graph.edges.insert(key, row);
        Ok(key)
    }

    fn list(&self) -> Vec<Wait> {
        let graph = lock(&self.0);
        let rows = graph.edges.values().map(|row| Wait {
            from: row.from.name_arc(),
            to: row.to.name_arc(),
            label: row.label,
            since: row.since,
        });
        rows.collect()
    }
}

impl Graph {
    /// The cycle that `new` would close: from its asker, by what is asked, back to its asker.
    fn path(&self, new: &Row) -> Option<Vec<crate::Address>> {
        let target = new.from.id();
        // Walks the edges depth first; `trail` is the way to where it is.
        let mut trail = vec![new];
        let mut open = vec![self.from(new.to.id())];
        let mut seen = HashSet::from([new.to.id()]);
        if new.to.id() == target {
            return Some(addresses(&trail));
        }
        while let Some(edges) = open.last_mut() {
            let Some(row) = edges.next() else {
                open.pop();
                trail.pop();
                continue;
            };
            let to = row.to.id();
            if !seen.insert(to) && to != target {
                continue;
            }
            trail.push(row);
            if to == target {
                return Some(addresses(&trail));
            }
            open.push(self.from(to));
        }
        None
    }

    fn from(&self, id: u64) -> impl Iterator<Item = &Row> {
        self.edges.range((id, 0)..=(id, u64::MAX)).map(|(_, row)| row)
    }
}

fn addresses(trail: &[&Row]) -> Vec<crate::Address> {
    let address = |row: &&Row| crate::Address { to: row.to.name_arc(), label: row.label };
    trail.iter().map(address).collect()
}

impl<P: Process> Cx<P> {
    /// As [`Handle::dispatch`], for an answer that this actor answers nobody without: one that it keeps its own
    /// requests waiting for. Where the other would wait for this one in the end, it fails at once, as
    /// [`FaultKind::Cycle`](crate::FaultKind::Cycle).
    ///
    /// Who goes on handling messages meanwhile, and can be asked in return, uses `dispatch`.
    pub fn ask<M: Message>(
        &self,
        to: &Handle<M>,
        message: M,
        deadline: Duration,
    ) -> Eventual<M::Reply> {
        let runtime = &self.core.control.runtime;
        let from = AnyPid(Arc::<crate::pid::Core<P>>::clone(&self.core));
        let since = runtime.clock.about_now();
        let row = Row { from, to: to.pid(), label: message.label(), since };
        match runtime.waits.add(row) {
            Ok(key) => {
                let edge = Edge { runtime: Arc::clone(runtime), key };
                to.dispatch_along(message, deadline, edge)
            }
            Err(cycle) => Eventual::ended(Outcome::Failed(Fault::cycle(cycle))),
        }
    }
}

impl Runtime {
    /// Which actor cannot go on before which other has answered. Asks no actor.
    pub fn waits(&self) -> Vec<Wait> {
        self.inner.waits.list()
    }
}
