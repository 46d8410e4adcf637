//! Every variable and every argument, one by one and together.

use super::*;
use crate::model::{CapabilitySets, CommandInfo, ContainerId, TaskInfo};
use crate::spec::ContainerSpec;

fn executor() -> ExecutorInfo {
    ExecutorInfo {
        framework_id: "F".to_owned(),
        executor_id: "E".to_owned(),
        agent_id: "S".to_owned(),
        ..ExecutorInfo::default()
    }
}

fn config(spec: ContainerSpec) -> ContainerConfig {
    spec.command(["/executor"]).into_config("/work/sandbox".into()).expect("valid")
}

fn spec() -> ContainerSpec {
    ContainerSpec::new(ContainerId::new("a").expect("valid"), None)
}

fn lines(environment: &BTreeMap<String, String>) -> Vec<String> {
    environment.iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// What an executor has whose agent and itself say as little as possible.
const LEAST: [&str; 8] = [
    "LIBPROCESS_PORT=0",
    "MESOS_CHECKPOINT=0",
    "MESOS_DIRECTORY=/work/sandbox",
    "MESOS_EXECUTOR_ID=E",
    "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=5secs",
    "MESOS_FRAMEWORK_ID=F",
    "MESOS_HTTP_COMMAND_EXECUTOR=0",
    "MESOS_SLAVE_ID=S",
];

#[test]
fn an_executor_is_told_no_more_than_there_is() {
    let config = config(spec().executor(executor()));
    assert_eq!(lines(&agent_environment(&config, &AgentInfo::default())), LEAST);
}

/// What is told beyond, or in other words than, [`LEAST`].
fn told(executor: ExecutorInfo, agent: &AgentInfo) -> Vec<String> {
    let config = config(spec().executor(executor));
    let all = lines(&agent_environment(&config, agent));
    all.into_iter().filter(|line| !LEAST.contains(&line.as_str())).collect()
}

#[test]
fn each_fact_of_an_executor_has_its_variables() {
    let secs = Duration::from_secs;
    let agent = AgentInfo { executor_shutdown_grace_period: secs(3600), ..AgentInfo::default() };
    let grace = "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=1hrs";
    let own = executor;
    for (executor, expected) in [
        (own(), &[grace][..]),
        (
            ExecutorInfo { checkpoint: true, ..own() },
            &[
                "MESOS_CHECKPOINT=1",
                grace,
                "MESOS_RECOVERY_TIMEOUT=15mins",
                "MESOS_SUBSCRIPTION_BACKOFF_MAX=2secs",
            ],
        ),
        (
            ExecutorInfo { shutdown_grace_period: Some(secs(7)), ..own() },
            &["MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD=7secs"],
        ),
        (
            ExecutorInfo { authentication_token: Some(Secret::new("t")), ..own() },
            &["MESOS_EXECUTOR_AUTHENTICATION_TOKEN=t", grace],
        ),
    ] {
        assert_eq!(told(executor, &agent), expected);
    }
}

#[test]
fn each_fact_of_an_agent_has_its_variables() {
    let agent = AgentInfo::default;
    let most = AgentInfo {
        pid: Some("slave(1)@10.0.0.1:5051".to_owned()),
        endpoint: Some("10.0.0.1:5051".to_owned()),
        http_command_executor: true,
        domain_socket: Some("/run/agent.sock".into()),
        libprocess_ip: Some([10, 0, 0, 1].into()),
        ..agent()
    };
    let expected = [
        "LIBPROCESS_IP=10.0.0.1",
        "MESOS_AGENT_ENDPOINT=10.0.0.1:5051",
        "MESOS_DOMAIN_SOCKET=/run/agent.sock",
        "MESOS_HTTP_COMMAND_EXECUTOR=1",
        "MESOS_SLAVE_PID=slave(1)@10.0.0.1:5051",
    ];
    assert_eq!(told(executor(), &most), expected);
    let library = AgentInfo { native_library: Some("/lib/libmesos.so".into()), ..agent() };
    let expected =
        ["MESOS_NATIVE_JAVA_LIBRARY=/lib/libmesos.so", "MESOS_NATIVE_LIBRARY=/lib/libmesos.so"];
    assert_eq!(told(executor(), &library), expected);
    let times = AgentInfo {
        recovery_timeout: Duration::from_secs(90),
        executor_reregistration_timeout: Duration::from_millis(1500),
        ..agent()
    };
    assert_eq!(told(executor(), &times), [""; 0], "nobody asks who keeps no checkpoint");
    let expected = [
        "MESOS_CHECKPOINT=1",
        "MESOS_RECOVERY_TIMEOUT=90secs",
        "MESOS_SUBSCRIPTION_BACKOFF_MAX=1500ms",
    ];
    assert_eq!(told(ExecutorInfo { checkpoint: true, ..executor() }, &times), expected);
}

#[test]
fn what_comes_later_overrides_what_came_earlier() {
    let variables = [
        ("LIBPROCESS_IP", "192.168.0.1"),
        ("LIBPROCESS_PORT", "1234"),
        ("MESOS_NATIVE_LIBRARY", "/mine.so"),
        ("MESOS_FRAMEWORK_ID", "forged"),
        ("MESOS_DIRECTORY", "/forged"),
        ("OWN", "agent"),
    ];
    let agent = AgentInfo {
        executor_environment_variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        libprocess_ip: Some([10, 0, 0, 1].into()),
        native_library: Some("/lib/libmesos.so".into()),
        ..AgentInfo::default()
    };
    let config = config(spec().executor(executor()).agent_env("MESOS_SLAVE_ID", "of a hook"));
    let environment = agent_environment(&config, &agent);
    for (name, value) in [
        ("LIBPROCESS_IP", "192.168.0.1"),
        ("LIBPROCESS_PORT", "0"),
        ("MESOS_NATIVE_LIBRARY", "/mine.so"),
        ("MESOS_NATIVE_JAVA_LIBRARY", "/lib/libmesos.so"),
        ("MESOS_FRAMEWORK_ID", "F"),
        ("MESOS_DIRECTORY", "/work/sandbox"),
        ("MESOS_SLAVE_ID", "of a hook"),
        ("OWN", "agent"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
}

#[test]
fn a_container_on_its_own_is_told_nothing_of_the_agent() {
    let agent = AgentInfo {
        executor_environment_variables: [("A".to_owned(), "b".to_owned())].into(),
        ..AgentInfo::default()
    };
    assert_eq!(agent_environment(&config(spec()), &agent), BTreeMap::new());
    let given = config(spec().agent_env("X", "y"));
    assert_eq!(lines(&agent_environment(&given, &agent)), ["X=y"]);
}

#[test]
fn a_duration_is_a_whole_number_of_its_largest_unit() {
    for (ns, text) in [
        (0, "0ns"),
        (1, "1ns"),
        (1_500, "1500ns"),
        (2_000, "2us"),
        (1_500_000_000, "1500ms"),
        (60_000_000_000, "1mins"),
        (90_000_000_000, "90secs"),
        (24 * 3_600_000_000_000, "1days"),
        (14 * 24 * 3_600_000_000_000, "2weeks"),
    ] {
        assert_eq!(duration(Duration::from_nanos(ns)), text);
    }
}

fn task_config() -> ContainerConfig {
    let task = TaskInfo { task_id: "t".to_owned(), ..TaskInfo::default() };
    config(spec().command_task(executor(), task))
}

#[test]
fn a_task_in_an_image_becomes_the_executors_arguments() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let root = Some((Path::new("/root/fs"), Path::new("/mnt/mesos/sandbox")));
    let least = ["--sandbox_directory=/mnt/mesos/sandbox", "--rootfs=/root/fs"];
    assert_eq!(task_arguments(&task_config(), &TaskLaunch::default(), root), least);
    let all = TaskLaunch {
        command: Some(Command {
            executable: "/bin/x".to_owned(),
            argv: words(&["x", "say \"hi\""]),
        }),
        environment: BTreeMap::from([("A".to_owned(), "b=\n".to_owned())]),
        working_directory: Some("/image".into()),
        user: Some(User("redis".to_owned())),
        capabilities: Some(CapabilitySets { bounding: 0b101, effective: 1, ambient: 0 }),
        supplementary_groups: [4711, 7].into(),
        executor_arguments: words(&["--tty_slave_path=/dev/pts/1"]),
    };
    let expected = [
        "--tty_slave_path=/dev/pts/1",
        "--sandbox_directory=/mnt/mesos/sandbox",
        "--user=redis",
        "--working_directory=/image",
        r#"--task_command={"arguments":["x","say \"hi\""],"shell":false,"value":"/bin/x"}"#,
        r#"--bounding_capabilities={"capabilities":["CHOWN","DAC_READ_SEARCH"]}"#,
        r#"--effective_capabilities={"capabilities":["CHOWN"]}"#,
        r#"--task_environment={"variables":[{"name":"A","type":"VALUE","value":"b=\n"}]}"#,
        "--task_supplementary_groups=7,4711",
        "--rootfs=/root/fs",
    ];
    assert_eq!(task_arguments(&task_config(), &all, root), expected);
    let asked = ContainerConfig { working_directory: Some("/asked".into()), ..task_config() };
    assert!(task_arguments(&asked, &all, root).contains(&"--working_directory=/asked".to_owned()));
    let nothing = task_arguments(&task_config(), &TaskLaunch::default(), None);
    assert_eq!(nothing, [""; 0], "without an image there is nothing to say");
    let without = task_arguments(&task_config(), &all, None);
    assert!(
        without.iter().all(|word| !word.starts_with("--rootfs") && !word.starts_with("--user"))
    );
    assert!(without.contains(&"--task_supplementary_groups=7,4711".to_owned()));
}

#[test]
fn the_tasks_environment_uris_and_user_are_the_containers() {
    let uri = |value: &str| crate::model::Uri {
        value: value.to_owned(),
        executable: false,
        extract: false,
        output_file: None,
    };
    let command = CommandInfo {
        environment: [("B".to_owned(), "task".to_owned())].into(),
        user: Some("nobody".to_owned()),
        uris: vec![uri("/of/the/task")],
        ..CommandInfo::default()
    };
    let task = TaskInfo { task_id: "t".to_owned(), command, ..TaskInfo::default() };
    let spec = spec().env("A", "executor").env("B", "executor").user("daemon");
    let config = config(spec.uri(uri("/own")).command_task(executor(), task));
    assert_eq!(lines(&config.command.environment), ["A=executor", "B=task"]);
    assert_eq!(config.command.user.as_deref(), Some("nobody"));
    let uris: Vec<&str> = config.command.uris.iter().map(|uri| uri.value.as_str()).collect();
    assert_eq!(uris, ["/own", "/of/the/task"]);
}
