//! An arbiter whose thread does not come back is given up; its actors end at once, and the place works again.

use longshore_actors::{Exit, Outcome, Placement, ReplaceError, SpawnError};

use super::support::{Note, PATIENCE, World, ask, exit_of, hold};

#[test]
fn everybody_hears_of_the_loss_while_the_thread_is_still_stuck() {
    let world = World::real();
    let place = Placement::Arbiter("kernel", 0);
    let pid = world.spawn(world.order("stuck").place(place.clone()));
    let idle = world.spawn(world.order("idle").place(place.clone()));
    let watcher = world.probe("w");
    let whom = pid.any();
    ask(&watcher, move |_, cx| cx.watch(&whom));
    let release = hold(&pid);
    let waiting = pid.dispatch(Note("never".into()), PATIENCE);

    world.runtime.replace_arbiter("kernel", 0).expect("a new thread");

    assert!(matches!(exit_of(&pid), Exit::Killed("arbiter lost")));
    assert!(matches!(exit_of(&idle), Exit::Killed("arbiter lost")));
    assert_eq!(world.next(), "w hears: stuck killed: arbiter lost");
    let outcome = waiting.blocking_wait();
    assert!(matches!(outcome, Outcome::Abandoned(Exit::Killed("arbiter lost"))));

    // The name is free and the place works, although the old thread still hangs.
    let successor = world.spawn(world.order("stuck").place(place));
    assert_eq!(ask(&successor, |_, cx| cx.name().to_owned()), "stuck");
    let beside = world.runtime.spawn(world.order("x").place(Placement::With(pid.any())));
    assert!(matches!(beside, Err(SpawnError::ArbiterLost("kernel", 0))));

    drop(release);
    assert_eq!(ask(&successor, |_, _| 1), 1);
    assert_eq!(world.runtime.find("stuck"), Some(successor.any()));
    let said = world.so_far();
    assert!(said.is_empty(), "what was lost is neither handled nor finalized: {said:?}");
}

#[test]
fn an_arbiter_that_does_not_exist_cannot_be_replaced() {
    let world = World::real();
    let refused = world.runtime.replace_arbiter("kernel", 9);
    assert!(matches!(refused, Err(ReplaceError::NoSuchPlace("kernel", 9))));
}

#[test]
fn a_background_task_there_is_abandoned_at_once() {
    let world = World::real();
    let place = Placement::Arbiter("kernel", 0);
    let pid = world.spawn(world.order("stuck").place(place));
    // The other arbiter has more actors, so the task lands on the stuck one.
    let _busier: Vec<_> = (0..2)
        .map(|n| world.order(&format!("b{n}")).place(Placement::Arbiter("kernel", 1)))
        .map(|order| world.spawn(order))
        .collect();
    let release = hold(&pid);
    let task = world.runtime.spawn_future("kernel", "never", async {});
    world.runtime.replace_arbiter("kernel", 0).expect("a new thread");
    assert!(matches!(task.blocking_wait(), Outcome::Abandoned(Exit::Killed("arbiter lost"))));
    drop(release);
}
