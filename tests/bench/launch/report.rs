//! What a run has found, as Markdown.

use crate::stats::{Sample, ms};

/// Everything of a run, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    measured: Vec<String>,
    promised: Vec<String>,
    notes: Vec<String>,
}

/// The side of a bound on which a figure has to be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl Report {
    /// What one side took.
    pub(crate) fn measured(&mut self, row: &str, who: &str, sample: &Sample) {
        let (median, p99) = (ms(sample.median()), ms(sample.p99()));
        let cpu = match sample.cpu.is_zero() {
            true => "–".to_owned(),
            false => ms(sample.cpu_of_one()),
        };
        self.say(format!("| {row} | {who} | {median} | {p99} | {cpu} |"));
    }

    /// The same, of a figure that is no time of a launch.
    pub(crate) fn figure(&mut self, row: &str, who: &str, figure: &str) {
        self.say(format!("| {row} | {who} | {figure} | – | – |"));
    }

    fn say(&mut self, line: String) {
        eprintln!("{line}");
        self.measured.push(line);
    }

    /// A promise, what came of it, and in which unit (`×` for a ratio).
    pub(crate) fn promise(&mut self, row: &str, of: &str, value: f64, unit: &str, bound: Bound) {
        let (word, limit) = match bound {
            Bound::AtMost(limit) => ("at most", limit),
            Bound::AtLeast(limit) => ("at least", limit),
        };
        let verdict = if bound.holds(value) { "met" } else { "**missed**" };
        let line =
            format!("| {row} | {of} | {value:.2}{unit} | {word} {limit}{unit} | {verdict} |");
        eprintln!("{line}");
        self.promised.push(line);
    }

    /// A sentence under the tables.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// What the figures were made on.
    pub(crate) fn note_machine(&mut self) {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = read("/proc/sys/kernel/osrelease");
        let load = read("/proc/loadavg");
        let load = load.split_whitespace().next().unwrap_or("?");
        let kernel = kernel.trim();
        self.note(format!("{cpus} CPUs, Linux {kernel}, load average at the start {load}"));
    }

    /// Both tables, ready for a page.
    pub(crate) fn print(&self) {
        println!("| what | compared with | result | promise | |\n|---|---|---|---|---|");
        self.promised.iter().for_each(|line| println!("{line}"));
        println!("\n| what | whose | median | p99 | CPU time |\n|---|---|---|---|---|");
        self.measured.iter().for_each(|line| println!("{line}"));
        println!();
        self.notes.iter().for_each(|note| println!("* {note}"));
    }
}
