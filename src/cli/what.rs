//! What is executed: from `--entrypoint`, `--shell`, `--command` and ARGS to a command. Pure.
//!
//! | `--command` | `--shell` | ARGS | executed |
//! |---|---|---|---|
//! | – | – or false | – | the image's ENTRYPOINT and CMD |
//! | – | – or false | given | ENTRYPOINT and ARGS; without an entrypoint ARGS alone |
//! | – | true | | refused |
//! | LINE | – or true | – | `/bin/sh -c LINE` |
//! | LINE | – or true | given | refused |
//! | PROG | false | | PROG and ARGS |
//!
//! `--entrypoint PROG` stands in place of the image's ENTRYPOINT and, as with `docker run`, of its
//! CMD; `--entrypoint ""` removes it.

use longshore::model::CommandInfo;

/// What the user wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    /// With an image, which may have an entrypoint of its own.
    pub(crate) image: bool,
    pub(crate) entrypoint: Option<&'a str>,
    pub(crate) shell: Option<bool>,
    pub(crate) command: Option<&'a str>,
    pub(crate) args: &'a [String],
}

/// Why the words contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    #[error("--shell true needs a line in --command")]
    ShellWithoutCommand,
    #[error("arguments beside --command need --shell false; a shell line has its own arguments")]
    ArgumentsOfShell,
    #[error("--entrypoint and --command exclude each other")]
    EntrypointAndCommand,
    #[error("nothing to run: give --image, --command or arguments")]
    Nothing,
}

/// The command that the words mean.
pub(crate) fn executed(words: Words<'_>) -> Result<CommandInfo, Contradiction> {
    let replaced = words.entrypoint.is_some_and(|entrypoint| !entrypoint.is_empty());
    match (words.command, words.shell) {
        (None, Some(true)) => Err(Contradiction::ShellWithoutCommand),
        (None, None | Some(false)) if words.image => Ok(of_image(words)),
        (None, None | Some(false)) => of_host(words),
        (Some(_), _) if replaced => Err(Contradiction::EntrypointAndCommand),
        (Some(line), None | Some(true)) => match words.args {
            [] => Ok(CommandInfo::line(line)),
            [..] => Err(Contradiction::ArgumentsOfShell),
        },
        (Some(program), Some(false)) => {
            let words = words.args.iter().map(String::as_str);
            Ok(CommandInfo::program(std::iter::once(program).chain(words)))
        }
    }
}

/// The image says what runs; its runtime isolator puts the parts together.
fn of_image(words: Words<'_>) -> CommandInfo {
    let entrypoint = words.entrypoint.map(entrypoint_argv);
    let mut command = CommandInfo::default();
    command.arguments = words.args.to_vec();
    command.arguments_replace_cmd = entrypoint.is_some() || !words.args.is_empty();
    command.entrypoint = entrypoint;
    command
}

/// Without an image there is nothing to leave the choice to.
fn of_host(words: Words<'_>) -> Result<CommandInfo, Contradiction> {
    let entrypoint = words.entrypoint.map(entrypoint_argv).unwrap_or_default();
    match CommandInfo::program(entrypoint.into_iter().chain(words.args.to_vec())) {
        CommandInfo { value: None, .. } => Err(Contradiction::Nothing),
        command => Ok(command),
    }
}

fn entrypoint_argv(program: &str) -> Vec<String> {
    if program.is_empty() { Vec::new() } else { vec![program.to_owned()] }
}

#[cfg(test)]
mod tests {
    use super::Contradiction::{
        ArgumentsOfShell, EntrypointAndCommand, Nothing, ShellWithoutCommand,
    };
    use super::*;

    /// Flags as one line: `image`, `--entrypoint=…`, `--shell=…`, `--command=…`, then `--` and ARGS.
    fn said(line: &str) -> Result<CommandInfo, Contradiction> {
        let (flags, args) = line.split_once(" -- ").unwrap_or((line, ""));
        let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        let flag = |name: &str| flags.split_whitespace().find_map(|word| word.strip_prefix(name));
        executed(Words {
            image: flags.split_whitespace().any(|word| word == "image"),
            entrypoint: flag("--entrypoint="),
            shell: flag("--shell=").map(|word| word == "true"),
            command: flag("--command="),
            args: &args,
        })
    }

    fn image_runs(entrypoint: Option<&[&str]>, arguments: &[&str]) -> CommandInfo {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let mut command = CommandInfo::default();
        command.arguments_replace_cmd = entrypoint.is_some() || !arguments.is_empty();
        command.entrypoint = entrypoint.map(owned);
        command.arguments = owned(arguments);
        command
    }

    fn runs(words: &[&str]) -> CommandInfo {
        CommandInfo::program(words.iter().copied())
    }

    fn shell(line: &str) -> CommandInfo {
        CommandInfo::line(line)
    }

    #[test]
    fn every_row_of_the_table_means_what_it_says() {
        let rows = [
            ("image", Ok(image_runs(None, &[]))),
            ("image --shell=false", Ok(image_runs(None, &[]))),
            ("image -- a b", Ok(image_runs(None, &["a", "b"]))),
            ("image --shell=false -- a", Ok(image_runs(None, &["a"]))),
            ("image --entrypoint=e", Ok(image_runs(Some(&["e"]), &[]))),
            ("image --entrypoint=e -- a", Ok(image_runs(Some(&["e"]), &["a"]))),
            ("image --entrypoint= -- a", Ok(image_runs(Some(&[]), &["a"]))),
            ("image --shell=true", Err(ShellWithoutCommand)),
            ("image --shell=true -- a", Err(ShellWithoutCommand)),
            ("image --command=l", Ok(shell("l"))),
            ("image --command=l --shell=true", Ok(shell("l"))),
            ("image --command=l -- a", Err(ArgumentsOfShell)),
            ("image --command=l --shell=true -- a", Err(ArgumentsOfShell)),
            ("image --command=p --shell=false", Ok(runs(&["p"]))),
            ("image --command=p --shell=false -- a b", Ok(runs(&["p", "a", "b"]))),
            ("image --command=p --entrypoint=e", Err(EntrypointAndCommand)),
            ("image --command=p --shell=false --entrypoint=e", Err(EntrypointAndCommand)),
            ("image --command=l --entrypoint=", Ok(shell("l"))),
            ("", Err(Nothing)),
            ("--shell=false", Err(Nothing)),
            ("--entrypoint=", Err(Nothing)),
            ("--shell=true", Err(ShellWithoutCommand)),
            (" -- a b", Ok(runs(&["a", "b"]))),
            ("--entrypoint=e -- a", Ok(runs(&["e", "a"]))),
            ("--entrypoint=e", Ok(runs(&["e"]))),
            ("--command=l", Ok(shell("l"))),
            ("--command=p --shell=false -- a", Ok(runs(&["p", "a"]))),
        ];
        for (line, expected) in rows {
            assert_eq!(said(line), expected, "{line}");
        }
    }
}
