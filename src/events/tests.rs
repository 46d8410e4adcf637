use std::task::Context;

use futures_util::task::noop_waker;
use futures_util::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;

use super::*;

fn hub() -> EventHub {
    EventHub::new(Start { epoch: epoch(), next_seq: 1, containers: Vec::new() })
}

fn epoch() -> Epoch {
    "e".to_owned().into()
}

fn id(n: usize) -> ContainerId {
    ContainerId::new(format!("c{n}")).expect("a valid id")
}

fn container(n: usize, state: Option<State>) -> Arc<ContainerSnapshot> {
    let time = "2026-11-23T21:00:00Z".parse().expect("a time");
    Arc::new(ContainerSnapshot { state, ..ContainerSnapshot::new(id(n), time) })
}

fn entered(n: usize, state: State) -> Update {
    Update { happened: Happened::Entered { from: None }, container: container(n, Some(state)) }
}

fn terminated(n: usize) -> Update {
    let happened = Happened::Terminated { from: State::Destroying };
    Update { happened, container: container(n, None) }
}

/// What a subscriber knows by what it was told: applies notices as a client would.
#[derive(Default)]
struct Client {
    seq: Option<u64>,
    states: BTreeMap<ContainerId, Option<State>>,
    seen: Vec<u64>,
    /// After a lag: the number that the snapshot must have.
    owed: Option<u64>,
    missed: Vec<(u64, u64)>,
}

impl Client {
    /// Takes a notice in, and checks that it follows the last one without gap or duplicate.
    fn take(&mut self, notice: Notice) {
        match notice {
            Notice::Snapshot(snapshot) => {
                match self.owed.take() {
                    Some(to_seq) => assert_eq!(to_seq, snapshot.seq, "a hole after a lag"),
                    None => assert!(self.seq.is_none(), "a snapshot out of place"),
                }
                self.seq = Some(snapshot.seq);
                self.states =
                    snapshot.containers.iter().map(|c| (c.container_id.clone(), c.state)).collect();
            }
            Notice::Event(event) => {
                assert!(self.owed.is_none(), "a lag without its snapshot");
                assert!(self.seq.is_none_or(|seq| seq + 1 == event.seq), "a gap or a duplicate");
                self.seq = Some(event.seq);
                self.seen.push(event.seq);
                self.states.insert(event.container_id.clone(), event.to);
            }
            Notice::Lagged(lagged) => {
                assert!(self.seq.is_none_or(|seq| seq + 1 == lagged.from_seq), "a silent loss");
                self.owed = Some(lagged.to_seq);
                self.missed.push((lagged.from_seq, lagged.to_seq));
            }
        }
    }

    fn take_all(&mut self, subscription: &mut Subscription) {
        while let Some(notice) = subscription.try_next() {
            self.take(notice);
        }
    }
}

#[test]
fn a_subscriber_gets_a_snapshot_and_then_every_event() {
    let hub = hub();
    hub.publish(entered(1, State::Running));
    hub.publish(terminated(2));
    let mut events = hub.subscribe(Since::Now);
    assert_eq!(hub.publish(entered(1, State::Destroying)), 3);
    let Some(Notice::Snapshot(snapshot)) = events.try_next() else { panic!("no snapshot first") };
    assert_eq!((snapshot.seq, snapshot.containers.len()), (2, 1), "the ended one is left out");
    let Some(Notice::Event(event)) = events.try_next() else { panic!("no event") };
    assert_eq!((event.seq, event.kind), (3, EventKind::Destroying));
    assert!(events.try_next().is_none());
}

#[test]
fn an_end_is_in_the_snapshot_until_it_is_acknowledged() {
    let hub = hub();
    hub.publish(entered(1, State::Destroying));
    assert!(!hub.forget(&id(1)), "what lives cannot be forgotten");
    hub.publish(terminated(1));
    let ended = |hub: &EventHub| match hub.subscribe(Since::Acknowledged).try_next() {
        Some(Notice::Snapshot(snapshot)) => snapshot.containers.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ended(&hub), 1);
    assert!(hub.forget(&id(1)));
    assert!(!hub.forget(&id(1)));
    assert_eq!(ended(&hub), 0);
}

