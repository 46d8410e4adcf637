//! A drain handles everything that was admitted, refuses everything after, and then ends the actor.

use longshore_actors::{Exit, Refusal};

use super::support::{Note, PATIENCE, World, act, ask, exit_of, hold};

#[test]
fn what_waits_is_handled_and_what_comes_later_is_refused() {
    let world = World::real();
    let pid = world.spawn(world.order("a").capacity(20_000));
    let release = hold(&pid);
    for _ in 0..10_000 {
        pid.notify(Note("x".into())).expect("room");
    }
    let exit = pid.drain();
    let refused = pid.notify(Note("late".into())).expect_err("it takes nothing new");
    assert_eq!(refused.why, Refusal::Draining);
    drop(release);
    assert!(matches!(exit.blocking_wait().into_result(), Ok(Exit::Normal)));
    let said = world.so_far();
    assert_eq!(said.len(), 10_001);
    assert_eq!(said[10_000], "a finalizes: ended");
}

#[test]
fn an_idle_actor_drains_at_once() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, _| ());
    assert!(matches!(pid.drain().blocking_wait().into_result(), Ok(Exit::Normal)));
    assert!(matches!(pid.drain().blocking_wait().into_result(), Ok(Exit::Normal)));
}

#[test]
fn a_kill_cuts_a_drain_short() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    pid.notify(Note("never heard".into())).expect("room");
    drop(pid.drain());
    drop(pid.kill("hurry"));
    drop(release);
    assert!(matches!(exit_of(&pid), Exit::Killed("hurry")));
    assert_eq!(world.so_far(), ["a finalizes: killed: hurry"]);
}

#[test]
fn an_actor_may_drain_itself() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    pid.notify(act(|_, cx| drop(cx.me().drain()))).expect("room");
    let last = pid.dispatch(Note("last".into()), PATIENCE);
    drop(release);
    assert_eq!(last.blocking_wait().into_result().expect("it was admitted"), 4);
    assert!(matches!(exit_of(&pid), Exit::Normal));
}
