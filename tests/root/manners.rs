//! A containerizer is a good guest in the process that embeds it, whatever that process does.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use longshore::model::ContainerId;
use longshore::{Containers, Stop};
use nix::sys::wait::{WaitPidFlag, waitpid};

use crate::alone::{alone, alone_ignoring_children};
use crate::embedded::{
    Scene, block_on, code, config, embedded, furnish, root_of, spec, start, within,
};
use crate::support::World;
use crate::support::cli::DEADLINE;

/// Containers of each kind of end, each with the right status.
async fn ends_are_known(scene: &Scene) {
    for round in 0..5 {
        for (line, expected) in [("exit 7", 7), ("kill -KILL $$", 137), ("exec /no/such", 127)] {
            let end = scene.run(scene.spec("known", line)).await;
            assert_eq!(code(&end), expected, "{round}: {line}: {end:?}");
        }
        let end = scene.run(scene.spec("known", "").command(["/no/such"])).await;
        assert!(end.failure.is_some_and(|failure| failure.errno.as_deref() == Some("ENOENT")));
        let (job, _door, _) =
            scene.up(scene.spec(&format!("killed-{round}"), "echo up > $DOOR; sleep 1000")).await;
        let end = within(job.stop(Stop::signal(9))).await.expect("it stops");
        assert_eq!(code(&end), 137);
    }
}

#[test]
fn an_embedder_may_ignore_its_children() {
    alone_ignoring_children("manners::an_embedder_may_ignore_its_children", || {
        let ignored = field(&status(), "SigIgn");
        let bits = u64::from_str_radix(&ignored, 16).expect("the kernel prints a number");
        assert_ne!(bits & (1 << 16), 0, "or this test shows nothing: {ignored}");
        embedded(ends_are_known);
    });
}

#[test]
fn an_embedder_may_reap_whatever_ends() {
    alone("manners::an_embedder_may_reap_whatever_ends", || {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Children of whatever kind, as soon as there are any.
                    let all = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
                    if waitpid(None, Some(all)).is_err() {
                        std::thread::yield_now();
                    }
                }
            });
            embedded(ends_are_known);
            stop.store(true, Ordering::Relaxed);
        });
    });
}

/// This thread's: the first one of the process has all signals blocked while it spawns others.
fn status() -> String {
    fs::read_to_string("/proc/thread-self/status").expect("/proc is mounted")
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.split(':').next() == Some(name));
    line.and_then(|line| line.split_once(':')).expect(name).1.trim().to_owned()
}

/// All of a process that a guest must leave as it was.
pub(crate) fn household() -> BTreeMap<String, String> {
    let status = status();
    let of_status = ["Umask", "SigBlk", "SigIgn", "SigCgt", "Uid", "Gid", "CapEff", "NoNewPrivs"];
    let mut found: BTreeMap<String, String> =
        of_status.iter().map(|name| ((*name).to_owned(), field(&status, name))).collect();
    let limits = fs::read_to_string("/proc/self/limits").expect("/proc is mounted");
    found.insert("limits".into(), limits);
    let link = |name: &str| fs::read_link(format!("/proc/self/{name}")).expect("/proc is mounted");
    for name in ["cwd", "root", "ns/mnt", "ns/pid_for_children", "ns/ipc", "ns/cgroup", "exe"] {
        found.insert(name.to_owned(), link(name).display().to_string());
    }
    let cgroup = fs::read_to_string("/proc/self/cgroup").expect("/proc is mounted");
    found.insert("cgroup".into(), cgroup);
    let score = fs::read_to_string("/proc/self/oom_score_adj").expect("/proc is mounted");
    found.insert("oom_score_adj".into(), score);
    found
}

/// What a process has more of when something leaks.
fn holdings(world: &World) -> BTreeMap<&'static str, usize> {
    let count = |path: &str| fs::read_dir(path).expect("/proc is mounted").count();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let cgroups = world.leaks().iter().filter(|line| line.starts_with("cgroup")).count();
    BTreeMap::from([
        ("descriptors", count("/proc/self/fd")),
        ("threads", count("/proc/self/task")),
        ("mounts", mounts.lines().filter(|line| line.contains(world.cgroups_root())).count()),
        ("cgroups", cgroups),
    ])
}

