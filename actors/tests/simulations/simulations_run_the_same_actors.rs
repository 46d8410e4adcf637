//! In a simulation actors, lanes, timers, watches and shutdowns do what they do on threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use longshore_actors::{
    BuildError, Cause, Clock, Exit, Outcome, Pid, Placement, Runtime, ShutdownPlan, Simulation,
    Spawn, promise,
};

use super::support::{Log, Note, PATIENCE, Probe, act, act_later};

const SECOND: Duration = Duration::from_secs(1);

/// A simulation, and what its probes say.
struct World {
    sim: Simulation,
    log: Log,
    said: Receiver<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let builder = Runtime::builder().group("main", 2).lane("bulk", 2).lane("single", 1);
        let sim = builder.simulated(seed).expect("well-formed");
        let (log, said) = channel();
        Self { sim, log, said }
    }

    fn probe(&self, name: &str) -> Pid<Probe> {
        self.probe_at(name, 0)
    }

    fn probe_at(&self, name: &str, arbiter: usize) -> Pid<Probe> {
        let log = self.log.clone();
        let spawn = Spawn::new(name, move || Probe::new(&log));
        let spawn = spawn.place(Placement::Arbiter("main", arbiter));
        self.sim.runtime().spawn(spawn).expect("the name is free")
    }

    fn said(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }
}

fn panic_of(run: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().expect("a text")).to_owned(),
    }
}

fn note(text: &str) -> Note {
    Note(text.to_owned())
}

#[test]
fn messages_of_one_sender_keep_their_order_under_every_seed() {
    for seed in 0..50 {
        let world = World::new(seed);
        let pid = world.probe("a");
        let texts = ["1", "2", "3", "4", "5"];
        texts.iter().for_each(|text| pid.notify(note(text)).expect("room"));
        world.sim.run_until_settled();
        assert_eq!(world.said(), texts);
    }
}

#[test]
fn messages_of_two_senders_come_in_either_order() {
    let orders = (0..50).map(|seed| {
        let world = World::new(seed);
        let to = world.probe("to");
        for name in ["a", "b"] {
            let to = to.clone();
            let sent =
                world.probe(name).notify(act(move |_, _| to.notify(note(name)).expect("room")));
            sent.expect("room");
        }
        world.sim.run_until_settled();
        world.said().concat()
    });
    let orders: std::collections::BTreeSet<String> = orders.collect();
    assert_eq!(orders.into_iter().collect::<Vec<_>>(), ["ab", "ba"]);
}

#[test]
fn nothing_runs_but_in_a_step_and_a_step_is_one_turn() {
    let world = World::new(1);
    let pid = world.probe("a");
    pid.notify(note("x")).expect("room");
    pid.notify(note("y")).expect("room");
    assert!(world.said().is_empty() && !world.sim.is_settled());
    assert!(world.sim.step(), "it starts");
    assert!(world.said().is_empty());
    assert!(world.sim.step());
    assert_eq!(world.said(), ["x"]);
    assert!(world.sim.step());
    assert_eq!(world.said(), ["y"]);
    assert!(!world.sim.step() && world.sim.is_settled());
    assert_eq!(world.sim.steps(), 3);
}

#[test]
fn time_passes_only_when_it_is_told_to_and_timers_keep_their_order() {
    let world = World::new(3);
    let pid = world.probe("a");
    let start = world.sim.clock().now();
    let set = act(|_, cx| {
        for (at, label) in [(3, "3"), (1, "1"), (2, "2"), (2, "2 again")] {
            cx.after(at * SECOND, label, move |probe, cx| {
                probe.say(label);
                cx.after(SECOND / 2, "echo", move |probe: &mut Probe, _| probe.say("echo"));
            });
        }
    });
    pid.notify(set).expect("room");
    world.sim.run_until_settled();
    assert_eq!(world.sim.clock().now(), start);
    assert!(world.said().is_empty());
    world.sim.advance(SECOND * 5 / 2);
    assert_eq!(world.said(), ["1", "echo", "2", "2 again", "echo", "echo"]);
    assert_eq!(world.sim.clock().now(), start + SECOND * 5 / 2);
}

