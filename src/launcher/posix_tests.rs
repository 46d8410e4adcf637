//! The posix launcher with real processes, as whatever user runs the tests.
//!
//! What a payload writes goes into a pipe: its end is seen when, and only when, nobody of the
//! container holds it any more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags};

use super::*;
use crate::limits;
use crate::linux::pidfd;
use crate::model::{Command, Namespace, Rlimit, RlimitKind, User, WaitStatus};

struct World {
    launcher: PosixLauncher,
    directory: tempfile::TempDir,
}

/// A started container, and what its processes write.
struct Started {
    child: Child,
    output: File,
}

impl World {
    fn new() -> Self {
        let launcher = PosixLauncher::new().expect("/proc is there");
        Self { launcher, directory: tempfile::tempdir().expect("a scratch directory") }
    }

    fn launch(&self, argv: &[&str]) -> LaunchInfo {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        let path = "/usr/bin:/bin".to_owned();
        LaunchInfo {
            command: Some(Command { executable: argv[0].clone(), argv }),
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            working_directory: Some(self.directory.path().to_owned()),
            ..LaunchInfo::default()
        }
    }

    fn shell(&self, script: &str) -> LaunchInfo {
        self.launch(&["/bin/sh", "-c", script])
    }

    fn status_file(&self) -> PathBuf {
        self.directory.path().join("status")
    }

    fn fork(&self, launch: LaunchInfo, lifetime: Lifetime) -> Result<Started, LauncherError> {
        let (output, end) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .expect("descriptors are free");
        let again = |fd: &OwnedFd| fd.try_clone().expect("descriptors are free");
        let stdin = File::open("/dev/null").expect("it is there").into();
        let stdio = Stdio { stdin, stdout: again(&end), stderr: end };
        let child = self.launcher.fork(ForkRequest {
            container_id: ContainerId::new("posix").expect("valid"),
            launch,
            rootfs: None,
            task_root: None,
            stdio,
            status_file: self.status_file(),
            lifetime,
        })?;
        Ok(Started { child, output: output.into() })
    }

    fn start(&self, launch: LaunchInfo) -> Started {
        let started = self.fork(launch, Lifetime::Independent).expect("forked");
        started.child.control.release().expect("released");
        started
    }

    /// Launches, waits for the end; its status and everything that it wrote.
    async fn run(&self, launch: LaunchInfo) -> (WaitStatus, String) {
        let mut started = self.start(launch);
        let status = started.child.report.ended().await;
        (status, started.rest())
    }

    fn kill(&self, init: InitPid) {
        self.launcher.kill(Some(init), limits::KILL).expect("killed");
    }
}

impl Started {
    /// Waits until a line was written.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.output.read(&mut byte).expect("a pipe") == 1 && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    /// What was written and not read; fails if somebody is left who could write more.
    fn rest(&mut self) -> String {
        rest(&mut self.output)
    }
}

/// Reads to the end, which comes when nobody holds the other side any more. The children that other
/// tests are just about to execute hold it for a moment.
fn rest(output: &mut File) -> String {
    let patience = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut text = Vec::new();
    loop {
        let mut fds = [PollFd::new(&*output, PollFlags::IN)];
        let ready = rustix::event::poll(&mut fds, Some(&patience)).expect("a pipe");
        assert!(ready > 0, "somebody is left who holds the pipe");
        let mut bytes = [0; 512];
        match output.read(&mut bytes).expect("a pipe") {
            0 => return String::from_utf8(text).expect("text"),
            count => text.extend(&bytes[..count]),
        }
    }
}

#[tokio::test]
async fn every_end_is_known() {
    let world = World::new();
    assert_eq!(world.run(world.shell("exit 7")).await.0, WaitStatus(7 << 8));
    assert_eq!(world.run(world.shell("kill -TERM $$")).await.0, WaitStatus(15));
    assert_eq!(world.run(world.shell("echo out; echo err >&2")).await.1, "out\nerr\n");
    let mut missing = world.start(world.launch(&["/no/such/program"]));
    let failure = missing.child.report.started().await.expect_err("there is none");
    assert!(failure.exec && failure.errno == 2, "{failure}");
    assert_eq!(missing.child.report.ended().await, WaitStatus(1 << 8));
}

#[tokio::test]
async fn the_payload_leads_a_session_and_has_three_descriptors_and_no_more() {
    let world = World::new();
    // The fourth is the directory that is listed.
    let script = "ls /proc/self/fd; umask; pwd; \
                  set -- $(sed 's/.*) //' /proc/$$/stat); test $4 = $$ && echo leads";
    let (status, output) = world.run(world.shell(script)).await;
    let directory = world.directory.path().canonicalize().expect("it is there");
    assert_eq!(output, format!("0\n1\n2\n3\n0022\n{}\nleads\n", directory.display()));
    assert_eq!(status, WaitStatus(0));
    let script = "grep -E 'Sig(Blk|Ign)' /proc/self/status";
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_eq!(world.run(world.shell(script)).await.1, none);
}

