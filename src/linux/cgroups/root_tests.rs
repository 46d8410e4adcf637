//! On the real kernel, whatever its hierarchies are: v1, hybrid or pure v2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// A root of its own, removed when the test ends, however it ends.
struct World {
    cgroups: Arc<Cgroups>,
    children: Vec<Child>,
}

impl World {
    fn new() -> Self {
        let root = format!("longshore-test-{}", uuid::Uuid::new_v4().simple());
        let cgroups = Cgroups::detect(&root, Path::new("/nowhere")).expect("hierarchies are found");
        Self { cgroups: Arc::new(cgroups), children: Vec::new() }
    }

    /// A program that joins `directories` by itself, as the init does, and then goes on as `script`.
    fn spawn(&mut self, directories: &[PathBuf], script: &str) -> usize {
        let joins: String = directories
            .iter()
            .map(|directory| format!("echo 0 > {}/cgroup.procs && ", directory.display()))
            .collect();
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("{joins}echo joined && {{ {script}; }}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        self.children.push(child);
        let last = self.children.len() - 1;
        let out = self.children[last].stdout.as_mut().expect("piped");
        let mut line = [0u8; 7];
        std::io::Read::read_exact(out, &mut line).expect("sh joins its cgroups");
        last
    }

    fn end_of(&mut self, child: usize) -> std::process::ExitStatus {
        self.children[child].wait().expect("our child")
    }

    fn group(&self, controller: Controller) -> Group {
        self.cgroups.create(&[controller], Path::new("a")).expect("made").remove(0)
    }

    fn roots(&self) -> Vec<PathBuf> {
        self.cgroups.mounts().into_iter().map(|mount| mount.join(self.cgroups.root())).collect()
    }

    fn assert_clean(&self) {
        let left: Vec<PathBuf> = self.roots().into_iter().filter(|root| root.is_dir()).collect();
        assert_eq!(left, Vec::<PathBuf>::new());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        for root in self.roots() {
            let _ = tree::remove(&root);
        }
    }
}

#[test]
fn a_limit_is_written_as_it_was_asked_for_and_all_is_removed() {
    let world = World::new();
    let memory = world.group(Controller::Memory);
    memory.set_memory(64 << 20, Before::Defaults).expect("limited");
    let file = match memory.version() {
        Version::V1 => "memory.limit_in_bytes",
        Version::V2 => "memory.max",
    };
    let limit = fs::read_to_string(memory.directory().join(file)).expect("readable");
    assert_eq!(limit.trim(), (64 << 20).to_string());
    memory.set_memory(32 << 20, Before::Anything).expect("lowered");
    memory.set_memory(128 << 20, Before::Anything).expect("raised");

    let pids = world.group(Controller::Pids);
    pids.set_pids(7).expect("limited");
    let limit = fs::read_to_string(pids.directory().join("pids.max")).expect("readable");
    assert_eq!(limit.trim(), "7");

    let all = [Controller::Cpu, Controller::Cpuacct, Controller::Memory, Controller::Pids];
    for group in world.cgroups.create(&all[..2], Path::new("a")).expect("made") {
        assert!(group.directory().is_dir());
    }
    world.group(Controller::Cpu).set_cpus(0.5, Before::Defaults).expect("limited");
    world.cgroups.remove(&all, Path::new("a")).expect("removed");
    world.cgroups.remove(&all, Path::new("a")).expect("nothing left to remove");
    world.assert_clean();
}

#[test]
fn a_process_that_joined_is_counted() {
    let mut world = World::new();
    let controllers = [Controller::Cpu, Controller::Cpuacct, Controller::Memory, Controller::Pids];
    let path = Path::new("a");
    let groups = world.cgroups.create(&controllers, path).expect("made");
    let mut directories: Vec<PathBuf> = groups.iter().map(Group::processes).collect();
    directories.push(world.cgroups.kill_group_create(path).expect("made"));
    directories.dedup();
    let child = world.spawn(&directories, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
    assert!(world.end_of(child).success());
    let cpu = world.cgroups.cpu_usage(path).expect("read");
    assert!(cpu.total.is_some_and(|ns| ns > 0), "{cpu:?}");
    assert!(cpu.throttled.is_some(), "{cpu:?}");
    let memory = world.cgroups.group(Controller::Memory, path).expect("there");
    memory.memory().expect("read");
    assert!(memory.memory_peak().expect("read").is_none_or(|bytes| bytes > 0));
    assert_eq!(world.group(Controller::Pids).pids().expect("read"), 0);
}

/// A hybrid host counts twice: in `cpuacct`, and in the kill group, which is cheaper to read.
#[test]
fn the_kill_group_counts_the_time_that_cpuacct_counts() {
    let mut world = World::new();
    let (path, controllers) = (Path::new("a"), [Controller::Cpu, Controller::Cpuacct]);
    let groups = world.cgroups.create(&controllers, path).expect("made");
    let mut directories: Vec<PathBuf> = groups.iter().map(Group::processes).collect();
    directories.push(world.cgroups.kill_group_create(path).expect("made"));
    directories.dedup();
    let child = world.spawn(&directories, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done");
    assert!(world.end_of(child).success());
    let usage = world.cgroups.cpu_usage(path).expect("read");
    let (total, user, system) =
        usage.total.zip(usage.user).zip(usage.system).map(|((t, u), s)| (t, u, s)).expect("all");
    assert!(user > system && user > total / 2, "a loop of the shell: {usage:?}");
    let apart = world.cgroups.group(Controller::Cpuacct, path).expect("there");
    if apart.version() == Version::V1 {
        let other = v1::cpu_time(apart.directory()).expect("read").total.expect("counted");
        assert!(total.abs_diff(other) < total / 4, "{total} and {other}");
    }
}

/// As one of an earlier version has it, and one of a host whose v2 tree counted no time.
#[test]
fn a_cpuacct_cgroup_that_this_process_did_not_make_goes_with_its_container() {
    let world = World::new();
    let path = Path::new("a");
    world.cgroups.create(&[Controller::Cpu, Controller::Cpuacct], path).expect("made");
    world.cgroups.kill_group_create(path).expect("made");
    let root = world.cgroups.root().to_str().expect("text").to_owned();
    let later = Cgroups::detect(&root, Path::new("/nowhere")).expect("hierarchies are found");
    later.remove(later.cpu_controllers(), path).expect("removed");
    later.kill_group_remove(path).expect("removed");
    world.assert_clean();
}

#[test]
fn a_quota_of_a_tenth_holds_a_busy_process_back() {
    let mut world = World::new();
    let groups = world
        .cgroups
        .create(&[Controller::Cpu, Controller::Cpuacct], Path::new("a"))
        .expect("made");
    let group = world.group(Controller::Cpu);
    group.set_cpus(0.1, Before::Defaults).expect("limited");
    let directories: Vec<PathBuf> = groups.iter().map(Group::processes).collect();
    let started = Instant::now();
    let child = world.spawn(&directories, "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done");
    assert!(world.end_of(child).success());
    let usage = world.cgroups.cpu_usage(Path::new("a")).expect("read");
    let throttled = usage.throttled.expect("counted");
    assert!(throttled > 0, "ran for {:?} and was never held back", started.elapsed());
}

#[test]
fn running_out_of_memory_is_noticed_and_counted() {
    let mut world = World::new();
    let group = world.group(Controller::Memory);
    group.set_memory(16 << 20, Before::Anything).expect("limited");
    let notifier = OomNotifier::new(&group).expect("watched");
    assert_eq!(notifier.before(), MemoryEvents::default());
    assert_eq!(notifier.check().expect("read"), MemoryEvents::default());
    // tail keeps the last line, and there is only one.
    let child = world.spawn(&[group.processes()], "tail /dev/zero; echo survived");
    assert!(world.end_of(child).success(), "the shell outlives its child");
    let mut fds = [rustix::event::PollFd::new(&notifier, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut fds, Some(&timeout)).expect("polled"), 1);
    let events = notifier.check().expect("read");
    assert_eq!(events.oom_kills, 1);
    assert!(events.at_limit);
    assert_eq!(OomNotifier::new(&group).expect("watched").before(), events);
    let peak = group.memory_peak().expect("read");
    assert!(peak.is_none_or(|peak| peak <= 16 << 20 && peak > 8 << 20), "{peak:?}");
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_and_kills_nobody() {
    let mut world = World::new();
    let group = world.group(Controller::Memory);
    group.set_memory(128 << 20, Before::Anything).expect("limited");
    let hold = "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ready; read never";
    let child = world.spawn(&[group.processes()], hold);
    let out = world.children[child].stdout.as_mut().expect("piped");
    std::io::Read::read_exact(out, &mut [0u8; 6]).expect("the shell holds its memory");
    let error = group.set_memory(8 << 20, Before::Anything).expect_err("in use");
    assert_eq!(error.errno, Errno::BUSY, "{error}");
    assert_eq!(group.memory_events().expect("read").oom_kills, 0);
    assert!(world.children[child].try_wait().expect("our child").is_none());
}

#[test]
fn a_kill_ends_everything_in_the_group_and_below() {
    let mut world = World::new();
    let path = Path::new("a");
    let nested = Path::new("a/mesos/b");
    let outer = world.cgroups.kill_group_create(path).expect("made");
    let inner = world.cgroups.kill_group_create(nested).expect("made");
    let forker = world.spawn(&[outer], "sleep 1000 & sleep 1000 & trap '' TERM HUP; wait");
    let deaf = world.spawn(&[inner], "trap '' TERM INT HUP; sleep 1000");
    assert!(world.cgroups.kill_group_processes(path).expect("read").len() >= 2);
    world.cgroups.kill_group_kill(path, DEADLINE).expect("killed");
    assert_eq!(world.cgroups.kill_group_processes(path).expect("read"), Vec::<i32>::new());
    for child in [forker, deaf] {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(world.end_of(child).signal(), Some(9));
    }
    world.cgroups.kill_group_remove(nested).expect("removed");
    world.cgroups.kill_group_remove(path).expect("removed");
    world.assert_clean();
    world.cgroups.kill_group_kill(path, DEADLINE).expect("nothing left to kill");
    world.cgroups.kill_group_remove(path).expect("nothing left to remove");
}

#[test]
fn what_an_earlier_version_has_made_is_killed_and_removed_with_its_leaf() {
    let mut world = World::new();
    let path = Path::new("a");
    let directory = world.cgroups.kill_group_create(path).expect("made");
    let mount = world.cgroups.unified().expect("v2 or hybrid").to_path_buf();
    let group = mount.join(world.cgroups.root()).join(path);
    let leaf = group.join("leaf");
    if directory == group {
        fs::create_dir(&leaf).expect("made");
    }
    let child = world.spawn(&[leaf], "trap '' TERM; sleep 1000");
    let root = world.cgroups.root().to_str().expect("text").to_owned();
    let later = Cgroups::detect(&root, Path::new("/nowhere")).expect("hierarchies are found");
    assert!(later.kill_group_exists(path) && !later.kill_group_is_empty(path));
    later.kill_group_kill(path, DEADLINE).expect("killed");
    world.end_of(child);
    assert!(later.kill_group_is_empty(path));
    later.kill_group_remove(path).expect("removed");
    assert!(!group.is_dir());
    world.assert_clean();
}

#[test]
fn a_nested_container_that_goes_leaves_its_sibling_alone() {
    let world = World::new();
    let [outer, inner, sibling] = ["a", "a/mesos/b", "a/mesos/c"].map(Path::new);
    for path in [outer, inner, sibling] {
        world.cgroups.create(&[Controller::Pids], path).expect("made");
    }
    world.cgroups.remove(&[Controller::Pids], inner).expect("removed");
    let left = world.cgroups.group(Controller::Pids, sibling).expect("mounted");
    assert!(left.directory().is_dir(), "no process is in it yet, and it is in use all the same");
    for path in [sibling, outer] {
        world.cgroups.remove(&[Controller::Pids], path).expect("removed");
    }
    world.assert_clean();
}

#[test]
fn a_group_tells_its_version_by_its_path_and_a_strange_directory_has_none() {
    let world = World::new();
    for controller in [Controller::Memory, Controller::Pids, Controller::Freezer] {
        let group = world.cgroups.group(controller, Path::new("a")).expect("mounted");
        let version = Some(group.version());
        assert_eq!(world.cgroups.version_at(group.directory()), version);
        assert_eq!(world.cgroups.version_at(&group.processes()), version);
        let mount = group.directory().ancestors().nth(2).expect("the hierarchy");
        assert_eq!(world.cgroups.version_at(&mount.join("another/a")), None);
    }
    let made = world.cgroups.kill_group_create(Path::new("a")).expect("made");
    assert_eq!(world.cgroups.version_at(&made), world.cgroups.kill_group_version());
    world.cgroups.kill_group_remove(Path::new("a")).expect("removed");
    assert_eq!(world.cgroups.version_at(Path::new("/tmp")), None);
}

#[test]
fn a_group_in_use_is_not_taken_over_and_an_empty_leftover_is() {
    let mut world = World::new();
    let path = Path::new("a");
    let directory = world.cgroups.kill_group_create(path).expect("made");
    let child = world.spawn(&[directory], "sleep 1000");
    let root = world.cgroups.root().to_str().expect("text").to_owned();
    let other = Cgroups::detect(&root, Path::new("/nowhere")).expect("hierarchies are found");
    let error = other.kill_group_create(path).expect_err("a process lives there");
    assert_eq!(error.errno, Errno::EXIST);
    world.cgroups.kill_group_kill(path, DEADLINE).expect("killed");
    world.end_of(child);
    other.kill_group_create(path).expect("an empty one is used");
    other.create(&[Controller::Memory], path).expect("made");
    assert_eq!(other.containers().expect("listed").into_iter().collect::<Vec<_>>(), ["a"]);
    other.remove(&[Controller::Memory], path).expect("removed");
    other.kill_group_remove(path).expect("removed");
    world.assert_clean();
}

#[test]
fn a_root_that_was_there_before_stays() {
    let world = World::new();
    for root in world.roots() {
        fs::create_dir(root).expect("the operator's own");
    }
    world.group(Controller::Memory);
    world.cgroups.remove(&[Controller::Memory], Path::new("a")).expect("removed");
    assert!(world.roots().iter().all(|root| root.is_dir()));
}

#[test]
fn one_of_two_users_of_a_root_leaves_it_to_the_other() {
    let world = World::new();
    let (a, b) = (Path::new("a"), Path::new("b"));
    world.cgroups.create(&[Controller::Memory], a).expect("made");
    world.cgroups.create(&[Controller::Memory], b).expect("made");
    world.cgroups.remove(&[Controller::Memory], a).expect("removed");
    assert!(world.cgroups.group(Controller::Memory, b).expect("there").directory().is_dir());
    world.cgroups.remove(&[Controller::Memory], b).expect("removed");
    world.assert_clean();
}

#[test]
fn a_kept_root_outlives_its_containers_and_goes_when_nobody_keeps_it() {
    let world = World::new();
    let cgroups = &world.cgroups;
    let group = cgroups.group(Controller::Memory, Path::new("a")).expect("mounted");
    let root = group.directory().parent().expect("our root");
    let mount = root.parent().expect("the hierarchy");
    let kept = cgroups.keep_root();
    for _ in 0..2 {
        cgroups.create(&[Controller::Memory], Path::new("a")).expect("made");
        cgroups.remove(&[Controller::Memory], Path::new("a")).expect("removed");
        assert!(root.is_dir());
    }
    // As another process that shares it may do.
    tree::remove_root(mount, cgroups.root()).expect("removed");
    cgroups.create(&[Controller::Memory], Path::new("a")).expect("made with its root");
    drop(kept);
    assert!(root.is_dir(), "it is in use");
    cgroups.remove(&[Controller::Memory], Path::new("a")).expect("removed");
    world.assert_clean();
}

/// What a host without `cgroup.kill` does: freezes by v1 where that is mounted, else only signals.
#[test]
fn without_cgroup_kill_everything_ends_as_well() {
    let mut world = World::new();
    let freezer = world.cgroups.freezer().map(Path::to_path_buf);
    let mount = freezer.clone().or_else(|| world.cgroups.unified().map(Path::to_path_buf));
    let mount = mount.expect("v2 or the freezer");
    let directory = mount.join(world.cgroups.root());
    tree::make_root(&mount, world.cgroups.root(), tree::Needs::Nothing).expect("made");
    let inner = directory.join("inner");
    tree::make(&inner, tree::Needs::Nothing).expect("made");
    let fork = "sleep 1000 & sleep 1000 & trap '' TERM; while :; do sleep 0.01; done";
    let joins = [directory.clone(), inner];
    let children: Vec<usize> =
        joins.iter().map(|join| world.spawn(std::slice::from_ref(join), fork)).collect();
    let until = Instant::now() + DEADLINE;
    match freezer {
        Some(_) => kill::kill_by_freezer(&directory, until).expect("killed"),
        None => kill::kill_by_signals(&directory, until).expect("killed"),
    }
    assert_eq!(tree::processes(&directory).expect("read"), Vec::<i32>::new());
    for child in children {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(world.end_of(child).signal(), Some(9));
    }
    tree::remove(&directory).expect("removed");
}

/// On v2 only: elsewhere a controller needs nobody's leave.
#[test]
fn a_hierarchy_whose_root_holds_processes_says_what_to_do() {
    let mut world = World::new();
    let mount = world.cgroups.unified().expect("v2 or hybrid").to_path_buf();
    let root = mount.join(world.cgroups.root());
    tree::make_root(&mount, world.cgroups.root(), tree::Needs::Nothing).expect("made");
    let child = world.spawn(std::slice::from_ref(&root), "sleep 1000");
    let unified = fs::read_to_string(mount.join("cgroup.controllers")).expect("readable");
    let made = world.cgroups.create(&[Controller::Memory], Path::new("a"));
    match unified.split_whitespace().any(|name| name == "memory") {
        true => {
            let error = made.expect_err("processes are in the way");
            assert_eq!(error.errno, Errno::BUSY);
            assert!(error.to_string().contains("must move into one below"), "{error}");
        }
        false => assert_eq!(made.expect("v1 has no such rule")[0].version(), Version::V1),
    }
    world.cgroups.kill_group_kill(Path::new(""), DEADLINE).expect("killed");
    world.end_of(child);
}
