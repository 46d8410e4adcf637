//! What happened in a simulation, kept to be drawn as a message-sequence diagram.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::drawing::{self, Row, cut};
use super::machine::{Id, OUTSIDE, Part, Who};

/// What first makes an actor go on.
const SPAWN: &str = "spawn";

/// Events of a run.
#[derive(Default)]
pub(crate) struct Trace {
    who: BTreeMap<Id, Who>,
    events: Vec<Event>,
    /// Events of the step that is being made.
    arrows: Vec<Event>,
    step: Step,
    /// Actors that have been made ready once: by their spawn.
    spawned: BTreeSet<Id>,
}

/// The number of a step, and whether the schedule departed from the usual one.
#[derive(Clone, Copy, Default)]
struct Step {
    number: u64,
    departed: bool,
}

enum Event {
    Did { step: Step, id: Id, label: &'static str },
    Sent { from: Id, to: Id, label: &'static str },
    Woken { by: Id, id: Id, label: &'static str },
    Time(Duration),
}

impl Trace {
    pub(crate) fn name(&mut self, id: Id, who: Who) {
        self.who.insert(id, who);
    }

    pub(crate) fn step(&mut self, number: u64, departed: bool) {
        self.step = Step { number, departed };
    }

    /// The step was this; its arrows follow.
    pub(crate) fn did(&mut self, id: Id, label: &'static str) {
        self.events.push(Event::Did { step: self.step, id, label });
        self.events.append(&mut self.arrows);
    }

    pub(crate) fn sent(&mut self, from: Id, to: Id, label: &'static str) {
        self.arrow(from, Event::Sent { from, to, label });
    }

    pub(crate) fn woken(&mut self, by: Id, id: Id) {
        // Whoever is sent a message is woken by it: that arrow is drawn already.
        let last = self.arrows.last().or(self.events.last());
        let drawn = matches!(last, Some(Event::Sent { from, to, .. }) if (*from, *to) == (by, id));
        if !drawn && self.name_of(by) != self.name_of(id) {
            let label = self.label_of_wake(id);
            self.arrow(by, Event::Woken { by, id, label });
        }
    }

    fn label_of_wake(&mut self, id: Id) -> &'static str {
        let Some(who) = self.who.get(&id) else { return "" };
        match who.part {
            Part::Actor if self.spawned.insert(id) => SPAWN,
            // An exit or a timer, or it is to look at its gate.
            Part::Actor => "wake",
            Part::Future | Part::Job | Part::Clock | Part::Caller => who.label,
        }
    }

    pub(crate) fn time(&mut self, since_start: Duration) {
        self.events.push(Event::Time(since_start));
    }

    fn arrow(&mut self, from: Id, event: Event) {
        if from == OUTSIDE { self.events.push(event) } else { self.arrows.push(event) }
    }

    fn name_of(&self, id: Id) -> Arc<str> {
        self.who.get(&id).map_or_else(|| "outside".into(), |who| Arc::clone(&who.name))
    }

    /// Steps downwards, one column for everybody who does more than to start.
    pub(crate) fn draw(&self) -> String {
        let active = self.active();
        let taking_part = |id: &Id| active.contains(&self.name_of(*id));
        let shown = self.events.iter().filter(|event| match event {
            Event::Did { id, .. } => taking_part(id),
            Event::Sent { .. } | Event::Time(_) => true,
            Event::Woken { id, .. } => taking_part(id),
        });
        drawing::draw(&shown.map(|event| self.row(event)).collect::<Vec<_>>())
    }

    /// The names of those who do more than to be spawned and to initialise themselves.
    fn active(&self) -> BTreeSet<Arc<str>> {
        let mut active = BTreeSet::new();
        for event in &self.events {
            match event {
                Event::Did { id, label, .. } if *label != "initialize" => {
                    active.insert(self.name_of(*id));
                }
                Event::Sent { from, to, .. } => {
                    active.extend([*from, *to].map(|id| self.name_of(id)));
                }
                Event::Woken { id, label, .. } if *label != SPAWN => {
                    active.insert(self.name_of(*id));
                }
                Event::Did { .. } | Event::Woken { .. } | Event::Time(_) => {}
            }
        }
        active
    }

    fn row(&self, event: &Event) -> Row {
        match event {
            Event::Time(since) => Row::Time(format!("------ {since:?} ------")),
            Event::Did { step, id, label } => {
                let star = if step.departed { "*" } else { " " };
                let margin = format!("{}{star}", step.number);
                let text = match self.who.get(id).map(|who| who.part) {
                    Some(Part::Future | Part::Caller) => format!("({})", cut(label)),
                    Some(Part::Actor | Part::Job | Part::Clock) | None => {
                        format!("[{}]", cut(label))
                    }
                };
                Row::Did { margin, who: self.name_of(*id), text }
            }
            Event::Sent { from, to, label } => self.arrow_row(*from, *to, '-', label),
            Event::Woken { by, id, label } => self.arrow_row(*by, *id, '.', label),
        }
    }

    fn arrow_row(&self, from: Id, to: Id, stroke: char, label: &str) -> Row {
        Row::Arrow { from: self.name_of(from), to: self.name_of(to), stroke, label: cut(label) }
    }
}
