//! `within` puts a deadline on any eventual: on the runtime's clock, whatever its worker does.

use std::time::Duration;

use longshore_actors::{Cause, Clock, Eventual, Exit, Outcome, promise};

use super::support::{PATIENCE, World, act_later, ask};

const HOUR: Duration = Duration::from_secs(3600);

/// How many timers the clock has, as its own debug text says.
fn timers(clock: &Clock) -> String {
    let text = format!("{clock:?}");
    text.split("timers: ").nth(1).expect("it says so").to_owned()
}

#[test]
fn it_ends_as_discarded_at_its_deadline_and_not_before() {
    let clock = Clock::virtual_();
    let (work, eventual) = promise::<()>();
    let limited = eventual.within(&clock, 42 * HOUR);
    clock.advance(42 * HOUR - Duration::from_nanos(1));
    assert!(!limited.is_done() && !work.is_discarded());
    clock.advance(Duration::from_nanos(1));
    assert!(work.is_discarded(), "the worker is asked to stop");
    let end = limited.blocking_wait();
    let Outcome::Discarded(cause @ Cause::Deadline { after, .. }) = end else { panic!("{end:?}") };
    assert_eq!(after, 42 * HOUR);
    assert_eq!(cause.to_string(), "request to somebody: no answer within 151200s");
}

#[test]
fn its_worker_sees_the_deadline_as_the_cause_of_the_discard() {
    let clock = Clock::virtual_();
    let (work, eventual) = promise::<()>();
    let token = work.token();
    let _limited = eventual.map(|()| 1).within(&clock, HOUR);
    clock.advance(HOUR);
    assert!(matches!(token.cause(), Some(Cause::Deadline { .. })), "{token:?}");
}

#[test]
fn a_discard_before_the_deadline_is_still_a_request() {
    let clock = Clock::virtual_();
    let (work, eventual) = promise::<()>();
    let limited = eventual.within(&clock, 2 * HOUR);
    clock.advance(HOUR);
    limited.discard("enough");
    assert!(work.is_discarded() && !limited.is_done());
    clock.advance(HOUR);
    assert!(matches!(limited.blocking_wait(), Outcome::Discarded(Cause::Deadline { .. })));
}

#[test]
fn an_answer_in_time_is_passed_on_and_leaves_no_timer() {
    let clock = Clock::virtual_();
    let before = timers(&clock);
    let (work, eventual) = promise::<u8>();
    let limited = eventual.within(&clock, HOUR);
    assert_ne!(timers(&clock), before);
    work.set(1);
    assert_eq!(timers(&clock), before);
    assert!(matches!(limited.blocking_wait(), Outcome::Ok(1)));
}

#[test]
fn a_late_answer_is_dropped() {
    let clock = Clock::virtual_();
    let (work, eventual) = promise::<u8>();
    let limited = eventual.within(&clock, HOUR);
    clock.advance(HOUR);
    work.set(1);
    assert!(matches!(limited.blocking_wait(), Outcome::Discarded(_)));
}

#[test]
fn what_has_ended_already_is_not_late_however_short_the_time() {
    let clock = Clock::virtual_();
    let limited = Eventual::ready(1).within(&clock, Duration::ZERO);
    assert!(matches!(limited.blocking_wait(), Outcome::Ok(1)));
    let (_work, eventual) = promise::<u8>();
    let limited = eventual.within(&clock, Duration::ZERO);
    assert!(matches!(limited.blocking_wait(), Outcome::Discarded(_)));
}

#[test]
fn a_timer_keeps_nothing_alive_that_it_could_end() {
    let clock = Clock::virtual_();
    let held = std::sync::Arc::new(());
    let weak = std::sync::Arc::downgrade(&held);
    let (work, eventual) = promise::<u8>();
    let limited = eventual.map(move |n| (held, n)).within(&clock, HOUR);
    drop(work);
    assert!(matches!(limited.blocking_wait(), Outcome::Abandoned(Exit::Killed(_))));
    assert!(weak.upgrade().is_none());
}

#[test]
fn a_dispatch_that_outlives_a_shorter_deadline_is_named() {
    let world = World::virtual_();
    let pid = world.probe("a");
    let (_keep, eventual) = promise::<u8>();
    let limited = pid
        .dispatch(act_later(move |_, _| eventual), PATIENCE)
        .within(&world.runtime.clock(), PATIENCE / 2);
    ask(&pid, |_, _| ());
    world.runtime.clock().advance(PATIENCE / 2);
    let lost = limited.blocking_wait().into_result().expect_err("nobody answers");
    assert_eq!(lost.to_string(), "Do to a: no answer within 10s");
}

#[test]
fn the_real_clock_ends_it_too() {
    let (_work, eventual) = promise::<u8>();
    let limited = eventual.within(&Clock::real(), Duration::from_millis(1));
    assert!(matches!(limited.blocking_wait(), Outcome::Discarded(Cause::Deadline { .. })));
}
