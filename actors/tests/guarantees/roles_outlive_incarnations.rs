//! A role is resolved for each send: to whoever has it, or to nobody; never to a successor of who was meant.

use std::time::Duration;

use longshore_actors::{
    Backoff, FaultKind, Intensity, Lost, Outcome, Placement, Refusal, Strategy, Supervisor, Unsent,
};

use super::family::Family;
use super::support::{Note, PATIENCE, act, ask, hold};

const SECOND: Duration = Duration::from_secs(1);

/// A supervisor of `a`, on an arbiter of its own, with a back-off of a second.
async fn started() -> Family {
    let mut family = Family::new();
    let spec = family.spec("a").place(Placement::Arbiter("kernel", 0));
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(Intensity::new(5, 60 * SECOND))
        .backoff(Backoff::doubling(SECOND, SECOND));
    family.start(supervisor.child(spec)).await;
    family.said();
    family
}

#[tokio::test]
async fn a_send_finds_the_incarnation_of_the_moment() {
    let family = started().await;
    let handle = family.role("a").handle::<Note>();
    handle.dispatch(Note("one".into()), PATIENCE).await.into_result().expect("it answers");
    family.panics("a").await;
    family.world.runtime.clock().advance(SECOND);
    family.settle().await;
    handle.notify(Note("two".into())).expect("it has room");
    family.settle().await;
    assert_eq!(family.said(), ["one", "a starts", "two"]);
}

#[tokio::test]
async fn while_nobody_has_it_a_send_is_refused_at_once() {
    let family = started().await;
    let handle = family.role("a").handle::<Note>();
    family.panics("a").await;
    let vacant = family.role("a").resolve().expect_err("it waits to be restarted");
    assert_eq!(vacant.to_string(), "nobody has the role a at present");
    assert_eq!(handle.notify(Note("lost".into())), Err(Unsent::Vacant(vacant)));
    match handle.dispatch(Note("lost".into()), PATIENCE).await {
        Outcome::Failed(fault) => assert!(matches!(fault.kind(), FaultKind::Vacant(_))),
        other => panic!("{other:?}"),
    }
    family.world.runtime.clock().advance(SECOND);
    family.settle().await;
    assert_eq!(family.said(), ["a starts"]);
}

#[tokio::test]
async fn what_was_sent_to_one_incarnation_does_not_come_to_the_next() {
    let family = started().await;
    let (handle, old) = (family.role("a").handle::<Note>(), family.holder("a"));
    let release = hold(&old);
    let waiting = handle.dispatch(Note("for the old one".into()), PATIENCE);
    let held = handle.resolve().expect("it is busy, not gone");
    drop(old.kill("by a test"));
    assert!(handle.resolve().is_err(), "who is about to end is nobody");
    drop(release);
    let lost = waiting.result().await.expect_err("it is abandoned");
    assert_eq!(lost.to_string(), "Note to a: the actor killed: by a test");
    family.world.runtime.clock().advance_settling(SECOND).await;
    let refused = held.notify(Note("also".into())).expect_err("a handle names an incarnation");
    assert_eq!(refused.why, Refusal::Gone);
    assert_eq!(family.said(), ["a finalizes: killed: by a test", "a starts"]);
}

#[tokio::test]
async fn who_has_not_initialized_does_not_have_it_yet() {
    let mut family = Family::new();
    let gate =
        family.world.spawn(family.world.order("gate").place(Placement::Arbiter("kernel", 0)));
    let release = hold(&gate);
    let spec = family.spec("a").place(Placement::With(gate.any()));
    let supervisor = Supervisor::new(Strategy::OneForOne).child(spec);
    let root = supervisor.start(&family.world.runtime, "root").expect("the name is free");
    root.started().await.into_result().expect("it waits for nobody");
    assert!(family.role("a").resolve().is_err());
    drop(release);
    family.settle().await;
    ask(&family.holder("a"), |_, _| ());
}

#[tokio::test]
async fn a_full_mailbox_is_told_as_such() {
    let mut family = Family::new();
    let spec = family.spec("a").capacity(1).place(Placement::Arbiter("kernel", 0));
    family.start(Supervisor::new(Strategy::OneForOne).child(spec)).await;
    let pid = family.holder("a");
    let release = hold(&pid);
    pid.notify(act(|_, _| ())).expect("one fits");
    let handle = family.role("a").handle::<Note>();
    let refused = handle.notify(Note("x".into())).expect_err("none fits");
    assert!(
        matches!(&refused, Unsent::Refused(refused) if refused.why == Refusal::Full { capacity: 1 })
    );
    let lost = handle.dispatch(Note("x".into()), PATIENCE).await.into_result();
    assert!(matches!(lost, Err(Lost::Refused(_))));
    drop(release);
}
