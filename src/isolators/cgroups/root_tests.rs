//! The three isolators together on the real kernel: v1, hybrid or pure v2.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Classified, ErrorKind};
use crate::isolators::tests::{config, context};
use crate::isolators::{DynIsolator, Host, create};
use crate::limits::ISOLATOR_CREATE;
use crate::linux::cgroups::Cgroups;
use crate::model::{Bytes, ContainerId, LimitedResource, Resources, Usage};
use crate::paths::{Paths, cgroup};

const DEADLINE: Duration = Duration::from_secs(30);

/// One container, cleaned up however the test ends.
struct World {
    isolators: Vec<Arc<dyn DynIsolator>>,
    remembered: Vec<Vec<u8>>,
    joins: Vec<PathBuf>,
    cgroups: Arc<Cgroups>,
    id: ContainerId,
    child: Option<Child>,
}

impl World {
    fn new(resources: Resources) -> Self {
        let root = format!("longshore-test-{}", uuid::Uuid::new_v4().simple());
        let cgroups = Cgroups::detect(&root, Path::new("/nowhere")).expect("hierarchies are found");
        let cgroups = Arc::new(cgroups);
        let host = Host {
            paths: Paths::new("/work", "/run/longshore"),
            cgroups: Arc::clone(&cgroups),
            isolation: ["cgroups/cpu", "cgroups/mem", "cgroups/pids"].map(str::to_owned).into(),
            sandbox_directory: PathBuf::from("/mnt/mesos/sandbox"),
        };
        let made =
            create(&host, &[], ISOLATOR_CREATE).expect("this host has all three controllers");
        let isolators = made.into_iter().map(|made| made.isolator).collect();
        let id = ContainerId::new("a").expect("valid");
        let mut world =
            Self { isolators, remembered: Vec::new(), joins: Vec::new(), cgroups, id, child: None };
        let mut config = config(None);
        config.resources = resources;
        let context = context(config, None);
        for isolator in &world.isolators {
            let (info, bytes) = isolator.prepare(&world.id, &context).expect("prepared");
            world.joins.extend(info.cgroups);
            world.remembered.push(bytes);
        }
        world.joins.extend(world.cgroups.kill_group_create(&cgroup(&world.id)));
        // As the plan does: on v2 the three share one cgroup.
        world.joins.sort();
        world.joins.dedup();
        world
    }

