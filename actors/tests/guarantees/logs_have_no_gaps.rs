//! A subscriber of a log gets a snapshot and every later event; one that falls behind is told so and gets a new one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt as _, StreamExt as _};
use longshore_actors::{
    Cx, Handler, Log, LogBounds, LogStart, Notice, Pid, Placement, Process, Reply, Spawn,
    SubscribeFrom, Subscription, Version,
};

use super::support::{World, ask, hold};

type Events = Subscription<u32, u64, &'static str>;
type Told = Notice<u32, u64, &'static str>;

fn log(kept: usize, backlog: usize) -> Log<u32, u64, &'static str> {
    Log::starting(LogStart { bounds: LogBounds { kept, backlog }, ..LogStart::default() })
}

/// What a notice says, in short.
fn text(notice: &Told) -> String {
    match notice {
        Notice::Snapshot(snapshot) => format!("snapshot {}", snapshot.version),
        Notice::Event(change) => format!("{} {}", change.version, change.event),
        Notice::Lagged { from, to } => format!("lagged {from}..={to}"),
    }
}

fn read(events: &mut Events) -> Vec<String> {
    std::iter::from_fn(|| events.try_next()).map(|notice| text(&notice)).collect()
}

#[test]
fn a_subscriber_gets_a_snapshot_and_then_every_event() {
    let log = log(16, 16);
    log.publish(1, 10, "begun");
    let mut events = log.subscribe(SubscribeFrom::Now);
    assert_eq!(log.publish(1, 11, "went on"), Version(2));
    assert_eq!(log.publish_end(1, "over"), Version(3));
    assert_eq!(read(&mut events), ["snapshot 1", "2 went on", "3 over"]);
    assert!(log.state(&1).is_none());
}

#[test]
fn a_subscriber_resumes_where_it_was_without_a_snapshot() {
    let log = log(16, 16);
    let mut events = log.subscribe(SubscribeFrom::Now);
    log.publish(1, 10, "one");
    assert_eq!(read(&mut events), ["snapshot 0", "1 one"]);
    let position = events.position();
    drop(events);
    log.publish(1, 11, "two");
    assert_eq!(read(&mut log.subscribe(SubscribeFrom::After(position))), ["2 two"]);
}

#[test]
fn a_subscriber_that_never_reads_costs_nobody_anything_and_sees_the_lag_when_it_wakes() {
    let log = log(16, 16);
    let state = Arc::new(());
    let held = Log::<u32, Arc<()>, ()>::starting(LogStart {
        bounds: LogBounds { kept: 16, backlog: 16 },
        ..LogStart::default()
    });
    let (mut events, asleep) =
        (log.subscribe(SubscribeFrom::Now), held.subscribe(SubscribeFrom::Now));
    for n in 0..10_000 {
        log.publish(n % 3, u64::from(n), "moved");
        held.publish(n % 3, Arc::clone(&state), ());
    }
    assert!(Arc::strong_count(&state) <= 16 + 3 + 1, "the ring and the states are all there is");
    drop(asleep);
    assert_eq!(read(&mut events), ["snapshot 0", "lagged 1..=10000", "snapshot 10000"]);
    log.publish(0, 0, "again");
    assert_eq!(read(&mut events), ["10001 again"]);
}

#[test]
fn an_end_stays_in_snapshots_until_it_is_acknowledged() {
    let log = log(2, 2);
    log.publish(1, 10, "begun");
    let end = log.publish_end(1, "over");
    for _ in 0..10 {
        log.publish(2, 20, "noise");
    }
    let ended = |log: &Log<u32, u64, &'static str>| -> Vec<_> {
        let snapshot = log.snapshot();
        snapshot.ended.iter().map(|end| (end.key, end.version, end.event)).collect()
    };
    assert_eq!(ended(&log), [(1, end, "over")]);
    assert_eq!(log.acknowledge(&1, end), 1);
    assert!(ended(&log).is_empty());
}

#[test]
fn a_waiting_subscriber_is_woken_by_the_next_event_and_by_the_end_of_the_log() {
    let log = log(16, 16);
    let events = log.subscribe(SubscribeFrom::After(Version(0)));
    let waiter = std::thread::spawn(move || {
        // The runtime is only an executor here: a subscription knows none.
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(events.map(|notice| text(&notice)).collect::<Vec<_>>())
    });
    log.publish(1, 1, "one");
    log.publish(1, 2, "two");
    drop(log);
    assert_eq!(waiter.join().expect("no panic"), ["1 one", "2 two"]);
}

#[test]
fn a_closed_log_is_read_to_its_end() {
    let log = log(16, 16);
    let mut events = log.subscribe(SubscribeFrom::Now);
    log.publish(1, 1, "last");
    log.close();
    let next = |events: &mut Events| events.next().now_or_never().expect("it has ended");
    assert_eq!(next(&mut events).map(|notice| text(&notice)).as_deref(), Some("snapshot 0"));
    assert_eq!(next(&mut events).map(|notice| text(&notice)).as_deref(), Some("1 last"));
    assert!(next(&mut events).is_none());
}

/// An actor that reports what it is told.
struct Listener(std::sync::mpsc::Sender<String>);

impl Process for Listener {}

