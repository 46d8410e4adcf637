//! Jobs of a sequence run one after the other, whatever becomes of each.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use longshore_actors::sync::Sequence;
use longshore_actors::{Cause, Eventual, Fault, Outcome, promise};

use super::support::{PATIENCE, World, act, act_later};

struct Jobs {
    sequence: Sequence,
    began: Sender<u32>,
    begins: Receiver<u32>,
}

impl Jobs {
    fn new() -> Self {
        let (began, begins) = channel();
        Self { sequence: Sequence::new(), began, begins }
    }

    /// Adds a job that says when it begins, and ends as `eventual` does.
    fn add(&self, name: u32, eventual: Eventual<u32>) -> Eventual<u32> {
        let began = self.began.clone();
        self.sequence.add(move || {
            began.send(name).expect("the test listens");
            eventual
        })
    }

    fn begun(&self) -> Vec<u32> {
        self.begins.try_iter().collect()
    }
}

#[test]
fn a_job_begins_when_the_one_before_has_ended() {
    let jobs = Jobs::new();
    let (work, eventual) = promise();
    let (first, second) = (jobs.add(1, eventual), jobs.add(2, Eventual::ready(2)));
    assert_eq!((jobs.begun(), jobs.sequence.waiting()), (vec![1], 1));
    assert!(!first.is_done() && !second.is_done());
    work.set(1);
    assert_eq!((jobs.begun(), jobs.sequence.waiting()), (vec![2], 0));
    assert!(matches!(first.blocking_wait(), Outcome::Ok(1)));
    assert!(matches!(second.blocking_wait(), Outcome::Ok(2)));
}

#[test]
fn a_job_that_fails_panics_or_is_abandoned_does_not_stop_those_behind_it() {
    let jobs = Jobs::new();
    let failed = jobs.add(1, Eventual::failed(Fault::new("broken")));
    let panicked = jobs.sequence.add(|| -> Eventual<u32> { panic!("oops") });
    let abandoned = jobs.add(3, promise().1);
    let last = jobs.add(4, Eventual::ready(4));
    assert!(matches!(failed.blocking_wait(), Outcome::Failed(_)));
    assert!(matches!(panicked.blocking_wait(), Outcome::Failed(_)));
    assert!(matches!(abandoned.blocking_wait(), Outcome::Abandoned(_)));
    assert!(matches!(last.blocking_wait(), Outcome::Ok(4)));
    assert_eq!(jobs.begun(), [1, 3, 4]);
}

#[test]
fn a_discarded_job_that_waits_is_never_run() {
    let jobs = Jobs::new();
    let (work, eventual) = promise();
    let _first = jobs.add(1, eventual);
    let _second = jobs.add(2, Eventual::ready(2));
    let third = jobs.add(3, Eventual::ready(3));
    let fourth = jobs.add(4, Eventual::ready(4));
    third.discard("not needed");
    assert!(third.is_done(), "nobody has to be asked");
    work.set(1);
    assert!(matches!(third.blocking_wait(), Outcome::Discarded(Cause::Asked("not needed"))));
    assert!(fourth.blocking_wait().is_ok());
    assert_eq!(jobs.begun(), [1, 2, 4]);
}

#[test]
fn a_discarded_job_that_runs_is_asked_and_the_next_waits_until_it_has_stopped() {
    let jobs = Jobs::new();
    let (work, eventual) = promise();
    let (first, second) = (jobs.add(1, eventual), jobs.add(2, Eventual::ready(2)));
    first.discard("stop");
    assert!(work.is_discarded() && !second.is_done());
    drop(work);
    assert!(matches!(first.blocking_wait(), Outcome::Discarded(_)));
    assert!(second.blocking_wait().is_ok());
}

#[test]
fn with_the_sequence_all_that_wait_are_discarded_and_the_one_that_runs_goes_on() {
    let jobs = Jobs::new();
    let (work, eventual) = promise();
    let running = jobs.add(1, eventual);
    let waiting: Vec<_> = (2..5).map(|name| jobs.add(name, Eventual::ready(name))).collect();
    let clone = jobs.sequence.clone();
    let Jobs { sequence, begins, .. } = jobs;
    drop(sequence);
    assert!(!waiting[0].is_done(), "a clone is the same sequence");
    drop(clone);
    for job in waiting {
        let end = job.blocking_wait();
        assert!(matches!(end, Outcome::Discarded(Cause::Asked("the sequence is gone"))));
    }
    work.set(1);
    assert!(matches!(running.blocking_wait(), Outcome::Ok(1)));
    assert_eq!(begins.try_iter().collect::<Vec<_>>(), [1]);
}

#[test]
fn ten_thousand_jobs_behind_one_need_no_more_stack_than_one() {
    let sequence = Sequence::new();
    let (work, eventual) = promise::<()>();
    drop(sequence.add(|| eventual));
    let mut jobs: Vec<_> = (0..10_000).map(|n| sequence.add(move || Eventual::ready(n))).collect();
    work.set(());
    let last = jobs.pop().map(Eventual::blocking_wait);
    assert!(matches!(last, Some(Outcome::Ok(9_999))));
}

#[test]
fn a_job_may_add_another() {
    let sequence = Sequence::new();
    let inner = sequence.clone();
    let (after, comes) = channel();
    let outer = sequence.add(move || {
        drop(inner.add(move || {
            after.send(()).expect("the test listens");
            Eventual::ready(())
        }));
        Eventual::ready(())
    });
    assert!(outer.is_done());
    assert_eq!(comes.try_recv(), Ok(()));
}

#[test]
fn what_two_actors_do_in_steps_is_not_seen_half_done() {
    let world = World::real();
    let (value, sequence) = (Arc::new(Mutex::new(0_u32)), Sequence::new());
    let pids = [world.probe("a"), world.probe("b")];
    let jobs: Vec<_> = (0..100_usize)
        .map(|n| {
            let (pid, other) = (pids[n % 2].clone(), pids[(n + 1) % 2].clone());
            let (value, again) = (Arc::clone(&value), Arc::clone(&value));
            sequence.add(move || {
                let pulse = act_later(move |_, _| {
                    let before = std::mem::replace(&mut *value.lock().expect("no panic"), 1);
                    let back = move |_: &mut _, _: &mut _| {
                        *again.lock().expect("no panic") = 0;
                        before
                    };
                    other.dispatch(act(back), PATIENCE)
                });
                pid.dispatch(pulse, PATIENCE)
            })
        })
        .collect();
    assert!(jobs.into_iter().all(|job| matches!(job.blocking_wait(), Outcome::Ok(0))));
}

#[test]
fn jobs_added_and_discarded_by_many_threads_all_end_and_never_overlap() {
    let (sequence, inside) = (Sequence::new(), Arc::new(Mutex::new(())));
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (sequence, inside) = (sequence.clone(), Arc::clone(&inside));
            std::thread::spawn(move || {
                (0..200).fold(0, |ran, n| {
                    let inside = Arc::clone(&inside);
                    let job = sequence.add(move || {
                        let alone = inside.try_lock().is_ok();
                        Eventual::ready(alone)
                    });
                    if n % 3 == 0 {
                        job.discard("changed my mind");
                    }
                    match job.blocking_wait() {
                        Outcome::Ok(alone) => ran + usize::from(alone),
                        Outcome::Discarded(_) => ran + 1,
                        other => panic!("{other:?}"),
                    }
                })
            })
        })
        .collect();
    let ended: usize = threads.into_iter().map(|thread| thread.join().expect("all end")).sum();
    assert_eq!((ended, sequence.waiting()), (8 * 200, 0));
}
