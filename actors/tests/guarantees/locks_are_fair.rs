//! Locks are given in the order in which they were asked for, and given back by the drop of their guards.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use longshore_actors::sync::{Mutex, MutexGuard, RwLock};
use longshore_actors::{Eventual, Outcome};

fn held<G: Send + 'static>(eventual: Eventual<G>) -> G {
    assert!(eventual.is_done(), "it is held");
    eventual.blocking_wait().into_result().expect("a lock is not refused")
}

#[test]
fn a_mutex_has_one_holder_and_is_passed_on_in_order() {
    let mutex = Mutex::new(0);
    let mut first = held(mutex.lock());
    let (second, third) = (mutex.lock(), mutex.lock());
    assert!(!second.is_done() && mutex.try_lock().is_none());
    *first += 1;
    drop(first);
    let mut second = held(second);
    *second += 1;
    assert!(!third.is_done());
    drop(second);
    assert_eq!(*held(third), 2);
    assert_eq!(mutex.try_lock().map(|guard| *guard), Some(2));
}

#[test]
fn a_discarded_wait_for_a_lock_leaves_the_line() {
    let mutex = Mutex::new(());
    let first = held(mutex.lock());
    let (second, third) = (mutex.lock(), mutex.lock());
    second.discard("enough");
    assert!(matches!(second.blocking_wait(), Outcome::Discarded(_)));
    drop(first);
    drop(held(third));
}

#[test]
fn a_lock_is_not_given_to_who_has_gone_away() {
    let mutex = Mutex::new(());
    let first = held(mutex.lock());
    drop(mutex.lock());
    let third = mutex.lock();
    drop(first);
    let third = held(third);
    let fourth = mutex.lock();
    drop(third);
    // Given, but never taken: it goes on with the eventual.
    assert!(fourth.is_done() && mutex.try_lock().is_none());
    drop(fourth);
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_holder_that_panics_gives_the_lock_back() {
    let mutex = Mutex::new(7);
    let holder = mutex.clone();
    let panicked = std::thread::spawn(move || {
        let _guard = held(holder.lock());
        panic!("oops");
    });
    assert!(panicked.join().is_err());
    assert_eq!(mutex.try_lock().map(|guard| *guard), Some(7));
}

#[test]
fn ten_thousand_holders_one_after_the_other_need_no_more_stack_than_one() {
    let mutex = Mutex::new(0_u32);
    let first = held(mutex.lock());
    let mut holders: Vec<_> = (0..10_000)
        .map(|_| {
            mutex.lock().map(|mut guard: MutexGuard<u32>| {
                *guard += 1;
                *guard
            })
        })
        .collect();
    drop(first);
    let last = holders.pop().map(Eventual::blocking_wait);
    assert!(matches!(last, Some(Outcome::Ok(10_000))));
}

#[test]
fn a_lock_that_is_free_is_had_at_once_for_reading_and_for_writing() {
    let lock = RwLock::new(0);
    *held(lock.write()) += 1;
    assert_eq!(*held(lock.read()), 1);
    *held(lock.write()) += 1;
    assert_eq!(*held(lock.read()), 2);
}

#[test]
fn a_writer_keeps_readers_and_writers_out() {
    let lock = RwLock::new(0);
    let mut writer = held(lock.write());
    let (reader, other) = (lock.read(), lock.write());
    assert!(!reader.is_done() && !other.is_done());
    *writer = 7;
    drop(writer);
    let reader = held(reader);
    assert_eq!(*reader, 7);
    assert!(!other.is_done());
    drop(reader);
    drop(held(other));
}

#[test]
fn readers_read_together_and_a_writer_waits_for_all_of_them() {
    let lock = RwLock::new(7);
    let mut readers: VecDeque<_> = (0..3).map(|_| held(lock.read())).collect();
    let writer = lock.write();
    while let Some(reader) = readers.pop_front() {
        assert!(!writer.is_done());
        assert_eq!(*reader, 7);
    }
    *held(writer) += 1;
}

#[test]
fn readers_do_not_overtake_a_writer_that_waits_and_come_in_groups() {
    let lock = RwLock::new(());
    let first = held(lock.read());
    let write1 = lock.write();
    let (read1, read2) = (lock.read(), lock.read());
    let write2 = lock.write();
    let (read3, read4) = (lock.read(), lock.read());
    assert!(!write1.is_done());
    drop(first);
    let write1 = held(write1);
    assert!(!read1.is_done() && !read2.is_done() && !write2.is_done());
    drop(write1);
    let readers = (held(read1), held(read2));
    assert!(!write2.is_done() && !read3.is_done() && !read4.is_done());
    drop(readers);
    let write2 = held(write2);
    assert!(!read3.is_done() && !read4.is_done());
    drop(write2);
    drop((held(read3), held(read4)));
}

#[test]
fn a_writer_that_withdraws_lets_the_readers_behind_it_in() {
    let lock = RwLock::new(());
    let _first = held(lock.read());
    let (writer, reader) = (lock.write(), lock.read());
    assert!(!reader.is_done());
    writer.discard("enough");
    assert!(matches!(writer.blocking_wait(), Outcome::Discarded(_)));
    drop(held(reader));
    drop(lock.write());
    drop(held(lock.read()));
}

#[test]
fn locks_under_many_threads_exclude_and_lose_nobody() {
    let (mutex, lock) = (Mutex::new(0_usize), RwLock::new((0_usize, 0_usize)));
    let reads = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (mutex, lock, reads) = (mutex.clone(), lock.clone(), Arc::clone(&reads));
            std::thread::spawn(move || {
                for n in 0..300 {
                    let waits = mutex.lock();
                    if (n + thread) % 5 == 0 {
                        waits.discard("changed my mind");
                    }
                    if let Outcome::Ok(mut guard) = waits.blocking_wait() {
                        *guard += 1;
                    } else {
                        *mutex.lock().blocking_wait().into_result().expect("no discard") += 1;
                    }
                    if n % 3 == 0 {
                        let mut both = lock.write().blocking_wait().into_result().expect("given");
                        both.0 += 1;
                        both.1 += 1;
                    } else {
                        let both = lock.read().blocking_wait().into_result().expect("given");
                        assert_eq!(both.0, both.1);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("nobody hangs or sees it half written");
    }
    assert_eq!(*held(mutex.lock()), 8 * 300);
    assert_eq!(*held(lock.read()), (8 * 100, 8 * 100));
    assert_eq!(reads.load(Ordering::Relaxed), 8 * 200);
}
