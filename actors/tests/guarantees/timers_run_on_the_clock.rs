//! Timers of actors run on the runtime's clock, as turns, in order; a cancelled one does not.

use std::time::Duration;

use longshore_actors::Clock;

use super::support::{Note, World, ask};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_timer_fires_at_its_instant_and_not_before() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    ask(&pid, |_, cx| {
        cx.after(2 * SECOND, "two", |probe, _| probe.say("two"));
        cx.after(SECOND, "one", |probe, _| probe.say("one"));
    });
    clock.advance(SECOND - Duration::from_nanos(1));
    clock.settle().await;
    assert!(world.so_far().is_empty());
    clock.advance(Duration::from_nanos(1));
    clock.settle().await;
    assert_eq!(world.so_far(), ["one"]);
    clock.advance(SECOND);
    clock.settle().await;
    assert_eq!(world.so_far(), ["two"]);
}

#[tokio::test]
async fn a_cancelled_timer_never_fires() {
    let world = World::virtual_();
    let pid = world.probe("a");
    let key = ask(&pid, |_, cx| cx.after(SECOND, "one", |probe, _| probe.say("one")));
    assert!(ask(&pid, move |_, cx| cx.cancel(key)));
    assert!(!ask(&pid, move |_, cx| cx.cancel(key)));
    world.runtime.clock().advance(SECOND);
    world.runtime.clock().settle().await;
    assert!(world.so_far().is_empty());
}

#[tokio::test]
async fn a_timer_that_sets_a_timer_keeps_its_beat() {
    fn tick(
        probe: &mut super::support::Probe,
        cx: &mut longshore_actors::Cx<super::support::Probe>,
    ) {
        probe.say("tick");
        cx.after(SECOND, "tick", tick);
    }
    let world = World::virtual_();
    let pid = world.probe("a");
    ask(&pid, |_, cx| {
        cx.after(SECOND, "tick", tick);
    });
    world.runtime.clock().advance_settling(10 * SECOND).await;
    assert_eq!(world.so_far().len(), 10);
}

#[tokio::test]
async fn all_arbiters_see_one_time() {
    let world = World::virtual_();
    let order = world.order("b").place(longshore_actors::Placement::Arbiter("kernel", 1));
    let (a, b) = (world.probe("a"), world.spawn(order));
    world.runtime.clock().advance(3600 * SECOND);
    let (here, there) = (ask(&a, |_, cx| cx.now()), ask(&b, |_, cx| cx.now()));
    assert_eq!(here, there);
    assert_eq!(here, world.runtime.clock().now());
}

#[test]
fn the_real_clock_fires_too() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, cx| {
        cx.after(Duration::from_millis(1), "soon", |probe, _| probe.say("soon"));
    });
    assert_eq!(world.next(), "soon");
}

#[tokio::test]
async fn a_sleep_ends_when_its_time_comes_or_when_it_is_discarded() {
    let clock = Clock::virtual_();
    let (short, long) = (clock.after(SECOND), clock.after(3600 * SECOND));
    clock.advance(SECOND);
    assert!(short.await.is_ok());
    long.discard("no longer");
    assert!(!long.await.is_ok());
}

#[test]
fn timers_of_an_actor_that_ended_are_gone() {
    let world = World::virtual_();
    let pid = world.probe("a");
    ask(&pid, |_, cx| {
        cx.after(SECOND, "never", |probe, _| probe.say("never"));
        cx.stop();
    });
    super::support::exit_of(&pid);
    world.runtime.clock().advance(SECOND);
    assert_eq!(world.so_far(), ["a finalizes: ended"]);
}

#[test]
fn a_delay_that_no_instant_can_hold_is_never_over() {
    for world in [World::real(), World::virtual_()] {
        let pid = world.probe("a");
        let forever = world.runtime.clock().after(Duration::MAX);
        ask(&pid, |_, cx| {
            cx.after(Duration::MAX, "never", |_, _| unreachable!("nobody lives that long"));
        });
        let answer = pid.dispatch(Note("x".into()), Duration::MAX);
        answer.blocking_wait().into_result().expect("it is answered");
        assert!(!forever.is_done());
    }
}