/// Leaves a daemon in a session of its own, whose parent is gone, before it says `up`.
const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 & echo daemon' & wait; echo up; ";

#[tokio::test]
async fn what_the_payload_leaves_behind_ends_with_it() {
    let world = World::new();
    let (status, output) = world.run(world.shell(&format!("{DAEMON} exit 4"))).await;
    assert_eq!((status, output.as_str()), (WaitStatus(4 << 8), "daemon\nup\n"));
    let text = std::fs::read_to_string(world.status_file()).expect("the init wrote it");
    assert_eq!(text, (4 << 8).to_string());
}

#[tokio::test]
async fn a_destroy_ends_the_whole_tree_and_can_be_repeated() {
    let world = World::new();
    let script = format!("trap '' TERM HUP INT; {DAEMON} sleep 1000 & sleep 1000");
    let mut started = world.start(world.shell(&script));
    assert_eq!((started.line(), started.line()), ("daemon".into(), "up".into()));
    let init = started.child.init;
    world.kill(init);
    assert_eq!(started.rest(), "");
    assert_eq!(started.child.report.ended().await, WaitStatus::KILLED);
    world.kill(init);
    world.launcher.kill(None, limits::KILL).expect("nothing there is fine");
}

#[tokio::test]
async fn a_destroy_wins_against_a_tree_that_grows() {
    let world = World::new();
    let script = "grow() { while :; do setsid sh -c 'setsid sleep 1000 & :'; done; }; \
                  grow & grow & echo growing; grow";
    let mut started = world.start(world.shell(script));
    assert_eq!(started.line(), "growing");
    world.kill(started.child.init);
    assert_eq!(started.rest(), "");
    assert_eq!(started.child.report.ended().await, WaitStatus::KILLED);
}

#[tokio::test]
async fn a_stopped_init_and_a_stopped_payload_are_destroyed_too() {
    let world = World::new();
    let mut started = world.start(world.shell("echo up; sleep 1000 & kill -STOP $$"));
    assert_eq!(started.line(), "up");
    let init = started.child.init;
    let handle = child::open(init).expect("looked").expect("it lives");
    pidfd::send_signal(handle.as_fd(), 19).expect("sent");
    world.kill(init);
    assert_eq!(started.rest(), "");
    assert_eq!(started.child.report.ended().await, WaitStatus::KILLED);
}

#[tokio::test]
async fn signals_are_forwarded_and_sigkill_is_for_the_payload() {
    let world = World::new();
    let mut started =
        world.start(world.shell("trap 'echo usr; exit 3' USR1; echo up; sleep 1000 & wait"));
    assert_eq!(started.line(), "up");
    started.child.control.signal(10).expect("sent");
    assert_eq!(started.child.report.ended().await, WaitStatus(3 << 8));
    assert_eq!(started.rest(), "usr\n");
    let mut started = world.start(world.shell(&format!("{DAEMON} sleep 1000")));
    assert_eq!((started.line(), started.line()), ("daemon".into(), "up".into()));
    started.child.control.signal(9).expect("sent");
    assert_eq!(started.child.report.ended().await, WaitStatus::KILLED);
    assert_eq!(started.rest(), "", "the init lived to end the daemon");
    started.child.control.signal(9).expect("one that is gone gets nothing");
}

#[tokio::test]
async fn before_the_release_nothing_runs() {
    let world = World::new();
    let started = world.fork(world.shell("echo ran"), Lifetime::Independent).expect("forked");
    let Started { child, mut output } = started;
    let mut report = child.report;
    child.control.signal(9).expect("sent");
    assert_eq!(report.ended().await, WaitStatus::KILLED);
    assert!(report.started().await.is_err());
    assert_eq!(rest(&mut output), "");
    let started = world.fork(world.shell("echo ran"), Lifetime::Independent).expect("forked");
    world.kill(started.child.init);
}

#[tokio::test]
async fn with_the_agent_payload_and_daemons_die() {
    let world = World::new();
    let launch = world.shell(&format!("trap '' TERM; {DAEMON} sleep 1000"));
    let started = world.fork(launch, Lifetime::WithAgent).expect("forked");
    let Started { child, output } = started;
    child.control.release().expect("released");
    let mut watching = Started { child, output };
    assert_eq!((watching.line(), watching.line()), ("daemon".into(), "up".into()));
    let Started { child, mut output } = watching;
    let mut adopted =
        Adopted::find(child.init, world.status_file()).expect("looked").expect("it lives");
    // The last end of the channel that the agent holds.
    drop(child);
    assert_eq!(adopted.ended().await, WaitStatus::KILLED);
    assert_eq!(rest(&mut output), "");
}

