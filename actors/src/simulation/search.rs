//! Looks for a schedule under which a scenario fails, shrinks it and draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Simulation;
use super::schedule::{Departures, Schedule};
use crate::builder::Builder;
use crate::outcome::panic_text;

/// Runs that shrinking may take.
const TRIALS_MAX: u32 = 2000;

/// A search for a schedule under which something fails.
///
/// A scenario is run once for each seed, on a fresh runtime; it fails by an error or by a panic. The first
/// schedule that makes it fail is shrunk: departures from the usual order are taken away as long as it fails
/// still. What is left is what the failure needs.
#[derive(Clone, Debug)]
pub struct Search {
    builder: Builder,
    seeds: Range<u64>,
    pct: Option<(usize, u64)>,
    hurried: u32,
}

impl Search {
    /// Runtimes are made by `builder`; its clock does not count. A thousand seeds of random schedules, where
    /// nothing else is said.
    pub fn new(builder: Builder) -> Self {
        Self { builder, seeds: 0..1000, pct: None, hurried: 0 }
    }

    /// These seeds, in order.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// With [`Schedule::pct`] instead of random schedules.
    pub fn pct(mut self, depth: usize, steps: u64) -> Self {
        self.pct = Some((depth, steps));
        self
    }

    /// With [`Schedule::hurried`].
    pub fn hurried(mut self, per_mille: u32) -> Self {
        self.hurried = per_mille;
        self
    }

    /// The first seed under which `scenario` fails, with the shrunk schedule; nothing if it never does.
    pub fn find(&self, scenario: impl Fn(&Simulation) -> Result<(), String>) -> Option<Finding> {
        let trial = Trial { builder: &self.builder, scenario: &scenario };
        for seed in self.seeds.clone() {
            let schedule = self.schedule(seed);
            let run = trial.run(schedule.clone());
            if let Some(text) = run.failure.clone() {
                return Some(trial.finding(text, schedule, &run));
            }
        }
        None
    }

    /// As [`Search::find`], as a test says it.
    ///
    /// # Panics
    /// With the finding, if there is one.
    pub fn check(&self, scenario: impl Fn(&Simulation) -> Result<(), String>) {
        if let Some(finding) = self.find(scenario) {
            panic!("{finding}");
        }
    }

    fn schedule(&self, seed: u64) -> Schedule {
        let schedule = match self.pct {
            None => Schedule::random(seed),
            Some((depth, steps)) => Schedule::pct(seed, depth, steps),
        };
        schedule.hurried(self.hurried)
    }
}

/// A schedule under which a scenario fails.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding {
    /// The error or the panic of the shrunk run.
    pub text: String,
    /// The schedule that was found.
    pub found: Schedule,
    /// The same, as departures from the usual order.
    pub recorded: Schedule,
    /// What is left of it.
    pub shrunk: Schedule,
    /// How many runs the shrinking took.
    pub trials: u32,
    /// False if a second run of the schedule was another run: then something asks for what no seed decides, and
    /// nothing was shrunk.
    pub replayable: bool,
    /// The shrunk run as a message-sequence diagram.
    pub diagram: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let switches = |schedule: &Schedule| schedule.switches().unwrap_or(0);
        writeln!(f, "{}", self.text)?;
        writeln!(f, "found by \"{}\", {} switches", self.found, switches(&self.recorded))?;
        if !self.replayable {
            writeln!(f, "and a second run of it was another run: something is not simulated")?;
        }
        let shrunk = switches(&self.shrunk);
        writeln!(f, "shrunk to \"{}\", {shrunk} switches, in {} runs", self.shrunk, self.trials)?;
        write!(f, "{}", self.diagram)
    }
}

impl Error for Finding {}

/// One scenario, to be run under many schedules.
struct Trial<'a, S> {
    builder: &'a Builder,
    scenario: &'a S,
}

/// How a run went.
struct Run {
    failure: Option<String>,
    recorded: Schedule,
    hash: u64,
    diagram: String,
}

impl<S: Fn(&Simulation) -> Result<(), String>> Trial<'_, S> {
    fn run(&self, schedule: Schedule) -> Run {
        let simulation = self.builder.clone().fresh_clock().simulated(schedule);
        let simulation = simulation.expect("the builder of the search is well-formed");
        let caught = catch_unwind(AssertUnwindSafe(|| (self.scenario)(&simulation)));
        let failure = match caught {
            Ok(result) => result.err(),
            Err(payload) => Some(panic_text(&*payload)),
        };
        let (recorded, hash) = (simulation.recorded(), simulation.hash());
        Run { failure, recorded, hash, diagram: simulation.diagram().unwrap_or_default() }
    }

    fn finding(&self, text: String, found: Schedule, run: &Run) -> Finding {
        let again = self.run(run.recorded.clone());
        let replayable = again.hash == run.hash && again.failure.is_some();
        let (mut shrunk, mut trials) = (run.recorded.clone(), 0);
        if replayable {
            (shrunk, trials) = self.shrink(shrunk);
        }
        let last = self.run(shrunk.clone().traced());
        Finding {
            text: last.failure.unwrap_or(text),
            found,
            recorded: run.recorded.clone(),
            shrunk,
            trials,
            replayable,
            diagram: last.diagram,
        }
    }

    /// Takes departures away, first half of them, at last one by one, until each that is left is needed.
    fn shrink(&self, schedule: Schedule) -> (Schedule, u32) {
        let (mut best, mut trials) = (schedule, 0);
        let mut chunk = best.switches().unwrap_or(0);
        while chunk > 0 {
            let (mut start, mut shorter) = (0, false);
            while start < best.switches().unwrap_or(0) && trials < TRIALS_MAX {
                // What was taken away may have been a step of its own: then the later ones come one earlier.
                let shifts = if chunk == 1 { 0..2 } else { 0..1 };
                let mut runs = shifts.map(|shift| {
                    trials += 1;
                    self.run(without(&best, start, chunk, shift))
                });
                match runs.find(|run| run.failure.is_some()) {
                    // Departures that were not possible any more are gone from the record as well.
                    Some(run) => (best, shorter) = (run.recorded, true),
                    None => start += chunk,
                }
            }
            chunk = if chunk == 1 && shorter && trials < TRIALS_MAX { 1 } else { chunk / 2 };
        }
        (best, trials)
    }
}

/// The schedule without `count` of its departures, from the one at `start` on; those behind it come `shift` steps
/// earlier.
fn without(schedule: &Schedule, start: usize, count: usize, shift: u64) -> Schedule {
    let Departures { who, hurried } = schedule.departures();
    let steps: BTreeSet<u64> = who.keys().chain(&hurried).copied().collect();
    // Passing time and choosing somebody at one step count as one.
    let left_out: BTreeSet<u64> = steps.into_iter().skip(start).take(count).collect();
    let kept = |step: &u64| !left_out.contains(step);
    let first = left_out.first().copied().unwrap_or(u64::MAX);
    let moved = |step: u64| if step > first { step - shift } else { step };
    let who = who.into_iter().filter(|(step, _)| kept(step));
    let who: BTreeMap<u64, u32> = who.map(|(step, id)| (moved(step), id)).collect();
    let hurried = hurried.into_iter().filter(kept).map(moved).collect();
    Schedule::recorded(schedule.seed(), Departures { who, hurried })
}
