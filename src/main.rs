//! The program `longshore`: parse, call the library, exit code.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
