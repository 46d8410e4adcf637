use super::*;
use crate::error::{ErrorKind, Stage};
use crate::events::{EventHub, Happened, Moment, Since, Start, Update};
use crate::model::LimitedResource;

/// What a subscriber that follows from the start is given for these updates, as JSON lines.
fn lines(updates: impl IntoIterator<Item = Update>) -> Vec<String> {
    let start = Start { epoch: "b6c1".to_owned().into(), next_seq: 17, containers: Vec::new() };
    let time = "2026-11-23T21:00:00.123456Z".parse().expect("a time");
    let hub =
        EventHub::with_clock(start, Box::new(move || Moment { time, monotonic_ns: 8_123_456_789 }));
    let mut events = hub.subscribe(Since::Seq { epoch: "b6c1".to_owned().into(), seq: 16 });
    for update in updates {
        hub.publish(update);
    }
    std::iter::from_fn(|| events.try_next()).map(|notice| notice.to_json()).collect()
}

fn redis() -> ContainerSnapshot {
    let time = "2026-11-23T20:59:59.000000Z".parse().expect("a time");
    let mut redis = ContainerSnapshot::new("redis".parse().expect("an id"), time);
    redis.state = Some(State::Running);
    redis.pid = Some(4711);
    redis.argv = vec!["redis-server".to_owned()];
    redis.image = Some(ImageName {
        reference: "docker.io/library/redis:7.0".to_owned(),
        digest: format!("sha256:{}", "a".repeat(64)).parse().ok(),
    });
    redis.rootfs = Some("/proc/4711/root".into());
    redis.labels = [("task".to_owned(), "42".to_owned())].into();
    redis.data = vec![0, 1, 255];
    redis
}

const STAMP: &str = r#""epoch":"b6c1","container_id":"redis","time":"2026-11-23T21:00:00.123456Z","monotonic_ns":8123456789"#;

#[test]
fn running_tells_what_runs_where() {
    let happened = Happened::Entered { from: Some(State::Starting) };
    let written = lines([Update { happened, container: Arc::new(redis()) }]);
    let digest = "a".repeat(64);
    assert_eq!(
        written,
        [format!(
            r#"{{"seq":17,{STAMP},"event":"running","from":"STARTING","to":"RUNNING","pid":4711,"argv":["redis-server"],"image":{{"reference":"docker.io/library/redis:7.0","digest":"sha256:{digest}"}},"rootfs":"/proc/4711/root","labels":{{"task":"42"}}}}"#
        )]
    );
    let event: Event = serde_json::from_str(&written[0]).expect("an event reads back");
    assert_eq!(event.kind, EventKind::Running);
    assert_eq!(serde_json::to_string(&event).expect("serializable"), written[0]);
}

