//! Tables and properties of the compiler, and the golden form of its plan.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::launcher::steps::encode;
use crate::model::{CapabilitySets, Command, PreExecCommand, Rlimit, RlimitKind};

fn facts() -> Facts {
    Facts {
        posix: false,
        own_root: true,
        task_root: None,
        credentials: Some(Credentials { uid: 999, gid: 1000, groups: [7].into(), home: None }),
        cgroups: vec![
            ("/cg/unified/x".into(), CgroupVersion::V2),
            ("/cg/memory/x".into(), CgroupVersion::V1),
        ],
        kill_switch: Some("/cg/unified/x/cgroup.kill".into()),
        may_make_nodes: true,
    }
}

/// One of everything.
fn launch() -> LaunchInfo {
    let flags = MountFlags { read_only: true, nosuid: true, nodev: true, noexec: true };
    let mount =
        |source, target: &str, optional| Mount { source, target: target.into(), flags, optional };
    let tmpfs = MountSource::Filesystem {
        kind: "tmpfs".to_owned(),
        options: vec![("mode".into(), "755".into()), ("flag".into(), String::new())],
    };
    LaunchInfo {
        command: Some(Command { executable: "sh".into(), argv: vec!["sh".into(), "-c".into()] }),
        environment: BTreeMap::from([("PATH".into(), "/bin".into()), ("A".into(), "b".into())]),
        working_directory: Some("/work".into()),
        mounts: vec![
            mount(tmpfs, "/dev", false),
            mount(MountSource::HostPath("/host".into()), "/a", true),
            mount(MountSource::ContainerPath("/a".into()), "/b", false),
        ],
        devices: vec![DeviceNode {
            path: "/dev/null".into(),
            character: true,
            major: 1,
            minor: 300,
            mode: 0o666,
        }],
        file_operations: vec![
            FileOperation::Symlink { target: "/proc/self/fd".into(), link: "/dev/fd".into() },
            FileOperation::Mkdir { path: "/d".into(), mode: 0o700 },
        ],
        masked_paths: vec!["/proc/kcore".into()],
        readonly_paths: vec!["/proc/sys".into()],
        namespaces: [Namespace::Mnt, Namespace::Pid, Namespace::Uts, Namespace::Cgroup].into(),
        capabilities: Some(CapabilitySets { bounding: 0xff, effective: 0xf, ambient: 1 }),
        rlimits: vec![Rlimit { kind: RlimitKind::Nofile, soft: Some(10), hard: None }],
        no_new_privileges: true,
        oom_score_adj: Some(-5),
        supplementary_groups: [4711].into(),
        hostname: Some("box".into()),
        readonly_rootfs: true,
        seccomp: Some(vec![0x0006_0000_0000_0001]),
        pre_exec_commands: vec![
            PreExecCommand::shell("exit 0"),
            PreExecCommand {
                environment: BTreeMap::from([("PATH".into(), "/sbin".into())]),
                ..PreExecCommand::program("ip", ["link"])
            },
        ],
        ..LaunchInfo::default()
    }
}

