//! Schedules: in which order what can run does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::random::Random;

/// In which order a simulation runs what can run.
///
/// The *usual* order lets whoever runs go on for as long as it can, then whoever has waited longest. A schedule
/// is known by its departures from it, so a recorded one is short, and short ones are easy to read. Its text form
/// can be pasted into a test: `"recorded 7: 12>4 19>2".parse()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// In thousandths.
    pub(crate) hurried: u32,
    pub(crate) traced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Random,
    Pct { depth: usize, steps: u64 },
    Recorded(Arc<Departures>),
}

/// What a schedule does at which step that the usual one does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Departures {
    /// By number of the step, who goes instead of the usual one.
    pub(crate) who: BTreeMap<u64, u32>,
    /// Steps before which time passes although something can run.
    pub(crate) hurried: BTreeSet<u64>,
}

impl Schedule {
    /// At each step everybody who can run is as likely as the others.
    pub fn random(seed: u64) -> Self {
        Self::of(seed, Kind::Random)
    }

    /// Probabilistic concurrency testing: everybody has a priority by chance, the highest runs, and at
    /// `depth - 1` steps by chance among the first `steps` whoever runs falls behind all others. A bug that needs
    /// `depth` turns in one order among n is found with a chance of at least 1/(n·steps^(depth-1)) a run,
    /// whatever else goes on.
    pub fn pct(seed: u64, depth: usize, steps: u64) -> Self {
        Self::of(seed, Kind::Pct { depth: depth.max(1), steps: steps.max(1) })
    }

    /// The usual order. The seed is for the choices of the test itself.
    pub fn usual(seed: u64) -> Self {
        Self::recorded(seed, Departures::default())
    }

    pub(crate) fn recorded(seed: u64, departures: Departures) -> Self {
        Self::of(seed, Kind::Recorded(Arc::new(departures)))
    }

    fn of(seed: u64, kind: Kind) -> Self {
        Self { seed, kind, hurried: 0, traced: false }
    }

    /// Before so many of a thousand steps time passes to the next timer although something can still run, as
    /// where everybody is slow. Deadlines meet answers then, and timers what they were set against.
    pub fn hurried(mut self, per_mille: u32) -> Self {
        self.hurried = per_mille.min(1000);
        self
    }

    /// Keeps what happens for [`Simulation::diagram`](crate::Simulation::diagram); costs time and memory.
    pub fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// The seed that it was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How often it departs from the usual order; known of recorded ones only.
    pub fn switches(&self) -> Option<usize> {
        match &self.kind {
            Kind::Recorded(departures) => {
                let hurried = &departures.hurried;
                let both = departures.who.keys().filter(|step| hurried.contains(step)).count();
                Some(departures.who.len() + hurried.len() - both)
            }
            Kind::Random | Kind::Pct { .. } => None,
        }
    }

    pub(crate) fn departures(&self) -> Departures {
        match &self.kind {
            Kind::Recorded(departures) => Departures::clone(departures),
            Kind::Random | Kind::Pct { .. } => Departures::default(),
        }
    }

    /// Whether time may pass although something can run.
    pub(crate) fn may_hurry(&self) -> bool {
        match &self.kind {
            Kind::Recorded(departures) => !departures.hurried.is_empty(),
            Kind::Random | Kind::Pct { .. } => self.hurried > 0,
        }
    }

    pub(crate) fn chooser(&self) -> Chooser {
        let random = Random::named(self.seed, "schedule");
        let policy = match &self.kind {
            Kind::Random => Policy::Random(random),
            Kind::Pct { depth, steps } => Policy::Pct(Pct::new(random, *depth, *steps)),
            Kind::Recorded(departures) => Policy::Follow(Arc::clone(departures)),
        };
        let hurry = match &self.kind {
            Kind::Recorded(departures) => Hurry::Follow(Arc::clone(departures)),
            Kind::Random | Kind::Pct { .. } => {
                Hurry::Random(Random::named(self.seed, "hurry"), f64::from(self.hurried) / 1000.0)
            }
        };
        Chooser { policy, hurry, step: 0, who: Vec::new(), hurried: Vec::new() }
    }
}

