//! Children can be started and stopped while their supervisor runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use longshore_actors::{
    ChildSpec, ChildState, ChildStatus, Exit, Fault, Intensity, Lost, Placement, Restart, Runtime,
    ShutdownPlan, Strategy, Supervisor,
};

use super::family::Family;
use super::support::{PATIENCE, Probe, World, ask};

#[tokio::test]
async fn a_child_that_is_started_later_is_the_last_in_order() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::RestForOne, Restart::Always);
    let root = family.start(supervisor).await;
    let spec = family.spec("d");
    let pid = root.start_child(spec, PATIENCE).await.into_result().expect("it starts");
    assert_eq!(pid.name(), "d");
    family.said();
    family.panics("c").await;
    assert_eq!(family.said(), ["d finalizes: ended", "c starts", "d starts"]);
}

#[tokio::test]
async fn a_first_start_that_fails_is_answered_with_the_reason_and_is_not_repeated() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::OneForOne, Restart::Always);
    let root = family.start(supervisor).await;
    let log = family.world.log.clone();
    let spec = ChildSpec::new("d", move || Probe {
        on_initialize: Some(Box::new(|_| Err(Fault::new("no disk")))),
        ..Probe::new(&log)
    });
    let lost = root.start_child(spec, PATIENCE).result().await.expect_err("it fails");
    assert_eq!(lost.to_string(), "StartChild to root: the actor failed: no disk");
    assert_eq!(root.children().len(), 3);
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::OneForOne, Restart::Always);
    let root = family.start(supervisor).await;
    let foreign = family.world.probe("foreign");
    for name in ["a", "foreign"] {
        let spec = family.spec(name);
        let lost = root.start_child(spec, PATIENCE).result().await.expect_err("it is taken");
        let text = format!("an actor named {name} is still there");
        assert!(lost.to_string().ends_with(&text), "{lost}");
    }
    assert_eq!(root.children().len(), 3);
    ask(&foreign, |_, _| ());
}

#[tokio::test]
async fn a_child_that_is_stopped_is_forgotten_and_may_come_again() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::All, Restart::Always);
    let root = family.start(supervisor).await;
    family.said();
    let exit = root.stop_child("b", PATIENCE).await.into_result();
    assert!(matches!(exit, Ok(Exit::Normal)));
    assert_eq!(family.said(), ["b finalizes: ended"], "its siblings are left alone");
    let lost = root.stop_child("b", PATIENCE).result().await.expect_err("it is gone");
    assert_eq!(lost.to_string(), "StopChild to root: no child named b");
    let spec = family.spec("b");
    root.start_child(spec, PATIENCE).await.into_result().expect("its name is free");
    let names: Vec<_> = root.children().iter().map(|child| child.name.to_string()).collect();
    assert_eq!(names, ["a", "c", "b"]);
}

#[tokio::test]
async fn a_supervisor_that_stops_takes_no_children() {
    let mut family = Family::new();
    let supervisor = Supervisor::new(Strategy::OneForOne);
    let root = family.start(supervisor).await;
    root.drain().await.into_result().expect("it ends");
    let spec = family.spec("a");
    let answer = root.start_child(spec, PATIENCE).await.into_result();
    assert!(matches!(answer, Err(Lost::Gone { exit: Exit::Normal, .. })), "{answer:?}");
}

/// Kills whoever has this name, again and again.
fn harass(runtime: &Runtime, name: &str) {
    let mut kills = 0;
    while kills < 100 {
        match runtime.find(name) {
            Some(pid) => {
                drop(pid.kill("harassed").blocking_wait());
                kills += 1;
            }
            None => std::thread::yield_now(),
        }
    }
}

#[test]
fn children_that_are_killed_from_many_threads_are_all_there_in_the_end() {
    let world = World::real();
    let starts = Arc::new(AtomicU64::new(0));
    let names: Vec<String> = (0..8).map(|n| format!("child {n}")).collect();
    let intensity = Intensity::new(usize::MAX, Duration::from_secs(1));
    let supervisor = Supervisor::new(Strategy::OneForOne).intensity(intensity);
    let supervisor = names.iter().enumerate().fold(supervisor, |supervisor, (n, name)| {
        let (log, starts) = (world.log.clone(), Arc::clone(&starts));
        let spec = ChildSpec::new(&**name, move || {
            starts.fetch_add(1, Ordering::Relaxed);
            Probe::new(&log)
        });
        supervisor.child(spec.place(Placement::Arbiter("kernel", n % 2)))
    });
    let root = supervisor.start(&world.runtime, "root").expect("the name is free");
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| harass(&world.runtime, name));
        }
    });
    // The last kill of each may not have been heard of yet.
    let running = |child: &ChildStatus| child.state == ChildState::Running && child.restarts >= 100;
    while !root.children().iter().all(running) {
        std::thread::yield_now();
    }
    assert_eq!(root.children().len(), names.len());
    let restarts: u64 = root.children().iter().map(|child| child.restarts).sum();
    assert!(starts.load(Ordering::Relaxed) <= restarts + 8, "one life for each start");
    let report = world.runtime.begin_shutdown(ShutdownPlan::within(PATIENCE)).blocking_wait();
    assert!(report.into_result().expect("it ends").is_clean());
}