fn texts(compiled: &Compiled) -> Vec<String> {
    compiled.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn every_step_stands_in_its_place() {
    let compiled = compile(&launch(), &facts()).expect("compiled");
    let expected = [
        "join cgroup /cg/unified/x",
        "join cgroup /cg/memory/x",
        "unshare the cgroup namespace",
        "keep cgroup.kill",
        "set oom_score_adj to -5",
        "wait for the release",
        "open /dev/null",
        "enter the root file system",
        "mount tmpfs at /dev",
        "mount /host at /a",
        "mount /a at /b",
        "make device /dev/null",
        "close /dev to devices",
        "make link /dev/fd",
        "make directory /d",
        "mask /proc/kcore",
        "make /proc/sys read-only",
        "make the root file system read-only",
        "set hostname box",
        "run pre-exec command /bin/sh",
        "run pre-exec command ip",
        "fork the payload",
        "set rlimit NOFILE",
        "chdir /work",
        "set the bounding set",
        "set the supplementary groups",
        "keep capabilities",
        "switch to user 999:1000",
        "set capabilities",
        "set no_new_privs",
        "load the seccomp filter",
        "exec sh",
    ];
    assert_eq!(texts(&compiled), expected);
    assert_eq!(compiled.clone_flags, 0x2402_0000, "pid, uts, mount; the cgroup's comes later");
    assert_eq!(compiled.birthplace, 6, "the first descriptor of the plan's own");
}

#[test]
fn a_volume_covers_what_was_made_before_it() {
    let volume = Mount {
        source: MountSource::HostPath("/data".into()),
        target: "/dev".into(),
        flags: MountFlags::default(),
        optional: false,
    };
    for may_make_nodes in [true, false] {
        let launch = LaunchInfo { volumes: vec![volume.clone()], ..launch() };
        let compiled = compile(&launch, &Facts { may_make_nodes, ..facts() }).expect("compiled");
        let steps = texts(&compiled);
        let at = steps.iter().position(|step| step == "mount /data at /dev").expect("it is there");
        assert_eq!(steps[at - 1], "make /proc/sys read-only");
        assert_eq!(steps[at + 1], "make the root file system read-only");
    }
    let bare = LaunchInfo { volumes: vec![volume], ..LaunchInfo::default() };
    let host = Facts { own_root: false, ..facts() };
    assert_eq!(compile(&bare, &host), Err(CompileError::NoMountNamespace("/dev".into())));
}

#[test]
fn a_filter_comes_before_the_user_unless_no_new_privs_is_set() {
    let launch = LaunchInfo { no_new_privileges: false, ..launch() };
    let steps = texts(&compile(&launch, &facts()).expect("compiled"));
    let at = |text: &str| steps.iter().position(|step| step == text);
    assert!(at("load the seccomp filter") < at("switch to user 999:1000"));
    assert_eq!(at("set no_new_privs"), None);
}

#[test]
fn on_the_hosts_files_the_agents_mounts_are_entered_and_no_target_is_made() {
    let facts = Facts { own_root: false, credentials: None, ..facts() };
    let compiled = compile(&launch(), &facts).expect("compiled");
    let steps = texts(&compiled);
    let first = steps.iter().position(|step| step == "wait for the release").expect("there");
    let place = [
        "enter the agent's mount namespace",
        "enter the agent's root",
        "unshare the mount namespace",
        "make the mounts slaves of the host's",
        "open /dev/null",
        "mount tmpfs at /dev",
    ];
    assert_eq!(steps[first + 1..=first + 6], place);
    assert_eq!(compiled.clone_flags, 0x2400_0000, "the mount namespace is made from the agent's");
    let creates = compiled.steps.iter().any(|step| match step {
        Step::MountFs { at, .. } | Step::MountFd { at, .. } | Step::Bind { at, .. } => at.create,
        _ => false,
    });
    assert!(!creates);
    assert!(!steps.contains(&"make the root file system read-only".to_owned()), "it is the host's");
}

#[test]
fn a_tasks_root_is_completed_from_inside_for_an_executor_on_the_hosts_files() {
    let task_root = Some("/work/rootfs".into());
    let facts = Facts { own_root: false, task_root, credentials: None, ..facts() };
    let compiled = compile(&launch(), &facts).expect("compiled");
    let steps = texts(&compiled);
    let first = steps.iter().position(|step| step == "wait for the release").expect("there");
    let expected = [
        "enter the agent's mount namespace",
        "enter the agent's root",
        "unshare the mount namespace",
        "make the mounts slaves of the host's",
        "open /dev/null",
        "mount proc at /proc",
        "mount /work/rootfs at /work/rootfs",
        "go to the task's root /work/rootfs",
        "mount tmpfs at /dev",
        "mount /host at /a",
        "mount /a at /b",
        "make device /dev/null",
        "close /dev to devices",
        "make link /dev/fd",
        "make directory /d",
        "mask /proc/kcore",
        "make /proc/sys read-only",
        "come back from the task's root",
        "set hostname box",
        "run pre-exec command /bin/sh",
        "run pre-exec command ip",
        "fork the payload",
    ];
    assert_eq!(steps[first + 1..=first + expected.len()], expected);
    // Mount points are made in the task's tree, and none outside of it.
    let creates: Vec<bool> = compiled
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::MountFs { at, .. } | Step::MountFd { at, .. } | Step::Bind { at, .. } => {
                Some(at.create)
            }
            _ => None,
        })
        .collect();
    assert_eq!(creates, [false, false, true, true, true]);
    let bare = LaunchInfo { namespaces: [].into(), ..launch() };
    assert_eq!(compile(&bare, &facts), Err(CompileError::NoMountNamespace("/dev".into())));
}

#[test]
fn a_command_before_the_payload_is_given_the_host_where_the_init_has_left_it() {
    let host = |facts: &Facts| {
        let compiled = compile(&launch(), facts).expect("compiled");
        let mut hosts = compiled.steps.iter().filter_map(|step| match step {
            Step::PreExec { host, search, .. } => Some((*host, search.clone())),
            _ => None,
        });
        let all = [hosts.next().expect("two"), hosts.next().expect("two")];
        (all, compiled.wants)
    };
    let ([(first, search), (second, own)], wants) = host(&facts());
    let index = usize::try_from(first.expect("the host")).expect("an index") - FD_FIRST_FREE;
    assert_eq!(first, second, "opened once");
    assert_eq!(wants[index..], [Want::MountNamespace, Want::Root]);
    assert_eq!((search.as_str(), own.as_str()), (DEFAULT_PATH, "/sbin"));
    let ([(first, _), _], _) = host(&Facts { own_root: false, ..facts() });
    assert_eq!(first, None);
}

