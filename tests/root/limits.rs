//! Limits bite exactly, are told by their names, and can be changed; what was used is on record.

use std::path::PathBuf;

use longshore::Job;
use longshore::error::ErrorKind;
use longshore::events::EventKind;
use longshore::limits;
use longshore::model::{Bytes, LimitedResource, Resources};

use crate::embedded::{code, embedded, embedded_with, within};

/// Takes memory until somebody stops it.
const HOG: &str = "x=0123456789abcdef; while :; do x=$x$x; done";

#[test]
fn a_payload_killed_by_its_memory_limit_says_so() {
    embedded(async |scene| {
        let mut events = scene.events();
        let job = scene.node.launch(scene.spec("hog", HOG).memory(Bytes::mib(16))).expect("free");
        let limited = events.until(job.id(), EventKind::Limited).await;
        let terminated = events.until(job.id(), EventKind::Terminated).await;
        let end = within(job.wait()).await.expect("it was launched");
        let termination = end.termination.as_ref().expect("it ran");
        assert_eq!((termination.exit_code, termination.signal), (137, Some(9)));
        let limitation = termination.limitation.as_ref().expect("a limit ended it");
        assert_eq!(limitation.resource, LimitedResource::Mem);
        assert_eq!(limitation.limit, Some(16 << 20));
        assert!(limitation.message.contains("memory"), "{limitation:?}");
        assert_eq!(limited.limitation.as_ref(), Some(limitation));
        assert_eq!(terminated.termination.as_ref(), Some(termination));
        assert_eq!(terminated.usage, Some(end.usage));
        assert!(end.usage.oom_kills.is_some_and(|kills| kills > 0), "{:?}", end.usage);
        let peak = end.usage.memory_peak.expect("it is measured");
        assert!((8 << 20..=16 << 20).contains(&peak), "{peak}");
    });
}

#[test]
fn a_child_that_the_payload_survives_is_noted_and_the_end_is_the_payloads() {
    embedded(async |scene| {
        let line = format!("sh -c '{HOG}'; exit 5");
        let end = scene.end(scene.spec("parent", &line).memory(Bytes::mib(16))).await;
        assert_eq!(code(&end), 5, "{end:?}");
        let limitation = end.termination.expect("it ran").limitation.expect("it is told");
        assert_eq!(limitation.resource, LimitedResource::Mem);
        assert!(limitation.message.contains("memory"), "{limitation:?}");
        assert!(end.usage.oom_kills.is_some_and(|kills| kills > 0), "{:?}", end.usage);
    });
}

#[test]
fn a_limit_on_processes_counts_those_of_the_payload_and_nothing_else() {
    embedded(async |scene| {
        let line = "sleep 100 & sleep 100 & sleep 100 & echo three; sleep 100 & echo four";
        for (limit, printed) in [(4, "three\n"), (5, "three\nfour\n")] {
            let end = scene.end(scene.spec("forks", line).pids(limit)).await;
            assert_eq!(scene.stdout("forks"), printed, "with {limit}: {end:?}");
            assert_eq!(code(&end) == 0, limit == 5, "{end:?}");
            scene.node.remove(&"forks".parse().expect("valid")).await.expect("it has ended");
        }
    });
}

