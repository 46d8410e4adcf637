//! What every actor does is counted, always, and can be read as text while a thread is stuck.

use std::time::Duration;

use longshore_actors::{Intensity, Placement, Restart, Strategy, Supervisor};

use super::family::Family;
use super::support::{Note, PATIENCE, World, act, ask, exit_of, hold};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_time_that_turns_take_and_messages_wait_is_counted() {
    let world = World::virtual_();
    let (pid, clock) = (world.probe("a"), world.runtime.clock());
    // No stamp is zero, so that of the first instant is a nanosecond late.
    clock.advance(SECOND);
    let release = hold(&pid);
    let waiting = pid.dispatch(Note("x".into()), PATIENCE);
    clock.advance(3 * SECOND);
    drop(release);
    waiting.blocking_wait().into_result().expect("it answers");
    ask(&pid, |_, _| ());
    let status = pid.any().status();
    assert_eq!((status.turns.sum, status.turns.max), (3 * SECOND, 3 * SECOND));
    assert_eq!((status.waits.sum, status.waits.max), (3 * SECOND, 3 * SECOND));
    // 2^12 ms are more than three seconds.
    assert_eq!((status.turns.classes[12], status.waits.classes[12]), (1, 1));
    assert!(status.turns.count >= 2 && status.waits.classes[0] >= 1);
    assert!(status.waits.count <= status.handled);
}

#[test]
fn the_fullest_that_a_mailbox_ever_was_is_remembered() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    for n in 0..7 {
        pid.notify(Note(n.to_string())).expect("room");
    }
    assert_eq!(pid.any().status().high_water, 7, "also while nothing leaves");
    drop(release);
    ask(&pid, |_, _| ());
    let status = pid.any().status();
    assert!((7..=8).contains(&status.high_water), "{}", status.high_water);
    assert_eq!(status.depth, 0);
}

#[tokio::test]
async fn ends_are_counted_by_their_kind_and_restarts_are() {
    let mut family = Family::new();
    let supervisor = Supervisor::new(Strategy::OneForOne).intensity(Intensity::new(9, SECOND));
    let supervisor = supervisor.child(family.spec("a")).child(family.spec("b"));
    let supervisor = supervisor.child(family.spec("c").restart(Restart::Never));
    family.start(supervisor).await;
    family.panics("a").await;
    family.panics("a").await;
    drop(family.holder("b").kill("enough"));
    family.settle().await;
    ask(&family.holder("c"), |_, cx| cx.stop());
    family.settle().await;
    let totals = family.world.runtime.totals();
    assert_eq!((totals.spawned, totals.restarted), (4 + 3, 3));
    assert_eq!((totals.ended, totals.failed, totals.panicked, totals.killed), (1, 0, 2, 1));
}

#[test]
fn all_of_it_can_be_scraped_while_an_arbiter_is_stuck() {
    let world = World::virtual_();
    let pid = world.spawn(world.order("a \"b\"").place(Placement::Arbiter("kernel", 0)));
    ask(&pid, |_, _| ());
    world.runtime.clock().advance(SECOND);
    let release = hold(&pid);
    pid.notify(act(|_, _| ())).expect("room");
    let waiting = pid.dispatch(Note("x".into()), PATIENCE);
    world.runtime.clock().advance(2 * SECOND);
    let text = world.runtime.prometheus();
    for line in [
        "# TYPE actors_mailbox_depth gauge",
        "actors_mailbox_depth{actor=\"a \\\"b\\\"\",kind=\"Probe\"} 2",
        "actors_current_turn_seconds{actor=\"a \\\"b\\\"\",label=\"Do\"} 2",
        "actors_wait_seconds_bucket{kind=\"Probe\",le=\"+Inf\"} 1",
        "actors_wait_seconds_count{kind=\"Probe\"} 1",
        "actors_spawned_total 1",
        "actors_pending_asks 1",
        "actors_oldest_ask_seconds 2",
        "actors_lane_waiting{lane=\"bulk\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let comment_or_sample = |line: &str| line.starts_with("# ") || line.contains(' ');
    assert!(text.ends_with('\n') && text.lines().all(comment_or_sample));
    let json = world.runtime.json();
    for part in [
        "\"name\":\"a \\\"b\\\"\",\"kind\":\"Probe\",\"arbiter\":\"kernel/0\"",
        "\"current\":{\"label\":\"Do\",\"for_seconds\":2}",
        "\"pending\":[{\"to\":\"a \\\"b\\\"\",\"label\":\"Note\",\"subject\":\"x\",\"for_seconds\":2",
        "\"lanes\":[{\"name\":\"bulk\",\"threads\":2,\"waiting\":0,\"running\":[]}]",
    ] {
        assert!(json.contains(part), "{part} is not in\n{json}");
    }
    drop(release);
    waiting.blocking_wait().into_result().expect("it goes on");
    drop(pid.kill("enough"));
    exit_of(&pid);
}