impl From<u64> for Schedule {
    fn from(seed: u64) -> Self {
        Self::random(seed)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seed = self.seed;
        match &self.kind {
            Kind::Random => write!(f, "random {seed}")?,
            Kind::Pct { depth, steps } => write!(f, "pct {seed} depth {depth} steps {steps}")?,
            Kind::Recorded(departures) => {
                write!(f, "recorded {seed}:")?;
                departures.who.iter().try_for_each(|(step, who)| write!(f, " {step}>{who}"))?;
                departures.hurried.iter().try_for_each(|step| write!(f, " {step}!"))?;
            }
        }
        if self.hurried > 0 { write!(f, " hurried {}", self.hurried) } else { Ok(()) }
    }
}

/// A text that is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a schedule: {0}")]
pub struct NoSchedule(String);

impl FromStr for Schedule {
    type Err = NoSchedule;

    fn from_str(text: &str) -> Result<Self, NoSchedule> {
        parse(text).ok_or_else(|| NoSchedule(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Schedule> {
    let words: Vec<&str> = text.split_whitespace().collect();
    if let [words @ .., "hurried", per_mille] = words.as_slice() {
        return Some(parse(&words.join(" "))?.hurried(per_mille.parse().ok()?));
    }
    match words.as_slice() {
        ["random", seed] => Some(Schedule::random(seed.parse().ok()?)),
        ["pct", seed, "depth", depth, "steps", steps] => {
            Some(Schedule::pct(seed.parse().ok()?, depth.parse().ok()?, steps.parse().ok()?))
        }
        ["recorded", seed, departures @ ..] => {
            let seed = seed.strip_suffix(':')?.parse().ok()?;
            Some(Schedule::recorded(seed, parse_departures(departures)?))
        }
        _ => None,
    }
}

fn parse_departures(words: &[&str]) -> Option<Departures> {
    let mut departures = Departures::default();
    for word in words {
        if let Some(step) = word.strip_suffix('!') {
            departures.hurried.insert(step.parse().ok()?);
        } else {
            let (step, who) = word.split_once('>')?;
            departures.who.insert(step.parse().ok()?, who.parse().ok()?);
        }
    }
    Some(departures)
}

/// Chooses who goes next, and notes where that is not the usual one.
pub(crate) struct Chooser {
    policy: Policy,
    hurry: Hurry,
    /// The number of the step, from 1.
    step: u64,
    /// The departures so far, in order.
    who: Vec<(u64, u32)>,
    hurried: Vec<u64>,
}

enum Policy {
    Random(Random),
    Pct(Pct),
    Follow(Arc<Departures>),
}

enum Hurry {
    Random(Random, f64),
    Follow(Arc<Departures>),
}

impl Chooser {
    /// An index into `ready`, which is in the order of waiting and not empty; `last` is where whoever ran last
    /// stands in it.
    pub(crate) fn choose(&mut self, ready: &[u32], last: Option<usize>) -> usize {
        self.step += 1;
        let usual = last.unwrap_or(0);
        let index = match &mut self.policy {
            Policy::Random(_) if ready.len() == 1 => 0,
            Policy::Random(random) => random.below(ready.len()),
            Policy::Pct(pct) => pct.choose(ready, self.step),
            Policy::Follow(departures) => {
                let wanted = departures.who.get(&self.step);
                let wanted = wanted.and_then(|who| ready.iter().position(|id| id == who));
                wanted.unwrap_or(usual)
            }
        };
        if index != usual {
            self.who.push((self.step, ready[index]));
        }
        index
    }

    pub(crate) fn steps(&self) -> u64 {
        self.step
    }

    /// Whether time passes before the next step although something can run.
    pub(crate) fn hurries(&mut self) -> bool {
        match &mut self.hurry {
            Hurry::Random(random, probability) => random.chance(*probability),
            Hurry::Follow(departures) => departures.hurried.contains(&(self.step + 1)),
        }
    }

    /// It did.
    pub(crate) fn note_hurry(&mut self) {
        self.hurried.push(self.step + 1);
    }

    /// Whether the last choice was not the usual one.
    pub(crate) fn has_departed(&self) -> bool {
        self.who.last().is_some_and(|(step, _)| *step == self.step)
    }

    pub(crate) fn departures(&self) -> Departures {
        let who = self.who.iter().copied().collect();
        Departures { who, hurried: self.hurried.iter().copied().collect() }
    }
}

/// Priorities by chance, with change points.
struct Pct {
    random: Random,
    /// By number of who runs; zero for those not seen yet. Above [`BEHIND`] from the start, below after a change.
    priorities: Vec<u64>,
    changes: Vec<u64>,
}

/// Whoever has a priority below this was put behind the others.
const BEHIND: u64 = 1 << 32;

impl Pct {
    fn new(mut random: Random, depth: usize, steps: u64) -> Self {
        let range = usize::try_from(steps).unwrap_or(usize::MAX);
        let mut changes: Vec<u64> = (1..depth).map(|_| random.below(range) as u64).collect();
        changes.sort_unstable();
        Self { random, priorities: Vec::new(), changes }
    }

    fn choose(&mut self, ready: &[u32], step: u64) -> usize {
        for id in ready {
            let id = *id as usize;
            if id >= self.priorities.len() {
                self.priorities.resize(id + 1, 0);
            }
            if self.priorities[id] == 0 {
                self.priorities[id] = self.random.number() | BEHIND;
            }
        }
        let mut index = self.highest(ready);
        while self.changes.first().is_some_and(|change| *change <= step) {
            self.changes.remove(0);
            // Each change puts its victim behind those of the changes before.
            self.priorities[ready[index] as usize] = self.changes.len() as u64 + 1;
            index = self.highest(ready);
        }
        index
    }

    fn highest(&self, ready: &[u32]) -> usize {
        // By number where two priorities are equal, never by place.
        let rank = |index: &usize| (self.priorities[ready[*index] as usize], ready[*index]);
        (0..ready.len()).max_by_key(rank).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chooser, Schedule};

    fn run(chooser: &mut Chooser, rounds: usize) -> Vec<u32> {
        let mut last = None;
        (0..rounds)
            .map(|_| {
                let index = chooser.choose(&[10, 11, 12], last);
                last = Some(index);
                [10, 11, 12][index]
            })
            .collect()
    }

    #[test]
    fn a_schedule_is_its_text() {
        let texts = ["random 7", "pct 7 depth 3 steps 9 hurried 5", "recorded 7: 1>2 3>4 3!"];
        for text in texts.into_iter().chain(["recorded 7:", "random 7 hurried 1000"]) {
            let schedule: Schedule = text.parse().expect("a schedule");
            assert_eq!(schedule.to_string(), text);
        }
        for text in ["", "random", "random x", "recorded 7", "recorded 7: 1", "pct 7", "hurried 1"]
        {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_departures_of_any_schedule_replay_it() {
        for schedule in [Schedule::random(3), Schedule::pct(3, 4, 50)] {
            let mut chooser = schedule.chooser();
            let order = run(&mut chooser, 60);
            let recorded = Schedule::recorded(3, chooser.departures());
            assert_eq!(run(&mut recorded.chooser(), 60), order, "{schedule}");
            assert!(recorded.switches() > Some(0));
        }
    }

    #[test]
    fn the_usual_order_lets_who_runs_go_on() {
        assert_eq!(run(&mut Schedule::usual(1).chooser(), 3), [10, 10, 10]);
    }

    #[test]
    fn priorities_change_depth_less_one_times() {
        for seed in 0..50 {
            let mut order = run(&mut Schedule::pct(seed, 3, 20).chooser(), 40);
            order.dedup();
            assert!(order.len() <= 3, "{order:?}");
        }
    }
}
