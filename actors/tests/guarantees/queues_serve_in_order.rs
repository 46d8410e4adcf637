//! A queue gives its values in the order in which they came, to getters in the order in which they asked.

use std::sync::mpsc::channel;

use longshore_actors::sync::{Full, Queue};
use longshore_actors::{Eventual, Outcome};

fn got<T: Send + 'static>(eventual: Eventual<T>) -> T {
    assert!(eventual.is_done(), "it has come");
    eventual.blocking_wait().into_result().expect("it is there")
}

fn put<T: Send + std::fmt::Debug + 'static>(queue: &Queue<T>, value: T) {
    queue.put(value).expect("there is room");
}

#[test]
fn a_get_waits_for_a_put_and_ends_with_it() {
    let queue = Queue::unbounded();
    let get = queue.get();
    assert!(!get.is_done());
    put(&queue, "hello");
    assert_eq!(got(get), "hello");
    assert!(queue.is_empty());
}

#[test]
fn a_get_of_what_is_there_does_not_wait() {
    let queue = Queue::unbounded();
    put(&queue, 1);
    put(&queue, 2);
    assert_eq!(queue.len(), 2);
    assert_eq!((got(queue.get()), got(queue.get())), (1, 2));
}

#[test]
fn getters_are_served_in_the_order_in_which_they_asked() {
    let queue = Queue::unbounded();
    let gets = [queue.get(), queue.get(), queue.get()];
    put(&queue, 1);
    assert_eq!(gets.each_ref().map(Eventual::is_done), [true, false, false]);
    put(&queue, 2);
    put(&queue, 3);
    assert_eq!(gets.map(got), [1, 2, 3]);
}

#[test]
fn a_discarded_get_takes_nothing_and_nor_does_one_that_was_dropped() {
    let queue = Queue::unbounded();
    let (first, second, third) = (queue.get(), queue.get(), queue.get());
    first.discard("enough");
    assert!(matches!(first.blocking_wait(), Outcome::Discarded(_)));
    drop(second);
    put(&queue, 1);
    assert_eq!(got(third), 1);
}

#[test]
fn a_getter_that_left_a_continuation_is_served_though_it_is_gone() {
    let queue = Queue::unbounded();
    let (seen, sees) = channel();
    drop(queue.get().map(move |n| seen.send(n)));
    put(&queue, 1);
    assert_eq!(sees.try_recv(), Ok(1));
}

#[test]
fn a_full_queue_gives_the_value_back() {
    let queue = Queue::bounded(1);
    put(&queue, 1);
    assert_eq!(queue.put(2), Err(Full(2)));
    assert_eq!(got(queue.get()), 1);
    let get = queue.get();
    put(&queue, 3);
    put(&queue, 4);
    assert_eq!((got(get), queue.len()), (3, 1));
}

#[test]
fn getters_of_a_queue_that_is_gone_are_abandoned() {
    let queue = Queue::<u8>::unbounded();
    let get = queue.get();
    drop(queue.clone());
    assert!(!get.is_done());
    drop(queue);
    assert!(matches!(get.blocking_wait(), Outcome::Abandoned(_)));
}

#[test]
fn what_many_threads_put_and_get_is_neither_lost_nor_doubled() {
    let queue = Queue::unbounded();
    let puts: Vec<_> = (0..4_u64)
        .map(|thread| {
            let queue = queue.clone();
            std::thread::spawn(move || {
                (0..500).for_each(|n| put(&queue, thread * 500 + n));
            })
        })
        .collect();
    let gets: Vec<_> = (0..4)
        .map(|_| {
            let queue = queue.clone();
            std::thread::spawn(move || {
                let mut sum = 0;
                for n in 0..500 {
                    let get = queue.get();
                    if n % 7 == 0 {
                        get.discard("look again");
                    }
                    sum += match get.blocking_wait() {
                        Outcome::Ok(value) => value,
                        _ => queue.get().blocking_wait().into_result().expect("one for each"),
                    };
                }
                sum
            })
        })
        .collect();
    for thread in puts {
        thread.join().expect("there is room");
    }
    let sum: u64 = gets.into_iter().map(|thread| thread.join().expect("one for each")).sum();
    assert_eq!((sum, queue.len()), ((0..2000).sum(), 0));
}
