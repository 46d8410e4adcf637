//! A kill drops what waits; every asker sees the abandonment and its reason, and none hangs.

use longshore_actors::{Exit, Outcome, Refusal};

use super::support::{Note, PATIENCE, World, act, act_later, ask, exit_of, hold};

#[test]
fn ten_thousand_waiting_asks_end_abandoned() {
    let world = World::real();
    let pid = world.spawn(world.order("a").capacity(20_000));
    let release = hold(&pid);
    let asks: Vec<_> = (0..10_000).map(|_| pid.dispatch(act(|_, _| ()), PATIENCE)).collect();
    drop(pid.kill("enough"));
    drop(release);
    for ask in asks {
        assert!(matches!(ask.blocking_wait(), Outcome::Abandoned(Exit::Killed("enough"))));
    }
    assert!(world.runtime.pending().is_empty());
}

#[test]
fn an_answer_that_was_promised_is_abandoned_with_the_reason() {
    let world = World::real();
    let pid = world.probe("a");
    let answer = pid.dispatch(
        act_later(|probe, _| {
            let (promise, eventual) = longshore_actors::promise::<()>();
            probe.keep.push(Box::new(promise));
            eventual
        }),
        PATIENCE,
    );
    ask(&pid, |_, _| ());
    drop(pid.kill("enough"));
    assert!(matches!(answer.blocking_wait(), Outcome::Abandoned(Exit::Killed("enough"))));
}

#[test]
fn who_asks_a_dead_actor_learns_why_it_died() {
    let world = World::real();
    let pid = world.probe("a");
    drop(pid.kill("enough"));
    exit_of(&pid);
    let answer = pid.dispatch(Note("x".into()), PATIENCE).blocking_wait();
    assert!(matches!(answer, Outcome::Abandoned(Exit::Killed("enough"))));
    let refused = pid.notify(Note("x".into())).expect_err("it is dead");
    assert_eq!(refused.why, Refusal::Gone);
}

#[test]
fn the_error_names_who_was_asked_what() {
    let world = World::real();
    let pid = world.probe("a");
    drop(pid.kill("enough"));
    exit_of(&pid);
    let lost =
        futures_util::FutureExt::now_or_never(pid.dispatch(Note("x".into()), PATIENCE).result());
    let lost = lost.expect("it is over already").expect_err("it is dead");
    assert_eq!(lost.to_string(), "Note to a: the actor killed: enough");
}

#[test]
fn stop_from_within_drops_what_waits_too() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    pid.notify(act(|_, cx| cx.stop())).expect("room");
    let late = pid.dispatch(Note("late".into()), PATIENCE);
    drop(release);
    assert!(matches!(late.blocking_wait(), Outcome::Abandoned(Exit::Normal)));
    assert_eq!(world.next(), "a finalizes: ended");
}
