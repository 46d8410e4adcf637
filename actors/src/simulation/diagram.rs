//! What happened in a simulation, kept to be drawn as a message-sequence diagram.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Id, OUTSIDE, Part, Who};

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
            Part::Actor if self.spawned.insert(id) => "spawn",
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

    fn brackets(&self, id: Id) -> [char; 2] {
        match self.who.get(&id).map(|who| who.part) {
            Some(Part::Future | Part::Caller) => ['(', ')'],
            Some(Part::Actor | Part::Job | Part::Clock) | None => ['[', ']'],
        }
    }

    /// Steps downwards, one column for everybody.
    pub(crate) fn draw(&self) -> String {
        let drawing = Drawing::of(self);
        let mut text = drawing.head();
        for event in &self.events {
            text += &match event {
                Event::Time(since) => drawing.line("", &format!("------ {since:?} ------")),
                Event::Did { step, id, label } => {
                    let column = drawing.column(&self.name_of(*id));
                    let star = if step.departed { "*" } else { " " };
                    let margin = format!("{}{star}", step.number);
                    drawing.line(&margin, &drawing.boxed(column, self.brackets(*id), label))
                }
                Event::Sent { from, to, label } => {
                    let (from, to) = (self.name_of(*from), self.name_of(*to));
                    let row = drawing.arrow(drawing.column(&from), drawing.column(&to), '-', label);
                    drawing.line("", &row)
                }
                Event::Woken { by, id, label } => {
                    let (from, to) = (self.name_of(*by), self.name_of(*id));
                    let row = drawing.arrow(drawing.column(&from), drawing.column(&to), '.', label);
                    drawing.line("", &row)
                }
            };
        }
        text
    }
}

/// Where the columns are.
struct Drawing {
    names: Vec<Arc<str>>,
    width: usize,
}

/// Longer labels are cut.
const LABEL_MAX: usize = 20;

impl Drawing {
    fn of(trace: &Trace) -> Self {
        let mut names: Vec<Arc<str>> = Vec::new();
        let mut longest = 0;
        for event in &trace.events {
            let (ids, label) = match event {
                Event::Did { id, label, .. } => ([*id, *id], *label),
                Event::Sent { from, to, label } => ([*from, *to], *label),
                Event::Woken { by, id, label } => ([*by, *id], *label),
                Event::Time(_) => continue,
            };
            longest = longest.max(label.chars().count());
            for name in ids.map(|id| trace.name_of(id)) {
                longest = longest.max(name.chars().count());
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Self { names, width: longest.min(LABEL_MAX) + 4 }
    }

    fn column(&self, name: &str) -> usize {
        self.names.iter().position(|known| **known == *name).unwrap_or(0)
    }

    /// Where the life line of a column is.
    fn centre(&self, column: usize) -> usize {
        column * self.width + self.width / 2
    }

    fn line(&self, margin: &str, row: &str) -> String {
        format!("{margin:>6} {}\n", row.trim_end())
    }

    fn head(&self) -> String {
        let mut row = vec![' '; self.names.len() * self.width];
        for (column, name) in self.names.iter().enumerate() {
            write(&mut row, self.centre(column), &cut(name));
        }
        self.line("step ", &row.iter().collect::<String>())
    }

    fn life_lines(&self) -> Vec<char> {
        let mut row = vec![' '; self.names.len() * self.width];
        (0..self.names.len()).for_each(|column| row[self.centre(column)] = '|');
        row
    }

    fn boxed(&self, column: usize, brackets: [char; 2], label: &str) -> String {
        let mut row = self.life_lines();
        write(
            &mut row,
            self.centre(column),
            &format!("{}{}{}", brackets[0], cut(label), brackets[1]),
        );
        row.iter().collect()
    }

    fn arrow(&self, from: usize, to: usize, stroke: char, label: &str) -> String {
        let mut row = self.life_lines();
        let (start, end) = (self.centre(from), self.centre(to));
        if from == to {
            write(&mut row, start, &format!("to itself: {}", cut(label)));
            return row.iter().collect();
        }
        let (left, right) = (start.min(end), start.max(end));
        row[left + 1..right].fill(stroke);
        if start < end {
            row[end - 1] = '>';
        } else {
            row[end + 1] = '<';
        }
        // In the gap beside the sender, so that a long arrow can be followed.
        let near = if start < end { start + self.width / 2 } else { start - self.width / 2 };
        write(&mut row, near, &cut(label));
        row.iter().collect()
    }
}

fn cut(label: &str) -> String {
    label.chars().take(LABEL_MAX).collect()
}

/// Writes `text` centred at `at`.
fn write(row: &mut [char], at: usize, text: &str) {
    let length = text.chars().count();
    let start = at.saturating_sub(length / 2).min(row.len().saturating_sub(length));
    for (cell, letter) in row[start..].iter_mut().zip(text.chars()) {
        *cell = letter;
    }
}