#[test]
fn a_waiting_subscriber_is_woken_by_the_next_event() {
    let hub = hub();
    let mut events = hub.subscribe(Since::Now);
    assert!(events.next().now_or_never().is_some());
    let waiter = std::thread::spawn(move || {
        // The runtime is only an executor here: a subscription knows none.
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(events.next())
    });
    hub.publish(entered(1, State::Running));
    let Ok(Some(Notice::Event(event))) = waiter.join() else { panic!("no event") };
    assert_eq!(event.seq, 1);
}

#[test]
fn a_slow_subscriber_is_told_what_it_missed_and_gets_the_present() {
    let hub = hub();
    let mut events = hub.subscribe(Since::Now);
    let mut client = Client::default();
    client.take_all(&mut events);
    let published = limits::SUBSCRIBER_EVENTS as u64 + 1;
    for n in 0..published {
        hub.publish(entered(n as usize % 3, State::Running));
    }
    hub.publish(terminated(0));
    client.take_all(&mut events);
    assert_eq!(client.missed, [(1, published + 1)]);
    assert_eq!(client.states[&id(0)], None, "its end is not missed");
    hub.publish(entered(1, State::Destroying));
    client.take_all(&mut events);
    assert_eq!(client.seen, [published + 2]);
}

#[test]
fn a_subscriber_at_its_bound_has_missed_nothing() {
    let hub = hub();
    let mut events = hub.subscribe(Since::Now);
    let mut client = Client::default();
    for _ in 0..limits::SUBSCRIBER_EVENTS {
        hub.publish(entered(1, State::Running));
    }
    client.take_all(&mut events);
    assert!(client.missed.is_empty());
    assert_eq!(client.seen.len(), limits::SUBSCRIBER_EVENTS);
}

#[test]
fn a_subscriber_resumes_where_it_was() {
    let hub = hub();
    for _ in 0..limits::EVENTS_KEPT {
        hub.publish(entered(1, State::Running));
    }
    let mut client = Client { seq: Some(7), ..Client::default() };
    client.take_all(&mut hub.subscribe(Since::Seq { epoch: epoch(), seq: 7 }));
    assert_eq!(client.seen.first(), Some(&8));
    assert_eq!(client.seen.last(), Some(&(limits::EVENTS_KEPT as u64)));
    assert!(client.missed.is_empty());
}

#[test]
fn a_subscriber_that_resumes_too_late_lags() {
    let hub = hub();
    for _ in 0..limits::EVENTS_KEPT + 2 {
        hub.publish(entered(1, State::Running));
    }
    let last = limits::EVENTS_KEPT as u64 + 2;
    let mut client = Client { seq: Some(1), ..Client::default() };
    client.take_all(&mut hub.subscribe(Since::Seq { epoch: epoch(), seq: 1 }));
    assert_eq!(client.missed, [(2, last)]);
    assert_eq!(client.states.len(), 1);
    let mut exact = hub.subscribe(Since::Seq { epoch: epoch(), seq: 2 });
    assert!(matches!(exact.try_next(), Some(Notice::Event(e)) if e.seq == 3));
}

#[test]
fn a_position_of_another_epoch_or_of_the_future_gets_a_snapshot() {
    let hub = hub();
    hub.publish(entered(1, State::Running));
    let elsewhere = Since::Seq { epoch: "f".to_owned().into(), seq: 1 };
    let future = Since::Seq { epoch: epoch(), seq: 2 };
    for since in [elsewhere, future] {
        let first = hub.subscribe(since).try_next();
        assert!(matches!(first, Some(Notice::Snapshot(s)) if s.seq == 1));
    }
}

#[test]
fn the_numbers_go_on_after_a_restart() {
    let start = Start {
        epoch: epoch(),
        next_seq: 41,
        containers: vec![container(1, Some(State::Running)).as_ref().clone()],
    };
    let hub = EventHub::new(start);
    let mut events = hub.subscribe(Since::Seq { epoch: epoch(), seq: 40 });
    assert!(events.try_next().is_none(), "nothing was missed");
    assert_eq!(hub.publish(entered(1, State::Destroying)), 41);
    assert!(matches!(events.try_next(), Some(Notice::Event(e)) if e.seq == 41));
    let mut behind = hub.subscribe(Since::Seq { epoch: epoch(), seq: 39 });
    assert!(matches!(behind.try_next(), Some(Notice::Lagged(l)) if l.from_seq == 40));
}

