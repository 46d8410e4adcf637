//! The words of the command line, for clap. What they mean is decided elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use clap::{
    ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
};
use clap_complete::Shell;
use longshore::model::{Bytes, ContainerId, ImageReference, PullPolicy, Rlimit, Uri, Volume};

use super::parse;
use super::settings::Shared;

/// Runs containers, with no daemon: images, root file systems, isolation, supervision.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(subcommand_value_name = "COMMAND", disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  longshore run --image alpine -- echo hello
  longshore run --image redis:7 --memory 256M --name cache
  longshore pull debian:bookworm-slim && longshore images
  longshore COMMAND --help tells more.";

const RUN_EXAMPLES: &str = "\
What is executed:
  nothing said              the image's ENTRYPOINT and CMD
  -- ARGS                   ENTRYPOINT and ARGS; without an ENTRYPOINT, ARGS alone
  --command 'LINE'          /bin/sh -c 'LINE'
  --command PROG --shell false [-- ARGS]    PROG and ARGS

Exit code:
  the payload's own; 128+N when signal N ended it; 124 timeout; 125 Longshore failed before exec;
  126 not executable; 127 not found; 137 with a line that names the limit when a limit killed it

Examples:
  longshore run --image alpine -- echo hello
  longshore run --image debian --command 'apt list | wc -l' --cpus 0.5 --memory 128M --pids 50
  longshore run --image oci:/srv/images/app:v1 --volume /srv/data:/data:ro --timeout 1h
  longshore run --command 'sleep 5; date'                     (on the host's own file system)

Ctrl-C or SIGTERM stops the container gracefully; a second one destroys it.";

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one container in the foreground and exit with its status
    Run(Box<Run>),
    /// Bring an image into the store
    Pull(Pull),
    /// List the images in the store
    Images(Images),
    /// Remove images that no container uses
    Prune(Prune),
    /// Mount the root file system of an image at a directory
    Provision(Provision),
    /// Undo a provision
    Unprovision(Unprovision),
    /// List the ways in which root file systems can be made here
    Backends(Backends),
    /// Print a completion script for a shell
    Completions(Completions),
}

#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct Run {
    /// Name of the container [default: random]
    #[arg(long, value_name = "ID")]
    pub(crate) name: Option<ContainerId>,
    /// Image: [docker://]NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG],
    /// docker-archive:FILE[:TAG] or rootfs:DIR; without one the host's own file system
    #[arg(long, value_name = "REF", conflicts_with = "docker_image")]
    pub(crate) image: Option<ImageReference>,
    /// Image of a registry, always read as a Docker name
    #[arg(long, value_name = "REF")]
    pub(crate) docker_image: Option<String>,
    /// When to ask the registry: always, missing or never
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = parse::pull_policy)]
    pub(crate) pull: PullPolicy,
    /// Replaces the image's ENTRYPOINT; the empty text removes it
    #[arg(long, value_name = "PROG")]
    pub(crate) entrypoint: Option<String>,
    /// Whether --command is a line for /bin/sh [default: true with --command]
    #[arg(long, value_name = "true|false", action = ArgAction::Set)]
    pub(crate) shell: Option<bool>,
    /// A shell line; with --shell false a program
    #[arg(long, value_name = "LINE", allow_hyphen_values = true)]
    pub(crate) command: Option<String>,
    /// Sets a variable; repeatable
    #[arg(long, value_name = "K=V", value_parser = parse::pair)]
    pub(crate) env: Vec<(String, String)>,
    /// Name, uid or user:group [default: the image's, else root]
    #[arg(long, value_name = "U")]
    pub(crate) user: Option<String>,
    /// CPUs, as shares and as quota
    #[arg(long, value_name = "N", value_parser = parse::cpus, help_heading = LIMITS)]
    pub(crate) cpus: Option<f64>,
    /// Hard memory limit, in powers of 1024
    #[arg(long, value_name = "BYTES[K|M|G]", help_heading = LIMITS)]
    pub(crate) memory: Option<Bytes>,
    /// Processes and threads
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    pub(crate) pids: Option<u64>,
    /// Limit of setrlimit(2): nofile=1024 or nofile=1024:4096; repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = parse::rlimit, help_heading = LIMITS)]
    pub(crate) rlimit: Vec<Rlimit>,
    /// Stop the container when its payload has run this long: 90s, 5m, 1h
    #[arg(long, value_name = "DURATION", value_parser = parse::duration, help_heading = LIMITS)]
    pub(crate) timeout: Option<Duration>,
    /// Grants a capability beyond the default set, or ALL; repeatable
    #[arg(long, value_name = "CAP", value_delimiter = ',', help_heading = LIMITS)]
    pub(crate) cap_add: Vec<String>,
    /// Takes a capability from the default set, or ALL; repeatable
    #[arg(long, value_name = "CAP", value_delimiter = ',', help_heading = LIMITS)]
    pub(crate) cap_drop: Vec<String>,
    /// Shows a host path in the container; repeatable
    #[arg(long, value_name = "SRC:DST[:ro|rw]", value_parser = parse::volume)]
    pub(crate) volume: Vec<Volume>,
    /// Fetches into the sandbox first; URI[,executable][,extract=false][,output=NAME]; repeatable
    #[arg(long, value_name = "URI", value_parser = parse::uri)]
    pub(crate) uri: Vec<Uri>,
    /// Where the payload starts [default: the image's, else /]
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// What the container calls itself [default: the host's name]
    #[arg(long, value_name = "H")]
    pub(crate) hostname: Option<String>,
    /// Hides nothing below /proc and /sys, and leaves the host's settings there writable to root
    #[arg(long)]
    pub(crate) unmask: bool,
    /// A label in events; repeatable
    #[arg(long, value_name = "K=V", value_parser = parse::pair)]
    pub(crate) label: Vec<(String, String)>,
    /// Signal of a graceful stop [default: the image's, else SIGTERM]
    #[arg(long, value_name = "S", value_parser = parse::signal)]
    pub(crate) stop_signal: Option<i32>,
    /// Writes lifecycle events as JSON lines; - is stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) json_events: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) shared: Shared,
    /// Arguments of the payload
    #[arg(value_name = "ARGS", trailing_var_arg = true)]
    pub(crate) args: Vec<String>,
}

