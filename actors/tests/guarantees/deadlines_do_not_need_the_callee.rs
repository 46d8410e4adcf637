//! A dispatch ends by its deadline whatever the callee does; a late answer is dropped.

use std::time::Duration;

use longshore_actors::{Cause, Lost, Outcome, Placement, promise};

use super::support::{Note, PATIENCE, World, act_later, ask, hold};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_deadline_passes_while_the_callees_arbiter_is_stuck() {
    let world = World::real();
    let pid = world.spawn(world.order("stuck").place(Placement::Arbiter("kernel", 0)));
    let release = hold(&pid);
    let short = Duration::from_millis(10);
    let lost = pid.dispatch(Note("x".into()), short).blocking_wait().into_result();
    match lost.expect_err("nobody answers") {
        Lost::Deadline { address, after } => {
            assert_eq!((&*address.to, address.label, after), ("stuck", "Note", short));
        }
        other => panic!("{other}"),
    }
    drop(release);
}

#[tokio::test]
async fn the_error_names_actor_message_and_time() {
    let world = World::virtual_();
    let pid = world.probe("a");
    let release = hold(&pid);
    let answer = pid.dispatch(Note("x".into()), SECOND);
    world.runtime.clock().advance(SECOND);
    let lost = answer.result().await.expect_err("the deadline passed");
    assert_eq!(lost.to_string(), "Note to a: no answer within 1s");
    drop(release);
}

#[tokio::test]
async fn not_a_moment_before() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    let release = hold(&pid);
    let answer = pid.dispatch(Note("x".into()), SECOND);
    clock.advance(SECOND - Duration::from_nanos(1));
    assert!(!answer.is_done());
    clock.advance(Duration::from_nanos(1));
    assert!(answer.is_done());
    drop(release);
    // Handled all the same: a deadline is the asker's, not the message's.
    assert_eq!(world.next(), "x");
}

#[tokio::test]
async fn a_late_answer_is_dropped_and_the_worker_knows() {
    let world = World::virtual_();
    let pid = world.probe("a");
    let (late, eventual) = promise::<u8>();
    let answer = pid.dispatch(act_later(move |_, _| eventual), SECOND);
    world.runtime.clock().settle().await;
    world.runtime.clock().advance(SECOND);
    assert!(matches!(answer.await, Outcome::Discarded(Cause::Deadline { .. })));
    assert!(late.is_discarded());
    assert!(matches!(late.discarded().await, Cause::Deadline { .. }));
    assert!(late.set(7), "the inner eventual takes it; the asker is gone");
    assert!(world.runtime.pending().is_empty());
}

#[test]
fn an_answer_in_time_leaves_no_deadline_behind() {
    let world = World::virtual_();
    let pid = world.probe("a");
    assert_eq!(
        pid.dispatch(Note("ab".into()), PATIENCE).blocking_wait().into_result().ok(),
        Some(2)
    );
    assert!(world.runtime.pending().is_empty());
    let while_asked = ask(&pid, |_, cx| cx.runtime().pending().len());
    assert_eq!(while_asked, 1, "only the one that asks");
}
