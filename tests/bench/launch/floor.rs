//! The yardstick: tests/support/floor, built for this run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::contender::Served;
use crate::oci;
use crate::options::Options;

/// A way to start containers, as its README names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// What the OCI runtimes do.
    Like,
    /// The cheapest way found.
    Best,
    /// Our own way: a spawner in a small mount namespace, the root passed as a descriptor.
    Ours,
}

impl Variant {
    pub(crate) const ALL: [Self; 3] = [Self::Like, Self::Best, Self::Ours];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Like => "floor-like",
            Self::Best => "floor-best",
            Self::Ours => "floor-ours",
        }
    }

    fn switches(self, overlay: bool) -> &'static [&'static str] {
        const BEST: &[&str] = &[
            "--cg",
            "min",
            "--attach",
            "stasks",
            "--spawn",
            "vfork",
            "--overlay",
            "child",
            "--volatile",
        ];
        const OURS: &[&str] = &[
            "--cg",
            "min",
            "--attach",
            "stasks",
            "--spawn",
            "zygote",
            "--bare-zygote",
            "--volatile",
            "--overlay",
            "fd",
        ];
        const OURS_PLAIN: &[&str] = &[
            "--cg",
            "min",
            "--attach",
            "stasks",
            "--spawn",
            "zygote",
            "--bare-zygote",
            "--volatile",
            "--overlay",
            "clone",
        ];
        match (self, overlay) {
            (Self::Like, false) => &["--cg", "all"],
            (Self::Like, true) => &["--cg", "all", "--overlay", "host"],
            (Self::Best, false) => &BEST[..6],
            (Self::Best, true) => BEST,
            (Self::Ours, true) => OURS,
            (Self::Ours, false) => OURS_PLAIN,
        }
    }
}

/// The program, ready to run.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    program: PathBuf,
    scratch: PathBuf,
}

impl Floor {
    /// Compiles it below `scratch`.
    pub(crate) fn build(scratch: &Path) -> Result<Self, Failure> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/floor/floor.c");
        let program = scratch.join("floor");
        let mut compiler = Command::new("cc");
        oci::finish(compiler.arg("-O2").arg("-o").arg(&program).arg(source).arg("-lpthread"))?;
        Ok(Self { program, scratch: scratch.to_owned() })
    }

    /// Its command line for what is to be run, up to the payload.
    fn command(&self, variant: Variant, what: &Options, more: &[&str]) -> Result<Command, Failure> {
        let root = what.root.as_ref().ok_or("no root")?;
        let mut command = Command::new(&self.program);
        command.args(["--ns", "base", "--root"]).arg(root).arg("--scratch").arg(&self.scratch);
        command.args(variant.switches(what.overlay)).args(more);
        Ok(command)
    }

    /// One that takes part, with at most `threads` containers at once.
    pub(crate) fn serve(
        &self,
        variant: Variant,
        what: &Options,
        threads: usize,
    ) -> Result<Served, Failure> {
        let mut command = self.command(variant, what, &["--serve", "-j", &threads.to_string()])?;
        Served::start(variant.name(), command.arg("--").args(&what.command))
    }

    /// What `count` idle containers take of the kernel's memory, in KiB each.
    pub(crate) fn hold(&self, what: &Options, count: usize) -> Result<f64, Failure> {
        let mut command = self.command(Variant::Best, what, &["--hold", &count.to_string()])?;
        let output = command.arg("--").args(crate::idle_command()).output()?;
        let text = String::from_utf8(output.stdout)?;
        let mut sum = 0.0;
        for key in crate::rows::idle::KERNEL {
            let line = text.lines().find(|line| line.contains(&format!("hold delta {key} ")));
            let words = line.ok_or("floor --hold says nothing")?.split_whitespace();
            let figure = words.rev().nth(3).ok_or("floor --hold says no figure")?;
            sum += figure.parse::<f64>()?;
        }
        Ok(sum)
    }
}
