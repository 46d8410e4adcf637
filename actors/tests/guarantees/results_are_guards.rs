//! What was produced and is not wanted undoes itself; what is asked and not wanted any more withdraws itself.

use std::sync::mpsc::{Receiver, channel};

use longshore_actors::{Cause, Guarded, Outcome, promise};

use super::support::{Note, PATIENCE, World, hold};

fn guarded() -> (Guarded<u8>, Receiver<u8>) {
    let (undone, is_undone) = channel();
    (Guarded::new(7, move |n| undone.send(n).expect("the test listens")), is_undone)
}

#[test]
fn a_result_that_is_dropped_is_undone_and_one_that_is_kept_is_not() {
    let (guard, undone) = guarded();
    drop(guard);
    assert_eq!(undone.try_recv(), Ok(7));
    let (mut guard, undone) = guarded();
    *guard += 1;
    assert_eq!((*guard, guard.keep()), (8, 8));
    assert!(undone.try_recv().is_err());
}

#[test]
fn a_result_that_stops_at_a_checkpoint_is_undone() {
    let (guard, undone) = guarded();
    let (work, eventual) = promise();
    let chain = eventual.checkpoint().map(Guarded::keep);
    chain.discard("changed my mind");
    work.set(guard);
    assert_eq!(undone.try_recv(), Ok(7));
    assert!(matches!(chain.blocking_wait(), Outcome::Discarded(_)));
}

#[test]
fn a_result_that_nobody_waits_for_is_undone() {
    let (guard, undone) = guarded();
    let (work, eventual) = promise();
    drop(eventual);
    work.set(guard);
    assert_eq!(undone.try_recv(), Ok(7));
}

#[test]
fn a_panic_while_undoing_goes_no_further() {
    drop(Guarded::new((), |()| panic!("nobody hears this")));
}

#[test]
fn a_query_is_discarded_when_nobody_waits_for_it_any_more() {
    let (work, eventual) = promise::<u8>();
    let query = eventual.discard_on_drop();
    assert!(!work.is_discarded());
    drop(query);
    assert!(work.is_discarded());
    assert_eq!(work.token().cause(), Some(Cause::Asked("nobody waits for it any more")));
}

#[test]
fn a_query_that_is_kept_is_not_discarded() {
    let (work, eventual) = promise::<u8>();
    drop(eventual.discard_on_drop().keep());
    assert!(!work.is_discarded());
}

#[tokio::test]
async fn a_query_is_awaited_like_any_other() {
    let world = World::real();
    let pid = world.probe("a");
    let query = pid.dispatch(Note("heard".into()), PATIENCE).discard_on_drop();
    assert!(matches!(query.await, Outcome::Ok(5)));
}

#[test]
fn a_dropped_query_of_an_actor_is_handled_all_the_same() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    drop(pid.dispatch(Note("heard".into()), PATIENCE).discard_on_drop());
    drop(release);
    assert_eq!(world.next(), "heard");
}
