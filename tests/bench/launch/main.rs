//! How fast containers start and end here, beside the least that the host allows and beside others.
//!
//! `cargo bench --bench launch -- --all`, as root, prints docs/performance.md's table; `--serve` speaks
//! the floor's protocol; `--help` says what else there is.

mod node;
mod options;
mod place;
mod serve;

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
        false => Err("not yet".into()),
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
