//! A panic ends the actor that it is in, with its text as the reason, and nothing else.

use std::time::Duration;

use longshore_actors::{Exit, FaultKind, Lost, Outcome, Pid};

use super::support::{Note, PATIENCE, Probe, World, act, ask, exit_of};

/// The text of the panic that ended `pid`.
fn panic_of(pid: &Pid<Probe>) -> String {
    match exit_of(pid) {
        Exit::Panicked(text) => text,
        other => panic!("{other}"),
    }
}

#[test]
fn in_a_message_the_asker_learns_the_text_and_the_neighbour_lives() {
    let world = World::real();
    let (pid, neighbour) = (world.probe("a"), world.probe("b"));
    let answer = pid.dispatch(act(|_, _| panic!("boom {}", 1)), PATIENCE);
    match answer.blocking_wait().into_result() {
        Err(Lost::Gone { exit: Exit::Panicked(text), .. }) => assert_eq!(text, "boom 1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(panic_of(&pid), "boom 1");
    ask(&neighbour, |_, _| ());
    assert!(world.so_far().is_empty(), "what panicked is not finalized");
}

#[test]
fn in_the_factory() {
    let world = World::real();
    let order = longshore_actors::Spawn::new("a", || -> Probe { panic!("made badly") });
    assert_eq!(panic_of(&world.spawn(order)), "made badly");
}

#[test]
fn in_initialize_whose_messages_are_abandoned() {
    let world = World::real();
    let log = world.log.clone();
    let gate = world.probe("gate");
    let release = super::support::hold(&gate);
    let order = longshore_actors::Spawn::new("a", move || Probe {
        on_initialize: Some(Box::new(|_| panic!("not today"))),
        ..Probe::new(&log)
    });
    let order = order.place(longshore_actors::Placement::With(gate.any()));
    let pid = world.spawn(order);
    let answer = pid.dispatch(Note("x".into()), PATIENCE);
    drop(release);
    assert!(matches!(answer.blocking_wait(), Outcome::Abandoned(Exit::Panicked(_))));
    assert_eq!(panic_of(&pid), "not today");
}

#[test]
fn an_error_of_initialize_is_an_exit_too() {
    let world = World::real();
    let log = world.log.clone();
    let order = longshore_actors::Spawn::new("a", move || Probe {
        on_initialize: Some(Box::new(|_| Err(longshore_actors::Fault::new("no disk")))),
        ..Probe::new(&log)
    });
    match exit_of(&world.spawn(order)) {
        Exit::Failed(fault) => assert_eq!(fault.to_string(), "no disk"),
        other => panic!("{other}"),
    }
    assert!(world.so_far().is_empty(), "what was not initialized is not finalized");
}

#[test]
fn in_a_continuation() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, cx| cx.run("soon", async {}, |_, _, ()| panic!("then")));
    assert_eq!(panic_of(&pid), "then");
}

#[test]
fn in_a_future_of_the_actor() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, cx| cx.run("soon", async { panic!("inside") }, |_, _, ()| ()));
    assert_eq!(panic_of(&pid), "inside");
}

#[test]
fn in_a_timer() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, cx| {
        cx.after(Duration::ZERO, "now", |_, _| panic!("tick"));
    });
    assert_eq!(panic_of(&pid), "tick");
}

#[test]
fn in_finalize() {
    let world = World::real();
    let (pid, neighbour) = (world.probe("a"), world.probe("b"));
    ask(&pid, |probe, cx| {
        probe.on_finalize = Some(Box::new(|| panic!("last words")));
        cx.stop();
    });
    assert_eq!(panic_of(&pid), "last words");
    ask(&neighbour, |_, _| ());
}

#[test]
fn in_the_destructor_of_its_state_after_a_panic() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("while dropping");
        }
    }
    let world = World::real();
    let (pid, neighbour) = (world.probe("a"), world.probe("b"));
    ask(&pid, |probe, _| probe.keep.push(Box::new(Bomb)));
    drop(pid.dispatch(act(|_, _| panic!("first")), PATIENCE));
    assert_eq!(panic_of(&pid), "first");
    ask(&neighbour, |_, _| ());
}

#[test]
fn in_a_blocking_job_which_keeps_its_thread() {
    let world = World::real();
    for _ in 0..10 {
        let job = world.runtime.blocking("bulk", "bad", |_| panic!("job"));
        match job.blocking_wait() {
            Outcome::Failed(fault) => assert!(matches!(fault.kind(), FaultKind::Panicked)),
            other => panic!("{other:?}"),
        }
    }
    let job = world.runtime.blocking("bulk", "good", |_| 5).blocking_wait();
    assert!(matches!(job, Outcome::Ok(5)));
}

#[test]
fn in_a_background_task() {
    let world = World::real();
    let task = world.runtime.spawn_future("main", "bad", async { panic!("task") });
    assert!(matches!(task.blocking_wait(), Outcome::Failed(_)));
    ask(&world.probe("a"), |_, _| ());
}

#[test]
fn in_two_actors_at_once() {
    let world = World::real();
    let one = world.probe("one");
    let two =
        world.spawn(world.order("two").place(longshore_actors::Placement::Arbiter("main", 1)));
    let both = [&one, &two].map(|pid| pid.dispatch(act(|_, _| panic!("both")), PATIENCE));
    for answer in both {
        assert!(matches!(answer.blocking_wait(), Outcome::Abandoned(Exit::Panicked(_))));
    }
    ask(&world.probe("three"), |_, _| ());
}
