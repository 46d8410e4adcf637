//! What is pending and what the actors do can be read while an arbiter is stuck; the others go on.

use longshore_actors::Placement;

use super::support::{Note, PATIENCE, World, ask, hold};

#[test]
fn a_stuck_actor_is_listed_with_what_it_does_and_what_waits_for_it() {
    let world = World::real();
    let place = Placement::Arbiter("kernel", 0);
    let pid = world.spawn(world.order("stuck").place(place.clone()).capacity(5));
    let release = hold(&pid);
    let waiting = pid.dispatch(Note("layer 7".into()), PATIENCE);
    pid.notify(Note("x".into())).expect("room");

    let pending = world.runtime.pending();
    assert_eq!(pending.len(), 1);
    assert_eq!((&*pending[0].to, pending[0].label), ("stuck", "Note"));
    assert_eq!(pending[0].subject.as_deref(), Some("layer 7"));
    assert_eq!(pending[0].deadline, PATIENCE);

    let status = &world.runtime.actors()[0];
    assert_eq!((&*status.name, status.kind, status.arbiter), ("stuck", "Probe", ("kernel", 0)));
    assert_eq!((status.depth, status.capacity, status.handled), (2, 5, 0));
    assert_eq!(status.current.map(|turn| turn.label), Some("Do"));

    // On the stuck arbiter itself a spawn does not wait either.
    let neighbour = world.spawn(world.order("neighbour").place(place));
    ask(&world.probe("elsewhere"), |_, _| ());
    drop(release);
    ask(&neighbour, |_, _| ());
    waiting.blocking_wait().into_result().expect("it goes on");
    assert!(world.runtime.pending().is_empty());
}

#[test]
fn idle_actors_are_listed_in_start_order_and_gone_ones_are_not() {
    let world = World::real();
    let pids: Vec<_> = ["a", "b", "c"].into_iter().map(|name| world.probe(name)).collect();
    ask(&pids[1], |_, cx| cx.stop());
    super::support::exit_of(&pids[1]);
    let actors = world.runtime.actors();
    let names: Vec<_> = actors.iter().map(|actor| &*actor.name).collect();
    assert_eq!(names, ["a", "c"]);
    assert!(world.runtime.find("b").is_none());
    assert_eq!(world.runtime.find("c"), Some(pids[2].any()));
}
