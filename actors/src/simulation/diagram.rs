//! What happened in a simulation, kept to be drawn.

use super::machine::{Id, Who};

/// Events of a run.
#[derive(Default)]
pub(crate) struct Trace {
    names: std::collections::BTreeMap<Id, Who>,
}

impl Trace {
    pub(crate) fn name(&mut self, id: Id, who: Who) {
        self.names.insert(id, who);
    }
    pub(crate) fn woken(&mut self, _by: Id, _id: Id) {}
    pub(crate) fn step(&mut self, _step: u64, _id: Id) {}
    pub(crate) fn did(&mut self, _id: Id, _label: &'static str) {}
    pub(crate) fn time(&mut self, _nanoseconds: u64) {}
    pub(crate) fn sent(&mut self, _from: Id, _to: Id, _label: &'static str) {}
}
