//! Tables and properties of the merge.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{
    CapabilitySets, ContainerId, Mount, MountFlags, MountSource, Namespace, Output, PreExecCommand,
    PullPolicy, Resources, Rlimit, RlimitKind, Shape,
};

pub(super) fn config() -> ContainerConfig {
    ContainerConfig {
        container_id: ContainerId::new("a").expect("valid"),
        command: CommandInfo { value: Some("/bin/x".to_owned()), ..CommandInfo::default() },
        image: None,
        pull: PullPolicy::default(),
        working_directory: None,
        hostname: None,
        unmasked: false,
        resources: Resources::default(),
        rlimits: Vec::new(),
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        volumes: Vec::new(),
        stdin: Output::Null,
        stdout: Output::Sandbox,
        stderr: Output::Sandbox,
        stop_signal: None,
        timeout: None,
        shape: Shape::default(),
        agent_environment: BTreeMap::new(),
        labels: BTreeMap::new(),
        data: Vec::new(),
        sandbox: PathBuf::from("/host/sandbox"),
    }
}

fn context(config: &ContainerConfig, own_root: bool) -> MergeContext<'_> {
    static AGENT: std::sync::LazyLock<AgentInfo> = std::sync::LazyLock::new(AgentInfo::default);
    MergeContext {
        config,
        root: if own_root { Root::Own } else { Root::Host },
        sandbox_directory: Path::new("/mnt/mesos/sandbox"),
        agent: &AGENT,
    }
}

fn merged(infos: Vec<LaunchInfo>, own_root: bool) -> Result<LaunchInfo, MergeError> {
    let names = ["first", "second", "third"];
    let contributions: Vec<(&str, LaunchInfo)> = names.into_iter().zip(infos).collect();
    merge(contributions, context(&config(), own_root))
}

