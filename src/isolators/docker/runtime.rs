//! `docker/runtime`: an image runs as its configuration says, unless the caller says otherwise.
//!
//! Serves Docker and OCI images alike. The image's environment is the weakest; its working directory,
//! user, entrypoint and command stand where the caller gives none. What runs is one table, below.
//!
//! Kernel: nothing. Undo: nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::isolators::{Host, Isolator, IsolatorError};
use crate::model::{
    Command, CommandInfo, ContainerConfig, ContainerId, FileOperation, ImageConfig, LaunchContext,
    LaunchInfo, TaskLaunch, User,
};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Runtime;

impl Isolator for Runtime {
    const NAME: &'static str = "docker/runtime";
    const NESTING: bool = true;
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        match &context.provisioned {
            Some(provisioned) => Ok((contribution(&context.config, &provisioned.config)?, ())),
            None => Ok((LaunchInfo::default(), ())),
        }
    }
}

/// For the task of a command executor the same, told to the executor.
fn contribution(
    config: &ContainerConfig,
    image: &ImageConfig,
) -> Result<LaunchInfo, IsolatorError> {
    let Some(task) = config.shape.task() else { return of_payload(config, &config.command, image) };
    let info = of_payload(config, &task.command, image)?;
    let LaunchInfo { command, environment, working_directory, user, .. } = info;
    Ok(LaunchInfo {
        task: TaskLaunch { command, environment, working_directory, user, ..TaskLaunch::default() },
        file_operations: info.file_operations,
        ..LaunchInfo::default()
    })
}

fn of_payload(
    config: &ContainerConfig,
    asked: &CommandInfo,
    image: &ImageConfig,
) -> Result<LaunchInfo, IsolatorError> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    // Builders write a directory into the configuration that no layer has. One that the caller
    // names is not made: a slip in a flag should be told.
    let of_image = text(&image.working_dir).map(PathBuf::from);
    let made = of_image.clone().filter(|path| {
        config.working_directory.is_none() && path.is_absolute() && path.parent().is_some()
    });
    let command =
        command(asked, image).map_err(|error| IsolatorError::Invalid(error.to_string()))?;
    Ok(LaunchInfo {
        command,
        environment: environment(&image.env),
        working_directory: config.working_directory.clone().or(of_image),
        file_operations: made
            .into_iter()
            .map(|path| FileOperation::Mkdir { path, mode: 0o755 })
            .collect(),
        user: config.command.user.clone().or_else(|| text(&image.user)).map(User),
        ..LaunchInfo::default()
    })
}

