use std::task::Context;

use futures_util::StreamExt as _;
use futures_util::task::noop_waker;
use proptest::prelude::*;

use super::*;

type Told = Notice<u8, u64, u64>;

fn log(kept: usize, backlog: usize) -> Log<u8, u64, u64> {
    Log::starting(LogStart { bounds: LogBounds { kept, backlog }, ..LogStart::default() })
}

fn publish(log: &Log<u8, u64, u64>, key: u8, states: impl IntoIterator<Item = u64>) {
    for state in states {
        log.publish(key, state, state);
    }
}

/// What a subscriber knows by what it was told.
#[derive(Default)]
struct Client {
    version: Option<Version>,
    states: BTreeMap<u8, u64>,
    ends: Vec<Version>,
    seen: Vec<u64>,
    /// After a lag: the version that its snapshot must have.
    owed: Option<Version>,
    missed: Vec<(u64, u64)>,
}

impl Client {
    fn after(version: u64) -> Self {
        Self { version: Some(Version(version)), ..Self::default() }
    }

    /// Takes a notice in, and checks that it follows the last one without gap or duplicate.
    fn take(&mut self, notice: Told) {
        match notice {
            Notice::Snapshot(snapshot) => {
                match self.owed.take() {
                    Some(to) => assert_eq!(snapshot.version, to, "a hole after a lag"),
                    None => assert!(self.version.is_none(), "a snapshot out of place"),
                }
                self.version = Some(snapshot.version);
                self.states = snapshot.states.iter().map(|(key, state)| (*key, **state)).collect();
                self.ends = snapshot.ended.iter().map(|end| end.version).collect();
            }
            Notice::Event(change) => {
                assert!(self.owed.is_none(), "a lag without its snapshot");
                let follows = self.version.is_none_or(|version| version.next() == change.version);
                assert!(follows, "a gap or a duplicate");
                self.version = Some(change.version);
                self.seen.push(change.version.0);
                match &change.state {
                    Some(state) => {
                        self.states.insert(change.key, **state);
                    }
                    None => {
                        self.states.remove(&change.key);
                        self.ends.push(change.version);
                    }
                }
            }
            Notice::Lagged { from, to } => {
                assert!(self.version.is_none_or(|version| version.next() == from), "a silent loss");
                self.owed = Some(to);
                self.missed.push((from.0, to.0));
            }
        }
    }

    fn take_all(&mut self, events: &mut Subscription<u8, u64, u64>) {
        while let Some(notice) = events.try_next() {
            self.take(notice);
        }
    }
}

#[test]
fn a_subscriber_at_its_bound_has_missed_nothing_and_beyond_it_lags() {
    let log = log(16, 4);
    let (mut events, mut client) = (log.subscribe(SubscribeFrom::Now), Client::default());
    client.take_all(&mut events);
    publish(&log, 0, 0..4);
    client.take_all(&mut events);
    assert_eq!((client.seen.as_slice(), client.missed.len()), (&[1, 2, 3, 4][..], 0));
    publish(&log, 1, 0..5);
    client.take_all(&mut events);
    assert_eq!(client.missed, [(5, 9)]);
    assert_eq!(client.states, BTreeMap::from([(0, 3), (1, 4)]));
}

#[test]
fn what_is_kept_is_replayed_whatever_the_backlog_may_be() {
    let log = log(8, 2);
    publish(&log, 0, 1..=10);
    let mut client = Client::after(2);
    let mut events = log.subscribe(SubscribeFrom::After(Version(2)));
    assert_eq!(events.position(), Version(2));
    log.publish(0, 11, 11);
    // The oldest has left the ring since.
    client.take_all(&mut events);
    assert_eq!(client.missed, [(3, 11)]);
    let (mut client, mut events) =
        (Client::after(3), log.subscribe(SubscribeFrom::After(Version(3))));
    client.take_all(&mut events);
    assert_eq!(client.seen, (4..=11).collect::<Vec<_>>());
    assert_eq!(events.position(), Version(11));
}

#[test]
fn a_version_of_the_future_gets_a_snapshot() {
    let log = log(8, 8);
    log.publish(0, 1, 1);
    let first = log.subscribe(SubscribeFrom::After(Version(2))).try_next();
    assert!(matches!(first, Some(Notice::Snapshot(snapshot)) if snapshot.version == Version(1)));
    assert!(log.subscribe(SubscribeFrom::After(Version(1))).try_next().is_none());
}

#[test]
fn a_position_between_a_lag_and_its_snapshot_tells_the_lag_again() {
    let log = log(2, 2);
    let mut events = log.subscribe(SubscribeFrom::After(Version(0)));
    publish(&log, 0, 1..=5);
    let lagged = |notice: Option<Told>| match notice {
        Some(Notice::Lagged { from, to }) => (from.0, to.0),
        other => panic!("{other:?}"),
    };
    assert_eq!(lagged(events.try_next()), (1, 5));
    let mut again = log.subscribe(SubscribeFrom::After(events.position()));
    assert_eq!(lagged(again.try_next()), (1, 5));
}

