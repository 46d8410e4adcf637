//! How a runtime is made: its groups, its lanes, its clock, on threads or simulated.

use std::io;

use crate::clock::Clock;
use crate::crossings::Crossings;
use crate::engine::Engine;
use crate::lanes::Lane;
use crate::runtime::Runtime;
use crate::seat::Group;
#[cfg(feature = "testing")]
use crate::simulation::{Machine, Schedule, Simulation};

/// Why a runtime could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The system gave no thread.
    #[error("start a thread")]
    Thread(#[source] io::Error),
    /// Two groups, or two lanes, have one name.
    #[error("the name {0} is given twice")]
    NameTwice(&'static str),
    /// A group without arbiters can run nothing.
    #[error("the group {0} has no arbiter")]
    EmptyGroup(&'static str),
    /// A simulation needs a clock that can be told to go on.
    #[cfg(feature = "testing")]
    #[error("a simulation cannot run on the real clock")]
    RealClock,
}

/// Configures a [`Runtime`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    groups: Vec<(&'static str, usize)>,
    lanes: Vec<(&'static str, usize)>,
    clock: Option<Clock>,
}

impl Builder {
    /// Adds a group of `arbiters` threads. The first group is where actors live unless they say otherwise;
    /// without any there is one named `main`, of one arbiter.
    pub fn group(mut self, name: &'static str, arbiters: usize) -> Self {
        self.groups.push((name, arbiters));
        self
    }

    /// Adds a lane of at most `threads` threads for blocking work.
    pub fn lane(mut self, name: &'static str, threads: usize) -> Self {
        self.lanes.push((name, threads));
        self
    }

    /// Sets the clock; the real one where nothing is said.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) fn fresh_clock(mut self) -> Self {
        self.clock = None;
        self
    }

    /// Starts the threads.
    pub fn build(mut self) -> Result<Runtime, BuildError> {
        let clock = self.clock.take().unwrap_or_else(Clock::real);
        self.check()?;
        clock.start().map_err(BuildError::Thread)?;
        let engine = Engine::start().map_err(BuildError::Thread)?;
        self.assemble(engine, clock)
    }

    /// Starts no thread: everything goes on in steps on the calling thread, in the order of `schedule`, which a
    /// seed makes. Time is virtual, on a clock of its own where none is given. Number and size of groups and
    /// lanes decide what may overlap, as on threads.
    #[cfg(feature = "testing")]
    pub fn simulated(mut self, schedule: impl Into<Schedule>) -> Result<Simulation, BuildError> {
        let clock = self.clock.take().unwrap_or_else(Clock::virtual_);
        if clock.work().is_none() {
            return Err(BuildError::RealClock);
        }
        self.check()?;
        let schedule = schedule.into();
        let machine = Machine::new(&schedule);
        let runtime = self.assemble(Engine::Simulated(machine.clone()), clock)?;
        Ok(Simulation::new(runtime, &machine, schedule))
    }

    fn check(&mut self) -> Result<(), BuildError> {
        if self.groups.is_empty() {
            self.groups.push(("main", 1));
        }
        check_names(&self.groups)?;
        check_names(&self.lanes)?;
        match self.groups.iter().find(|(_, arbiters)| *arbiters == 0) {
            Some((name, _)) => Err(BuildError::EmptyGroup(name)),
            None => Ok(()),
        }
    }

    fn assemble(self, engine: Engine, clock: Clock) -> Result<Runtime, BuildError> {
        let groups: io::Result<Vec<Group>> =
            self.groups.iter().map(|(name, size)| Group::start(&engine, name, *size)).collect();
        let groups = groups.inspect_err(|_| engine.stop()).map_err(BuildError::Thread)?;
        let crossings = Crossings::default();
        let lanes = self.lanes.iter().map(|(name, threads)| {
            let lane = Lane::new(name, *threads, engine.workers(), &clock, &crossings);
            (*name, lane)
        });
        let lanes = lanes.collect();
        Ok(Runtime::start(engine, clock, crossings, groups, lanes))
    }
}

fn check_names(named: &[(&'static str, usize)]) -> Result<(), BuildError> {
    let twice = |at: usize| named[..at].iter().any(|(name, _)| *name == named[at].0);
    match (0..named.len()).find(|at| twice(*at)) {
        Some(at) => Err(BuildError::NameTwice(named[at].0)),
        None => Ok(()),
    }
}
