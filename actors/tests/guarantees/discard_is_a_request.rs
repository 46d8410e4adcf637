//! Dropping an eventual withdraws nothing; a discard is a request that the worker sees and answers.

use longshore_actors::{Cause, Exit, Lost, Outcome, promise};

use super::support::{Note, PATIENCE, World, act, act_later, ask, hold};

#[test]
fn a_dropped_eventual_does_not_stop_its_message() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    drop(pid.dispatch(Note("heard".into()), PATIENCE));
    drop(release);
    assert_eq!(world.next(), "heard");
}

#[test]
fn a_discarded_dispatch_is_handled_and_its_promise_knows() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    let (promise, eventual) = promise::<u8>();
    let answer = pid.dispatch(act_later(move |_, _| eventual), PATIENCE);
    assert!(answer.discard("changed my mind"));
    assert!(!answer.discard("again"), "once is enough");
    drop(release);
    ask(&pid, |_, _| ());
    assert!(promise.is_discarded());
    drop(promise);
    let cause = match answer.blocking_wait() {
        Outcome::Discarded(cause) => cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(cause, Cause::Asked("changed my mind"));
}

#[test]
fn the_worker_may_answer_a_discarded_request_all_the_same() {
    let (promise, eventual) = promise::<u8>();
    eventual.discard("too slow");
    promise.set(9);
    assert!(matches!(eventual.blocking_wait(), Outcome::Ok(9)));
}

#[test]
fn a_promise_that_is_dropped_abandons_and_names_the_actor() {
    let world = World::real();
    let pid = world.probe("a");
    let answer = pid.dispatch(
        act_later(|_, _| {
            let (promise, eventual) = promise::<()>();
            drop(promise);
            eventual
        }),
        PATIENCE,
    );
    let lost = answer.blocking_wait().into_result();
    match lost.expect_err("nobody set it") {
        Lost::Gone { exit: Exit::Killed(why), .. } => assert_eq!(why, "promise dropped"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_discard_reaches_through_a_chain_of_actors() {
    let world = World::real();
    let (front, back) = (world.probe("front"), world.probe("back"));
    let (promise, eventual) = promise::<u8>();
    let answer = front.dispatch(
        act_later(move |_, _| back.dispatch(act_later(move |_, _| eventual), PATIENCE)),
        PATIENCE,
    );
    let heard = world.runtime.spawn_future("main", "wait for the discard", promise.discarded());
    assert!(answer.discard("never mind"));
    let cause = heard.blocking_wait().into_result().expect("it comes");
    assert_eq!(cause, Cause::Asked("never mind"));
    drop(promise);
    assert!(matches!(answer.blocking_wait(), Outcome::Discarded(_)));
}

#[test]
fn a_background_task_is_dropped_by_a_discard() {
    struct Tells(std::sync::mpsc::Sender<()>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.send(()).expect("the test listens");
        }
    }
    let world = World::real();
    let (dropped, is_dropped) = std::sync::mpsc::channel();
    let guard = Tells(dropped);
    let task = world.runtime.spawn_future("main", "forever", async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    task.discard("enough");
    is_dropped.recv_timeout(PATIENCE).expect("the future is dropped");
    assert!(matches!(task.blocking_wait(), Outcome::Discarded(_)));
    let pid = world.probe("a");
    assert!(pid.dispatch(act(|_, _| ()), PATIENCE).blocking_wait().is_ok());
}