#[test]
fn the_numbers_and_the_ends_go_on_from_an_earlier_log() {
    let start = LogStart {
        version: Version(40),
        states: BTreeMap::from([(1, 7)]),
        ended: vec![(Version(39), 2, 99)],
        bounds: LogBounds::default(),
    };
    let log = Log::starting(start);
    let mut client = Client::default();
    client.take_all(&mut log.subscribe(SubscribeFrom::Now));
    assert_eq!((client.version, client.ends.as_slice()), (Some(Version(40)), &[Version(39)][..]));
    assert_eq!(log.publish(1, 8, 8), Version(41));
    let mut behind = Client::after(38);
    behind.take_all(&mut log.subscribe(SubscribeFrom::After(Version(38))));
    assert_eq!(behind.missed, [(39, 41)]);
}

#[test]
fn an_acknowledgement_reaches_up_to_its_version_only() {
    let log = log(8, 8);
    let first = log.publish_end(1, 1);
    let second = log.publish_end(1, 2);
    assert_eq!(log.acknowledge(&1, Version(0)), 0);
    assert_eq!(log.acknowledge(&1, first), 1);
    assert_eq!(log.snapshot().ended.len(), 1);
    assert_eq!(log.acknowledge(&1, second), 1);
    assert_eq!(log.acknowledge(&1, second), 0);
    assert!(log.snapshot().ended.is_empty());
}

#[test]
fn a_snapshot_is_made_once_for_a_version() {
    let log = log(8, 8);
    log.publish(1, 1, 1);
    assert!(Arc::ptr_eq(&log.snapshot(), &log.snapshot()));
    let before = log.snapshot();
    log.publish_end(1, 1);
    assert!(!Arc::ptr_eq(&before, &log.snapshot()));
    let before = log.snapshot();
    log.acknowledge(&1, Version(2));
    assert!(!Arc::ptr_eq(&before, &log.snapshot()));
}

#[test]
fn a_dropped_subscriber_is_forgotten() {
    let log = log(8, 8);
    let mut events = log.subscribe(SubscribeFrom::After(Version(0)));
    let waker = noop_waker();
    assert!(events.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(lock(&log.shared.core).wakers.len(), 1);
    drop(events);
    assert!(lock(&log.shared.core).wakers.is_empty());
}

/// A state whose end publishes: the log must not hold its lock meanwhile.
struct Noisy(Option<Log<u8, Self, u64>>);

impl Drop for Noisy {
    fn drop(&mut self) {
        if let Some(log) = self.0.take() {
            log.publish(2, Self(None), 0);
        }
    }
}

#[test]
fn what_is_dropped_may_publish() {
    let log = Log::new();
    log.publish(1, Noisy(Some(log.clone())), 0);
    // Held by the ring still, and let go with it.
    for _ in 0..LogBounds::default().kept {
        log.publish(1, Noisy(None), 0);
    }
    assert!(log.state(&2).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, u64),
    End(u8),
    Acknowledge(u8),
    Burst(u64),
    Subscribe,
    /// A subscriber reads up to so many notices.
    Read(usize, usize),
    /// A subscriber goes away and comes back with its position.
    Resume(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => ((0..4_u8), any::<u64>()).prop_map(|(key, state)| Step::Publish(key, state)),
        2 => (0..4_u8).prop_map(Step::End),
        1 => (0..4_u8).prop_map(Step::Acknowledge),
        1 => (1..12_u64).prop_map(Step::Burst),
        2 => Just(Step::Subscribe),
        6 => ((0..4_usize), (0..8_usize)).prop_map(|(n, count)| Step::Read(n, count)),
        2 => (0..4_usize).prop_map(Step::Resume),
    ]
}

proptest! {
    #[test]
    fn whatever_the_interleaving_no_subscriber_has_a_gap_and_all_agree_at_the_end(
        steps in prop::collection::vec(step(), 0..80)
    ) {
        let log = log(8, 5);
        let mut clients: Vec<(Subscription<u8, u64, u64>, Client)> = Vec::new();
        for step in steps {
            match step {
                Step::Publish(key, state) => publish(&log, key, [state]),
                Step::End(key) => {
                    log.publish_end(key, 0);
                }
                Step::Acknowledge(key) => {
                    log.acknowledge(&key, log.version());
                }
                Step::Burst(count) => publish(&log, 0, 0..count),
                Step::Subscribe => {
                    clients.push((log.subscribe(SubscribeFrom::Now), Client::default()));
                }
                Step::Read(n, count) => if let Some((events, client)) = clients.get_mut(n) {
                    // `Client::take` asserts that nothing is lost or told twice.
                    std::iter::from_fn(|| events.try_next()).take(count).for_each(|n| client.take(n));
                },
                Step::Resume(n) => if let Some((events, client)) = clients.get_mut(n)
                    && let Some(version) = client.version
                {
                    prop_assert_eq!(version, events.position());
                    client.owed = None;
                    *events = log.subscribe(SubscribeFrom::After(version));
                },
            }
        }
        for (mut events, mut client) in clients {
            client.take_all(&mut events);
            prop_assert_eq!(client.version, Some(log.version()));
            let states: BTreeMap<_, _> =
                log.snapshot().states.iter().map(|(key, state)| (*key, **state)).collect();
            prop_assert_eq!(client.states, states);
            let unacknowledged = log.snapshot().ended.iter().map(|end| end.version).collect::<Vec<_>>();
            prop_assert!(unacknowledged.iter().all(|end| client.ends.contains(end)), "an end was missed");
        }
    }
}