#[test]
fn a_deadline_passes_and_a_late_answer_is_dropped() {
    let world = World::new(4);
    let pid = world.probe("a");
    let (answer, waits) = promise::<u8>();
    let asked = pid.dispatch(act_later(move |_, _| waits), SECOND);
    let outcome = world.sim.block_on(asked);
    assert!(matches!(outcome, Outcome::Discarded(Cause::Deadline { .. })), "{outcome:?}");
    world.sim.run_until_settled();
    answer.set(1);
    assert!(world.sim.runtime().pending().is_empty());
}

#[test]
fn jobs_overlap_as_far_as_their_lane_has_threads() {
    let orders = |lane: &'static str| {
        let order = move |seed| {
            let world = World::new(seed);
            for name in ["a", "b", "c"] {
                let log = world.log.clone();
                let job = move |_: &_| log.send(name.to_owned()).expect("the test listens");
                drop(world.sim.runtime().blocking(lane, name, job));
            }
            world.sim.run_until_settled();
            world.said().concat()
        };
        (0..100).map(order).collect::<std::collections::BTreeSet<String>>()
    };
    assert_eq!(orders("single").into_iter().collect::<Vec<_>>(), ["abc"]);
    // The third begins when one of the first two is done.
    assert_eq!(orders("bulk").into_iter().collect::<Vec<_>>(), ["abc", "acb", "bac", "bca"]);
}

#[test]
fn a_job_is_withdrawn_before_it_begins_or_told_or_done() {
    let end = |seed| {
        let world = World::new(seed);
        let job = world.sim.runtime().blocking("bulk", "job", |token| token.is_discarded());
        for _ in 0..world.sim.random("when").below(4) {
            world.sim.step();
        }
        job.discard("too late");
        match world.sim.block_on(job) {
            Outcome::Ok(told) => format!("told {told}"),
            Outcome::Discarded(_) => "never run".to_owned(),
            Outcome::Failed(_) | Outcome::Abandoned(_) => "lost".to_owned(),
        }
    };
    let ends: std::collections::BTreeSet<String> = (0..100).map(end).collect();
    assert_eq!(ends.into_iter().collect::<Vec<_>>(), ["never run", "told false", "told true"]);
}

#[test]
fn watchers_learn_why_and_panics_stay_where_they_are() {
    let world = World::new(5);
    let (a, watcher) = (world.probe("a"), world.probe_at("w", 1));
    let whom = a.any();
    watcher.notify(act(move |_, cx| cx.watch(&whom))).expect("room");
    world.sim.run_until_settled();
    let asked = a.dispatch(act(|_, _| panic!("on purpose")), PATIENCE);
    let left = a.dispatch(note("left"), PATIENCE);
    let ends = [world.sim.block_on(asked.result()), world.sim.block_on(left.result()).map(drop)];
    for end in ends {
        let lost = end.expect_err("it panicked");
        assert!(matches!(lost.exit(), Some(Exit::Panicked(text)) if text == "on purpose"));
    }
    world.sim.run_until_settled();
    assert_eq!(world.said(), ["w hears: a panicked: on purpose"]);
}

#[test]
fn a_lost_arbiter_takes_its_actors_and_no_others() {
    let world = World::new(6);
    let (a, b) = (world.probe("a"), world.probe_at("b", 1));
    world.sim.run_until_settled();
    world.sim.runtime().replace_arbiter("main", 0).expect("there is one");
    assert!(a.any().has_ended());
    world.sim.run_until_settled();
    let again = world.probe("a");
    assert!(world.sim.block_on(again.dispatch(note("new"), SECOND)).is_ok());
    assert!(world.sim.block_on(b.dispatch(note("b"), SECOND)).is_ok());
    assert_eq!(world.said(), ["new", "b"]);
}

#[test]
fn a_shutdown_is_ordered_and_takes_virtual_time_only() {
    for seed in 0..20 {
        let world = World::new(seed);
        let _actors = [world.probe("a"), world.probe_at("b", 1), world.probe("c")];
        let job = world.sim.runtime().blocking("bulk", "job", |_| ());
        world.sim.step();
        let shutdown = world.sim.runtime().shutdown(ShutdownPlan::within(SECOND));
        let report = world.sim.block_on(shutdown);
        assert!(report.is_clean(), "{report:?}");
        let drained: Vec<&str> = report.drained.iter().map(|name| &**name).collect();
        assert_eq!(drained, ["c", "b", "a"]);
        assert_eq!(report.took, Duration::ZERO);
        let job = world.sim.block_on(job);
        assert!(matches!(job, Outcome::Ok(()) | Outcome::Discarded(Cause::Shutdown)), "{job:?}");
        let spawned = world.sim.runtime().spawn(Spawn::new("late", || Probe::new(&channel().0)));
        assert!(spawned.is_err());
    }
}

