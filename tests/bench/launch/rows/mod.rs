//! One file for each row of docs/performance.md, or for a few that are made together.

pub(crate) mod crowd;
pub(crate) mod idle;
pub(crate) mod noticed;
pub(crate) mod program;
pub(crate) mod side_by_side;

use std::path::PathBuf;
use std::process::Command;

use longshore::config::Backend;

use crate::Failure;
use crate::contender::Served;
use crate::floor::Floor;
use crate::node::Setup;
use crate::options::{Options, RowName};
use crate::place::Place;
use crate::report::Report;

/// What all rows share.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) place: Place,
    pub(crate) floor: Floor,
    pub(crate) options: Options,
}

impl Ground {
    pub(crate) fn prepare(options: &Options) -> Result<Self, Failure> {
        let place = Place::make()?;
        let floor = Floor::build(place.path())?;
        let mut options = options.clone();
        if options.root.is_none() {
            options.root = Some(place.root()?);
            options.command = ["/bin/payload", "exit", "0"].map(str::to_owned).to_vec();
        }
        Ok(Self { place, floor, options })
    }

    /// What is to be run on a plain root or over an overlay.
    pub(crate) fn what(&self, overlay: bool) -> Options {
        Options { overlay, ..self.options.clone() }
    }

    /// This program as a contender.
    pub(crate) fn ours(
        &self,
        name: &str,
        what: &Options,
        more: &[&str],
    ) -> Result<Served, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--serve", "--root"]).arg(what.root.as_ref().ok_or("no root")?);
        command.args(what.overlay.then_some("--overlay")).args(more);
        Served::start(name, command.arg("--").args(&what.command))
    }

    /// What a containerizer in this process needs; `name` is a directory of its own.
    pub(crate) fn setup(&self, name: &str, overlay: bool) -> Result<Setup, Failure> {
        Ok(Setup {
            work_dir: self.place.directory(&format!("{name}/work"))?,
            runtime_dir: self.place.directory(&format!("{name}/run"))?,
            root: self.options.root.clone().ok_or("no root")?,
            backend: if overlay { Backend::Overlay } else { Backend::Bind },
            command: self.options.command.clone(),
        })
    }

    /// An empty directory for a side's scratch files.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failure> {
        self.place.directory(&format!("scratch/{name}"))
    }

    /// Fewer where nothing is to be measured.
    pub(crate) fn many(&self, count: usize) -> usize {
        if self.options.quick { count.min(8) } else { count }
    }
}

/// Runs `work` on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// Makes the rows that were asked for.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let ground = Ground::prepare(options)?;
    let mut report = Report::default();
    report.note_machine();
    for row in options.chosen() {
        match row {
            RowName::Single => side_by_side::single(&ground, &mut report)?,
            RowName::Throughput => side_by_side::throughput(&ground, &mut report)?,
            RowName::Mounts => side_by_side::mounts(&ground, &mut report)?,
            RowName::Resident => side_by_side::resident(&ground, &mut report)?,
            RowName::Crowd => crowd::crowd(&ground, &mut report)?,
            RowName::Noticed => noticed::noticed(&ground, &mut report)?,
            RowName::Idle => idle::idle(&ground, &mut report)?,
            RowName::Destroy => idle::destroy(&ground, &mut report)?,
            RowName::Program => program::program(&ground, &mut report)?,
        }
    }
    Ok(report)
}
