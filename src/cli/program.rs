//! The program: reads the command line, does one thing, and says in one line what went wrong.

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;

use super::args::{self, Cli, Command, Completions};
use super::exit::Complaint;
use super::{images, rootfs, run};

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    log();
    match args::read(std::env::args_os()) {
        Ok(Cli { command }) => match perform(command) {
            Ok(()) => ExitCode::SUCCESS,
            Err(complaint) => complaint.report(),
        },
        Err(error) => unreadable(&error),
    }
}

fn perform(command: Command) -> Result<(), Complaint> {
    match command {
        Command::Run(run) => run::run(*run),
        Command::Pull(pull) => images::pull(pull),
        Command::Images(images) => images::list(images),
        Command::Prune(prune) => images::prune(prune),
        Command::Provision(provision) => rootfs::provision(provision),
        Command::Unprovision(unprovision) => rootfs::unprovision(unprovision),
        Command::Backends(backends) => rootfs::backends(backends),
        Command::Completions(completions) => complete(&completions),
    }
}

/// Diagnostics go to stderr, and only if `RUST_LOG` asks for them.
fn log() {
    let Ok(filter) = tracing_subscriber::EnvFilter::try_from_default_env() else { return };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}

/// Help and version are answers; everything else is one line and 125.
fn unreadable(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has seen enough is no failure.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Complaint::usage("no command given; see longshore --help").report()
        }
        ErrorKind::InvalidUtf8 => {
            let words = std::env::args_os().skip(1);
            let strange =
                words.filter(|word| word.to_str().is_none()).map(|word| format!("{word:?}"));
            let strange = strange.collect::<Vec<_>>().join(", ");
            Complaint::usage(format_args!("not UTF-8: {strange}")).report()
        }
        _ => {
            let first = std::env::args_os().nth(1);
            let first = first.as_deref().and_then(std::ffi::OsStr::to_str);
            Complaint::usage(one_line(&error.render().to_string(), first)).report()
        }
    }
}

/// The first paragraph of clap's message, without its prefix, and where to read on: `first` is the
/// first word of the command line.
fn one_line(rendered: &str, first: Option<&str>) -> String {
    let paragraph: Vec<&str> =
        rendered.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
    let text = paragraph.join(" ");
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let known = args::command();
    let command = first.and_then(|word| known.find_subcommand(word));
    let command = command.map(|command| format!(" {}", command.get_name())).unwrap_or_default();
    format!("{text}; see longshore{command} --help")
}

fn complete(completions: &Completions) -> Result<(), Complaint> {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut args::command(), "longshore", &mut script);
    print(&script)
}

/// Writes to stdout; a reader that has gone away is no failure.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Complaint> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Complaint::write_failed(&error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(arguments: &[&str]) -> String {
        let error = args::read(arguments.iter().copied()).expect_err("refused");
        one_line(&error.render().to_string(), arguments.get(1).copied())
    }

    #[test]
    fn an_error_of_usage_is_one_line_that_names_the_word_and_the_help() {
        let line = said(&["longshore", "run", "--tty"]);
        assert_eq!(line, "unexpected argument '--tty' found; see longshore run --help");
        let line = said(&["longshore", "run", "--memory", "1T"]);
        assert!(line.contains("--memory") && line.contains("1T"), "{line}");
        assert!(line.ends_with("see longshore run --help"), "{line}");
        let line = said(&["longshore", "provision", "alpine"]);
        assert!(
            line.contains("<DIR>") && line.ends_with("see longshore provision --help"),
            "{line}"
        );
        let line = said(&["longshore", "no-such"]);
        assert!(line.contains("no-such") && line.ends_with("see longshore --help"), "{line}");
    }
}
