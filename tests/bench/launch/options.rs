//! The command line of the benchmark.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Times whole containers: ours, the floor's, crun's and runc's, alternately and in one run.
///
/// `--all`, or `cargo bench --bench launch` with nothing more, makes every row of
/// docs/performance.md as Markdown. Needs root, a C compiler, crun and runc.
#[derive(Debug, Clone, Parser)]
#[command(name = "launch", disable_version_flag = true)]
pub(crate) struct Options {
    /// One container per byte on stdin, from nothing to nothing, each answered with a byte.
    #[arg(long, requires = "root", requires = "command")]
    pub(crate) serve: bool,
    /// Every row.
    #[arg(long)]
    pub(crate) all: bool,
    /// These rows only.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub(crate) rows: Vec<RowName>,
    /// A few launches of each: shows that everything runs, measures nothing.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Timed launches of each side in a row.
    #[arg(short = 'n', long, default_value_t = 300)]
    pub(crate) launches: usize,
    /// The containers' root file system; without it one with a small static program.
    #[arg(long, requires = "command")]
    pub(crate) root: Option<PathBuf>,
    /// Stack a writable layer over the root; without it the root is bound as it is.
    #[arg(long)]
    pub(crate) overlay: bool,
    /// Work directory of `--serve`; without it a tmpfs of its own.
    #[arg(long, requires = "runtime_dir")]
    pub(crate) work_dir: Option<PathBuf>,
    /// Runtime directory of `--serve`; without it a tmpfs of its own.
    #[arg(long, requires = "work_dir")]
    pub(crate) runtime_dir: Option<PathBuf>,
    /// `--serve` touches this much memory first, in MiB.
    #[arg(long, default_value_t = 0)]
    pub(crate) rss: usize,
    /// `--serve` adds so many mounts to its own mount namespace first.
    #[arg(long, default_value_t = 0)]
    pub(crate) mounts: usize,
    /// What runs in the container.
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// A row, or a few that are made together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowName {
    /// One launch, plain and overlay.
    Single,
    /// Launches per second, 2 and 32 in flight.
    Throughput,
    /// With 1,000 containers running.
    Crowd,
    /// With 4,000 mounts on the host.
    Mounts,
    /// From a program with 4 GiB resident.
    Resident,
    /// Until a subscriber sees an exit.
    Noticed,
    /// What an idle container holds.
    Idle,
    /// Destroying idle containers, one after the other.
    Destroy,
    /// `longshore run` as a whole program.
    Program,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Request {
    /// Run this.
    Run(Options),
    /// `cargo test` runs benchmarks too, without a word: there is nothing to measure then.
    Nothing,
}

impl Options {
    /// Reads the arguments. Cargo adds `--bench`, wherever its own end.
    pub(crate) fn parse_from_cargo(arguments: impl Iterator<Item = OsString>) -> Request {
        let mut benchmark = false;
        let mut kept = Vec::new();
        for argument in arguments {
            match argument == "--bench" {
                true => benchmark = true,
                false => kept.push(argument),
            }
        }
        if kept.len() <= 1 && !benchmark {
            return Request::Nothing;
        }
        let mut options = Self::parse_from(kept);
        if options.quick {
            options.launches = options.launches.min(5);
        }
        for path in [&mut options.root, &mut options.work_dir, &mut options.runtime_dir] {
            let absolute = path.as_deref().and_then(|path| std::path::absolute(path).ok());
            *path = absolute.or(path.take());
        }
        Request::Run(options)
    }

    /// The rows that were asked for.
    pub(crate) fn chosen(&self) -> Vec<RowName> {
        match self.all || self.rows.is_empty() {
            true => RowName::value_variants().to_vec(),
            false => self.rows.clone(),
        }
    }
}
