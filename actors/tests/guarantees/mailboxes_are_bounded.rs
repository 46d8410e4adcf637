//! Never more messages wait than the mailbox holds; who is refused knows it, and nothing is lost in between.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use longshore_actors::{FaultKind, Lost, Outcome, Refusal};

use super::support::{Note, PATIENCE, World, act, hold};

#[test]
fn a_full_mailbox_refuses_a_notify() {
    let world = World::real();
    let pid = world.spawn(world.order("a").capacity(16));
    let release = hold(&pid);
    let admitted = (0..1000).filter(|_| pid.clone().notify(Note("x".into())).is_ok()).count();
    assert_eq!(admitted, 16);
    let refused = pid.notify(Note("x".into())).expect_err("it is full");
    assert_eq!(refused.why, Refusal::Full { capacity: 16 });
    assert_eq!(refused.to_string(), "Note to a: mailbox full (16 messages)");
    drop(release);
    pid.drain().blocking_wait().into_result().expect("it drains");
    assert_eq!(world.so_far().len(), 16 + 1, "and the finalize");
}

#[test]
fn a_full_mailbox_refuses_a_dispatch_by_a_failure_of_a_known_kind() {
    let world = World::real();
    let pid = world.spawn(world.order("a").capacity(1));
    let release = hold(&pid);
    pid.notify(Note("x".into())).expect("one has room");
    match pid.dispatch(Note("x".into()), PATIENCE).blocking_wait() {
        Outcome::Failed(fault) => assert!(matches!(fault.kind(), FaultKind::Refused(_))),
        other => panic!("{other:?}"),
    }
    let lost = pid.dispatch(Note("x".into()), PATIENCE).blocking_wait().into_result();
    assert!(matches!(lost, Err(Lost::Refused(refused)) if refused.address.label == "Note"));
    assert!(world.runtime.pending().is_empty());
    drop(release);
}

#[test]
fn handled_and_refused_make_sent_while_eight_threads_send_and_it_drains() {
    let world = World::real();
    let pid = world.spawn(world.order("a").capacity(64));
    let handled = Arc::new(AtomicU64::new(0));
    let admitted = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for sender in 0..8 {
            let (pid, handled, admitted) = (pid.clone(), &handled, &admitted);
            scope.spawn(move || {
                for round in 0..10_000 {
                    let handled = Arc::clone(handled);
                    let sent = pid.notify(act(move |_, _| {
                        handled.fetch_add(1, Ordering::Relaxed);
                    }));
                    if sent.is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                    if sender == 0 && round == 5_000 {
                        drop(pid.drain());
                    }
                }
            });
        }
    });
    pid.exit().blocking_wait().into_result().expect("it drains");
    assert_eq!(handled.load(Ordering::Relaxed), admitted.load(Ordering::Relaxed));
    assert!(handled.load(Ordering::Relaxed) > 0);
}