#[test]
fn the_end_of_the_simulation_is_the_end_of_its_actors() {
    let World { sim, log, said } = World::new(7);
    let probes = ["a", "b"].map(|name| {
        let log = log.clone();
        sim.runtime().spawn(Spawn::new(name, move || Probe::new(&log))).expect("free")
    });
    let kept = sim.runtime().clone();
    sim.run_until_settled();
    drop(sim);
    assert_eq!(said.try_iter().collect::<Vec<_>>(), ["a finalizes: ended", "b finalizes: ended"]);
    assert!(probes.iter().all(|probe| probe.any().has_ended()));
    // What comes too late is abandoned, not kept.
    let late = kept.spawn(Spawn::new("late", move || Probe::new(&log))).expect("it takes the name");
    assert!(late.any().has_ended());
}

#[test]
fn an_endless_loop_is_named() {
    let world = World::new(8);
    world.sim.limit(1000);
    let spin = |_: ()| {
        std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            std::task::Poll::<()>::Pending
        })
    };
    drop(world.sim.runtime().spawn_future("main", "spins", spin(())));
    let text = panic_of(|| assert!(world.sim.run_until_settled() == 0));
    assert!(text.contains("spins"), "{text}");
}

#[test]
fn who_waits_for_what_never_comes_is_told() {
    let world = World::new(9);
    let text = panic_of(|| world.sim.block_on(std::future::pending()));
    assert!(text.contains("never comes"), "{text}");
    let pid = world.probe("a");
    let text = panic_of(|| drop(pid.dispatch(note("x"), SECOND).blocking_wait()));
    assert!(text.contains("Simulation::block_on"), "{text}");
}

#[test]
fn the_real_clock_is_refused() {
    let built = Runtime::builder().clock(Clock::real()).simulated(1);
    assert!(matches!(built, Err(BuildError::RealClock)));
    assert!(Runtime::simulated(1).is_settled());
}

#[test]
fn a_test_that_settles_and_advances_the_clock_runs_unchanged() {
    for seed in 0..30 {
        let world = World::new(seed);
        let (a, b) = (world.probe("a"), world.probe_at("b", 1));
        let clock = world.sim.clock();
        world.sim.block_on(async {
            a.notify(act(move |_, cx| {
                let asked = b.dispatch(note("asked"), PATIENCE);
                cx.run("answer", asked, |probe, cx, _| {
                    probe.say("answered");
                    cx.after(SECOND, "tick", |probe, cx| {
                        probe.say("tick");
                        cx.after(SECOND, "tock", |probe, _| probe.say("tock"));
                    });
                });
            }))
            .expect("room");
            clock.settle().await;
            assert_eq!(world.said(), ["asked", "answered"]);
            clock.advance_settling(SECOND).await;
            assert_eq!(world.said(), ["tick"]);
            clock.advance(SECOND);
            clock.settle().await;
            assert_eq!(world.said(), ["tock"]);
        });
    }
}

#[test]
fn what_is_blocked_on_may_drive_the_simulation_itself() {
    for seed in 0..30 {
        let world = World::new(seed);
        let (a, sim) = (world.probe("a"), &world.sim);
        let said = sim.block_on(async {
            let late = act_later(move |_, cx| cx.runtime().clock().after(SECOND));
            let late = a.dispatch(late, PATIENCE);
            let answered = async { assert!(late.await.is_ok()) };
            let driven = async {
                sim.run_until_settled();
                sim.advance(2 * SECOND);
                sim.block_on(a.dispatch(note("inside"), PATIENCE)).is_ok()
            };
            futures_util::future::join(answered, driven).await.1
        });
        assert!(said && sim.is_settled());
        assert_eq!(world.said(), ["inside"]);
    }
}
