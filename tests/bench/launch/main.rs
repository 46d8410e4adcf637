//! How fast containers start and end here, beside the least that the host allows and beside others.
//!
//! `cargo bench --bench launch -- --all`, as root, prints docs/performance.md's table; `--serve` speaks
//! the floor's protocol; `--help` says what else there is.

mod aside;
mod contender;
mod floor;
mod image;
mod node;
mod oci;
mod options;
mod place;
mod report;
mod rows;
mod serve;
mod stats;

use std::process::ExitCode;

use options::{Options, Request};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let Request::Run(options) = Options::parse_from_cargo(std::env::args_os()) else {
        println!("nothing is measured without --bench, which cargo bench adds");
        return ExitCode::SUCCESS;
    };
    let done = match options.serve {
        true => serve::serve(&options),
        false => rows::run(&options).map(|report| report.print()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("launch: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What an idle container runs: a static program that waits for a signal.
fn idle_command() -> Vec<String> {
    ["/bin/payload", "pause"].map(str::to_owned).to_vec()
}

/// Names of the cgroup controllers for which a process is not where we are.
fn cgroups_of(pid: u32) -> Result<Vec<String>, Failure> {
    let theirs = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let ours = std::fs::read_to_string("/proc/self/cgroup")?;
    let others = theirs.lines().filter(|line| !ours.lines().any(|mine| mine == *line));
    // hierarchy:controllers:path, cgroups(7); the unified one names no controllers.
    let name = |line: &str| line.split(':').nth(1).map(str::to_owned);
    let named = |name: String| if name.is_empty() { "unified".to_owned() } else { name };
    Ok(others.filter_map(name).map(named).collect())
}
