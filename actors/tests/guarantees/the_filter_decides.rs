//! The filter sees every message between sender and mailbox, and can do to it what the world does to messages.

use std::time::Duration;

use longshore_actors::{Cause, Exit, Fate, Fault, FaultKind, Match, Outcome};

use super::support::{Note, PATIENCE, World, ask, exit_of};

const SECOND: Duration = Duration::from_secs(1);

fn note(text: &str) -> Note {
    Note(text.to_owned())
}

fn notes() -> Match {
    Match::any().to("a").label("Note")
}

#[test]
fn an_observer_sees_the_first_match_and_the_message_is_delivered() {
    let world = World::virtual_();
    let pid = world.probe("a");
    let seen = world.runtime.filter().observe(notes().subject("layer *"));
    pid.notify(note("other")).expect("room");
    pid.notify(note("layer 7")).expect("room");
    let seen = seen.blocking_wait().into_result().expect("it was sent");
    assert_eq!((&*seen.to, seen.label, seen.subject.as_deref()), ("a", "Note", Some("layer 7")));
    assert_eq!([world.next(), world.next()], ["other", "layer 7"]);
}

#[test]
fn a_dropped_message_is_abandoned_at_once() {
    let world = World::virtual_();
    let pid = world.probe("a");
    let rule = world.runtime.filter().on(notes(), Fate::Drop);
    let answer = pid.dispatch(note("x"), SECOND).blocking_wait();
    assert!(matches!(answer, Outcome::Abandoned(Exit::Killed("dropped by the filter"))));
    assert_eq!(rule.hits(), 1);
    rule.remove();
    assert!(pid.dispatch(note("y"), SECOND).blocking_wait().is_ok());
    assert_eq!(world.so_far(), ["y"]);
}

#[tokio::test]
async fn a_lost_request_is_never_handled_and_its_asker_waits_for_the_deadline() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    world.runtime.filter().on(notes(), Fate::LoseRequest);
    let answer = pid.dispatch(note("x"), SECOND);
    clock.settle().await;
    assert!(!answer.is_done());
    clock.advance(SECOND);
    assert!(matches!(answer.await, Outcome::Discarded(Cause::Deadline { .. })));
    assert!(world.so_far().is_empty());
}

#[tokio::test]
async fn a_lost_reply_was_handled_and_its_asker_waits_for_the_deadline() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    world.runtime.filter().on(notes(), Fate::LoseReply);
    let answer = pid.dispatch(note("x"), SECOND);
    clock.settle().await;
    assert_eq!(world.so_far(), ["x"]);
    assert!(!answer.is_done());
    clock.advance(SECOND);
    assert!(matches!(answer.await, Outcome::Discarded(Cause::Deadline { .. })));
}

#[tokio::test]
async fn a_delayed_message_comes_after_those_that_follow_it() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    world.runtime.filter().on(notes().nth(1), Fate::Delay(SECOND));
    let late = pid.dispatch(note("first"), PATIENCE);
    pid.notify(note("second")).expect("room");
    clock.settle().await;
    clock.advance(SECOND);
    assert!(late.await.is_ok());
    assert_eq!(world.so_far(), ["second", "first"]);
}

#[test]
fn a_failed_message_brings_the_fault_that_was_asked_for() {
    let world = World::virtual_();
    let pid = world.probe("a");
    world.runtime.filter().on(notes().nth(2), Fate::Fail(Fault::new("disk on fire")));
    assert!(pid.dispatch(note("x"), SECOND).blocking_wait().is_ok());
    match pid.dispatch(note("y"), SECOND).blocking_wait() {
        Outcome::Failed(fault) => assert_eq!(fault.to_string(), "disk on fire"),
        other => panic!("{other:?}"),
    }
    assert!(pid.dispatch(note("z"), SECOND).blocking_wait().is_ok());
    assert_eq!(world.so_far(), ["x", "z"]);
}

#[test]
fn a_duplicated_message_is_handled_twice_and_answered_once() {
    let world = World::virtual_();
    let pid = world.probe("a");
    world.runtime.filter().on(notes(), Fate::Duplicate);
    assert!(matches!(pid.dispatch(note("x"), SECOND).blocking_wait(), Outcome::Ok(1)));
    pid.notify(note("y")).expect("room");
    world.runtime.filter().clear();
    ask(&pid, |_, _| ());
    assert_eq!(world.so_far(), ["x", "x", "y", "y"]);
}

#[test]
fn what_cannot_be_copied_fails_instead_of_passing_unnoticed() {
    let world = World::virtual_();
    let pid = world.probe("a");
    world.runtime.filter().on(Match::any().label("Do"), Fate::Duplicate);
    match pid.dispatch(super::support::act(|_, _| ()), SECOND).blocking_wait() {
        Outcome::Failed(fault) => assert!(matches!(fault.kind(), FaultKind::Injected)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_can_be_put_into_a_handler() {
    let world = World::virtual_();
    let pid = world.probe("a");
    world.runtime.filter().on(Match::any().to("*"), Fate::Panic);
    let answer = pid.dispatch(note("x"), SECOND).blocking_wait();
    assert!(matches!(answer, Outcome::Abandoned(Exit::Panicked(_))));
    assert!(matches!(exit_of(&pid), Exit::Panicked(_)));
}

#[test]
fn a_plan_may_decide_by_a_closure() {
    let world = World::virtual_();
    let pid = world.probe("a");
    world.runtime.filter().decide(notes(), |seen| match seen.subject.as_deref() {
        Some("bad") => Fate::Drop,
        _ => Fate::Deliver,
    });
    pid.notify(note("bad")).expect("lost on the way, as far as the sender knows it was admitted");
    pid.notify(note("good")).expect("room");
    assert_eq!(world.next(), "good");
}
