//! A loop of eventuals goes on until its body breaks it, however it is run.

use std::ops::ControlFlow::{Break, Continue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use longshore_actors::sync::Queue;
use longshore_actors::{Cause, Eventual, Fault, Outcome, loop_, promise};

#[test]
fn a_loop_of_ready_steps_ends_at_its_break_without_needing_stack() {
    let mut left = 20_000;
    let counted = loop_(move || {
        left -= 1;
        Eventual::ready(if left == 0 { Break("done") } else { Continue(()) })
    });
    assert!(counted.is_done());
    assert!(matches!(counted.blocking_wait(), Outcome::Ok("done")));
}

#[test]
fn a_loop_waits_for_what_it_takes_and_for_its_body() {
    let queue = Queue::unbounded();
    let (seen, sees) = channel();
    let (work, eventual) = promise();
    let (source, mut body) = (queue.clone(), Some(eventual));
    let found = loop_(move || {
        let seen = seen.clone();
        let body = body.take().unwrap_or_else(|| Eventual::ready(false));
        source.get().then(move |n: u8| {
            seen.send(n).expect("the test listens");
            body.map(move |more| if more { Continue(()) } else { Break(n) })
        })
    });
    queue.put(1).expect("there is no bound");
    assert_eq!(sees.try_recv(), Ok(1));
    assert!(!found.is_done(), "its body is under way");
    work.set(true);
    assert!(!found.is_done(), "it waits for the next value");
    queue.put(2).expect("there is no bound");
    assert!(matches!(found.blocking_wait(), Outcome::Ok(2)));
}

#[test]
fn a_step_without_an_answer_or_with_a_panic_ends_the_loop() {
    let failed = loop_::<()>(|| Eventual::failed(Fault::new("broken")));
    assert!(
        matches!(failed.blocking_wait(), Outcome::Failed(fault) if fault.to_string() == "broken")
    );
    let panicked = loop_::<()>(|| panic!("oops"));
    assert!(matches!(panicked.blocking_wait(), Outcome::Failed(_)));
}

#[test]
fn a_discard_goes_to_the_step_that_is_under_way() {
    let (work, eventual) = promise::<()>();
    let mut step = Some(eventual);
    let endless = loop_::<()>(move || {
        let step = step.take().expect("there is no second one");
        step.map(|()| Continue(()))
    });
    endless.discard("enough");
    assert!(work.is_discarded() && !endless.is_done());
    drop(work);
    assert!(matches!(endless.blocking_wait(), Outcome::Discarded(Cause::Asked("enough"))));
}

#[test]
fn a_discarded_loop_begins_no_step_and_a_break_still_counts() {
    for (last, ends_well) in [(Continue(()), false), (Break(7), true)] {
        let (work, eventual) = promise();
        let (mut step, steps) = (Some(eventual), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&steps);
        let discarded = loop_::<u8>(move || {
            counted.fetch_add(1, Ordering::SeqCst);
            step.take().expect("there is no second one")
        });
        discarded.discard("enough");
        work.set(last);
        assert_eq!(steps.load(Ordering::SeqCst), 1);
        assert_eq!(matches!(discarded.blocking_wait(), Outcome::Ok(7)), ends_well);
    }
}

#[test]
fn a_loop_that_never_waits_can_be_discarded_from_another_thread() {
    let (stop, stopped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (begin, begun) = promise::<()>();
    let (told, tells) = (Arc::clone(&stopped), Arc::clone(&stop));
    // It begins on the thread that ends `begun`, and keeps that thread.
    let endless = begun.then(move |()| {
        loop_::<()>(move || {
            tells.store(true, Ordering::SeqCst);
            Eventual::ready(Continue(()))
        })
    });
    let endless = endless.on_discarded(move |_| told.store(true, Ordering::SeqCst));
    let runs = std::thread::spawn(move || begin.set(()));
    while !stop.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    endless.discard("enough");
    assert!(runs.join().expect("it returns"));
    assert!(stopped.load(Ordering::SeqCst));
}