impl Handler<Told> for Listener {
    fn handle(&mut self, notice: Told, _: &mut Cx<Self>) -> Reply<()> {
        // The test may have stopped listening.
        let _ = self.0.send(text(&notice));
        Reply::now(())
    }
}

fn listener(world: &World, place: Placement) -> Pid<Listener> {
    let log = world.log.clone();
    let order = Spawn::new("listener", move || Listener(log)).capacity(1).place(place);
    world.runtime.spawn(order).expect("the name is free")
}

#[tokio::test]
async fn an_actor_gets_every_notice_as_a_message() {
    let (world, log) = (World::virtual_(), log(16, 16));
    let pid = listener(&world, Placement::Arbiter("main", 0));
    let delivery = log.subscribe(SubscribeFrom::Now).deliver_to(&pid.handle());
    for n in 1..=5 {
        log.publish(1, n, "moved");
    }
    world.runtime.clock().settle().await;
    let said = ["snapshot 0", "1 moved", "2 moved", "3 moved", "4 moved", "5 moved"];
    assert_eq!(world.so_far(), said);
    drop(log);
    assert_eq!(delivery.await.into_result().expect("the log ends it"), Version(5));
}

#[tokio::test]
async fn an_actor_that_is_slow_lags_and_one_that_ends_leaves_its_position() {
    let (world, log) = (World::virtual_(), log(4, 4));
    let gate = world.spawn(world.order("gate").place(Placement::Arbiter("kernel", 0)));
    let pid = listener(&world, Placement::With(gate.any()));
    let delivery = log.subscribe(SubscribeFrom::Now).deliver_to(&pid.handle());
    world.runtime.clock().settle().await;
    assert_eq!(world.so_far(), ["snapshot 0"]);
    let release = hold(&gate);
    for n in 1..=100 {
        log.publish(1, n, "moved");
    }
    assert!(pid.any().status().depth <= 1, "one notice waits at most");
    drop(release);
    world.runtime.clock().settle().await;
    let said = world.so_far();
    assert!(said.iter().any(|text| text.starts_with("lagged")), "{said:?}");
    let last = said.last().map(String::as_str);
    assert!(matches!(last, Some("snapshot 100" | "100 moved")), "{said:?}");
    drop(pid.kill("enough"));
    world.runtime.clock().settle().await;
    log.publish(1, 0, "unheard");
    let position = delivery.await.into_result().expect("the actor ended it");
    assert_eq!(position, Version(100));
    let successor = listener(&world, Placement::With(gate.any()));
    let delivery = log.subscribe(SubscribeFrom::After(position)).deliver_to(&successor.handle());
    world.runtime.clock().settle().await;
    assert_eq!(world.so_far(), ["101 unheard"]);
    delivery.discard("the test is over");
    ask(&gate, |_, _| ());
}

/// What a reader that resumes now and then knows in the end; it checks every step.
fn follow(
    log: &Log<u32, u64, &'static str>,
    over: &AtomicBool,
    reads: usize,
) -> BTreeMap<u32, u64> {
    let mut events = log.subscribe(SubscribeFrom::Now);
    let (mut states, mut version, mut lagging) = (BTreeMap::new(), None, false);
    loop {
        let ended = over.load(Ordering::Acquire);
        for _ in 0..reads {
            match events.try_next() {
                Some(Notice::Snapshot(snapshot)) => {
                    assert!(version.is_none() || lagging, "a snapshot out of place");
                    assert!(version.is_none_or(|version| version < snapshot.version));
                    states = snapshot.states.iter().map(|(key, state)| (*key, **state)).collect();
                    (version, lagging) = (Some(snapshot.version), false);
                }
                Some(Notice::Event(change)) => {
                    let follows = version.map(|Version(version)| Version(version + 1));
                    assert_eq!(follows, Some(change.version), "a gap or a duplicate");
                    version = Some(change.version);
                    states.extend(change.state.as_ref().map(|state| (change.key, **state)));
                }
                Some(Notice::Lagged { from, .. }) => {
                    assert_eq!(version.map(|Version(version)| Version(version + 1)), Some(from));
                    lagging = true;
                }
                None if ended => return states,
                None => std::thread::yield_now(),
            }
        }
        if !lagging {
            events = log.subscribe(SubscribeFrom::After(events.position()));
        }
    }
}

#[test]
fn many_publishers_and_readers_see_one_order_without_holes() {
    let log = log(256, 64);
    let over = AtomicBool::new(false);
    let known = std::thread::scope(|scope| {
        let readers: Vec<_> = [1, 7, 50, 1000]
            .map(|reads| {
                let (log, over) = (&log, &over);
                scope.spawn(move || follow(log, over, reads))
            })
            .into();
        let publishers = [0_u32, 1, 2, 3].map(|key| {
            let log = &log;
            scope.spawn(move || {
                let published = (1..=5_000).map(|n| log.publish(key, n, "moved"));
                assert!(published.is_sorted_by(|a, b| a < b), "versions grow");
            })
        });
        publishers.into_iter().for_each(|publisher| publisher.join().expect("no panic"));
        over.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(log.version(), Version(20_000));
    let expected: BTreeMap<u32, u64> = (0..4).map(|key| (key, 5_000)).collect();
    assert!(known.iter().all(|states| *states == expected), "{known:?}");
}
