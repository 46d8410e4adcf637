//! A supervisor starts its children in order, starts them again when they end, and stops them in reverse.

use std::time::Duration;

use longshore_actors::{
    Backoff, ChildState, Exit, Intensity, Placement, Refusal, Restart, Stop, Strategy, Supervisor,
};

use super::family::{Family, states};
use super::support::{act, ask, hold};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn children_start_in_order_and_stop_in_reverse() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::OneForOne, Restart::Always);
    let root = family.start(supervisor).await;
    assert_eq!(family.said(), ["a starts", "b starts", "c starts"]);
    let running = ["a", "b", "c"].map(|name| (name.to_owned(), ChildState::Running));
    assert_eq!(states(&root), running);
    assert!(matches!(root.drain().await.into_result(), Ok(Exit::Normal)));
    assert_eq!(family.said(), ["c finalizes: ended", "b finalizes: ended", "a finalizes: ended"]);
    assert!(family.world.runtime.actors().is_empty());
}

#[tokio::test]
async fn a_child_starts_when_the_one_before_has_initialized_and_not_earlier() {
    let mut family = Family::new();
    let gate = family.world.probe("gate");
    let slow = family.spec("a").place(Placement::With(gate.any()));
    let quick = family.spec("b").place(Placement::Arbiter("kernel", 0));
    let release = hold(&gate);
    let supervisor = Supervisor::new(Strategy::OneForOne).child(slow).child(quick);
    let place = Placement::Arbiter("main", 1);
    let order = longshore_actors::Spawn::new("root", move || supervisor).place(place);
    let root = family.world.runtime.spawn(order).expect("the name is free");
    root.started().await.into_result().expect("it waits for nobody");
    let expected = [("a", ChildState::Starting), ("b", ChildState::Waiting)];
    assert_eq!(states(&root), expected.map(|(name, state)| (name.to_owned(), state)));
    drop(release);
    family.settle().await;
    assert_eq!(family.said(), ["a starts", "b starts"]);
}

#[tokio::test]
async fn a_child_that_panics_is_made_anew() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::OneForOne, Restart::OnFailure);
    let root = family.start(supervisor).await;
    let old = family.holder("b");
    ask(&old, |probe, _| probe.keep.push(Box::new("what the old one knew")));
    family.said();
    family.panics("b").await;
    assert_eq!(family.said(), ["b starts"]);
    let new = family.holder("b");
    assert_ne!(new.any(), old.any());
    assert!(old.any().has_ended());
    assert!(ask(&new, |probe, _| probe.keep.is_empty()), "its state is fresh");
    let child = &root.children()[1];
    assert_eq!((child.restarts, child.pid.clone()), (1, Some(new.any())));
    assert!(matches!(&child.last_exit, Some(Exit::Panicked(text)) if text == "boom"));
}

#[tokio::test]
async fn rest_for_one_restarts_those_declared_after_it() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::RestForOne, Restart::Always);
    family.start(supervisor).await;
    family.said();
    family.panics("b").await;
    assert_eq!(family.said(), ["c finalizes: ended", "b starts", "c starts"]);
}

#[tokio::test]
async fn all_are_restarted_together() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::All, Restart::Always);
    family.start(supervisor).await;
    family.said();
    family.panics("b").await;
    let stopped = ["c finalizes: ended", "a finalizes: ended"];
    let started = ["a starts", "b starts", "c starts"];
    assert_eq!(family.said(), [&stopped[..], &started[..]].concat());
}

#[tokio::test]
async fn who_ends_normally_is_restarted_only_if_always_is_said() {
    for (restart, back) in [(Restart::Always, true), (Restart::OnFailure, false)] {
        let mut family = Family::new();
        let supervisor = family.of_three(Strategy::OneForOne, restart);
        let root = family.start(supervisor).await;
        ask(&family.holder("b"), |_, cx| cx.stop());
        family.settle().await;
        assert_eq!(family.role("b").resolve().is_ok(), back);
        assert_eq!(root.children().len(), if back { 3 } else { 2 });
    }
}

#[tokio::test]
async fn who_is_never_restarted_is_forgotten() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::All, Restart::Never);
    let root = family.start(supervisor).await;
    family.said();
    family.panics("b").await;
    assert!(family.said().is_empty(), "its siblings are left alone");
    assert_eq!(root.children().len(), 2);
}

#[tokio::test]
async fn a_restart_waits_for_its_back_off_on_the_clock() {
    let mut family = Family::new();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(Intensity::new(5, 60 * SECOND))
        .backoff(Backoff::doubling(SECOND, 60 * SECOND))
        .child(family.spec("a"));
    let root = family.start(supervisor).await;
    family.said();
    for wait in [SECOND, 2 * SECOND, 4 * SECOND] {
        family.panics("a").await;
        family.world.runtime.clock().advance(wait - Duration::from_nanos(1));
        family.settle().await;
        assert!(family.said().is_empty());
        assert_eq!(states(&root), [("a".to_owned(), ChildState::Waiting)]);
        family.world.runtime.clock().advance(Duration::from_nanos(1));
        family.settle().await;
        assert_eq!(family.said(), ["a starts"]);
    }
}

#[tokio::test]
async fn who_does_not_drain_in_time_is_killed() {
    let mut family = Family::new();
    let elsewhere = |family: &mut Family| {
        family.spec("a").place(Placement::Arbiter("kernel", 0)).stop(Stop::Drain(SECOND))
    };
    let supervisor = Supervisor::new(Strategy::OneForOne).child(elsewhere(&mut family));
    let root = family.start(supervisor).await;
    let (child, release) = (family.holder("a"), hold(&family.holder("a")));
    let exit = root.drain();
    while !child.any().status().draining {
        std::thread::yield_now();
    }
    assert_eq!(states(&root), [("a".to_owned(), ChildState::Stopping)]);
    family.world.runtime.clock().advance(SECOND);
    let refusal = || child.notify(act(|_, _| ())).expect_err("it takes nothing new").why;
    while refusal() != Refusal::Gone {
        std::thread::yield_now();
    }
    drop(release);
    exit.await.into_result().expect("it ends");
    let said = family.said().pop();
    assert_eq!(said.as_deref(), Some("a finalizes: killed: did not drain in time"));
}

#[tokio::test]
async fn a_shutdown_of_the_runtime_restarts_nothing() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::All, Restart::Always);
    family.start(supervisor).await;
    family.said();
    let plan = longshore_actors::ShutdownPlan::within(20 * SECOND);
    let report = family.world.runtime.shutdown(plan).await;
    assert!(report.is_clean(), "{:?}", report.offenders);
    let names: Vec<_> = report.drained.iter().map(|name| &**name).collect();
    assert_eq!(names, ["c", "b", "a", "root"]);
    let ends = ["c finalizes: ended", "b finalizes: ended", "a finalizes: ended"];
    assert_eq!(family.said(), ends);
}

#[tokio::test]
async fn the_plan_of_a_shutdown_may_leave_the_order_to_the_supervisor() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::OneForOne, Restart::Always);
    family.start(supervisor).await;
    // Now `a` has started last.
    family.panics("a").await;
    family.said();
    let plan = longshore_actors::ShutdownPlan::within(20 * SECOND).first("root");
    assert!(family.world.runtime.shutdown(plan).await.is_clean());
    let ends = ["c finalizes: ended", "b finalizes: ended", "a finalizes: ended"];
    assert_eq!(family.said(), ends);
}