/// A control file of a running container: of v1, else of v2; as the payload itself can read it.
async fn control(job: &Job, v1: &str, v2: &str) -> Vec<u64> {
    let pid = within(job.running()).await.expect("it runs");
    let root = PathBuf::from(format!("/proc/{pid}/root/sys/fs/cgroup"));
    let text = std::fs::read_to_string(root.join(v1));
    let text = text.or_else(|_| std::fs::read_to_string(root.join(v2)));
    let text = text.expect("the container's cgroups are in its /sys/fs/cgroup");
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

async fn quota(job: &Job) -> Vec<u64> {
    let mut quota = control(job, "cpu/cpu.cfs_quota_us", "cpu.max").await;
    if quota.len() == 1 {
        quota.extend(control(job, "cpu/cpu.cfs_period_us", "none").await);
    }
    quota
}

async fn memory(job: &Job) -> Vec<u64> {
    control(job, "memory/memory.limit_in_bytes", "memory.max").await
}

async fn pids(job: &Job) -> Vec<u64> {
    control(job, "pids/pids.max", "pids.max").await
}

fn resources(cpus: f64, memory: Bytes, pids: u64) -> Resources {
    Resources::default().cpus(cpus).memory(memory).pids(pids)
}

#[test]
fn limits_stand_in_the_kernel_as_written_and_an_update_moves_them_both_ways() {
    embedded(async |scene| {
        let line = "echo up > $DOOR; read x < /mnt/mesos/sandbox/never || exec sleep 1000";
        let spec = scene.spec("moved", line).cpus(0.5).memory(Bytes::mib(64)).pids(10);
        let (job, _door, _) = scene.up(spec).await;
        assert_eq!(quota(&job).await, [50_000, 100_000]);
        assert_eq!((memory(&job).await, pids(&job).await), (vec![64 << 20], vec![11]));
        for (cpus, mib, count) in [(0.25, 32, 5), (2.0, 128, 20)] {
            let update = job.update(resources(cpus, Bytes::mib(mib), count));
            within(update).await.expect("the kernel takes it");
            let expected = [(cpus * 100_000.0) as u64, 100_000];
            assert_eq!(quota(&job).await, expected);
            assert_eq!((memory(&job).await, pids(&job).await), (vec![mib << 20], vec![count + 1]));
        }
        // What is not named stays.
        within(job.update(Resources::default().pids(3))).await.expect("ok");
        assert_eq!((memory(&job).await, pids(&job).await), (vec![128 << 20], vec![4]));
        let refused = job.update(Resources::default().memory(Bytes(1)));
        let error = within(refused).await.expect_err("nothing can live on one byte");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        assert_eq!(memory(&job).await, [128 << 20]);
        within(job.destroy()).await.expect("destroyed");
        let error = within(job.update(Resources::default())).await.expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    });
}

#[test]
fn the_most_processes_that_can_be_asked_for_are_set() {
    embedded(async |scene| {
        let line = "echo up > $DOOR; exec sleep 1000";
        let (job, _door, _) = scene.up(scene.spec("many", line).pids(limits::PIDS_MAX)).await;
        // With the init, as many as the kernel takes.
        assert_eq!(pids(&job).await, [4 << 20]);
        let most = Resources::default().pids(limits::PIDS_MAX);
        within(job.update(most)).await.expect("the kernel takes it");
        within(job.destroy()).await.expect("destroyed");
    });
}

#[test]
fn a_limit_whose_isolator_is_not_on_is_refused_by_an_update_too() {
    let isolation = ["filesystem/linux", "docker/runtime", "cgroups/pids"].map(str::to_owned);
    embedded_with(
        |config| config.isolation = Some(isolation.to_vec()),
        async |scene| {
            let line = "echo up > $DOOR; exec sleep 1000";
            let (job, _door, _) = scene.up(scene.spec("bare", line).pids(10)).await;
            let some = Resources::default().pids(5);
            for (asked, isolator) in
                [(some.cpus(1.0), "cgroups/cpu"), (some.memory(Bytes::mib(64)), "cgroups/mem")]
            {
                let error = within(job.update(asked)).await.expect_err("nobody would set it");
                assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
                assert!(error.to_string().contains(isolator), "{error}");
                assert_eq!(pids(&job).await, [11], "nothing of it is set");
            }
            within(job.update(some)).await.expect("it is on");
            assert_eq!(pids(&job).await, [6]);
            within(job.destroy()).await.expect("destroyed");
        },
    );
}

#[test]
fn a_limit_below_what_is_in_use_is_a_conflict_and_changes_nothing() {
    embedded(async |scene| {
        // 24 MiB in a variable, so that nothing can be reclaimed.
        let line = "x=$(yes | head -c 25165824); echo up > $DOOR; \
                    while :; do read y < /dev/null; sleep 1; done";
        let (job, _door, _) = scene.up(scene.spec("full", line).memory(Bytes::mib(200))).await;
        let lower = Resources::default().memory(Bytes::mib(8));
        let error = within(job.update(lower)).await.expect_err("more is in use");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(memory(&job).await, [200 << 20]);
        within(job.running()).await.expect("it runs on");
        within(job.destroy()).await.expect("destroyed");
    });
}

#[test]
fn a_limit_that_was_moved_is_the_one_that_is_told() {
    embedded(async |scene| {
        let line = format!("echo up > $DOOR; read x < $DOOR.go; {HOG}");
        let go = scene.world.path().join("doors/shrunk.go");
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, mode, 0)
            .expect("the world can be written");
        let (job, _door, _) = scene.up(scene.spec("shrunk", &line).memory(Bytes::mib(64))).await;
        let lower = Resources::default().memory(Bytes::mib(16));
        within(job.update(lower)).await.expect("little is in use");
        std::fs::write(&go, "go\n").expect("the payload reads it");
        let end = within(job.wait()).await.expect("it was launched");
        let limitation = end.termination.expect("it ran").limitation.expect("a limit ended it");
        assert_eq!(limitation.limit, Some(16 << 20), "{limitation:?}");
    });
}

#[test]
fn what_is_used_is_told_while_it_runs_and_when_it_has_ended() {
    embedded(async |scene| {
        let line = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; sleep 100 & echo up > $DOOR; \
                    read x < $DOOR.go";
        let go = scene.world.path().join("doors/busy.go");
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, mode, 0)
            .expect("the world can be written");
        let (job, _door, _) = scene.up(scene.spec("busy", line)).await;
        let usage = within(job.usage()).await.expect("it is measured");
        let cpu = usage.cpu_ns.expect("cgroups/cpu is on");
        assert!(cpu > 1_000_000, "{usage:?}");
        assert!(usage.memory.is_some_and(|bytes| bytes > 0), "{usage:?}");
        assert_eq!(usage.pids, Some(2), "the shell and its sleep: {usage:?}");
        std::fs::write(&go, "go\n").expect("the payload reads it");
        let end = within(job.wait()).await.expect("it was launched");
        assert!(end.usage.cpu_ns.is_some_and(|ns| ns >= cpu), "{:?}", end.usage);
        assert!(end.usage.memory_peak.is_some_and(|bytes| bytes > 0), "{:?}", end.usage);
        assert_eq!(end.usage.oom_kills, Some(0));
        assert_eq!(within(job.usage()).await.expect("on record"), end.usage);
        assert_eq!(job.status().expect("on record").usage, Some(end.usage));
    });
}
