//! A shutdown drains everybody in order, and names within its deadline who did not obey.

use std::time::{Duration, Instant};

use longshore_actors::{Offender, Placement, ShutdownPlan, ShutdownReport, SpawnError};

use super::support::{Note, PATIENCE, World, hold};

const SHORT: Duration = Duration::from_millis(50);

fn shut_down(world: &World, plan: ShutdownPlan) -> ShutdownReport {
    world.runtime.begin_shutdown(plan).blocking_wait().into_result().expect("it always ends")
}

fn names(report: &ShutdownReport) -> Vec<&str> {
    report.drained.iter().map(AsRef::as_ref).collect()
}

#[test]
fn actors_drain_in_reverse_start_order() {
    let world = World::real();
    for name in ["store", "provisioner", "supervisor"] {
        world.probe(name).notify(Note(name.into())).expect("room");
    }
    let report = shut_down(&world, ShutdownPlan::within(PATIENCE));
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(names(&report), ["supervisor", "provisioner", "store"]);
    let finals: Vec<_> =
        world.so_far().into_iter().filter(|said| said.contains("finalizes")).collect();
    assert_eq!(
        finals,
        ["supervisor finalizes: ended", "provisioner finalizes: ended", "store finalizes: ended"]
    );
}

#[test]
fn the_plan_may_name_who_goes_first() {
    let world = World::real();
    for name in ["a", "b", "c"] {
        world.probe(name);
    }
    let plan = ShutdownPlan::within(PATIENCE).first("a").first("nobody").first("b");
    assert_eq!(names(&shut_down(&world, plan)), ["a", "b", "c"]);
}

#[test]
fn a_stuck_actor_and_its_arbiter_are_named_and_the_others_drain() {
    let world = World::real();
    world.probe("early");
    let stuck = world.spawn(world.order("stuck").place(Placement::Arbiter("kernel", 1)));
    world.probe("late");
    let release = hold(&stuck);
    stuck.notify(Note("never".into())).expect("room");
    let start = Instant::now();
    let report = shut_down(&world, ShutdownPlan::within(4 * SHORT).each(SHORT));
    assert!(start.elapsed() < PATIENCE, "the deadline bounds it");
    assert_eq!(names(&report), ["late", "early"]);
    match &report.offenders[..] {
        [
            Offender::Actor { name, current: Some(turn), depth: 1, .. },
            Offender::Arbiter { group: "kernel", index: 1, .. },
        ] => assert_eq!((&**name, turn.label), ("stuck", "Do")),
        other => panic!("{other:?}"),
    }
    drop(release);
}

#[test]
fn a_blocking_job_that_does_not_return_is_named() {
    let world = World::real();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (started, starts) = std::sync::mpsc::channel();
    let job = world.runtime.blocking("bulk", "unpack", move |_| {
        started.send(()).expect("the test listens");
        held.recv().is_err()
    });
    starts.recv_timeout(PATIENCE).expect("it runs");
    let report = shut_down(&world, ShutdownPlan::within(SHORT));
    assert!(
        matches!(&report.offenders[..], [Offender::Job { lane: "bulk", label: "unpack", .. }, ..]),
        "{report:?}"
    );
    drop(release);
    assert!(job.blocking_wait().is_ok());
}

#[test]
fn a_second_shutdown_gets_the_report_of_the_first() {
    let world = World::real();
    world.probe("a");
    let first = world.runtime.begin_shutdown(ShutdownPlan::within(PATIENCE));
    let second = shut_down(&world, ShutdownPlan::within(PATIENCE));
    let first = first.blocking_wait().into_result().expect("it ends");
    assert_eq!(names(&first), ["a"]);
    assert_eq!((names(&second), second.took), (names(&first), first.took));
    let third = shut_down(&world, ShutdownPlan::within(Duration::ZERO));
    assert_eq!(names(&third), ["a"]);
}

#[test]
fn nothing_is_spawned_after_it_has_begun() {
    let world = World::real();
    shut_down(&world, ShutdownPlan::within(PATIENCE));
    let refused = world.runtime.spawn(world.order("late"));
    assert!(matches!(refused, Err(SpawnError::ShuttingDown)));
    assert!(world.runtime.actors().is_empty());
}

#[test]
fn an_actor_that_drains_may_still_ask_those_started_before_it() {
    let world = World::real();
    let (server, client) = (world.probe("server"), world.probe("client"));
    let release = hold(&client);
    let passed_on = client.dispatch(
        super::support::act_later(move |_, _| server.dispatch(Note("ask".into()), PATIENCE)),
        PATIENCE,
    );
    let report = world.runtime.begin_shutdown(ShutdownPlan::within(PATIENCE));
    drop(release);
    assert_eq!(passed_on.blocking_wait().into_result().expect("answered"), 3);
    assert!(report.blocking_wait().into_result().expect("it ends").is_clean());
}