/// Threads that have been told to end may be seen for a moment longer.
fn settles(what: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < DEADLINE {
        if what() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn open_descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted").flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links.map(|link| link.display().to_string()).collect()
}

#[test]
fn a_process_is_after_a_containerizer_what_it_was_before() {
    alone("manners::a_process_is_after_a_containerizer_what_it_was_before", || {
        let before = household();
        let descriptors = || fs::read_dir("/proc/self/fd").expect("/proc is mounted").count();
        let threads = || fs::read_dir("/proc/self/task").expect("/proc is mounted").count();
        // The first event loop of a process makes a pair of sockets that stay.
        block_on(async {});
        let (first_descriptors, first_threads) = (descriptors(), threads());
        for _ in 0..3 {
            embedded(async |scene| {
                assert_eq!(household(), before, "after the start");
                let (job, _door, _) =
                    scene.up(scene.spec("guest", "echo up > $DOOR; exec sleep 1000")).await;
                assert_eq!(household(), before, "while a container runs");
                within(job.destroy()).await.expect("destroyed");
            });
            assert_eq!(household(), before, "after the shutdown");
            assert!(settles(|| threads() == first_threads), "{} threads", threads());
            assert_eq!(descriptors(), first_descriptors, "{:?}", open_descriptors());
        }
    });
}

#[test]
fn hundreds_of_containers_leave_no_more_than_one() {
    alone("manners::hundreds_of_containers_leave_no_more_than_one", || {
        embedded(async |scene| {
            let launch = async |number: i32| {
                let id = format!("one-of-many-{number}");
                let code_wanted = number % 256;
                let end = scene.run(scene.spec(&id, &format!("exit {code_wanted}"))).await;
                assert_eq!(code(&end), code_wanted);
            };
            for number in 0..20 {
                launch(number).await;
            }
            let before = holdings(&scene.world);
            for number in 20..320 {
                launch(number).await;
            }
            assert!(settles(|| holdings(&scene.world) == before), "{before:?}");
            assert_eq!(scene.left(), [""; 0]);
        });
    });
}

#[test]
fn many_launches_at_once_do_not_meet() {
    embedded(async |scene| {
        let ends = join_all((0..32).map(async |number| {
            let line = format!("echo {number}; exit {number}");
            let end = scene.end(scene.spec(&format!("of-many-{number}"), &line)).await;
            (number, end)
        }));
        for (number, end) in within(ends).await {
            assert_eq!(code(&end), number, "{end:?}");
            assert_eq!(scene.stdout(&format!("of-many-{number}")), format!("{number}\n"));
        }
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn two_containerizers_of_one_process_share_a_work_directory() {
    embedded(async |scene| {
        let world = &scene.world;
        let other_runtime = world.path().join("other");
        let builder = || {
            longshore::Containerizer::builder(world.work_dir(), &other_runtime)
                .config(config(world))
        };
        // One begins and ends, over and over, while the other is at work.
        let guests = async {
            for round in 0..8 {
                let other = builder().start().await.expect("another runtime directory");
                let spec = spec(world, &format!("other-{round}"), "exit 2");
                let job = other.launch(spec).expect("the id is free");
                assert_eq!(code(&within(job.wait()).await.expect("launched")), 2, "{round}");
                other.shutdown(Containers::Destroy).await.expect("in order");
            }
        };
        let own = async {
            for round in 0..40 {
                let end = scene.run(scene.spec(&format!("own-{round}"), "exit 1")).await;
                assert_eq!(code(&end), 1, "{round}: {end:?}");
            }
        };
        within(futures_util::future::join(guests, own)).await;
    });
}

#[test]
fn kept_containers_go_on_and_destroyed_ones_do_not() {
    let world = World::new();
    furnish(&world);
    assert!(root_of(&world).join("bin/sh").is_symlink());
    let id: ContainerId = "kept".parse().expect("valid");
    block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let line = "echo up > $DOOR; exec sleep 1000";
        let mut door = crate::embedded::Door::open(&world, &id);
        let job = node.launch(spec(&world, "kept", line)).expect("free");
        door.line().await;
        let pid = within(job.running()).await.expect("it runs");
        node.shutdown(Containers::Keep).await.expect("in order");
        let error = node.launch(spec(&world, "late", line)).expect_err("it is shut down");
        assert!(!error.to_string().contains("mailbox"), "{error}");
        drop((job, node));
        let init = crate::support::process::Process::find(pid).expect("it goes on");
        assert!(!init.ends_within(std::time::Duration::from_millis(50)), "it goes on");
        // Whoever comes next on these directories finds it.
        let node = start(&world, config(&world)).await.expect("it starts");
        assert!(init.ends_within(DEADLINE), "it was buried");
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}
