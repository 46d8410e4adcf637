//! Whoever watches an actor hears of its end, and why: after its finalize, when its name is free.

use longshore_actors::Exit;

use super::support::{PATIENCE, Probe, World, act, ask, exit_of, hold};

fn watch(world: &World, watcher: &str, whom: &longshore_actors::Pid<Probe>) {
    let whom = whom.any();
    let watcher = world.probe(watcher);
    ask(&watcher, move |_, cx| cx.watch(&whom));
}

#[test]
fn a_normal_end_is_heard_after_finalize() {
    let world = World::real();
    let pid = world.probe("a");
    watch(&world, "w", &pid);
    ask(&pid, |_, cx| cx.stop());
    assert_eq!(world.next(), "a finalizes: ended");
    assert_eq!(world.next(), "w hears: a ended");
}

#[test]
fn a_panic_is_heard_with_its_text() {
    let world = World::real();
    let pid = world.probe("a");
    watch(&world, "w", &pid);
    drop(pid.dispatch(act(|_, _| panic!("boom")), PATIENCE));
    assert_eq!(world.next(), "w hears: a panicked: boom");
}

#[test]
fn a_kill_is_heard_with_its_reason() {
    let world = World::real();
    let pid = world.probe("a");
    watch(&world, "w", &pid);
    let exit = pid.kill("enough").blocking_wait().into_result();
    assert!(matches!(exit, Ok(Exit::Killed("enough"))));
    assert_eq!(world.next(), "a finalizes: killed: enough");
    assert_eq!(world.next(), "w hears: a killed: enough");
}

#[test]
fn a_failure_is_heard_with_its_fault() {
    let world = World::real();
    let pid = world.probe("a");
    watch(&world, "w", &pid);
    ask(&pid, |_, cx| cx.fail(longshore_actors::Fault::new("no disk")));
    assert_eq!(world.next(), "a finalizes: failed: no disk");
    assert_eq!(world.next(), "w hears: a failed: no disk");
}

#[test]
fn the_end_of_a_dead_actor_is_heard_at_once() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, cx| cx.stop());
    exit_of(&pid);
    assert_eq!(world.next(), "a finalizes: ended");
    watch(&world, "w", &pid);
    assert_eq!(world.next(), "w hears: a ended");
}

#[test]
fn the_name_is_free_when_the_end_is_heard() {
    let world = World::real();
    for _ in 0..100 {
        let pid = world.probe("a");
        ask(&pid, |_, _| ());
        drop(pid.kill("again"));
        exit_of(&pid);
    }
    assert_eq!(world.so_far().len(), 100);
}

#[test]
fn the_end_overtakes_the_messages_that_wait() {
    let world = World::real();
    let (pid, watcher) = (
        world.probe("a"),
        world.spawn(world.order("w").place(longshore_actors::Placement::Arbiter("main", 1))),
    );
    // One that was never started is not finalized.
    ask(&pid, |_, _| ());
    let whom = pid.any();
    ask(&watcher, move |_, cx| cx.watch(&whom));
    let release = hold(&watcher);
    for n in 0..100 {
        watcher.notify(act(move |probe, _| probe.say(n.to_string()))).expect("room");
    }
    pid.kill("now").blocking_wait().into_result().expect("it ends");
    assert_eq!(world.next(), "a finalizes: killed: now");
    drop(release);
    assert_eq!(world.next(), "w hears: a killed: now");
    assert_eq!(world.next(), "0");
}
