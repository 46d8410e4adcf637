//! What the shapes of Mesos change in a merge.

use super::tests::config;
use super::*;
use crate::model::{CapabilitySets, ExecutorInfo, PreExecCommand, TaskInfo};

const SANDBOX: &str = "/mnt/mesos/sandbox";

/// A configuration of this shape.
fn of(shape: Shape) -> ContainerConfig {
    ContainerConfig { shape, ..config() }
}

fn executor() -> ExecutorInfo {
    let ids = || "id".to_owned();
    let (framework_id, executor_id, agent_id) = (ids(), ids(), ids());
    ExecutorInfo { framework_id, executor_id, agent_id, ..ExecutorInfo::default() }
}

fn task() -> Shape {
    Shape::CommandTask(executor(), Box::<TaskInfo>::default())
}

fn merged(
    config: &ContainerConfig,
    root: Root<'_>,
    agent: &AgentInfo,
    infos: &[LaunchInfo],
) -> Result<LaunchInfo, MergeError> {
    let contributions: Vec<(&str, LaunchInfo)> =
        ["first", "second"].into_iter().zip(infos.iter().cloned()).collect();
    let context = MergeContext { config, root, sandbox_directory: Path::new(SANDBOX), agent };
    merge(contributions, context)
}

fn variables(names: &[&str], value: &str) -> BTreeMap<String, String> {
    names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect()
}

/// Each level sets its own variable and those of all levels above it: the highest must win.
#[test]
fn every_level_of_the_environment_wins_over_those_before_it() {
    let agent = AgentInfo {
        executor_environment_variables: variables(
            &["A1", "A2", "A3", "A4", "A5", "MESOS_SLAVE_ID", "MESOS_SANDBOX"],
            "variables",
        ),
        ..AgentInfo::default()
    };
    let mut config = of(Shape::Executor(executor()));
    config.agent_environment = variables(&["A2", "A3", "A4", "A5", "MESOS_CHECKPOINT"], "launch");
    let isolator = |names: &[&str], value: &str| LaunchInfo {
        environment: variables(names, value),
        ..LaunchInfo::default()
    };
    let infos = [
        isolator(&["A3", "A4", "A5", "MESOS_EXECUTOR_ID"], "first"),
        isolator(&["A4", "A5", "PATH"], "second"),
    ];
    config.command.environment = variables(&["A5", "MESOS_FRAMEWORK_ID"], "caller");
    let all = merged(&config, Root::Own, &agent, &infos).expect("merged").environment;
    for (name, value) in [
        ("A1", "variables"),
        ("A2", "launch"),
        ("A3", "first"),
        ("A4", "second"),
        ("A5", "caller"),
        ("MESOS_SLAVE_ID", "id"),
        ("MESOS_CHECKPOINT", "launch"),
        ("MESOS_SANDBOX", SANDBOX),
        ("MESOS_EXECUTOR_ID", "first"),
        ("MESOS_FRAMEWORK_ID", "caller"),
        ("MESOS_DIRECTORY", "/host/sandbox"),
        ("PATH", "second"),
    ] {
        assert_eq!(all[name], value, "{name}");
    }
}

#[test]
fn the_sandbox_is_where_the_payload_sees_it_and_the_directory_where_the_host_does() {
    let root = Path::new("/work/rootfs");
    for (shape, root, sandbox) in [
        (Shape::Executor(executor()), Root::Own, SANDBOX),
        (Shape::Executor(executor()), Root::Host, "/host/sandbox"),
        (task(), Root::Host, "/host/sandbox"),
        (task(), Root::Task(root), SANDBOX),
    ] {
        let info = merged(&of(shape), root, &AgentInfo::default(), &[]).expect("merged");
        assert_eq!(info.environment["MESOS_SANDBOX"], sandbox, "{root:?}");
        assert_eq!(info.environment["MESOS_DIRECTORY"], "/host/sandbox", "{root:?}");
    }
}

#[test]
fn an_executor_begins_in_its_sandbox_unless_somebody_says_otherwise() {
    let asked = Some(PathBuf::from("/asked"));
    let image = Some(PathBuf::from("/image"));
    let root = Root::Task(Path::new("/work/rootfs"));
    for (shape, root, asked, image, expected) in [
        (Shape::Executor(executor()), Root::Own, &asked, &image, "/asked"),
        (Shape::Executor(executor()), Root::Own, &None, &image, "/image"),
        (Shape::Executor(executor()), Root::Own, &None, &None, SANDBOX),
        (Shape::Executor(executor()), Root::Host, &None, &image, "/host/sandbox"),
        (Shape::Executor(executor()), Root::Host, &asked, &image, "/asked"),
        (task(), Root::Host, &None, &image, "/host/sandbox"),
        (task(), Root::Host, &asked, &image, "/host/sandbox"),
        (task(), root, &None, &image, "/host/sandbox"),
        (task(), root, &asked, &image, "/host/sandbox"),
    ] {
        let config = ContainerConfig { working_directory: asked.clone(), ..of(shape) };
        let info = LaunchInfo { working_directory: image.clone(), ..LaunchInfo::default() };
        let info = merged(&config, root, &AgentInfo::default(), &[info]).expect("merged");
        assert_eq!(info.working_directory, Some(expected.into()), "{config:?} {root:?}");
    }
}

