//! How an actor is to be spawned: its name, its factory, its bound, its place.

use std::fmt;

use crate::pid::AnyPid;
use crate::process::Process;
use crate::supervise::Lineage;

/// How many messages may wait where nothing else is said.
pub const CAPACITY_DEFAULT: usize = 1024;

/// The order to spawn one actor.
pub struct Spawn<P: Process> {
    pub(crate) name: String,
    pub(crate) factory: Box<dyn FnOnce() -> P + Send>,
    pub(crate) capacity: usize,
    pub(crate) placement: Option<Placement>,
    /// Set by supervisors.
    pub(crate) lineage: Option<Lineage>,
}

/// On which arbiter an actor lives.
#[derive(Clone, Debug)]
pub enum Placement {
    /// The arbiter of this group that has the fewest actors.
    Group(&'static str),
    /// This arbiter of this group.
    Arbiter(&'static str, usize),
    /// The arbiter of this actor: an ask between the two never crosses threads.
    With(AnyPid),
}

impl<P: Process> Spawn<P> {
    /// An actor named `name`, made by `factory` on its arbiter, in the first group of the runtime.
    pub fn new(name: impl Into<String>, factory: impl FnOnce() -> P + Send + 'static) -> Self {
        Self {
            name: name.into(),
            factory: Box::new(factory),
            capacity: CAPACITY_DEFAULT,
            placement: None,
            lineage: None,
        }
    }

    /// At most so many messages wait; more are refused. At least one.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Where it lives.
    pub fn place(mut self, placement: Placement) -> Self {
        self.placement = Some(placement);
        self
    }
}

impl<P: Process> fmt::Debug for Spawn<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawn")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("placement", &self.placement)
            .finish_non_exhaustive()
    }
}