#[tokio::test]
async fn without_the_agent_it_lives_on_and_is_found_and_destroyed() {
    let world = World::new();
    let mut started = world.start(world.shell(&format!("{DAEMON} sleep 1000")));
    assert_eq!((started.line(), started.line()), ("daemon".into(), "up".into()));
    let Started { child, mut output } = started;
    let init = child.init;
    drop(child);
    let mut adopted = Adopted::find(init, world.status_file()).expect("looked").expect("it lives");
    let later = PosixLauncher::new().expect("/proc is there");
    later.kill(Some(init), limits::KILL).expect("killed");
    assert_eq!(adopted.ended().await, WaitStatus::KILLED);
    assert_eq!(rest(&mut output), "");
}

#[tokio::test]
async fn a_killed_init_takes_its_payload_along() {
    let world = World::new();
    let mut started = world.start(world.shell("echo up; exec sleep 1000"));
    assert_eq!(started.line(), "up");
    started.child.report.started().await.expect("it runs");
    let handle = child::open(started.child.init).expect("looked").expect("it lives");
    pidfd::kill(handle.as_fd()).expect("killed");
    assert_eq!(started.child.report.ended().await, WaitStatus::KILLED);
    // The payload is gone as well.
    assert_eq!(started.rest(), "");
}

#[tokio::test]
async fn resource_limits_are_the_payloads_alone() {
    let world = World::new();
    let mut launch = world.shell("ulimit -Sn; ulimit -Hn");
    launch.rlimits = vec![
        Rlimit { kind: RlimitKind::Nofile, soft: Some(50), hard: Some(60) },
        Rlimit { kind: RlimitKind::Fsize, soft: Some(0), hard: Some(0) },
    ];
    assert_eq!(world.run(launch).await, (WaitStatus(0), "50\n60\n".to_owned()));
    assert_eq!(std::fs::read_to_string(world.status_file()).expect("written"), "0");
}

#[tokio::test]
async fn another_user_is_for_root_and_the_own_one_for_everybody() {
    let world = World::new();
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut own = world.shell("id -u");
    own.user = Some(User(format!("{uid}:{gid}")));
    assert_eq!(world.run(own).await, (WaitStatus(0), format!("{uid}\n")));
    let mut other = world.shell("id -u; id -g");
    let wanted = if uid == 54_321 { 54_322 } else { 54_321 };
    other.user = Some(User(format!("{wanted}:{wanted}")));
    other.working_directory = Some("/".into());
    match uid {
        0 => assert_eq!(world.run(other).await.1, format!("{wanted}\n{wanted}\n")),
        _ => {
            let refused = world.fork(other, Lifetime::Independent).err().expect("not root");
            assert!(refused.to_string().contains("needs root"), "{refused}");
        }
    }
}

#[tokio::test]
async fn many_launches_leave_nothing_in_the_spawner() {
    let world = World::new();
    assert_eq!(world.run(world.shell("exit 0")).await.0, WaitStatus(0));
    let spawner = world.launcher.spawner_pid().expect("it runs");
    let held = || std::fs::read_dir(format!("/proc/{spawner}/fd")).expect("ours").count();
    let before = held();
    for code in 0..50 {
        let (status, output) = world.run(world.shell(&format!("echo {code}; exit {code}"))).await;
        assert_eq!((status, output), (WaitStatus(code << 8), format!("{code}\n")));
    }
    assert_eq!((world.launcher.spawner_pid(), held()), (Some(spawner), before));
    drop(world);
    assert!(!std::fs::exists(format!("/proc/{spawner}/fd")).expect("looked"), "gone and reaped");
}

#[test]
fn what_only_the_linux_launcher_can_is_refused_by_name() {
    let world = World::new();
    let refused = |change: fn(&mut LaunchInfo)| {
        let mut launch = world.shell("exit 0");
        change(&mut launch);
        world.fork(launch, Lifetime::Independent).err().expect("refused").to_string()
    };
    let text = refused(|launch| launch.namespaces = [Namespace::Pid].into());
    assert_eq!(text, "a namespace needs --launcher=linux");
    assert!(refused(|launch| launch.hostname = Some("h".into())).contains("a hostname"));
    assert!(refused(|launch| launch.cgroups = vec!["/c".into()]).contains("a cgroup"));
    assert!(refused(|launch| launch.masked_paths = vec!["/proc/x".into()]).contains("mount"));
    assert_eq!(world.launcher.spawner_pid(), None, "nothing was started");
}
