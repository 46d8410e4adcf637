//! A seeded plan of faults: each message may meet one, by chance.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Fate;
use super::rules::{Filter, Match, Rule, Seen};
use crate::lock;
use crate::outcome::Fault;
use crate::simulation::{hash, hash_text, is_below, mix};

/// What messages may meet, each with a probability.
///
/// What a message meets depends on the seed, its receiver, label and subject, and how many of these there were
/// before, and on nothing else. So a fault stays with its message when a schedule is shrunk, and a plan means the
/// same on threads as in a simulation.
#[derive(Clone, Debug)]
pub struct Faults {
    seed: u64,
    kinds: Vec<(f64, Kind)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Drop,
    LoseRequest,
    LoseReply,
    Fail,
    Duplicate,
    Panic,
    Delay(Duration),
    Swap(Duration),
}

impl Faults {
    /// None so far.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, kinds: Vec::new() }
    }

    /// Drops, lost requests, lost replies, failures, delays and swaps of up to `within`; any of them with this
    /// probability. Neither copies, which not every message allows, nor panics.
    pub fn of_all_kinds(seed: u64, probability: f64, within: Duration) -> Self {
        let each = probability / 6.0;
        let faults = Self::seeded(seed).drop(each).lose_request(each).lose_reply(each).fail(each);
        faults.delay(each, within).swap(each, within)
    }

    /// [`Fate::Drop`].
    pub fn drop(self, probability: f64) -> Self {
        self.with(probability, Kind::Drop)
    }

    /// [`Fate::LoseRequest`].
    pub fn lose_request(self, probability: f64) -> Self {
        self.with(probability, Kind::LoseRequest)
    }

    /// [`Fate::LoseReply`].
    pub fn lose_reply(self, probability: f64) -> Self {
        self.with(probability, Kind::LoseReply)
    }

    /// [`Fate::Fail`].
    pub fn fail(self, probability: f64) -> Self {
        self.with(probability, Kind::Fail)
    }

    /// [`Fate::Duplicate`].
    pub fn duplicate(self, probability: f64) -> Self {
        self.with(probability, Kind::Duplicate)
    }

    /// [`Fate::Panic`].
    pub fn panic(self, probability: f64) -> Self {
        self.with(probability, Kind::Panic)
    }

    /// [`Fate::Delay`], by some time up to `most`.
    pub fn delay(self, probability: f64, most: Duration) -> Self {
        self.with(probability, Kind::Delay(most))
    }

    /// [`Fate::Swap`].
    pub fn swap(self, probability: f64, within: Duration) -> Self {
        self.with(probability, Kind::Swap(within))
    }

    fn with(mut self, probability: f64, kind: Kind) -> Self {
        self.kinds.push((probability, kind));
        self
    }

    /// The fate of the message whose hash this is.
    fn fate(&self, hash: u64) -> Fate {
        for (index, (probability, kind)) in self.kinds.iter().enumerate() {
            let number = mix(hash.wrapping_add(index as u64));
            if is_below(number, *probability) {
                return self.fate_of(*kind, mix(number));
            }
        }
        Fate::Deliver
    }

    fn fate_of(&self, kind: Kind, number: u64) -> Fate {
        match kind {
            Kind::Drop => Fate::Drop,
            Kind::LoseRequest => Fate::LoseRequest,
            Kind::LoseReply => Fate::LoseReply,
            Kind::Duplicate => Fate::Duplicate,
            Kind::Panic => Fate::Panic,
            Kind::Fail => {
                Fate::Fail(Fault::injected(&format!("put in by the faults of seed {}", self.seed)))
            }
            Kind::Delay(most) => {
                let most = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
                Fate::Delay(Duration::from_nanos(number % most))
            }
            Kind::Swap(within) => Fate::Swap(within),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faults of seed {}", self.seed)?;
        self.kinds.iter().try_for_each(|(probability, kind)| write!(f, ", {kind:?} {probability}"))
    }
}

/// Faults that are installed.
#[derive(Clone)]
pub struct Plan {
    faults: Faults,
    met: Arc<Mutex<Met>>,
    rule: Rule,
}

#[derive(Default)]
struct Met {
    /// How many messages of one kind there were, by the hash of the kind.
    counts: BTreeMap<u64, u64>,
    faults: Vec<(Seen, Fate)>,
}

impl Plan {
    /// What has met which fault so far, in this order.
    pub fn met(&self) -> Vec<(Seen, Fate)> {
        lock(&self.met).faults.clone()
    }

    /// Takes the faults away.
    pub fn remove(self) {
        self.rule.remove();
    }
}

impl Filter {
    /// Lets each message that matches meet one of `faults`, or none.
    pub fn plan(&self, matching: Match, faults: Faults) -> Plan {
        let (met, plan) = (Arc::<Mutex<Met>>::default(), faults.clone());
        let noted = Arc::clone(&met);
        let rule = self.decide(matching, move |seen| {
            let kind = kind_of(plan.seed, seen);
            let mut met = lock(&noted);
            let count = met.counts.entry(kind).or_default();
            *count += 1;
            let fate = plan.fate(hash(kind, *count));
            if !matches!(fate, Fate::Deliver) {
                met.faults.push((seen.clone(), fate.clone()));
            }
            fate
        });
        Plan { faults, met, rule }
    }
}

fn kind_of(seed: u64, seen: &Seen) -> u64 {
    let named = hash_text(hash_text(mix(seed), &seen.to), seen.label);
    seen.subject.as_deref().map_or(named, |subject| hash_text(named, subject))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.faults)?;
        for (seen, fate) in self.met() {
            write!(f, "\n  {} to {}", seen.label, seen.to)?;
            if let Some(subject) = &seen.subject {
                write!(f, " ({subject})")?;
            }
            write!(f, ": {fate:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