    /// Stands for the init (the shell) and the payload (`script`).
    fn run(&mut self, script: &str) {
        let joins: String = self
            .joins
            .iter()
            .map(|directory| format!("echo 0 > {}/cgroup.procs && ", directory.display()))
            .collect();
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("{joins}{{ {script}; }}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        self.child = Some(child);
    }

    fn output(&mut self) -> String {
        let child = self.child.take().expect("runs");
        let output = child.wait_with_output().expect("our child");
        String::from_utf8(output.stdout).expect("text")
    }

    fn line(&mut self) -> String {
        let out = self.child.as_mut().and_then(|child| child.stdout.as_mut()).expect("piped");
        let mut line = Vec::new();
        let mut byte = [0u8];
        while std::io::Read::read_exact(out, &mut byte).is_ok() && byte != *b"\n" {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    fn usage(&self) -> Usage {
        self.each()
            .map(|(isolator, bytes)| isolator.usage(&self.id, bytes).expect("measured"))
            .fold(Usage::default(), Usage::or)
    }

    fn last(&self) -> Usage {
        self.each()
            .map(|(isolator, bytes)| isolator.last(&self.id, bytes).expect("measured").0)
            .fold(Usage::default(), Usage::or)
    }

    fn each(&self) -> impl Iterator<Item = (&Arc<dyn DynIsolator>, &Vec<u8>)> {
        self.isolators.iter().zip(&self.remembered)
    }

    fn of(&self, name: &str) -> (&Arc<dyn DynIsolator>, &Vec<u8>) {
        self.each().find(|(isolator, _)| isolator.name() == name).expect("in use")
    }

    fn assert_clean(&self) {
        assert!(self.joins.iter().all(|directory| !directory.is_dir()), "{:?}", self.joins);
        assert!(self.cgroups.containers().expect("listed").is_empty());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.cgroups.kill_group_kill(&cgroup(&self.id), DEADLINE);
        let _ = self.cgroups.kill_group_remove(&cgroup(&self.id));
        for isolator in self.isolators.iter().rev() {
            let _ = isolator.cleanup(&self.id, None);
        }
    }
}

fn limits(cpus: f64, memory_mib: u64, pids: u64) -> Resources {
    Resources { cpus: Some(cpus), memory: Some(Bytes::mib(memory_mib)), pids: Some(pids) }
}

#[test]
fn a_container_is_limited_measured_and_gone() {
    let mut world = World::new(limits(1.0, 64, 10));
    world.run("i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; echo done; read end");
    assert_eq!(world.line(), "done");
    let usage = world.usage();
    assert!(usage.cpu_ns.is_some_and(|ns| ns > 0), "{usage:?}");
    assert!(usage.memory.is_some_and(|bytes| bytes > 0), "{usage:?}");
    assert_eq!(usage.pids, Some(0), "only the one that stands for the init lives");
    assert_eq!(usage.oom_kills, Some(0));
    world.output();
    let last = world.last();
    assert!(last.cpu_ns >= usage.cpu_ns, "figures outlive the last process: {last:?}");
    let parts = last.cpu_user_ns.zip(last.cpu_system_ns).expect("both are counted");
    assert!(parts.0 > 0, "a loop of the shell: {last:?}");
    assert!(last.memory_peak >= usage.memory_peak, "{last:?}");
    assert_eq!((last.oom_kills, last.memory, last.pids), (Some(0), None, None));
    assert!(last.cpu_throttled_ns.is_some(), "{last:?}");
    for _ in 0..2 {
        for isolator in world.isolators.iter().rev() {
            isolator.cleanup(&world.id, None).expect("repeatable");
        }
        world.cgroups.kill_group_remove(&cgroup(&world.id)).expect("repeatable");
    }
    world.assert_clean();
}

#[test]
fn the_payload_gets_as_many_processes_as_were_asked_for() {
    let mut world = World::new(limits(1.0, 64, 2));
    // Two beside the shell that stands for the init, and no third: the shell gives up.
    world.run("sleep 100 & sleep 100 & echo two; read x; sleep 100 2>/dev/null; echo three");
    assert_eq!(world.line(), "two");
    assert_eq!(world.usage().pids, Some(2));
    let child = world.child.as_mut().expect("runs");
    drop(child.stdin.take());
    let status = child.wait().expect("our child");
    assert!(!status.success(), "a third process was started");
}

#[tokio::test]
async fn running_out_of_memory_is_told_while_the_payload_lives_and_at_the_end() {
    let mut world = World::new(limits(1.0, 16, 10));
    let (mem, bytes) = world.of("cgroups/mem");
    let watch = mem.watch(&world.id, bytes).expect("decoded").expect("watches");
    let (mem, bytes) = (Arc::clone(mem), bytes.clone());
    assert_eq!(mem.last(&world.id, &bytes).expect("read").1, None);
    world.run("tail /dev/zero; echo survived; read end");
    let limitation =
        tokio::time::timeout(DEADLINE, watch).await.expect("in time").expect("watched");
    assert_eq!(limitation.resource, LimitedResource::Mem);
    assert_eq!(limitation.limit, Some(16 << 20));
    assert!(limitation.message.contains("memory limit of 16777216 bytes"), "{limitation:?}");
    assert_eq!(world.output(), "survived\n");
    let (usage, last) = mem.last(&world.id, &bytes).expect("read");
    assert_eq!(last.expect("a process was killed").limit, Some(16 << 20));
    assert_eq!(usage.oom_kills, Some(1));
    assert_eq!(world.usage().oom_kills, Some(1));
}

#[tokio::test]
async fn a_kill_before_the_watch_begins_is_told_at_once() {
    let mut world = World::new(limits(1.0, 16, 10));
    world.run("tail /dev/zero; echo survived; read end");
    assert_eq!(world.line(), "survived");
    let (mem, bytes) = world.of("cgroups/mem");
    let watch = mem.watch(&world.id, bytes).expect("decoded").expect("watches");
    let limitation =
        tokio::time::timeout(DEADLINE, watch).await.expect("in time").expect("watched");
    assert_eq!(limitation.limit, Some(16 << 20));
}

#[test]
fn a_limit_that_is_in_the_way_is_a_conflict_and_a_higher_one_is_taken() {
    let mut world = World::new(limits(0.5, 128, 10));
    world.run("x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo ready; read end");
    assert_eq!(world.line(), "ready");
    let (mem, bytes) = world.of("cgroups/mem");
    let error = mem.update(&world.id, bytes, &limits(0.5, 8, 10)).expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let remembered = mem.update(&world.id, bytes, &limits(0.5, 256, 10)).expect("raised");
    assert_eq!(remembered, b"268435456");
    let (cpu, bytes) = world.of("cgroups/cpu");
    cpu.update(&world.id, bytes, &limits(2.0, 256, 10)).expect("raised");
    let (pids, bytes) = world.of("cgroups/pids");
    pids.update(&world.id, bytes, &limits(2.0, 256, 1)).expect("lowered");
    assert_eq!(world.usage().oom_kills, Some(0));
}

#[test]
fn an_id_whose_cgroup_is_in_use_is_a_conflict() {
    let mut world = World::new(limits(1.0, 64, 10));
    world.run("echo ready; read end");
    assert_eq!(world.line(), "ready");
    let root = world.joins[0].to_string_lossy().into_owned();
    let root = root.split('/').find(|part| part.starts_with("longshore-test-")).expect("our root");
    let cgroups = Cgroups::detect(root, Path::new("/nowhere")).expect("hierarchies are found");
    let host = Host {
        paths: Paths::new("/work", "/run/longshore"),
        cgroups: Arc::new(cgroups),
        isolation: vec!["cgroups/mem".to_owned()],
        sandbox_directory: PathBuf::from("/mnt/mesos/sandbox"),
    };
    let other = create(&host, &[], ISOLATOR_CREATE).expect("created");
    let error =
        other[0].isolator.prepare(&world.id, &context(config(None), None)).expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
}
