//! Whoever spawned an actor can wait until it has initialised, and learns why it never will.

use longshore_actors::{Exit, Fault, Outcome, Spawn};

use super::support::{Probe, World, exit_of, hold};

#[test]
fn a_start_is_told_when_initialize_is_through() {
    let world = World::real();
    let gate = world.probe("gate");
    let release = hold(&gate);
    let pid = world.probe("a");
    let started = pid.started();
    assert!(!started.is_done());
    drop(release);
    started.blocking_wait().into_result().expect("it starts");
    assert!(pid.started().is_done(), "it is known at once that it has");
    drop(pid.kill("enough"));
    exit_of(&pid);
    assert!(matches!(pid.started().blocking_wait(), Outcome::Ok(())), "it did start");
}

#[test]
fn an_actor_that_never_starts_says_why() {
    let world = World::real();
    let log = world.log.clone();
    let pid = world.spawn(Spawn::new("a", move || Probe {
        on_initialize: Some(Box::new(|_| Err(Fault::new("no disk")))),
        ..Probe::new(&log)
    }));
    let lost = pid.started().blocking_wait();
    assert!(
        matches!(lost, Outcome::Abandoned(Exit::Failed(fault)) if fault.to_string() == "no disk")
    );
    exit_of(&pid);
    assert!(matches!(pid.started().blocking_wait(), Outcome::Abandoned(Exit::Failed(_))));
}
