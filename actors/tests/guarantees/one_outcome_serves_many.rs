//! Many can wait for one thing: a shared eventual, work that is done once, a latch.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longshore_actors::sync::{Latch, Once};
use longshore_actors::{Eventual, Fault, Outcome, promise};

#[test]
fn everybody_who_waits_gets_the_outcome_then_or_later() {
    let (work, eventual) = promise::<u8>();
    let shared = eventual.share();
    let waits: Vec<_> = (0..3).map(|_| shared.wait()).collect();
    assert!(shared.peek().is_none());
    work.set(7);
    assert!(waits.into_iter().all(|wait| matches!(wait.blocking_wait(), Outcome::Ok(7))));
    assert!(matches!(shared.peek(), Some(Outcome::Ok(7))));
    assert!(matches!(shared.clone().wait().blocking_wait(), Outcome::Ok(7)));
}

#[test]
fn who_withdraws_from_a_shared_outcome_withdraws_for_itself_only() {
    let (work, eventual) = promise::<u8>();
    let shared = eventual.share();
    let (leaves, stays) = (shared.wait(), shared.wait());
    leaves.discard("enough");
    assert!(matches!(leaves.blocking_wait(), Outcome::Discarded(_)));
    assert!(!work.is_discarded());
    assert!(shared.discard("everybody"));
    assert!(work.is_discarded());
    drop(work);
    assert!(matches!(stays.blocking_wait(), Outcome::Discarded(_)));
}

#[test]
fn who_waits_is_served_also_when_the_shared_handle_is_gone() {
    let (work, eventual) = promise::<u8>();
    let wait = eventual.share().wait();
    work.set(7);
    assert!(matches!(wait.blocking_wait(), Outcome::Ok(7)));
}

#[test]
fn what_is_done_once_is_done_for_all_who_ask() {
    let once = Once::new();
    let (work, eventual) = promise::<u8>();
    let first = once.get_or(|| eventual);
    let second = once.get_or(|| unreachable!("it is under way"));
    assert!(first.discard("not needed any more"));
    assert!(!work.is_discarded(), "others wait for it");
    work.set(7);
    assert!(matches!(second.blocking_wait(), Outcome::Ok(7)));
    let third = once.clone().get_or(|| unreachable!("it is done"));
    assert!(matches!(third.blocking_wait(), Outcome::Ok(7)));
}

#[test]
fn what_was_not_done_is_tried_again_by_the_next_who_asks() {
    let once = Once::new();
    let broken = once.get_or(|| Eventual::failed(Fault::new("broken")));
    assert!(matches!(broken.blocking_wait(), Outcome::<u8>::Failed(_)));
    let panicked = once.get_or(|| panic!("oops"));
    assert!(matches!(panicked.blocking_wait(), Outcome::Failed(_)));
    assert!(matches!(once.get_or(|| Eventual::ready(7)).blocking_wait(), Outcome::Ok(7)));
}

#[test]
fn work_that_asks_for_itself_waits_for_nobody_elses() {
    let once = Once::new();
    let (again, inner) = (once.clone(), once.clone());
    let outer = once.get_or(move || {
        let waits = again.get_or(|| unreachable!("it is under way"));
        assert!(!waits.is_done());
        Eventual::ready(7)
    });
    assert!(matches!(outer.blocking_wait(), Outcome::Ok(7)));
    assert!(inner.get_or(|| unreachable!("it is done")).is_done());
}

#[test]
fn of_many_threads_that_ask_at_once_one_does_the_work() {
    let (once, made) = (Once::new(), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (once, made) = (once.clone(), Arc::clone(&made));
            std::thread::spawn(move || {
                let value = once.get_or(|| {
                    made.fetch_add(1, Ordering::SeqCst);
                    Eventual::ready(7)
                });
                value.blocking_wait().into_result().expect("it is made")
            })
        })
        .collect();
    assert!(threads.into_iter().all(|thread| thread.join().is_ok_and(|value| value == 7)));
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn a_latch_opens_once_at_the_last_count_for_all() {
    let latch = Latch::new(2);
    let (waits, leaves) = (latch.opened(), latch.opened());
    assert!(!latch.count_down());
    leaves.discard("enough");
    assert!(!latch.is_open() && !waits.is_done() && leaves.is_done());
    assert!(latch.count_down());
    assert!(!latch.count_down(), "it is open");
    assert!(waits.blocking_wait().is_ok() && latch.opened().blocking_wait().is_ok());
    assert!(Latch::new(0).opened().is_done());
}
