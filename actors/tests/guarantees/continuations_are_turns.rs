//! What an actor awaits runs beside it, and comes back as a turn of its own; its end drops it.

use std::cell::Cell;
use std::rc::Rc;

use longshore_actors::{Exit, Outcome, Reply};

use super::support::{Log, Note, PATIENCE, World, act, act_later, ask, exit_of};

/// Says so when it is dropped.
struct Says(Log);

impl Drop for Says {
    fn drop(&mut self) {
        self.0.send("dropped".into()).expect("the test listens");
    }
}

#[test]
fn an_actor_handles_messages_while_it_awaits() {
    let world = World::real();
    let (pid, other) = (world.probe("a"), world.probe("b"));
    let (promise, eventual) = longshore_actors::promise::<u8>();
    ask(&pid, move |_, cx| {
        let answer = other.dispatch(act_later(|_, _| eventual), PATIENCE);
        cx.run("ask b", answer.result(), |probe, _, answer| {
            probe.say(format!("b said {}", answer.expect("it answers")));
        });
    });
    ask(&pid, |probe, _| probe.say("meanwhile"));
    promise.set(7);
    assert_eq!(world.next(), "meanwhile");
    assert_eq!(world.next(), "b said 7");
}

#[test]
fn state_and_futures_need_not_be_send() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, cx| {
        let shared = Rc::new(Cell::new(1));
        let inside = Rc::clone(&shared);
        cx.run("local", async move { inside.set(inside.get() + 1) }, move |probe, _, ()| {
            probe.say(shared.get().to_string());
        });
    });
    assert_eq!(world.next(), "2");
}

#[test]
fn the_end_of_the_actor_drops_what_it_awaits_before_anybody_hears_of_it() {
    let world = World::real();
    let pid = world.probe("a");
    let says = Says(world.log.clone());
    ask(&pid, move |_, cx| {
        let forever = async move {
            let _says = says;
            std::future::pending::<()>().await;
        };
        cx.run("forever", forever, |_, _, ()| ());
    });
    drop(pid.kill("enough"));
    exit_of(&pid);
    assert_eq!(world.so_far(), ["a finalizes: killed: enough", "dropped"]);
}

#[test]
fn the_end_of_an_eventual_is_heard_as_a_turn_whenever_and_wherever_it_comes() {
    let world = World::real();
    let (pid, other) = (world.probe("a"), world.probe("b"));
    let (late, eventual) = longshore_actors::promise::<u8>();
    ask(&pid, move |_, cx| {
        // State of the actor's own thread goes along.
        let shared = Rc::new(Cell::new(1));
        let inside = Rc::clone(&shared);
        cx.when("there", longshore_actors::Eventual::ready(1_u8), move |probe, _, answer| {
            inside.set(inside.get() + 1);
            probe.say(format!("there: {}", answer.expect("it is")));
        });
        assert_eq!(shared.get(), 1, "not within the turn that asks");
        cx.when("late", eventual, move |probe, _, answer| {
            probe.say(format!("late: {} after {}", answer.expect("it came"), shared.get()));
        });
        let gone = other.dispatch(
            act(|_, cx| -> u8 {
                cx.stop();
                panic!("before it answers")
            }),
            PATIENCE,
        );
        cx.when("gone", gone, |probe, _, answer| {
            let error = answer.expect_err("it panicked").to_string();
            probe.say(format!("gone: {}", error.contains("before it answers")));
        });
    });
    assert_eq!(world.next(), "there: 1");
    assert_eq!(world.next(), "gone: true");
    late.set(7);
    assert_eq!(world.next(), "late: 7 after 2");
}

#[test]
fn what_follows_the_end_of_an_eventual_is_dropped_with_its_actor() {
    let world = World::real();
    let pid = world.probe("a");
    let (promise, eventual) = longshore_actors::promise::<u8>();
    let says = Says(world.log.clone());
    ask(&pid, move |_, cx| cx.when("never", eventual, move |_, _, _| drop(says)));
    drop(pid.kill("enough"));
    exit_of(&pid);
    assert_eq!(world.so_far(), ["a finalizes: killed: enough", "dropped"]);
    assert!(!promise.is_discarded(), "that withdraws nothing");
    promise.set(1);
}

#[test]
fn a_promise_held_by_what_was_dropped_names_the_exit() {
    let world = World::real();
    let pid = world.probe("a");
    let answer = pid.dispatch(
        act_later(|_, cx| {
            let (promise, eventual) = longshore_actors::promise::<u8>();
            cx.run("forever", std::future::pending::<()>(), move |_, _, ()| {
                promise.set(1);
            });
            eventual
        }),
        PATIENCE,
    );
    ask(&pid, |_, _| ());
    drop(pid.kill("enough"));
    assert!(matches!(answer.blocking_wait(), Outcome::Abandoned(Exit::Killed("enough"))));
}

#[test]
fn ten_thousand_awaited_futures_do_not_slow_a_message() {
    let world = World::real();
    let pid = world.probe("a");
    let polls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&polls);
    ask(&pid, move |_, cx| {
        for _ in 0..10_000 {
            let counter = std::sync::Arc::clone(&counter);
            let idle = std::future::poll_fn(move |_| {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                std::task::Poll::<()>::Pending
            });
            cx.run("idle", idle, |_, _, ()| ());
        }
    });
    for _ in 0..100 {
        ask(&pid, |_, _| ());
    }
    let polls = polls.load(std::sync::atomic::Ordering::Relaxed);
    assert!(polls <= 10_000, "each is polled once, not once a message: {polls}");
}

#[test]
fn an_actor_may_answer_with_its_own_promise() {
    let world = World::real();
    let pid = world.probe("a");
    let answer = pid.dispatch(
        act_later(|_, cx| {
            let (promise, reply) = Reply::promised();
            cx.run("soon", async {}, |_, _, ()| {
                promise.set("done");
            });
            match reply {
                Reply::Later(eventual) => eventual,
                Reply::Now(_) => panic!("a promise is no answer yet"),
            }
        }),
        PATIENCE,
    );
    assert_eq!(answer.blocking_wait().into_result().expect("it answers"), "done");
    assert!(pid.dispatch(Note("x".into()), PATIENCE).blocking_wait().is_ok());
    pid.notify(act(|_, _| ())).expect("room");
}
