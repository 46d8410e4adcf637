//! `longshore run` of a stored image, from exec to exit.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::contender::{Contender, alternate};
use crate::image;
use crate::oci::{self, Oci};
use crate::report::{Bound, Report};
use crate::rows::Ground;
use crate::stats::ratio;

const ROW: &str = "`longshore run`, the whole program, overlay";

/// Beside crun, whose bundle is ready and whose overlay is mounted in the time.
pub(crate) fn program(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    let what = ground.what(true);
    let run = Run::new(ground)?;
    let crun = Oci::new("crun", &ground.scratch("program")?, &what, (1, 1))?;
    let mut both: Vec<Box<dyn Contender>> = vec![Box::new(run), Box::new(crun)];
    let samples = alternate(&mut both, ground.options.launches)?;
    for (who, sample) in both.iter().zip(&samples) {
        report.measured(ROW, who.name(), sample);
    }
    let [ours, crun] = [samples[0].median(), samples[1].median()];
    report.promise(ROW, "itself", ours.as_secs_f64() * 1e3, " ms", Bound::AtMost(12.0));
    report.promise(ROW, "crun", ratio(ours, crun), "×", Bound::AtMost(1.5));
    Ok(())
}

/// The program, one execution a container.
#[derive(Debug)]
struct Run {
    directories: [PathBuf; 2],
    image: String,
    command: Vec<String>,
    cpu: Duration,
}

impl Run {
    /// Puts the image into the store.
    fn new(ground: &Ground) -> Result<Self, Failure> {
        let directories =
            [ground.place.directory("program/work")?, ground.place.directory("program/run")?];
        let layout = ground.place.directory("program/image")?;
        let root = ground.options.root.as_ref().ok_or("no root")?;
        image::make(&layout, root)?;
        let image = format!("oci:{}:latest", layout.display());
        let command = ground.options.command.clone();
        let run = Self { directories, image, command, cpu: Duration::ZERO };
        oci::finish(run.longshore("pull").arg(&run.image))?;
        Ok(run)
    }

    fn longshore(&self, word: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
        let [work, run] = &self.directories;
        command.arg(word).arg("--work-dir").arg(work).arg("--runtime-dir").arg(run);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

impl Contender for Run {
    fn name(&self) -> &'static str {
        "longshore run"
    }

    fn once(&mut self) -> Result<Duration, Failure> {
        let before = oci::used()?;
        let mut run = self.longshore("run");
        run.args(["--cpus", "1", "--memory", "256M", "--pids", "128", "--image"]).arg(&self.image);
        run.args(["--entrypoint", "", "--"]).args(&self.command);
        let begin = Instant::now();
        oci::finish(&mut run)?;
        let taken = begin.elapsed();
        self.cpu += oci::used()?.saturating_sub(before);
        Ok(taken)
    }

    fn burst(&mut self, count: usize, _in_flight: usize) -> Result<(), Failure> {
        (0..count).try_for_each(|_| self.once().map(drop))
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        Ok(self.cpu)
    }
}