#[test]
fn the_first_event_has_no_from() {
    let mut container = redis();
    container.state = Some(State::Provisioning);
    container.labels.clear();
    container.image = None;
    let happened = Happened::Entered { from: None };
    assert_eq!(
        lines([Update { happened, container: Arc::new(container) }]),
        [format!(r#"{{"seq":17,{STAMP},"event":"provisioning","to":"PROVISIONING"}}"#)]
    );
}

#[test]
fn terminated_tells_how_it_ended() {
    let mut container = redis();
    container.state = None;
    container.labels.clear();
    container.termination = Some(Termination {
        exit_code: 137,
        signal: Some(9),
        limitation: Some(Limitation {
            resource: LimitedResource::Mem,
            limit: Some(33_554_432),
            message: "memory limit of 32M reached".to_owned(),
        }),
        timed_out: false,
        stopped: false,
    });
    container.usage = Some(Usage { cpu_ns: Some(1), memory_peak: Some(1), ..Usage::default() });
    let happened = Happened::Terminated { from: State::Destroying };
    assert_eq!(
        lines([Update { happened, container: Arc::new(container) }]),
        [format!(
            r#"{{"seq":17,{STAMP},"event":"terminated","from":"DESTROYING","termination":{{"exit_code":137,"signal":9,"limitation":{{"resource":"mem","limit":33554432,"message":"memory limit of 32M reached"}}}},"usage":{{"cpu_ns":1,"memory_peak":1}}}}"#
        )]
    );
}

#[test]
fn terminated_of_a_failed_launch_tells_stage_kind_and_errno() {
    let mut container = redis();
    container.state = None;
    container.labels.clear();
    container.failure = Some(Failure {
        stage: Stage::Exec,
        kind: ErrorKind::InvalidRequest,
        errno: Some("ENOENT".to_owned()),
        message: "exec /no/such: no such file or directory".to_owned(),
    });
    let happened = Happened::Terminated { from: State::Destroying };
    assert_eq!(
        lines([Update { happened, container: Arc::new(container) }]),
        [format!(
            r#"{{"seq":17,{STAMP},"event":"terminated","from":"DESTROYING","failure":{{"stage":"exec","kind":"InvalidRequest","errno":"ENOENT","message":"exec /no/such: no such file or directory"}}}}"#
        )]
    );
}

#[test]
fn stuck_lists_what_remains() {
    let mut container = redis();
    container.state = Some(State::Stuck);
    container.remaining = vec!["cgroup /sys/fs/cgroup/pids/longshore/redis".to_owned()];
    let happened = Happened::Entered { from: Some(State::Destroying) };
    assert_eq!(
        lines([Update { happened, container: Arc::new(container) }]),
        [format!(
            r#"{{"seq":17,{STAMP},"event":"stuck","from":"DESTROYING","to":"STUCK","remaining":["cgroup /sys/fs/cgroup/pids/longshore/redis"]}}"#
        )]
    );
}

#[test]
fn progress_and_limits_change_no_state() {
    let layer: Digest = format!("sha256:{}", "b".repeat(64)).parse().expect("a digest");
    let progress = LayerProgress { layer: layer.clone(), bytes: 1, total: 2 };
    let limitation =
        Limitation { resource: LimitedResource::Pids, limit: None, message: "pids".to_owned() };
    let container = Arc::new(redis());
    assert_eq!(
        lines([
            Update { happened: Happened::Progress(progress), container: Arc::clone(&container) },
            Update { happened: Happened::Limited(limitation), container },
        ]),
        [
            format!(
                r#"{{"seq":17,{STAMP},"event":"progress","layer":"{layer}","bytes":1,"total":2}}"#
            ),
            format!(
                r#"{{"seq":18,{STAMP},"event":"limited","limitation":{{"resource":"pids","message":"pids"}}}}"#
            ),
        ]
    );
}

#[test]
fn a_snapshot_lists_containers_and_a_lag_says_what_was_missed() {
    let epoch = Epoch::from("b6c1".to_owned());
    let time: WallTime = "2026-11-23T21:00:00.123456Z".parse().expect("a time");
    let mut container = redis();
    container.argv.clear();
    container.image = None;
    container.rootfs = None;
    let snapshot = Snapshot {
        seq: 17,
        epoch: epoch.clone(),
        time,
        monotonic_ns: 5,
        containers: vec![Arc::new(container)],
    };
    assert_eq!(
        Notice::Snapshot(Arc::new(snapshot)).to_json(),
        r#"{"seq":17,"epoch":"b6c1","time":"2026-11-23T21:00:00.123456Z","monotonic_ns":5,"event":"snapshot","containers":[{"container_id":"redis","state":"RUNNING","created":"2026-11-23T20:59:59.000000Z","pid":4711,"labels":{"task":"42"},"data":"AAH/"}]}"#
    );
    let lagged = Lagged { epoch, time, monotonic_ns: 5, from_seq: 3, to_seq: 17 };
    assert_eq!(
        Notice::Lagged(lagged).to_json(),
        r#"{"seq":2,"epoch":"b6c1","time":"2026-11-23T21:00:00.123456Z","monotonic_ns":5,"event":"lagged","from_seq":3,"to_seq":17}"#
    );
}

#[test]
fn a_container_reads_back_from_its_json() {
    let container = redis();
    let json = serde_json::to_string(&container).expect("serializable");
    assert_eq!(serde_json::from_str::<ContainerSnapshot>(&json).expect("reads back"), container);
}