const LIMITS: &str = "Limits";

#[derive(Debug, Args)]
pub(crate) struct Reporting {
    /// How long work is shown: auto (a bar on a terminal, else nothing), plain (lines) or none
    #[arg(long, value_name = "HOW", default_value = "auto")]
    pub(crate) progress: ProgressKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressKind {
    Auto,
    Plain,
    None,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  longshore pull alpine
  longshore pull docker://127.0.0.1:5000/library/redis:7
  longshore pull oci-archive:/srv/images/app.tar:v1")]
pub(crate) struct Pull {
    /// What to pull
    #[arg(value_name = "REF")]
    pub(crate) reference: ImageReference,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
pub(crate) struct Images {
    #[command(flatten)]
    pub(crate) listing: Listing,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// For people or for programs
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  longshore prune                      everything that no container uses
  longshore prune --keep alpine --keep redis:7")]
pub(crate) struct Prune {
    /// Keep these; repeatable
    #[arg(long, value_name = "REF", num_args = 1..)]
    pub(crate) keep: Vec<ImageReference>,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore provision alpine /mnt/alpine && ls /mnt/alpine && longshore unprovision /mnt/alpine")]
pub(crate) struct Provision {
    /// The image
    #[arg(value_name = "REF")]
    pub(crate) reference: ImageReference,
    /// Absent or empty; its parent exists
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// When to ask the registry: always, missing or never
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = parse::pull_policy)]
    pub(crate) pull: PullPolicy,
    #[command(flatten)]
    pub(crate) reporting: Reporting,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
pub(crate) struct Unprovision {
    /// What was given to provision
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
pub(crate) struct Backends {
    #[command(flatten)]
    pub(crate) listing: Listing,
    #[command(flatten)]
    pub(crate) shared: Shared,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  longshore completions bash > /etc/bash_completion.d/longshore")]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Reads the arguments; `Err` is clap's, help and version included.
pub(crate) fn read<S>(arguments: impl IntoIterator<Item = S>) -> Result<Cli, clap::Error>
where
    S: Into<std::ffi::OsString> + Clone,
{
    let mut matches = spelled_both_ways(Cli::command()).try_get_matches_from(arguments)?;
    Cli::from_arg_matches_mut(&mut matches)
}

/// The parser as it is shown and completed.
pub(crate) fn command() -> clap::Command {
    Cli::command()
}

/// Mesos wrote `--work_dir`, we write `--work-dir`: each flag knows both.
fn spelled_both_ways(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_long() {
            Some(long) if long.contains('-') => {
                let other = long.replace('-', "_");
                arg.alias(other)
            }
            Some(_) | None => arg,
        })
        .mut_subcommands(spelled_both_ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Run {
        let all = ["longshore", "run"].into_iter().chain(arguments.iter().copied());
        match read(all).map(|cli| cli.command) {
            Ok(Command::Run(run)) => *run,
            other => panic!("{arguments:?} reads as {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_consistent() {
        spelled_both_ways(command()).debug_assert();
    }

    #[test]
    fn arguments_of_the_payload_are_left_alone() {
        assert_eq!(run(&["--image", "x", "--", "--env", "a_b"]).args, ["--env", "a_b"]);
        assert_eq!(run(&["--image", "x", "ls", "-l", "--env"]).args, ["ls", "-l", "--env"]);
        assert!(run(&["--image", "x"]).args.is_empty());
    }

    #[test]
    fn flags_have_two_spellings() {
        for flag in ["--docker-image", "--docker_image"] {
            assert_eq!(run(&[flag, "x"]).docker_image.as_deref(), Some("x"));
        }
        assert!(run(&["--stop_signal=TERM"]).stop_signal == Some(15));
        let unknown = read(["longshore", "run", "--imgae", "x"]);
        assert!(unknown.is_err(), "an unknown flag is no argument of the payload");
    }

    #[test]
    fn what_comes_later_is_not_known_yet() {
        for words in [vec!["agent"], vec!["ps"], vec!["run", "--tty"], vec!["run", "--network=x"]] {
            let all = ["longshore"].into_iter().chain(words.iter().copied());
            assert!(read(all).is_err(), "{words:?}");
        }
    }
}
