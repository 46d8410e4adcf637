//! One living actor a name; the name is free again once its holder has ended, finalize included.

use longshore_actors::{Placement, Runtime, SpawnError};

use super::support::{World, ask, exit_of, hold};

#[test]
fn a_second_actor_of_the_same_name_is_refused() {
    let world = World::real();
    let first = world.probe("a");
    let refused = world.runtime.spawn(world.order("a"));
    assert!(matches!(refused, Err(SpawnError::NameTaken(name)) if &*name == "a"));
    ask(&first, |_, _| ());
}

#[test]
fn the_name_is_held_until_the_holder_has_finalized() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    let exit = pid.kill("enough");
    assert!(world.runtime.spawn(world.order("a")).is_err());
    drop(release);
    exit.blocking_wait().into_result().expect("it ends");
    let second = world.probe("a");
    assert_ne!(second.any(), pid.any(), "a pid names one incarnation");
    assert!(pid.notify(super::support::Note("x".into())).is_err());
    ask(&second, |_, _| ());
    drop(second.kill("done"));
    exit_of(&second);
}

#[test]
fn places_that_do_not_exist_are_refused() {
    let world = World::real();
    for place in [Placement::Group("none"), Placement::Arbiter("main", 9)] {
        let refused = world.runtime.spawn(world.order("a").place(place));
        assert!(matches!(refused, Err(SpawnError::NoSuchPlace(_))));
    }
    assert!(world.runtime.actors().is_empty());
}

#[test]
fn actors_spread_over_the_arbiters_of_their_group() {
    let world = World::real();
    for name in ["a", "b", "c", "d"] {
        world.spawn(world.order(name).place(Placement::Group("main")));
    }
    let mut places: Vec<_> = world.runtime.actors().iter().map(|actor| actor.arbiter).collect();
    places.sort_unstable();
    assert_eq!(places, [("main", 0), ("main", 0), ("main", 1), ("main", 1)]);
}

#[test]
fn a_runtime_refuses_to_be_built_wrong() {
    assert!(Runtime::builder().group("a", 1).group("a", 1).build().is_err());
    assert!(Runtime::builder().group("a", 0).build().is_err());
    assert!(Runtime::builder().lane("a", 1).lane("a", 1).build().is_err());
}
