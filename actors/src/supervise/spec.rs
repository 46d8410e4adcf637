//! What a supervisor knows of a child before there is one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Lineage, Restart, Stop};
use crate::pid::{AnyPid, Pid};
use crate::process::Process;
use crate::role::Role;
use crate::runtime::{Runtime, SpawnError};
use crate::spawn::{CAPACITY_DEFAULT, Placement, Spawn};

/// How long a child may drain where nothing else is said.
const DRAIN_DEFAULT: Duration = Duration::from_secs(5);

/// How a child is made, when it is made again, and how it is stopped.
pub struct ChildSpec<P: Process> {
    pub(super) name: Arc<str>,
    factory: Arc<dyn Fn() -> P + Send + Sync>,
    restart: Restart,
    stop: Stop,
    capacity: usize,
    placement: Option<Placement>,
    pub(super) role: Role<P>,
}

impl<P: Process> ChildSpec<P> {
    /// A child named `name`, each incarnation of which is made by `factory` on its arbiter. It is always restarted
    /// and may drain for five seconds, unless something else is said.
    ///
    /// To supervise a supervisor, let the factory make one, with its children declared, and give it the time to
    /// drain that its children may take together.
    pub fn new(name: impl Into<Arc<str>>, factory: impl Fn() -> P + Send + Sync + 'static) -> Self {
        let name = name.into();
        Self {
            role: Role::new(Arc::clone(&name)),
            name,
            factory: Arc::new(factory),
            restart: Restart::Always,
            stop: Stop::Drain(DRAIN_DEFAULT),
            capacity: CAPACITY_DEFAULT,
            placement: None,
        }
    }

    /// Whether it is started again when it ends.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// How it is stopped.
    pub fn stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// As [`Spawn::capacity`].
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// As [`Spawn::place`], for each incarnation.
    pub fn place(mut self, placement: Placement) -> Self {
        self.placement = Some(placement);
        self
    }

    /// The role that each incarnation has while it runs. A role belongs to one child.
    pub fn role(mut self, role: &Role<P>) -> Self {
        self.role = role.clone();
        self
    }

    fn order(&self) -> Spawn<P> {
        let factory = Arc::clone(&self.factory);
        let order = Spawn::new(&*self.name, move || factory()).capacity(self.capacity);
        match &self.placement {
            Some(placement) => order.place(placement.clone()),
            None => order,
        }
    }
}

impl<P: Process> fmt::Debug for ChildSpec<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

/// A specification whose type is forgotten.
pub(super) trait Template: Send {
    fn name(&self) -> &Arc<str>;
    fn restart(&self) -> Restart;
    fn stop(&self) -> Stop;

    /// Spawns an incarnation. Nobody finds it by its role yet.
    fn spawn(&mut self, runtime: &Runtime, lineage: Lineage) -> Result<AnyPid, SpawnError>;

    /// Gives the last incarnation its role.
    fn fill(&mut self);

    /// Takes the role away.
    fn vacate(&mut self);
}

/// A specification and the incarnation that was made by it last.
pub(super) struct Typed<P: Process> {
    spec: ChildSpec<P>,
    pid: Option<Pid<P>>,
}

impl<P: Process> Typed<P> {
    pub(super) fn boxed(spec: ChildSpec<P>) -> Box<dyn Template> {
        Box::new(Self { spec, pid: None })
    }
}

impl<P: Process> Template for Typed<P> {
    fn name(&self) -> &Arc<str> {
        &self.spec.name
    }

    fn restart(&self) -> Restart {
        self.spec.restart
    }

    fn stop(&self) -> Stop {
        self.spec.stop
    }

    fn spawn(&mut self, runtime: &Runtime, lineage: Lineage) -> Result<AnyPid, SpawnError> {
        let mut order = self.spec.order();
        order.lineage = Some(lineage);
        let pid = runtime.spawn(order)?;
        Ok(self.pid.insert(pid).any())
    }

    fn fill(&mut self) {
        if let Some(pid) = &self.pid {
            self.spec.role.fill(pid.clone());
        }
    }

    fn vacate(&mut self) {
        if let Some(pid) = self.pid.take() {
            self.spec.role.vacate(&pid);
        }
    }
}

impl<P: Process> Drop for Typed<P> {
    /// The supervisor is gone, or has forgotten the child.
    fn drop(&mut self) {
        self.vacate();
    }
}
