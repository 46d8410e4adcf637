//! Bad input and bad hosts, as tables: what is done, the one line that comes of it, the exit code; and
//! after each case nothing is left.
//!
//! The lines are rows of *Messages* in `docs/operating.md`: a case names its row word for word, and the
//! last test here compares the two, so that the manual has every line and every line its case.

mod calls;
mod host;
mod images;
mod many;
mod payloads;
mod requests;
mod strangers;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::images::Images;
use crate::support::{Ended, World, finish};

/// One thing that goes wrong, or that must not.
pub(super) struct Case {
    /// What is done, for whoever reads a failure.
    name: &'static str,
    act: Act,
    /// Of `run` or of the command that `act` runs.
    code: i32,
    /// The row of the manual; [`NOTHING`]: not a word is said.
    row: &'static str,
    /// What the line says besides its row.
    words: &'static [&'static str],
    /// What the payload has said.
    stdout: &'static str,
}

/// How a case is made to happen.
#[derive(Clone, Copy)]
pub(super) enum Act {
    /// `run --image <busybox>` with these flags.
    Run(&'static [&'static str]),
    /// `run` with these flags alone.
    Bare(&'static [&'static str]),
    /// What no flags can do.
    By(fn(&Scenery) -> Ended),
}

/// No row: all goes well, or the payload alone has something to say.
const NOTHING: &str = "";

/// Ends in this code, with one line of this row.
const fn refused(name: &'static str, act: Act, code: i32, row: &'static str) -> Case {
    Case { name, act, code, row, words: &[], stdout: "" }
}

/// Goes well whatever is in the way.
const fn works(name: &'static str, act: Act) -> Case {
    Case { name, act, code: 7, row: NOTHING, words: &[], stdout: "" }
}

impl Case {
    const fn saying(self, words: &'static [&'static str]) -> Self {
        Self { words, ..self }
    }

    const fn printing(self, stdout: &'static str) -> Self {
        Self { stdout, ..self }
    }

    /// In a world of its own.
    fn check(&self) {
        let scenery = Scenery { world: World::new() };
        let ended = match self.act {
            Act::Run(flags) => {
                let image = Images::busybox();
                finish(scenery.world.longshore("run").args(["--image", &image]).args(flags))
            }
            Act::Bare(flags) => finish(scenery.world.longshore("run").args(flags)),
            Act::By(act) => act(&scenery),
        };
        self.judge(&ended);
        scenery.world.assert_clean();
    }

    fn judge(&self, ended: &Ended) {
        ended.assert_code(self.code);
        assert_eq!(ended.stdout, self.stdout, "stderr: {}", ended.stderr);
        if self.row == NOTHING {
            assert_eq!(ended.stderr, "");
            return;
        }
        let line = ended.one_error_line();
        let said = line.strip_prefix("longshore: ");
        assert!(said.is_some_and(|said| begins(said, self.row)), "not {:?}: {line}", self.row);
        for word in self.words {
            assert!(line.contains(word), "no {word:?} in: {line}");
        }
        assert!(!line.contains("os error"), "not in our words: {line}");
        let upper = |part: &str| part.starts_with(|c: char| c.is_ascii_uppercase());
        let sentence = line.split(": ").find(|part| upper(part) && part.contains(' '));
        assert_eq!(sentence, None, "not in lower case: {line}");
    }
}

/// Where a case happens, and what it needs there.
pub(super) struct Scenery {
    world: World,
}

impl Scenery {
    /// `run` of a busybox image, to be given flags.
    fn run(&self) -> Command {
        let mut run = self.world.longshore("run");
        run.args(["--image", &Images::busybox()]);
        run
    }

    /// Runs `program` where the shell's `line` has changed the mounts of a namespace of its own; the
    /// line can name the world's directory `$WORLD`.
    fn in_other_mounts(&self, line: &str, program: &Command) -> Ended {
        self.in_mounts_of(&format!("{line}\nexec \"$@\""), program)
    }

    /// The same with a script that calls the program, its arguments, by itself.
    fn in_mounts_of(&self, script: &str, program: &Command) -> Ended {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
        unshare.env("WORLD", self.world.path());
        finish(wrapped(&mut unshare, program))
    }
}

/// `outer`, which executes `program` in the end.
fn wrapped<'a>(outer: &'a mut Command, program: &Command) -> &'a mut Command {
    outer.arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        value.map(|value| outer.env(name, value));
    }
    match program.get_current_dir() {
        Some(directory) => outer.current_dir(directory),
        None => outer,
    }
}

/// Whether `line` begins as `row` says, where `…` is anything.
fn begins(line: &str, row: &str) -> bool {
    let mut parts = row.split('…').map(str::trim_end);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

/// Runs a table, several cases at once; fails with all that have failed.
fn table(cases: &[Case]) {
    require!(root, overlayfs);
    // Made once, before all want it.
    Images::busybox();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if catch_unwind(AssertUnwindSafe(|| case.check())).is_err() {
                failed.push(case.name);
            }
        }
        failed
    };
    let failed: Vec<&str> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("caught")).collect()
    });
    assert!(failed.is_empty(), "{} of {} cases: {failed:#?}", failed.len(), cases.len());
}

/// Row and code, as the cases have them. The payload's own code is told as such.
fn rows_of_the_cases() -> BTreeSet<(String, String)> {
    let tables = [requests::CASES, images::CASES, host::CASES, calls::CASES, payloads::CASES];
    let cases = tables.into_iter().flatten().filter(|case| case.row != NOTHING);
    cases.map(|case| (case.row.to_owned(), case.code.to_string())).collect()
}

/// The same, as the manual has them.
fn rows_of_the_manual() -> BTreeSet<(String, String)> {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md");
    let manual = std::fs::read_to_string(manual).expect("the manual is part of the project");
    let section = manual.split("\n## Messages\n").nth(1).expect("it has this section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let rows = rows.map(|line| line.split(" | ").collect::<Vec<_>>());
    rows.flat_map(|cells| {
        let line = cells[0].trim_start_matches("| ").trim_matches('`').to_owned();
        let codes = cells[1].split(", ").map(str::to_owned).collect::<Vec<_>>();
        codes.into_iter().map(move |code| (line.clone(), code))
    })
    .collect()
}

#[test]
fn the_manual_has_every_line_with_its_code_and_every_line_its_case() {
    let (cases, manual) = (rows_of_the_cases(), rows_of_the_manual());
    let without_row: Vec<_> = cases.difference(&manual).collect();
    let without_case: Vec<_> = manual.difference(&cases).collect();
    assert!(
        without_row.is_empty() && without_case.is_empty(),
        "not in docs/operating.md: {without_row:#?}\nwithout a case here: {without_case:#?}"
    );
}

#[test]
fn a_row_matches_what_begins_like_it() {
    assert!(begins("exec: exec /x: permission denied", "exec: exec …: permission denied"));
    assert!(begins("fork: unknown user \"x\"", "fork: unknown user …"));
    assert!(!begins("fork: no user \"x\"", "fork: unknown user …"));
    assert!(!begins("exec: exec /x: not found", "exec: exec …: permission denied"));
}