#[test]
fn the_stream_ends_with_the_hub_after_the_last_event() {
    let hub = hub();
    let mut events = hub.subscribe(Since::Now);
    hub.publish(entered(1, State::Running));
    drop(hub.clone());
    assert!(matches!(events.next().now_or_never(), Some(Some(Notice::Snapshot(_)))));
    drop(hub);
    let rest: Vec<_> = events.collect::<Vec<_>>().now_or_never().expect("the stream has ended");
    assert_eq!(rest.len(), 1);
}

#[test]
fn a_dropped_subscriber_is_forgotten() {
    let hub = hub();
    let mut events = hub.subscribe(Since::Now);
    events.try_next();
    let waker = noop_waker();
    assert!(events.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(hub.shared.lock().wakers.len(), 1);
    drop(events);
    assert!(hub.shared.lock().wakers.is_empty());
}

#[test]
fn concurrent_publishers_and_readers_see_one_order_without_holes() {
    let hub = hub();
    let publishers: Vec<_> = (0..4)
        .map(|n| {
            let hub = hub.clone();
            std::thread::spawn(move || {
                for _ in 0..200 {
                    hub.publish(entered(n, State::Running));
                }
            })
        })
        .collect();
    let mut events = hub.subscribe(Since::Now);
    for publisher in publishers {
        publisher.join().expect("no panic");
    }
    let mut client = Client::default();
    client.take_all(&mut events);
    assert_eq!(client.seq, Some(800));
    assert!(client.missed.is_empty());
}

/// One step of the property below.
#[derive(Debug, Clone)]
enum Step {
    /// Container, state; `None` ends it.
    Publish(usize, Option<State>),
    /// As many events at once.
    Burst(usize),
    Subscribe(Kind),
    /// A subscriber reads up to so many notices.
    Read(usize, usize),
    /// A subscriber goes away and comes back with its last number.
    Resume(usize),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Now,
    Acknowledged,
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop::sample::select(State::ALL.to_vec());
    prop_oneof![
        4 => (0..4usize, prop::option::weighted(0.8, state)).prop_map(|(n, s)| Step::Publish(n, s)),
        1 => prop_oneof![900..1200usize, 4000..4200usize].prop_map(Step::Burst),
        2 => prop::sample::select(vec![Kind::Now, Kind::Acknowledged]).prop_map(Step::Subscribe),
        4 => (0..4usize, 0..1500usize).prop_map(|(n, k)| Step::Read(n, k)),
        1 => (0..4usize).prop_map(Step::Resume),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_the_interleaving_no_subscriber_has_a_gap_and_all_agree_at_the_end(
        steps in prop::collection::vec(step(), 0..60)
    ) {
        let hub = hub();
        let mut subscribers: Vec<(Subscription, Client)> = Vec::new();
        for step in steps {
            match step {
                Step::Publish(n, Some(state)) => { hub.publish(entered(n, state)); }
                Step::Publish(n, None) => { hub.publish(terminated(n)); }
                Step::Burst(count) => (0..count).for_each(|n| {
                    hub.publish(entered(n % 4, State::Running));
                }),
                Step::Subscribe(Kind::Now) => {
                    subscribers.push((hub.subscribe(Since::Now), Client::default()));
                }
                Step::Subscribe(Kind::Acknowledged) => {
                    subscribers.push((hub.subscribe(Since::Acknowledged), Client::default()));
                }
                Step::Read(n, count) => if let Some((events, client)) = subscribers.get_mut(n) {
                    // `Client::take` asserts that nothing is lost or told twice.
                    for notice in std::iter::from_fn(|| events.try_next()).take(count) {
                        client.take(notice);
                    }
                },
                Step::Resume(n) => if let Some((events, client)) = subscribers.get_mut(n)
                    && let Some(seq) = client.seq
                {
                    client.owed = None;
                    *events = hub.subscribe(Since::Seq { epoch: epoch(), seq });
                },
            }
        }
        let (_, last) = hub.position();
        for (mut events, mut client) in subscribers {
            client.take_all(&mut events);
            prop_assert_eq!(client.seq, Some(last));
            for n in 0..4 {
                let published = hub.container(&id(n)).and_then(|c| c.state);
                prop_assert_eq!(client.states.get(&id(n)).copied().flatten(), published);
            }
        }
    }
}