#[test]
fn devices_are_the_hosts_where_none_can_be_made() {
    let facts = Facts { may_make_nodes: false, ..facts() };
    let compiled = compile(&launch(), &facts).expect("compiled");
    assert!(texts(&compiled).contains(&"mount /dev/null at /dev/null".to_owned()));
    let shown = compiled.wants.iter().any(|want| {
        matches!(want, Want::HostTree { path, .. } if path.as_path() == Path::new("/dev/null"))
    });
    assert!(shown);
}

#[test]
fn contradictions_are_refused() {
    let bare = LaunchInfo { namespaces: [].into(), ..launch() };
    let host = Facts { own_root: false, ..facts() };
    assert_eq!(compile(&bare, &host), Err(CompileError::NoMountNamespace("/dev".into())));
    let nothing = LaunchInfo { command: None, ..launch() };
    assert_eq!(compile(&nothing, &facts()), Err(CompileError::NoCommand));
    let nul = LaunchInfo { working_directory: Some("/a\0b".into()), ..launch() };
    assert_eq!(compile(&nul, &facts()), Err(CompileError::Nul("/a\0b".into())));
}

/// The bytes of [`launch`], compared with the file; `UPDATE_GOLDEN=1` rewrites it. A change of it is
/// a change of the format: `MAGIC` has to change as well.
#[test]
fn the_plan_has_its_golden_form() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/init-plan.hex");
    let compiled = compile(&launch(), &facts()).expect("compiled");
    let bytes = encode(&compiled.steps, crate::launcher::ops::LIFE_WITH_AGENT);
    let mut text = String::new();
    for line in bytes.chunks(32) {
        for byte in line {
            write!(text, "{byte:02x}").expect("a string takes it");
        }
        text.push('\n');
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("written");
    }
    let golden = std::fs::read_to_string(&path).expect("tests/golden/init-plan.hex");
    assert_eq!(text, golden);
}

/// Reads a plan as the init does; every offset is checked.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    fn long(&self, at: u64) -> u64 {
        let at = usize::try_from(at).expect("small");
        u64::from_ne_bytes(self.0[at..at + 8].try_into().expect("eight bytes"))
    }

    fn text(&self, at: u64) -> String {
        let rest = &self.0[usize::try_from(at).expect("small")..];
        let end = rest.iter().position(|byte| *byte == 0).expect("a NUL ends every string");
        String::from_utf8(rest[..end].to_vec()).expect("as it was written")
    }

    fn texts(&self, mut at: u64) -> Vec<String> {
        let mut all = Vec::new();
        while self.long(at) != 0 {
            all.push(self.text(self.long(at)));
            at += 8;
        }
        all
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        argv in proptest::collection::vec("[^\0]{0,40}", 1..8),
        environment in proptest::collection::btree_map("[A-Z]{1,5}", "[^\0]{0,40}", 0..8),
        directory in "/[a-z/]{0,20}",
    ) {
        let info = LaunchInfo {
            command: Some(Command { executable: argv[0].clone(), argv: argv.clone() }),
            environment: environment.clone(),
            working_directory: Some(directory.clone().into()),
            ..launch()
        };
        let compiled = compile(&info, &facts()).expect("compiled");
        let bytes = encode(&compiled.steps, 0);
        let reader = Reader(&bytes);
        prop_assert_eq!(reader.word(4) as usize, bytes.len());
        prop_assert_eq!(reader.word(8) as usize, compiled.steps.len());
        let exec = 16 + 40 * (compiled.steps.len() - 1);
        let (a, b) = (reader.long(exec as u64 + 24), reader.long(exec as u64 + 32));
        prop_assert_eq!((a % 8, b % 8), (0, 0));
        prop_assert_eq!(reader.texts(a), argv.clone());
        let pairs: Vec<String> = environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        prop_assert_eq!(reader.texts(b), pairs);
        prop_assert_eq!(reader.text(u64::from(reader.word(exec + 16))), argv[0].clone());
        prop_assert_eq!(bytes.last(), Some(&0));
    }
}

#[test]
fn the_posix_launcher_asks_for_no_privilege_and_binds_the_payload_to_its_init() {
    let facts = Facts { posix: true, ..Facts::default() };
    let command = launch().command;
    let info = LaunchInfo {
        command,
        working_directory: Some("/work".into()),
        no_new_privileges: true,
        ..LaunchInfo::default()
    };
    let compiled = compile(&info, &facts).expect("compiled");
    let expected = [
        "wait for the release",
        "fork the payload",
        "chdir /work",
        "bind the payload to its init",
        "set no_new_privs",
    ];
    assert_eq!(texts(&compiled)[..5], expected);
    assert_eq!((compiled.clone_flags, compiled.wants.len(), compiled.birthplace), (0, 0, -1));
    let mounts = compile(&LaunchInfo { volumes: launch().mounts, ..info }, &facts);
    assert!(matches!(mounts, Err(CompileError::NoMountNamespace(_))), "{mounts:?}");
}