#[test]
fn a_command_executor_is_root_and_is_told_who_its_task_is() {
    let root = Root::Task(Path::new("/work/rootfs"));
    let image = LaunchInfo {
        task: TaskLaunch { user: Some(User("image".to_owned())), ..TaskLaunch::default() },
        ..LaunchInfo::default()
    };
    for (asked, told) in [(Some("caller"), "--user=caller"), (None, "--user=image")] {
        let mut config = of(task());
        config.command.user = asked.map(str::to_owned);
        let info = merged(&config, root, &AgentInfo::default(), std::slice::from_ref(&image));
        let info = info.expect("merged");
        assert_eq!(info.user, Some(User("0".to_owned())));
        assert_eq!(info.command.expect("a command").argv[2], told);
    }
    // Without a root to enter there is no need for it.
    let mut config = of(task());
    config.command.user = Some("caller".to_owned());
    let info = merged(&config, Root::Host, &AgentInfo::default(), &[]).expect("merged");
    assert_eq!(info.user, Some(User("caller".to_owned())));
}

#[test]
fn what_isolators_say_of_a_task_ends_the_executors_argv() {
    let root = Root::Task(Path::new("/work/rootfs"));
    let say = |task| LaunchInfo { task, ..LaunchInfo::default() };
    let first = say(TaskLaunch {
        environment: variables(&["A", "B"], "1"),
        executor_arguments: vec!["--one".to_owned()],
        supplementary_groups: [1].into(),
        ..TaskLaunch::default()
    });
    let second = say(TaskLaunch {
        environment: variables(&["B"], "2"),
        executor_arguments: vec!["--two".to_owned()],
        supplementary_groups: [2].into(),
        ..TaskLaunch::default()
    });
    let mut config = of(task());
    config.command.arguments = vec!["executor".to_owned(), "--own".to_owned()];
    let info = merged(&config, root, &AgentInfo::default(), &[first, second]).expect("merged");
    let argv = info.command.expect("a command").argv;
    let expected = [
        "executor",
        "--own",
        "--one",
        "--two",
        "--sandbox_directory=/mnt/mesos/sandbox",
        r#"--task_environment={"variables":[{"name":"A","type":"VALUE","value":"1"},{"name":"B","type":"VALUE","value":"2"}]}"#,
        "--task_supplementary_groups=1,2",
        "--rootfs=/work/rootfs",
    ];
    assert_eq!(argv, expected);
    assert!(!info.environment.contains_key("A"), "the image's is the task's, not the executor's");
}

#[test]
fn what_is_said_of_a_task_is_nothing_to_a_container_without_one() {
    let info = LaunchInfo {
        task: TaskLaunch { executor_arguments: vec!["--x".to_owned()], ..TaskLaunch::default() },
        ..LaunchInfo::default()
    };
    for shape in [Shape::Standalone, Shape::Executor(executor())] {
        let all = merged(&of(shape), Root::Own, &AgentInfo::default(), std::slice::from_ref(&info));
        assert_eq!(all.expect("merged").command.expect("a command").argv, ["/bin/x"]);
    }
}

#[test]
fn isolators_may_not_replace_a_command_executor_nor_contradict_each_other_about_its_task() {
    let agent = AgentInfo::default();
    let command = Command { executable: "/x".to_owned(), argv: vec!["/x".to_owned()] };
    let replaces = LaunchInfo { command: Some(command.clone()), ..LaunchInfo::default() };
    let error = merged(&of(task()), Root::Host, &agent, &[replaces]).expect_err("refused");
    assert_eq!(
        (&error, error.kind()),
        (&MergeError::ExecutorCommand("first".to_owned()), ErrorKind::Conflict,)
    );
    let sets = CapabilitySets { bounding: 0, effective: 0, ambient: 0 };
    let none = TaskLaunch::default;
    for (field, task_launch) in [
        ("task's command", TaskLaunch { command: Some(command), ..none() }),
        ("task's user", TaskLaunch { user: Some(User("x".to_owned())), ..none() }),
        ("task's working directory", TaskLaunch { working_directory: Some("/x".into()), ..none() }),
        ("task's capabilities", TaskLaunch { capabilities: Some(sets), ..none() }),
    ] {
        let info = LaunchInfo { task: task_launch, ..LaunchInfo::default() };
        let error = merged(&of(task()), Root::Host, &agent, &[info.clone(), info]);
        let error = error.expect_err(field).to_string();
        assert_eq!(error, format!("isolators first and second both set the {field}"));
    }
}

#[test]
fn only_an_executor_with_a_root_of_its_own_is_shown_the_agents_socket() {
    let agent = AgentInfo { domain_socket: Some("/run/agent.sock".into()), ..AgentInfo::default() };
    let root = Root::Task(Path::new("/work/rootfs"));
    for (shape, root, shown) in [
        (Shape::Executor(executor()), Root::Own, 1),
        (Shape::Executor(executor()), Root::Host, 0),
        (Shape::Standalone, Root::Own, 0),
        (task(), root, 0),
    ] {
        let info = merged(&of(shape), root, &agent, &[]).expect("merged");
        assert_eq!(info.volumes.len(), shown, "{root:?}");
        for volume in info.volumes {
            assert_eq!(volume.target, Path::new("/run/agent.sock"));
        }
    }
}

#[test]
fn commands_before_the_payload_keep_the_order_of_their_isolators() {
    let say = |lines: &[&str]| LaunchInfo {
        pre_exec_commands: lines.iter().map(|line| PreExecCommand::shell(*line)).collect(),
        ..LaunchInfo::default()
    };
    let infos = [say(&["1", "2"]), say(&["3"])];
    let info = merged(&config(), Root::Own, &AgentInfo::default(), &infos).expect("merged");
    let lines: Vec<&str> =
        info.pre_exec_commands.iter().map(|before| before.command.argv[2].as_str()).collect();
    assert_eq!(lines, ["1", "2", "3"]);
    let nul = merged(&config(), Root::Own, &AgentInfo::default(), &[say(&["a\0b"])]);
    assert_eq!(nul, Err(MergeError::Nul("a\0b".to_owned())));
}
