//! What cannot work is answered at once, and the answer says what was wrong.

use longshore_actors::{Outcome, Placement, Refusal, ShutdownPlan, promise};

use super::support::{Note, PATIENCE, World, act, exit_of, hold};

#[test]
fn a_message_to_an_actor_that_has_ended_names_it_and_its_exit() {
    let world = World::real();
    let pid = world.probe("a");
    drop(pid.dispatch(act(|_, _| panic!("boom")), PATIENCE));
    exit_of(&pid);
    let refused = pid.notify(Note("x".into())).expect_err("it has ended");
    assert_eq!(
        (refused.why, refused.to_string().as_str()),
        (Refusal::Gone, "Note to a: has ended")
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let lost = runtime.block_on(pid.dispatch(Note("x".into()), PATIENCE).result());
    let text = lost.expect_err("it has ended").to_string();
    assert_eq!(text, "Note to a: the actor panicked: boom");
    assert!(pid.drain().is_done() && pid.kill("again").is_done(), "ending it again is harmless");
}

#[test]
fn a_message_too_many_names_the_bound() {
    let world = World::real();
    let pid = world.spawn(world.order("a").capacity(1));
    let release = hold(&pid);
    pid.notify(Note("one".into())).expect("one fits");
    let refused = pid.notify(Note("two".into())).expect_err("two do not");
    assert_eq!(refused.to_string(), "Note to a: mailbox full (1 messages)");
    drop(release);
}

#[test]
fn a_name_that_is_taken_is_named() {
    let world = World::real();
    let pid = world.probe("a");
    let error = world.runtime.spawn(world.order("a")).expect_err("it is taken");
    assert_eq!(error.to_string(), "an actor named a is still there");
    assert_eq!(world.runtime.find("a"), Some(pid.any()), "whose name it is keeps it");
}

#[test]
fn a_place_that_does_not_exist_is_named() {
    let world = World::real();
    for place in [Placement::Group("nowhere"), Placement::Arbiter("main", 7)] {
        let text = format!("no arbiter {place:?}");
        let error = world.runtime.spawn(world.order("a").place(place)).expect_err("no such place");
        assert_eq!(error.to_string(), text);
    }
    let other = World::real();
    let neighbour = Placement::With(other.probe("elsewhere").any());
    world.runtime.spawn(world.order("a").place(neighbour)).expect_err("not of this runtime");
    assert!(world.runtime.find("a").is_none(), "and the name is free");
}

#[test]
fn a_lane_or_a_group_that_does_not_exist_is_named() {
    let world = World::real();
    let fault = |outcome: Outcome<()>| match outcome {
        Outcome::Failed(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    };
    let job = world.runtime.blocking("nowhere", "job", |_| ()).blocking_wait();
    assert_eq!(fault(job), "job: no lane nowhere");
    let task = world.runtime.spawn_future("nowhere", "task", async {}).blocking_wait();
    assert_eq!(fault(task), "task: no group nowhere");
}

#[test]
fn a_runtime_that_was_shut_down_takes_nothing() {
    let world = World::real();
    let pid = world.probe("a");
    let report = world.runtime.begin_shutdown(ShutdownPlan::within(PATIENCE)).blocking_wait();
    assert!(report.into_result().expect("it ends").is_clean());
    let error = world.runtime.spawn(world.order("b")).expect_err("it is over");
    assert_eq!(error.to_string(), "the runtime shuts down");
    pid.notify(Note("x".into())).expect_err("it has ended");
    let job = world.runtime.blocking("bulk", "job", |_| ()).blocking_wait();
    assert!(matches!(job, Outcome::Failed(fault) if fault.to_string() == "job to bulk: has ended"));
    let error = world.runtime.replace_arbiter("main", 0).expect_err("it is over");
    assert_eq!(error.to_string(), "the runtime shuts down");
}

#[test]
fn a_discard_of_what_has_ended_says_so_and_changes_nothing() {
    let (promise, eventual) = promise();
    let discarder = eventual.discarder();
    assert!(promise.set(7));
    assert!(!eventual.discard("too late"));
    assert!(!discarder.discard("too late"));
    assert!(matches!(eventual.blocking_wait(), Outcome::Ok(7)));
    assert!(!discarder.discard("much too late"));
}
