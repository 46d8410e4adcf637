//! Supervised probes for tests: each says when it starts, and has a role by which the test finds it.

use longshore_actors::{
    ChildSpec, ChildState, Exit, GaveUp, Pid, Restart, Role, Strategy, Supervisor,
};

use super::support::{Probe, World, act};

/// A world on a virtual clock and the roles of its children.
pub(crate) struct Family {
    pub(crate) world: World,
    roles: Vec<Role<Probe>>,
}

impl Family {
    pub(crate) fn new() -> Self {
        Self { world: World::virtual_(), roles: Vec::new() }
    }

    /// A child that is always restarted.
    pub(crate) fn spec(&mut self, name: &str) -> ChildSpec<Probe> {
        let role = Role::new(name);
        self.roles.push(role.clone());
        let (log, text) = (self.world.log.clone(), format!("{name} starts"));
        let factory = move || {
            let (log, text) = (log.clone(), text.clone());
            let mut probe = Probe::new(&log);
            probe.on_initialize = Some(Box::new(move |_| {
                // The test may have stopped listening.
                let _ = log.send(text);
                Ok(())
            }));
            probe
        };
        ChildSpec::new(name, factory).role(&role)
    }

    /// A supervisor of children `a`, `b` and `c` that may restart five times in five seconds.
    pub(crate) fn of_three(&mut self, strategy: Strategy, restart: Restart) -> Supervisor {
        let intensity = longshore_actors::Intensity::new(5, std::time::Duration::from_secs(5));
        ["a", "b", "c"]
            .into_iter()
            .fold(Supervisor::new(strategy).intensity(intensity), |supervisor, name| {
                supervisor.child(self.spec(name).restart(restart))
            })
    }

    /// Starts it, and waits until its children run.
    pub(crate) async fn start(&self, supervisor: Supervisor) -> Pid<Supervisor> {
        let pid = supervisor.start(&self.world.runtime, "root").expect("the name is free");
        self.settle().await;
        pid
    }

    pub(crate) async fn settle(&self) {
        self.world.runtime.clock().settle().await;
    }

    /// Whoever has this role now.
    pub(crate) fn holder(&self, name: &str) -> Pid<Probe> {
        self.role(name).resolve().expect("it runs")
    }

    pub(crate) fn role(&self, name: &str) -> &Role<Probe> {
        self.roles.iter().find(|role| role.name() == name).expect("the test made it")
    }

    /// Has a child panic, and waits for what follows.
    pub(crate) async fn panics(&self, name: &str) {
        let boom = act(|_, _| panic!("boom"));
        self.holder(name).notify(boom).expect("it has room");
        self.settle().await;
    }

    /// What was said since the last call.
    pub(crate) fn said(&self) -> Vec<String> {
        self.world.so_far()
    }
}

/// Names and states of the children.
pub(crate) fn states(supervisor: &Pid<Supervisor>) -> Vec<(String, ChildState)> {
    supervisor.children().iter().map(|child| (child.name.to_string(), child.state)).collect()
}

/// The history of a supervisor that gave up.
pub(crate) fn gave_up(exit: &Exit) -> &GaveUp {
    let Exit::Failed(fault) = exit else { panic!("{exit}") };
    let source = std::error::Error::source(fault).expect("the fault has a source");
    source.downcast_ref().expect("it gave up")
}
