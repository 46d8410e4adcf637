//! The text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::time::Instant;

use super::age;
use crate::control::ActorStatus;
use crate::lanes::LaneStatus;
use crate::meter::Durations;
use crate::runtime::Runtime;

pub(super) fn render(runtime: &Runtime) -> String {
    let mut page = Page(String::new());
    // Writing to a text cannot fail.
    let _ = page.runtime(runtime);
    let _ = page.actors(&runtime.actors(), runtime.clock().now());
    let _ = page.lanes(&runtime.lanes());
    page.0
}

/// The text as far as it is written.
struct Page(String);

/// Names and values.
type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// The head of a family of samples.
    fn family(&mut self, name: &str, kind: &str, help: &str) -> fmt::Result {
        write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n")
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: impl fmt::Display) -> fmt::Result {
        self.0.write_str(name)?;
        for (n, (label, text)) in labels.iter().enumerate() {
            let opening = if n == 0 { '{' } else { ',' };
            write!(self.0, "{opening}{label}=\"{}\"", Escaped(text))?;
        }
        let closing = if labels.is_empty() { "" } else { "}" };
        writeln!(self.0, "{closing} {value}")
    }

    fn runtime(&mut self, runtime: &Runtime) -> fmt::Result {
        let totals = runtime.totals();
        self.family("actors_spawned_total", "counter", "Actors spawned.")?;
        self.sample("actors_spawned_total", &[], totals.spawned)?;
        self.family("actors_restarted_total", "counter", "Actors spawned again by supervisors.")?;
        self.sample("actors_restarted_total", &[], totals.restarted)?;
        self.family("actors_ended_total", "counter", "Actors that have ended.")?;
        let ends = [
            ("normal", totals.ended),
            ("failed", totals.failed),
            ("panicked", totals.panicked),
            ("killed", totals.killed),
        ];
        for (exit, count) in ends {
            self.sample("actors_ended_total", &[("exit", exit)], count)?;
        }
        self.family("actors_crossings_total", "counter", "Hand-overs between threads.")?;
        self.sample("actors_crossings_total", &[], runtime.crossings())?;
        let pending = runtime.pending();
        self.family("actors_pending_asks", "gauge", "Dispatches that wait for their answer.")?;
        self.sample("actors_pending_asks", &[], pending.len())?;
        let now = runtime.clock().now();
        let oldest = pending.iter().map(|ask| age(now, ask.since)).max().unwrap_or_default();
        self.family("actors_oldest_ask_seconds", "gauge", "The age of the oldest of them.")?;
        self.sample("actors_oldest_ask_seconds", &[], oldest.as_secs_f64())?;
        self.family("actors_waits", "gauge", "Asks that an actor cannot go on without.")?;
        self.sample("actors_waits", &[], runtime.waits().len())
    }

    fn actors(&mut self, actors: &[ActorStatus], now: Instant) -> fmt::Result {
        type Value = fn(&ActorStatus) -> u64;
        let families: [(&str, &str, &str, Value); 5] = [
            ("actors_messages_handled_total", "counter", "Messages handled.", |a| a.handled),
            ("actors_messages_refused_total", "counter", "Messages refused.", |a| a.refused),
            ("actors_mailbox_depth", "gauge", "Messages that wait.", |a| a.depth as u64),
            ("actors_mailbox_high_water", "gauge", "The most that ever waited.", |a| {
                a.high_water as u64
            }),
            ("actors_mailbox_capacity", "gauge", "How many may wait.", |a| a.capacity as u64),
        ];
        for (name, kind, help, value) in families {
            self.family(name, kind, help)?;
            for actor in actors {
                let labels = [("actor", &*actor.name), ("kind", actor.kind)];
                self.sample(name, &labels, value(actor))?;
            }
        }
        let name = "actors_current_turn_seconds";
        self.family(name, "gauge", "For how long a turn is under way.")?;
        for actor in actors {
            if let Some(turn) = actor.current {
                let labels = [("actor", &*actor.name), ("label", turn.label)];
                self.sample(name, &labels, age(now, turn.since).as_secs_f64())?;
            }
        }
        self.histogram("actors_turn_seconds", "How long turns take.", actors, |a| &a.turns)?;
        self.histogram("actors_wait_seconds", "How long messages wait; sampled.", actors, |a| {
            &a.waits
        })
    }

    /// By kind of actor: by name it would be a family of families.
    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        actors: &[ActorStatus],
        durations: fn(&ActorStatus) -> &Durations,
    ) -> fmt::Result {
        let mut kinds: BTreeMap<&str, Durations> = BTreeMap::new();
        for actor in actors {
            kinds.entry(actor.kind).or_default().add(durations(actor));
        }
        self.family(name, "histogram", help)?;
        for (kind, durations) in kinds {
            let mut below = 0;
            for (class, count) in durations.classes.iter().enumerate() {
                below += count;
                let bound = Durations::bound(class).map(|bound| bound.as_secs_f64().to_string());
                let labels = [("kind", kind), ("le", bound.as_deref().unwrap_or("+Inf"))];
                self.sample(&format!("{name}_bucket"), &labels, below)?;
            }
            let sum = durations.sum.as_secs_f64();
            self.sample(&format!("{name}_sum"), &[("kind", kind)], sum)?;
            self.sample(&format!("{name}_count"), &[("kind", kind)], below)?;
        }
        Ok(())
    }

    fn lanes(&mut self, lanes: &[LaneStatus]) -> fmt::Result {
        self.family("actors_lane_waiting", "gauge", "Blocking jobs that wait for a thread.")?;
        for lane in lanes {
            self.sample("actors_lane_waiting", &[("lane", lane.name)], lane.waiting)?;
        }
        self.family("actors_lane_running", "gauge", "Blocking jobs that run.")?;
        for lane in lanes {
            self.sample("actors_lane_running", &[("lane", lane.name)], lane.running.len())?;
        }
        Ok(())
    }
}

/// The value of a label.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Escaped;

    #[test]
    fn values_of_labels_are_escaped() {
        assert_eq!(Escaped("a \"b\"\\\n").to_string(), "a \\\"b\\\"\\\\\\n");
    }
}
