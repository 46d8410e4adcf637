//! On a virtual clock a test can wait until nothing is outstanding, across all arbiters and lanes.

use std::time::Duration;

use longshore_actors::Placement;

use super::support::{Note, PATIENCE, World, act, act_later, ask};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn settled_means_that_a_chain_across_arbiters_is_through() {
    let world = World::virtual_();
    let a = world.probe("a");
    let b = world.spawn(world.order("b").place(Placement::Arbiter("main", 1)));
    for _ in 0..200 {
        let (a, b) = (a.clone(), b.clone());
        let c = a.clone();
        a.notify(act(move |_, cx| {
            let answer = b.dispatch(
                act_later(move |_, cx| {
                    drop(cx.blocking("bulk", "think", |_| ()));
                    c.dispatch(Note("deep".into()), PATIENCE)
                }),
                PATIENCE,
            );
            cx.run("b", answer.result(), |probe, cx, answer| {
                let job = cx.blocking("bulk", "write", move |_| answer.expect("it answers"));
                cx.run("write", job, |probe, _, _| probe.say("through"));
                probe.say("back");
            });
        }))
        .expect("room");
        world.runtime.clock().settle().await;
        assert_eq!(world.so_far(), ["deep", "back", "through"]);
    }
}

#[tokio::test]
async fn waiting_for_time_is_not_outstanding_work() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    let sleeping = clock.clone();
    ask(&pid, move |_, cx| {
        cx.run("nap", sleeping.after(SECOND), |probe, _, _| probe.say("awake"));
        cx.after(SECOND, "timer", |probe, _| probe.say("timer"));
    });
    clock.settle().await;
    assert!(world.so_far().is_empty());
    clock.advance(SECOND);
    clock.settle().await;
    let mut said = world.so_far();
    said.sort_unstable();
    assert_eq!(said, ["awake", "timer"]);
}

#[tokio::test]
async fn the_end_of_an_actor_is_settled_with_its_notices() {
    let world = World::virtual_();
    let (pid, watcher) = (world.probe("a"), world.probe("w"));
    let whom = pid.any();
    ask(&watcher, move |_, cx| cx.watch(&whom));
    drop(pid.kill("now"));
    world.runtime.clock().settle().await;
    assert_eq!(world.so_far(), ["a finalizes: killed: now", "w hears: a killed: now"]);
}

#[tokio::test]
async fn background_tasks_count_while_they_can_run() {
    let world = World::virtual_();
    let clock = world.runtime.clock();
    let (log, sleep) = (world.log.clone(), clock.after(SECOND));
    let task = world.runtime.spawn_future("kernel", "task", async move {
        log.send("before".into()).expect("the test listens");
        let _ = sleep.await;
        log.send("after".into()).expect("the test listens");
    });
    clock.settle().await;
    assert_eq!(world.so_far(), ["before"]);
    clock.advance(SECOND);
    clock.settle().await;
    assert_eq!(world.so_far(), ["after"]);
    assert!(task.is_done());
}

#[tokio::test]
async fn an_end_by_a_panic_is_settled_with_its_notices_too() {
    let world = World::virtual_();
    let watcher = world.spawn(world.order("w").place(Placement::Arbiter("main", 1)));
    for _ in 0..200 {
        let pid = world.probe("a");
        let whom = pid.any();
        ask(&watcher, move |_, cx| cx.watch(&whom));
        pid.notify(act(|_, _| panic!("boom"))).expect("room");
        world.runtime.clock().settle().await;
        assert_eq!(world.so_far(), ["w hears: a panicked: boom"]);
    }
}

#[tokio::test]
async fn what_a_dead_watcher_would_have_heard_is_no_outstanding_work() {
    let world = World::virtual_();
    let (pid, watcher) = (world.probe("a"), world.probe("w"));
    let whom = pid.any();
    ask(&watcher, move |_, cx| cx.watch(&whom));
    drop(watcher.kill("first"));
    world.runtime.clock().settle().await;
    drop(pid.kill("then"));
    world.runtime.clock().settle().await;
    assert_eq!(world.so_far(), ["w finalizes: killed: first", "a finalizes: killed: then"]);
}
