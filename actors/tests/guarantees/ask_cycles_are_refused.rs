//! An ask that would close a cycle of actors that wait for each other fails at once, and names them all.

use std::sync::mpsc::{Receiver, channel};

use longshore_actors::{Eventual, FaultKind, Handle, Outcome, Pid, Reply};

use super::support::{Do, Note, PATIENCE, Probe, World, act, ask};

/// Has `from` ask `to` a question that waits until the receiver is dropped or used; how the ask ends.
fn wait_for(from: &Pid<Probe>, to: &Pid<Probe>) -> (Eventual<u32>, Receiver<()>) {
    let handle: Handle<Do<u32>> = to.handle();
    let (asleep, awake) = channel::<()>();
    let question = Do(Box::new(move |probe: &mut Probe, _: &mut longshore_actors::Cx<Probe>| {
        let (promise, reply) = Reply::promised();
        probe.keep.push(Box::new((promise, asleep)));
        reply
    }));
    let answer = ask(from, move |_, cx| cx.ask(&handle, question, PATIENCE));
    (answer, awake)
}

/// The actors `0..count`, each of which waits for the next, and the last for the first.
fn cycle_of(count: usize) -> Outcome<u32> {
    let world = World::real();
    let pids: Vec<_> = (0..count).map(|n| world.probe(&n.to_string())).collect();
    let waits: Vec<_> = pids.windows(2).map(|pair| wait_for(&pair[0], &pair[1])).collect();
    assert!(waits.iter().all(|(answer, _)| !answer.is_done()));
    assert_eq!(world.runtime.waits().len(), count - 1);
    let (youngest, _awake) = wait_for(&pids[count - 1], &pids[0]);
    assert_eq!(world.runtime.waits().len(), count - 1, "the others wait on");
    assert!(waits.iter().all(|(answer, _)| !answer.is_done()));
    youngest.blocking_wait()
}

fn names(outcome: Outcome<u32>) -> Vec<String> {
    let Outcome::Failed(fault) = outcome else { panic!("{outcome:?}") };
    let FaultKind::Cycle(cycle) = fault.kind() else { panic!("{fault}") };
    cycle.hops.iter().map(|hop| hop.to.to_string()).collect()
}

#[test]
fn an_actor_that_would_wait_for_itself_is_told() {
    let outcome = cycle_of(1);
    let Outcome::Failed(fault) = &outcome else { panic!("{outcome:?}") };
    assert_eq!(fault.to_string(), "each would wait for the next: 0 -Do-> 0");
    assert_eq!(names(outcome), ["0"]);
}

#[test]
fn two_and_five_actors_that_would_wait_for_each_other_are_named() {
    assert_eq!(names(cycle_of(2)), ["0", "1"]);
    assert_eq!(names(cycle_of(5)), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_wait_is_listed_until_it_has_ended() {
    let world = World::real();
    let (a, b) = (world.probe("a"), world.probe("b"));
    let (answer, _awake) = wait_for(&a, &b);
    let waits = world.runtime.waits();
    let wait = &waits[0];
    assert_eq!((&*wait.from, &*wait.to, wait.label, waits.len()), ("a", "b", "Do", 1));
    // Letting go of the promise ends it.
    ask(&b, |probe, _| probe.keep.clear());
    drop(answer.blocking_wait());
    assert!(world.runtime.waits().is_empty());
    let handle = a.handle::<Note>();
    let back = ask(&b, move |_, cx| cx.ask(&handle, Note("back".into()), PATIENCE));
    back.blocking_wait().into_result().expect("there is no cycle any more");
}

#[test]
fn the_end_of_who_is_waited_for_ends_the_wait() {
    let world = World::real();
    let (a, b) = (world.probe("a"), world.probe("b"));
    let (answer, _awake) = wait_for(&a, &b);
    drop(b.kill("enough"));
    assert!(matches!(answer.blocking_wait(), Outcome::Abandoned(_)));
    assert!(world.runtime.waits().is_empty());
}

#[test]
fn a_dispatch_that_does_not_keep_its_actor_may_be_answered_by_asking_back() {
    let world = World::real();
    let (a, b) = (world.probe("a"), world.probe("b"));
    let (back, there) = (a.clone(), b.clone());
    let answer = ask(&a, move |_, _| {
        let question =
            super::support::act_later(move |_, _| back.dispatch(act(|_, _| 7), PATIENCE));
        there.dispatch(question, PATIENCE)
    });
    assert!(matches!(answer.blocking_wait(), Outcome::Ok(7)));
}

#[test]
fn of_two_that_ask_each_other_at_once_one_is_refused() {
    let world = World::real();
    let place = longshore_actors::Placement::Arbiter("main", 1);
    let (a, b) = (world.probe("a"), world.spawn(world.order("b").place(place)));
    for _ in 0..200 {
        let outcomes = std::thread::scope(|scope| {
            let there = scope.spawn(|| wait_for(&a, &b));
            let back = scope.spawn(|| wait_for(&b, &a));
            [there, back].map(|thread| thread.join().expect("no panic"))
        });
        let refused = outcomes.iter().filter(|(answer, _)| answer.is_done()).count();
        assert_eq!(refused, 1);
        for pid in [&a, &b] {
            ask(pid, |probe, _| probe.keep.clear());
        }
        for (answer, _) in outcomes {
            drop(answer.blocking_wait());
        }
    }
}
