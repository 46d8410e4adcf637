//! Work that blocks runs on the threads of a lane, so many at a time, and never on an arbiter.

use std::sync::mpsc::channel;

use longshore_actors::{Cause, FaultKind, Outcome};

use super::support::{PATIENCE, World, ask};

#[test]
fn a_job_blocks_its_thread_and_not_the_actor() {
    let world = World::real();
    let pid = world.probe("a");
    let (release, held) = channel::<()>();
    ask(&pid, |_, cx| {
        let job = cx.blocking("bulk", "wait", move |_| held.recv().is_ok());
        cx.run("wait", job.result(), |probe, _, released| {
            probe.say(format!("{:?}", released.expect("the job returns")));
        });
    });
    ask(&pid, |probe, _| probe.say("still here"));
    release.send(()).expect("the job waits");
    assert_eq!(world.next(), "still here");
    assert_eq!(world.next(), "true");
}

#[test]
fn a_lane_runs_no_more_jobs_than_it_has_threads() {
    let world = World::real();
    let (started, starts) = channel();
    let (releases, jobs): (Vec<_>, Vec<_>) = (0..5)
        .map(|n| {
            let (release, held) = channel::<()>();
            let started = started.clone();
            let job = world.runtime.blocking("bulk", "wait", move |_| {
                started.send(n).expect("the test listens");
                held.recv().is_err()
            });
            (release, job)
        })
        .unzip();
    let mut first = [starts.recv_timeout(PATIENCE), starts.recv_timeout(PATIENCE)].map(Result::ok);
    first.sort_unstable();
    assert_eq!(first, [Some(0), Some(1)]);
    let status = &world.runtime.lanes()[0];
    assert_eq!((status.running.len(), status.waiting, status.threads_max), (2, 3, 2));
    assert!(starts.try_recv().is_err());
    drop(releases);
    assert!(jobs.into_iter().all(|job| matches!(job.blocking_wait(), Outcome::Ok(true))));
}

#[test]
fn a_discarded_job_that_waits_is_never_run_and_one_that_runs_is_told() {
    let world = World::real();
    let (started, starts) = channel();
    let spinning: Vec<_> = (0..2)
        .map(|_| {
            let started = started.clone();
            world.runtime.blocking("bulk", "until told", move |token| {
                started.send(()).expect("the test listens");
                while !token.is_discarded() {
                    std::thread::yield_now();
                }
                token.cause()
            })
        })
        .collect();
    for _ in 0..2 {
        starts.recv_timeout(PATIENCE).expect("both threads are busy");
    }
    let waiting = world.runtime.blocking("bulk", "never", |_| panic!("it must not run"));
    waiting.discard("not needed");
    for job in spinning {
        job.discard("enough");
        assert!(matches!(job.blocking_wait(), Outcome::Ok(Some(Cause::Asked("enough")))));
    }
    let outcome: Outcome<()> = waiting.blocking_wait();
    assert!(matches!(outcome, Outcome::Discarded(Cause::Asked("not needed"))));
}

#[test]
fn the_queue_of_a_lane_is_bounded() {
    let world = World::real();
    let (release, held) = channel::<()>();
    let held = std::sync::Arc::new(std::sync::Mutex::new(held));
    let (started, starts) = channel();
    let jobs: Vec<_> = (0..2 + 1024)
        .map(|n| {
            let (held, started) = (std::sync::Arc::clone(&held), started.clone());
            let job = world.runtime.blocking("bulk", "wait", move |_| {
                started.send(()).expect("the test listens");
                drop(held.lock().map(|held| held.recv()));
            });
            if n < 2 {
                starts.recv_timeout(PATIENCE).expect("a thread takes it");
            }
            job
        })
        .collect();
    match world.runtime.blocking("bulk", "one more", |_| ()).blocking_wait() {
        Outcome::Failed(fault) => assert!(matches!(fault.kind(), FaultKind::Refused(_))),
        other => panic!("{other:?}"),
    }
    drop(release);
    assert!(jobs.into_iter().all(|job| job.blocking_wait().is_ok()));
}

#[test]
fn an_unknown_lane_is_a_failure() {
    let world = World::real();
    let job = world.runtime.blocking("no such", "x", |_| ()).blocking_wait();
    assert!(matches!(job, Outcome::Failed(fault) if fault.to_string() == "x: no lane no such"));
}
