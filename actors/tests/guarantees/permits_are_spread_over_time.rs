//! A rate limiter gives permits one at a time, on the clock, in the order in which they were asked for.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use longshore_actors::sync::RateLimiter;
use longshore_actors::{Clock, Eventual, Outcome};

const SECOND: Duration = Duration::from_secs(1);
const TWO: NonZeroU32 = NonZeroU32::new(2).expect("it is two");

fn done<const N: usize>(permits: &[Eventual<()>; N]) -> usize {
    permits.iter().filter(|permit| permit.is_done()).count()
}

#[test]
fn permits_come_one_at_a_time_and_evenly_spread() {
    let clock = Clock::virtual_();
    let limiter = RateLimiter::new(&clock, TWO, SECOND);
    let permits = [(); 4].map(|()| limiter.acquire());
    assert_eq!(done(&permits), 1);
    clock.advance(SECOND / 2 - Duration::from_nanos(1));
    assert_eq!(done(&permits), 1);
    clock.advance(Duration::from_nanos(1));
    assert_eq!(done(&permits), 2);
    clock.advance(SECOND);
    assert_eq!(done(&permits), 4);
    assert!(!limiter.acquire().is_done(), "the next is due later");
}

#[test]
fn what_was_not_used_is_not_saved_up() {
    let clock = Clock::virtual_();
    let limiter = RateLimiter::new(&clock, TWO, SECOND);
    clock.advance(3600 * SECOND);
    let permits = [(); 3].map(|()| limiter.acquire());
    assert_eq!(done(&permits), 1);
    clock.advance(SECOND / 2);
    assert_eq!(done(&permits), 2);
}

#[test]
fn a_discarded_wait_takes_no_permit_and_nor_does_one_that_was_dropped() {
    let clock = Clock::virtual_();
    let limiter = RateLimiter::new(&clock, TWO, SECOND);
    let [first, second, third, fourth] = [(); 4].map(|()| limiter.acquire());
    second.discard("enough");
    assert!(matches!(second.blocking_wait(), Outcome::Discarded(_)));
    drop(third);
    clock.advance(SECOND / 2);
    assert!(first.is_done() && fourth.is_done());
}

#[test]
fn a_line_that_everybody_left_costs_no_permit() {
    let clock = Clock::virtual_();
    let limiter = RateLimiter::new(&clock, TWO, SECOND);
    assert!(limiter.acquire().is_done());
    limiter.acquire().discard("enough");
    clock.advance(SECOND / 2);
    assert!(limiter.acquire().is_done());
}

#[test]
fn who_waits_for_a_limiter_that_is_gone_is_abandoned() {
    let clock = Clock::virtual_();
    let limiter = RateLimiter::new(&clock, TWO, SECOND);
    let [_first, second] = [(); 2].map(|()| limiter.acquire());
    drop(limiter);
    assert!(matches!(second.blocking_wait(), Outcome::Abandoned(_)));
    clock.advance(SECOND);
}

#[test]
fn on_the_real_clock_no_permit_comes_early() {
    let per = Duration::from_millis(5);
    let limiter = RateLimiter::new(&Clock::real(), TWO, per);
    let begin = Instant::now();
    for (permit, earliest) in [(); 3].map(|()| limiter.acquire()).into_iter().zip(0..) {
        assert!(permit.blocking_wait().is_ok());
        assert!(begin.elapsed() >= per / 2 * earliest);
    }
}