fn command(text: &str) -> Command {
    Command { executable: text.to_owned(), argv: vec![text.to_owned()] }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn what_only_one_may_set_is_refused_from_two_with_both_names() {
    let set = LaunchInfo::default;
    let sets = CapabilitySets { bounding: 0, effective: 0, ambient: 0 };
    let limit = Rlimit { kind: RlimitKind::Nofile, soft: None, hard: None };
    for (field, info) in [
        ("command", LaunchInfo { command: Some(command("x")), ..set() }),
        ("working directory", LaunchInfo { working_directory: Some("/x".into()), ..set() }),
        ("user", LaunchInfo { user: Some(User("x".to_owned())), ..set() }),
        ("capabilities", LaunchInfo { capabilities: Some(sets), ..set() }),
        ("hostname", LaunchInfo { hostname: Some("x".to_owned()), ..set() }),
        ("oom_score_adj", LaunchInfo { oom_score_adj: Some(1), ..set() }),
        ("seccomp filter", LaunchInfo { seccomp: Some(vec![1]), ..set() }),
        ("rlimit nofile", LaunchInfo { rlimits: vec![limit], ..set() }),
    ] {
        let alone = merged(vec![set(), info.clone(), set()], true);
        assert!(alone.is_ok(), "{field} from one isolator");
        let refused = merged(vec![info.clone(), set(), info], true).expect_err(field);
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        let text = refused.to_string();
        assert_eq!(text, format!("isolators first and third both set the {field}"));
    }
    let other = Rlimit { kind: RlimitKind::Core, ..limit };
    let limits = |limit| LaunchInfo { rlimits: vec![limit], ..LaunchInfo::default() };
    let both = merged(vec![limits(limit), limits(other)], true).expect("two kinds");
    assert_eq!(both.rlimits, [limit, other]);
}

#[test]
fn a_command_is_the_isolators_else_the_requests() {
    for (shell, value, arguments, executable, argv) in [
        (true, "a | b", &[][..], "/bin/sh", &["/bin/sh", "-c", "a | b"][..]),
        (false, "/bin/x", &[], "/bin/x", &["/bin/x"]),
        (false, "/bin/x", &["other", "1"], "/bin/x", &["other", "1"]),
    ] {
        let (value, arguments) = (Some(value.to_owned()), strings(arguments));
        let mut config = config();
        config.command = CommandInfo { shell, value, arguments, ..CommandInfo::default() };
        let info = merge([], context(&config, true)).expect("merged");
        let expected = Command { executable: executable.to_owned(), argv: strings(argv) };
        assert_eq!(info.command, Some(expected));
    }
    for (entrypoint, arguments, argv) in [
        (None, &["a", "b"][..], &["a", "b"][..]),
        (Some(&["e"][..]), &["a"], &["e", "a"]),
        (Some(&[]), &["a"], &["a"]),
    ] {
        let mut config = config();
        let entrypoint = entrypoint.map(strings);
        let arguments = strings(arguments);
        let words = CommandInfo { arguments_replace_cmd: true, ..CommandInfo::default() };
        config.command = CommandInfo { entrypoint, arguments, ..words };
        let info = merge([], context(&config, true)).expect("no image needs to be known");
        let expected = Command { executable: argv[0].to_owned(), argv: strings(argv) };
        assert_eq!(info.command, Some(expected));
    }
    let info = LaunchInfo { command: Some(command("image")), ..LaunchInfo::default() };
    assert_eq!(merged(vec![info], true).expect("merged").command, Some(command("image")));
    let mut config = config();
    config.command = CommandInfo::default();
    let error = merge([], context(&config, true)).expect_err("nothing to run");
    assert_eq!((&error, error.kind()), (&MergeError::NoCommand, ErrorKind::InvalidRequest));
}

#[test]
fn the_environment_is_the_sandbox_then_the_isolators_then_the_callers() {
    let environment = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let info = |pairs| LaunchInfo { environment: environment(pairs), ..LaunchInfo::default() };
    let mut config = config();
    config.command.environment = environment(&[("C", "caller"), ("D", "caller")]);
    let contributions = [
        ("first", info(&[("A", "1"), ("B", "1"), ("C", "1"), ("MESOS_SANDBOX", "/1")])),
        ("second", info(&[("B", "2"), ("PATH", "/image")])),
    ];
    let merged = merge(contributions.clone(), context(&config, true));
    let merged = merged.expect("merged").environment;
    let expected = [
        ("A", "1"),
        ("B", "2"),
        ("C", "caller"),
        ("D", "caller"),
        ("MESOS_SANDBOX", "/1"),
        ("PATH", "/image"),
    ];
    assert_eq!(merged, environment(&expected));
    let own = merge([], context(&self::config(), true)).expect("merged").environment;
    assert_eq!(own["MESOS_SANDBOX"], "/mnt/mesos/sandbox");
    let bare = merge([], context(&self::config(), false)).expect("merged").environment;
    assert_eq!(bare["MESOS_SANDBOX"], "/host/sandbox");
    assert_eq!(bare["PATH"], DEFAULT_PATH);
    config.command.environment = environment(&[("PATH", "/mine"), ("MESOS_SANDBOX", "/mine")]);
    let mine = merge(contributions, context(&config, true)).expect("merged").environment;
    assert_eq!((mine["PATH"].as_str(), mine["MESOS_SANDBOX"].as_str()), ("/mine", "/mine"));
}

#[test]
fn a_payload_begins_where_it_was_asked_to_else_where_its_image_says() {
    let asked = Some(PathBuf::from("/asked"));
    let image = Some(PathBuf::from("/image"));
    for (own_root, asked, image, expected) in [
        (true, &asked, &image, "/asked"),
        (true, &None, &image, "/image"),
        (true, &None, &None, "/"),
        (false, &asked, &image, "/asked"),
        (false, &None, &image, "/host/sandbox"),
        (false, &None, &None, "/host/sandbox"),
    ] {
        let mut config = config();
        config.working_directory.clone_from(asked);
        let info = LaunchInfo { working_directory: image.clone(), ..LaunchInfo::default() };
        let merged = merge([("x", info)], context(&config, own_root)).expect("merged");
        assert_eq!(merged.working_directory, Some(expected.into()));
    }
}

#[test]
fn the_callers_user_wins_over_the_images() {
    let info = LaunchInfo { user: Some(User("image".to_owned())), ..LaunchInfo::default() };
    let mut config = config();
    let user = |config: &ContainerConfig| {
        merge([("x", info.clone())], context(config, true)).expect("merged").user
    };
    assert_eq!(user(&config), Some(User("image".to_owned())));
    config.command.user = Some("caller".to_owned());
    assert_eq!(user(&config), Some(User("caller".to_owned())));
}

#[test]
fn a_nul_byte_is_refused() {
    let mut config = config();
    config.command.environment = [("A".to_owned(), "b\0c".to_owned())].into();
    let error = merge([], context(&config, true)).expect_err("refused");
    assert_eq!(error, MergeError::Nul("b\0c".to_owned()));
}

#[test]
fn what_no_caller_could_ask_for_is_refused_from_an_isolator_by_its_name() {
    let info = LaunchInfo::default;
    let variable = |name: &str| BTreeMap::from([(name.to_owned(), "x".to_owned())]);
    let before = |name: &str| {
        let command = PreExecCommand::shell("true");
        vec![PreExecCommand { environment: variable(name), ..command }]
    };
    let task = |name: &str| TaskLaunch { environment: variable(name), ..TaskLaunch::default() };
    let directory = || Some(PathBuf::from("here"));
    let at = TaskLaunch { working_directory: directory(), ..TaskLaunch::default() };
    for (info, told) in [
        (LaunchInfo { environment: variable("A=B"), ..info() }, "variable \"A=B\""),
        (LaunchInfo { environment: variable(""), ..info() }, "variable \"\""),
        (LaunchInfo { pre_exec_commands: before("A=B"), ..info() }, "variable \"A=B\""),
        (LaunchInfo { task: task("=A"), ..info() }, "variable \"=A\""),
        (LaunchInfo { working_directory: directory(), ..info() }, "directory here"),
        (LaunchInfo { task: at, ..info() }, "directory here"),
    ] {
        let error = merged(vec![LaunchInfo::default(), info], true).expect_err(told);
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        let text = error.to_string();
        assert!(text.starts_with("isolator second sets the") && text.contains(told), "{text}");
    }
}

/// A contribution that no other can contradict.
fn harmless() -> impl Strategy<Value = LaunchInfo> {
    let paths = proptest::collection::vec("/[a-z]{1,3}", 0..4);
    let groups = proptest::collection::btree_set(0_u32..9, 0..4);
    let environment = proptest::collection::btree_map("[A-C]", "[a-z]{0,3}", 0..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (paths, groups, environment, flags).prop_map(|(paths, groups, environment, flags)| {
        let mount = |path: &String| Mount {
            source: MountSource::HostPath("/x".into()),
            target: path.into(),
            flags: MountFlags::default(),
            optional: false,
        };
        let mut namespaces = std::collections::BTreeSet::new();
        if flags.2 {
            namespaces.insert(Namespace::Pid);
        }
        LaunchInfo {
            mounts: paths.iter().map(mount).collect(),
            volumes: paths.iter().rev().map(mount).collect(),
            masked_paths: paths.iter().map(PathBuf::from).collect(),
            cgroups: paths.iter().map(PathBuf::from).collect(),
            supplementary_groups: groups,
            environment,
            no_new_privileges: flags.0,
            readonly_rootfs: flags.1,
            namespaces,
            ..LaunchInfo::default()
        }
    })
}

proptest! {
    #[test]
    fn lists_keep_their_order_sets_are_joined_and_nothing_is_lost(
        infos in proptest::collection::vec(harmless(), 0..4)
    ) {
        let infos: Vec<LaunchInfo> = infos.into_iter().take(3).collect();
        let all = merged(infos.clone(), true).expect("no conflict is possible");
        let mounts: Vec<_> = infos.iter().flat_map(|info| info.mounts.clone()).collect();
        prop_assert_eq!(&all.mounts, &mounts);
        let volumes: Vec<_> = infos.iter().flat_map(|info| info.volumes.clone()).collect();
        prop_assert_eq!(&all.volumes, &volumes);
        let masked: Vec<_> = infos.iter().flat_map(|info| info.masked_paths.clone()).collect();
        prop_assert_eq!(&all.masked_paths, &masked);
        prop_assert_eq!(all.no_new_privileges, infos.iter().any(|info| info.no_new_privileges));
        prop_assert_eq!(all.readonly_rootfs, infos.iter().any(|info| info.readonly_rootfs));
        for info in &infos {
            prop_assert!(info.supplementary_groups.is_subset(&all.supplementary_groups));
            prop_assert!(info.namespaces.is_subset(&all.namespaces));
            prop_assert!(info.environment.keys().all(|key| all.environment.contains_key(key)));
        }
        if let Some(last) = infos.last() {
            for (key, value) in &last.environment {
                prop_assert_eq!(&all.environment[key], value);
            }
        }
    }
}