/// Each entry is split at its first `=`; one without, or without a name, is skipped; the last of one
/// name wins.
fn environment(entries: &[String]) -> BTreeMap<String, String> {
    entries
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Why nothing can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NoCommand {
    #[error("no executable is given, and the image has neither entrypoint nor command")]
    NoExecutable,
    #[error("a shell is asked for, but no command line for it")]
    NoShellCommand,
}

/// What runs; `None`: the caller's command, unchanged.
///
/// | shell | value | arguments | no EP, no CMD | no EP, CMD | EP, no CMD | EP, CMD |
/// |---|---|---|---|---|---|---|
/// | no | no | no | error | CMD | EP | EP CMD |
/// | no | no | yes | error | CMD\[0] arguments | EP arguments | EP arguments |
/// | no | yes | any | the caller's | | | |
/// | yes | no | any | error | | | |
/// | yes | yes | any | the caller's, by `/bin/sh -c` | | | |
///
/// `entrypoint` of the command stands in place of the image's; an empty list removes it. With
/// `arguments_replace_cmd` the image's CMD stands aside for arguments or an entrypoint of the caller.
fn command(asked: &CommandInfo, image: &ImageConfig) -> Result<Option<Command>, NoCommand> {
    match (asked.shell, &asked.value) {
        (true, None) => return Err(NoCommand::NoShellCommand),
        (true | false, Some(_)) => return Ok(None),
        (false, None) => {}
    }
    let entrypoint = asked.entrypoint.as_ref().unwrap_or(&image.entrypoint);
    let replaces = asked.entrypoint.is_some() || !asked.arguments.is_empty();
    let cmd: &[String] = match asked.arguments_replace_cmd && replaces {
        true => &[],
        false => &image.cmd,
    };
    let argv: Vec<String> = match (entrypoint.is_empty(), asked.arguments.is_empty()) {
        (_, true) => [entrypoint, cmd].concat(),
        (false, false) => [entrypoint, asked.arguments.as_slice()].concat(),
        (true, false) if asked.arguments_replace_cmd => asked.arguments.clone(),
        (true, false) => match cmd.first() {
            Some(executable) => {
                [std::slice::from_ref(executable), asked.arguments.as_slice()].concat()
            }
            None => return Err(NoCommand::NoExecutable),
        },
    };
    match argv.first() {
        Some(executable) => Ok(Some(Command { executable: executable.clone(), argv })),
        None => Err(NoCommand::NoExecutable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ExecutorInfo, Shape, TaskInfo};

    /// What a cell of the table says.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Cell {
        Argv(&'static [&'static str]),
        Callers,
        Error,
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn assert_cell(asked: &CommandInfo, image: &ImageConfig, cell: Cell) {
        let result = command(asked, image);
        match (&result, cell) {
            (Ok(Some(command)), Cell::Argv(argv)) => {
                assert_eq!(command.argv, argv, "{asked:?} {image:?}");
                assert_eq!(command.executable, argv[0]);
            }
            (Ok(None), Cell::Callers) | (Err(_), Cell::Error) => {}
            _ => panic!("{asked:?} {image:?}: {result:?}, not {cell:?}"),
        }
    }

    #[test]
    fn every_cell_of_the_table_holds() {
        use Cell::{Argv, Callers, Error};
        let images: [(&[&str], &[&str]); 4] =
            [(&[], &[]), (&[], &["c", "d"]), (&["e", "f"], &[]), (&["e", "f"], &["c", "d"])];
        let rows: [(bool, bool, bool, [Cell; 4]); 8] = [
            (
                false,
                false,
                false,
                [Error, Argv(&["c", "d"]), Argv(&["e", "f"]), Argv(&["e", "f", "c", "d"])],
            ),
            (
                false,
                false,
                true,
                [
                    Error,
                    Argv(&["c", "x", "y"]),
                    Argv(&["e", "f", "x", "y"]),
                    Argv(&["e", "f", "x", "y"]),
                ],
            ),
            (false, true, false, [Callers; 4]),
            (false, true, true, [Callers; 4]),
            (true, false, false, [Error; 4]),
            (true, false, true, [Error; 4]),
            (true, true, false, [Callers; 4]),
            (true, true, true, [Callers; 4]),
        ];
        for (shell, value, arguments, cells) in rows {
            for ((entrypoint, cmd), cell) in images.iter().zip(cells) {
                let asked = CommandInfo {
                    shell,
                    value: value.then(|| "v".to_owned()),
                    arguments: if arguments { words(&["x", "y"]) } else { Vec::new() },
                    ..CommandInfo::default()
                };
                let image = ImageConfig {
                    entrypoint: words(entrypoint),
                    cmd: words(cmd),
                    ..ImageConfig::default()
                };
                assert_cell(&asked, &image, cell);
            }
        }
    }

    #[test]
    fn arguments_stand_in_place_of_cmd_where_users_of_docker_expect_it() {
        use Cell::{Argv, Error};
        let full = ImageConfig {
            entrypoint: words(&["e"]),
            cmd: words(&["c", "d"]),
            ..ImageConfig::default()
        };
        let without = ImageConfig { entrypoint: Vec::new(), ..full.clone() };
        let empty = ImageConfig::default();
        let asked = |entrypoint: Option<&[&str]>, arguments: &[&str]| CommandInfo {
            entrypoint: entrypoint.map(words),
            arguments: words(arguments),
            arguments_replace_cmd: true,
            ..CommandInfo::default()
        };
        for (image, entrypoint, arguments, cell) in [
            (&full, None, &[][..], Argv(&["e", "c", "d"])),
            (&full, None, &["x"], Argv(&["e", "x"])),
            (&without, None, &["x"], Argv(&["x"])),
            (&empty, None, &["x"], Argv(&["x"])),
            (&empty, None, &[], Error),
            (&full, Some(&["n"][..]), &[], Argv(&["n"])),
            (&full, Some(&["n"]), &["x"], Argv(&["n", "x"])),
            (&full, Some(&[]), &["x"], Argv(&["x"])),
            (&full, Some(&[]), &[], Error),
        ] {
            assert_cell(&asked(entrypoint, arguments), image, cell);
        }
    }

    #[test]
    fn an_entrypoint_of_the_caller_takes_the_place_of_the_images() {
        let image =
            ImageConfig { entrypoint: words(&["e"]), cmd: words(&["c"]), ..ImageConfig::default() };
        let asked = CommandInfo { entrypoint: Some(words(&["n"])), ..CommandInfo::default() };
        assert_cell(&asked, &image, Cell::Argv(&["n", "c"]));
    }

    #[test]
    fn the_environment_is_split_at_the_first_equals_sign() {
        let environment = environment(&words(&["A=1=2", "NOTHING", "=C", "B=", "A=3"]));
        assert_eq!(environment.len(), 2);
        assert_eq!(environment["A"], "3");
        assert_eq!(environment["B"], "");
    }

    #[test]
    fn the_caller_wins_over_the_images_user_and_directory() {
        let image = ImageConfig {
            user: Some("redis".into()),
            working_dir: Some("/data".into()),
            cmd: words(&["c"]),
            ..ImageConfig::default()
        };
        let mut config = crate::isolators::tests::config(Some("rootfs:/srv"));
        let info = contribution(&config, &image).expect("runs");
        assert_eq!(info.user, Some(User("redis".into())));
        assert_eq!(info.working_directory, Some("/data".into()));
        assert_eq!(
            info.file_operations,
            [FileOperation::Mkdir { path: "/data".into(), mode: 0o755 }],
            "an image's directory is made where it is missing"
        );
        config.command.user = Some("1000".into());
        config.working_directory = Some("/work".into());
        let info = contribution(&config, &image).expect("runs");
        assert_eq!(info.user, Some(User("1000".into())));
        assert_eq!(info.working_directory, Some("/work".into()));
        assert_eq!(info.file_operations, [], "a caller's is not");
        let unset = ImageConfig {
            user: Some(String::new()),
            working_dir: Some(String::new()),
            cmd: words(&["c"]),
            ..ImageConfig::default()
        };
        let config = crate::isolators::tests::config(Some("rootfs:/srv"));
        let info = contribution(&config, &unset).expect("runs");
        assert_eq!((info.user, info.working_directory), (None, None), "empty is none");
    }

    #[test]
    fn what_an_image_says_is_said_of_the_task_of_a_command_executor() {
        let image = ImageConfig {
            user: Some("redis".to_owned()),
            env: words(&["A=1"]),
            entrypoint: words(&["e"]),
            cmd: words(&["c"]),
            working_dir: Some("/data".to_owned()),
            ..ImageConfig::default()
        };
        let mut config = crate::isolators::tests::config(Some("alpine"));
        config.command.value = Some("/executor".to_owned());
        let told = |command: CommandInfo| {
            let task = TaskInfo { command, ..TaskInfo::default() };
            let shape = Shape::CommandTask(ExecutorInfo::default(), Box::new(task));
            let config = ContainerConfig { shape, ..config.clone() };
            contribution(&config, &image).expect("it says what runs")
        };
        let info = told(CommandInfo { arguments: words(&["x"]), ..CommandInfo::default() });
        let argv = words(&["e", "x"]);
        let expected = TaskLaunch {
            command: Some(Command { executable: "e".to_owned(), argv }),
            environment: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            working_directory: Some("/data".into()),
            user: Some(User("redis".to_owned())),
            ..TaskLaunch::default()
        };
        assert_eq!(info.task, expected);
        let made = FileOperation::Mkdir { path: "/data".into(), mode: 0o755 };
        assert_eq!(info.file_operations, [made], "in the task's root");
        let rest = LaunchInfo {
            task: expected,
            file_operations: info.file_operations.clone(),
            ..LaunchInfo::default()
        };
        assert_eq!(info, rest, "and nothing of the executor");
        // The task's own command is its executor's to know.
        let own = told(CommandInfo { value: Some("/x".to_owned()), ..CommandInfo::default() });
        assert_eq!(own.task.command, None);
    }
}
