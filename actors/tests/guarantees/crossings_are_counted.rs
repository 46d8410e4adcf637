//! What goes from one thread to another is counted; what stays on its thread is not.

use longshore_actors::{Pid, Placement};

use super::support::{Note, PATIENCE, Probe, World, act_later, ask};

/// What `work` costs in crossings.
fn cost(world: &World, work: impl FnOnce()) -> u64 {
    let before = world.runtime.crossings();
    work();
    world.runtime.crossings() - before
}

/// Asks `first`, which asks `second` and passes the answer on.
fn ask_through(first: &Pid<Probe>, second: &Pid<Probe>) {
    let second = second.clone();
    let passed_on = act_later(move |_, _| second.dispatch(Note("x".into()), PATIENCE));
    let answer = first.dispatch(passed_on, PATIENCE).blocking_wait().into_result();
    assert_eq!(answer.expect("answered"), 1);
}

#[test]
fn a_message_and_its_answer_are_two_and_between_neighbours_none() {
    let world = World::real();
    let place = |index| Placement::Arbiter("kernel", index);
    let spawn = |name: &str, index| world.spawn(world.order(name).place(place(index)));
    let mut first = None;
    assert_eq!(cost(&world, || first = Some(spawn("first", 0))), 1, "a spawn from outside");
    let first = first.expect("it was spawned above");
    let (neighbour, stranger) = (spawn("neighbour", 0), spawn("stranger", 1));
    ask(&neighbour, |_, _| ());
    ask(&stranger, |_, _| ());
    assert_eq!(cost(&world, || ask(&first, |_, _| ())), 2);
    assert_eq!(
        cost(&world, || ask_through(&first, &neighbour)),
        2,
        "as if there were no neighbour"
    );
    assert_eq!(cost(&world, || ask_through(&first, &stranger)), 3, "the answer comes directly");
    let local = || ask(&first, |_, cx| cx.run("turn", async {}, |_, _, ()| ()));
    assert_eq!(cost(&world, local), 2, "a continuation of its own");
}

#[test]
fn a_blocking_job_and_its_result_are_two() {
    let world = World::real();
    let job = || {
        let done = world.runtime.blocking("bulk", "job", |_| 1).blocking_wait();
        assert_eq!(done.into_result().expect("done"), 1);
    };
    assert_eq!(cost(&world, job), 2);
}
