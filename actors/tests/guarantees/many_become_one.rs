//! All, all ends, or the first of many eventuals.

use std::sync::{Arc, Barrier};

use longshore_actors::{
    Cause, Eventual, Fault, Guarded, Outcome, Promise, all, first_ok, promise, settle_all,
};

fn pairs<const N: usize>() -> ([Promise<u8>; N], Vec<Eventual<u8>>) {
    let mut eventuals = Vec::new();
    let promises = [(); N].map(|()| {
        let (promise, eventual) = promise();
        eventuals.push(eventual);
        promise
    });
    (promises, eventuals)
}

#[test]
fn all_answers_come_in_the_order_of_the_questions() {
    let ([a, b, c], eventuals) = pairs();
    let whole = all(eventuals);
    c.set(3);
    a.set(1);
    assert!(!whole.is_done());
    b.set(2);
    assert!(matches!(whole.blocking_wait(), Outcome::Ok(all) if all == [1, 2, 3]));
}

#[test]
fn the_first_failure_ends_the_whole_and_discards_the_rest() {
    let ([a, b, c], eventuals) = pairs();
    let whole = all(eventuals);
    a.set(1);
    b.fail(Fault::new("broken"));
    assert!(c.is_discarded());
    c.fail(Fault::new("too late to matter"));
    assert!(
        matches!(whole.blocking_wait(), Outcome::Failed(fault) if fault.to_string() == "broken")
    );
}

#[test]
fn one_that_is_discarded_or_abandoned_is_the_end_of_all_as_such() {
    let ([a, b], eventuals) = pairs();
    let whole = all(eventuals);
    a.end(Outcome::Discarded("late".into()));
    assert!(matches!(whole.blocking_wait(), Outcome::Discarded(Cause::Asked("late"))));
    drop(b);
    let ([a, b], eventuals) = pairs();
    let whole = all(eventuals);
    drop(a);
    assert!(matches!(whole.blocking_wait(), Outcome::Abandoned(_)));
    drop(b);
}

#[test]
fn answers_that_came_before_the_failure_are_dropped_and_so_undone() {
    let (undone, is_undone) = std::sync::mpsc::channel();
    let made = Guarded::new(7, move |n| undone.send(n).expect("the test listens"));
    let (broken, eventual) = promise();
    let whole = all(vec![Eventual::ready(made), eventual]);
    broken.fail(Fault::new("broken"));
    assert_eq!(is_undone.try_recv(), Ok(7));
    assert!(!whole.blocking_wait().is_ok());
}

#[test]
fn a_discard_of_the_whole_goes_to_each_that_has_not_ended() {
    type Gather = fn(Vec<Eventual<u8>>) -> Eventual<()>;
    let gather: [Gather; 3] = [
        |eventuals| all(eventuals).map(drop),
        |eventuals| settle_all(eventuals).map(drop),
        |eventuals| first_ok(eventuals).map(drop),
    ];
    for gather in gather {
        let ([a, b], eventuals) = pairs();
        let whole = gather(eventuals);
        assert!(!a.is_discarded() && !b.is_discarded());
        assert!(whole.discard("enough"));
        assert!(a.is_discarded() && b.is_discarded() && !whole.is_done());
        drop((a, b));
        assert!(whole.is_done());
    }
}

#[test]
fn every_end_is_gathered_whatever_it_is() {
    let ([a, b, c], eventuals) = pairs();
    let whole = settle_all(eventuals);
    a.fail(Fault::new("broken"));
    drop(b);
    assert!(!whole.is_done() && !c.is_discarded());
    c.set(3);
    let ends = whole.blocking_wait().into_result().expect("it never fails");
    assert!(matches!(ends.as_slice(), [Outcome::Failed(_), Outcome::Abandoned(_), Outcome::Ok(3)]));
}

#[test]
fn clean_up_can_wait_until_everybody_has_stopped() {
    let ([a, b], eventuals) = pairs();
    let whole = settle_all(eventuals);
    whole.discard("stop");
    a.set(1);
    assert!(!whole.is_done(), "one is still at work");
    drop(b);
    let ends = whole.blocking_wait().into_result().expect("it never fails");
    assert!(matches!(ends.as_slice(), [Outcome::Ok(1), Outcome::Discarded(_)]));
}

#[test]
fn the_first_answer_counts_and_the_others_are_discarded() {
    let ([a, b, c], eventuals) = pairs();
    let first = first_ok(eventuals);
    a.fail(Fault::new("not me"));
    assert!(!first.is_done());
    b.set(2);
    assert!(c.is_discarded());
    c.set(3);
    assert!(matches!(first.blocking_wait(), Outcome::Ok(2)));
}

#[test]
fn when_none_is_left_that_could_answer_the_last_end_is_told() {
    let ([a, b], eventuals) = pairs();
    let first = first_ok(eventuals);
    b.fail(Fault::new("first"));
    a.fail(Fault::new("last"));
    assert!(matches!(first.blocking_wait(), Outcome::Failed(fault) if fault.to_string() == "last"));
}

#[test]
fn of_nothing_all_is_nothing_and_the_first_is_a_failure() {
    assert!(matches!(all::<u8>(vec![]).blocking_wait(), Outcome::Ok(all) if all.is_empty()));
    let ends = settle_all::<u8>(vec![]).blocking_wait();
    assert!(matches!(ends, Outcome::Ok(ends) if ends.is_empty()));
    assert!(matches!(first_ok::<u8>(vec![]).blocking_wait(), Outcome::Failed(_)));
}

#[test]
fn ends_from_many_threads_at_once_decide_it_once() {
    for _ in 0..100 {
        let (promises, eventuals) = pairs::<8>();
        let (first, whole) = (promise::<u8>(), all(eventuals));
        let counted = whole.on_any(move |outcome| {
            assert!(first.0.set(u8::from(outcome.is_ok())), "once");
        });
        let start = Arc::new(Barrier::new(promises.len()));
        let threads: Vec<_> = promises
            .into_iter()
            .enumerate()
            .map(|(n, promise)| {
                let start = Arc::clone(&start);
                std::thread::spawn(move || {
                    start.wait();
                    if n % 4 == 3 { promise.fail(Fault::new("broken")) } else { promise.set(1) }
                })
            })
            .collect();
        assert!(matches!(counted.blocking_wait(), Outcome::Failed(_)));
        assert!(matches!(first.1.blocking_wait(), Outcome::Ok(0)));
        for thread in threads {
            thread.join().expect("nothing unwinds into who answers");
        }
    }
}
