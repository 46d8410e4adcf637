//! What an observer sees of ordinary lives; the logs are golden text.

use std::time::Duration;

use longshore_actors::{Fate, Match};

use super::world::World;
use crate::checkpoint::{self, RecordV1};
use crate::containerizer::recovery::Left;
use crate::containerizer::supervisor::messages::{AwaitRunning, Destroy, Signal, Stop, Wait};
use crate::containerizer::supervisor::state::{Cause, Ending, Why};
use crate::error::Stage;
use crate::limits;
use crate::model::{End, Record};

/// Compares with `tests/golden/lifecycle/<name>.txt`; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, log: &str) {
    let path = format!("{}/tests/golden/lifecycle/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, log).expect("the tree is writable");
    }
    let expected = std::fs::read_to_string(&path).expect("run with UPDATE_GOLDEN=1 to write it");
    assert_eq!(log, expected, "{path}");
}

#[tokio::test]
async fn a_payload_that_exits_is_undone_and_recorded() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    assert!(world.ask(&id, AwaitRunning).await.await.is_ok());
    let ended = world.ask(&id, Wait).await;
    world.host.exit(&id, 3 << 8);
    world.clock.settle().await;
    let end = ended.result().await.expect("it ended").end;
    assert_eq!(end.termination.expect("it ran").exit_code, 3);
    assert_eq!(end.usage.cpu_ns, Some(7));
    golden("exit", &world.log());
    world.assert_clean().await;
}

#[tokio::test]
async fn a_destroy_ends_a_running_container_and_a_second_one_joins() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    // The kill takes a second, so that the container is being destroyed when the other one comes.
    let second_long = Fate::Delay(Duration::from_secs(1));
    let _rule = world.runtime.filter().on(Match::any().label("Kill").nth(1), second_long);
    let first = world.ask(&id, Destroy).await;
    let second = world.ask(&id, Destroy).await;
    assert!(!first.is_done() && !second.is_done(), "it is being killed");
    world.advance(Duration::from_secs(1)).await;
    let first = first.result().await.expect("ended").end;
    assert_eq!(first, second.result().await.expect("ended").end);
    assert_eq!(world.host.calls("kill"), 1);
    golden("destroy", &world.log());
    world.assert_clean().await;
}

#[tokio::test]
async fn a_stop_waits_for_the_grace_and_then_destroys() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    let stop = Stop { signal: Some(10), grace: Duration::from_secs(5) };
    let stopped = world.ask(&id, stop).await;
    assert_eq!(world.host.signals(), [10]);
    world.advance(Duration::from_secs(4)).await;
    assert!(!stopped.is_done(), "the payload has its grace");
    world.advance(Duration::from_secs(1)).await;
    let end = stopped.result().await.expect("ended").end;
    assert!(end.termination.expect("it ran").stopped);
    golden("stop", &world.log());
    world.assert_clean().await;
}

#[tokio::test]
async fn a_second_stop_sends_its_signal_and_may_shorten_the_grace_but_not_lengthen_it() {
    let stop = |signal, seconds| Stop { signal, grace: Duration::from_secs(seconds) };
    for (second, ends_after) in [(5, 5), (200, 100)] {
        let world = World::new();
        let id = World::id("a");
        world.launch(World::config("a")).await;
        let first = world.ask(&id, stop(None, 100)).await;
        let other = world.ask(&id, stop(Some(10), second)).await;
        assert_eq!(world.host.signals(), [15, 10]);
        world.advance(Duration::from_secs(ends_after - 1)).await;
        assert!(!first.is_done() && !other.is_done(), "{ends_after}");
        world.advance(Duration::from_secs(1)).await;
        assert!(first.is_done() && other.is_done(), "{ends_after}");
        let end = first.result().await.expect("ended").end;
        assert!(end.termination.expect("it ran").stopped);
        world.assert_clean().await;
    }
}

#[tokio::test]
async fn a_payload_that_heeds_the_stop_signal_ends_before_the_grace_does() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    let stopped = world.ask(&id, Stop { signal: None, grace: limits::STOP_GRACE }).await;
    assert_eq!(world.host.signals(), [15]);
    world.host.exit(&id, 0);
    world.clock.settle().await;
    let termination = stopped.result().await.expect("ended").end.termination.expect("it ran");
    assert_eq!((termination.exit_code, termination.stopped), (0, true));
    world.assert_clean().await;
}

#[tokio::test]
async fn a_container_that_runs_too_long_is_stopped_and_says_so() {
    let world = World::new();
    let id = World::id("a");
    let mut config = World::config("a");
    config.timeout = Some(Duration::from_secs(60));
    world.launch(config).await;
    let ended = world.ask(&id, Wait).await;
    world.advance(Duration::from_secs(60) + limits::STOP_GRACE).await;
    let termination = ended.result().await.expect("ended").end.termination.expect("it ran");
    assert!(termination.timed_out);
    world.assert_clean().await;
}

#[tokio::test]
async fn a_payload_that_exits_at_once_is_seen_running_first() {
    let world = World::new();
    world.host.exit_at_once(0);
    world.launch(World::config("a")).await;
    world.clock.settle().await;
    let log = world.log();
    assert!(log.contains("a running pid=42\na destroying\na terminated exit_code=0\n"), "{log}");
    world.assert_clean().await;
}

#[tokio::test]
async fn a_signal_reaches_the_payload_only_while_it_runs() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    let sent = world.ask(&id, Signal { signal: 12 }).await;
    assert_eq!(sent.result().await.expect("answered"), Ok(()));
    assert_eq!(world.host.signals(), [12]);
    let _ = world.ask(&id, Destroy).await.await;
    world.assert_clean().await;
}

#[tokio::test]
async fn a_failed_undo_leaves_it_stuck_and_the_next_destroy_goes_on() {
    for (call, what) in [("kill", "init a"), ("cleanup", "isolated a"), ("unprovision", "rootfs a")]
    {
        let world = World::new();
        let id = World::id("a");
        world.launch(World::config("a")).await;
        world.host.fail_next(call);
        let destroyed = world.ask(&id, Destroy).await.result().await.expect("answered");
        assert!(destroyed.stuck.is_some(), "{call}");
        assert_eq!(destroyed.remaining, [format!("{call} was refused")]);
        assert!(world.host.held().iter().any(|held| held == what), "{call}");
        golden(&format!("stuck-{call}"), &world.log());
        let again = world.ask(&id, Destroy).await.result().await.expect("answered");
        assert!(again.stuck.is_none(), "{call}");
        world.assert_clean().await;
    }
}

#[tokio::test]
async fn two_containers_do_not_disturb_each_other() {
    let world = World::new();
    world.launch(World::config("a")).await;
    world.launch(World::config("b")).await;
    world.host.fail_next("cleanup");
    let _ = world.ask(&World::id("a"), Destroy).await.await;
    world.host.exit(&World::id("b"), 0);
    world.clock.settle().await;
    assert!(world.log().contains("b terminated exit_code=0"));
    assert!(world.supervisor(&World::id("a")).await.is_some(), "stuck, and still there");
    let _ = world.ask(&World::id("a"), Destroy).await.await;
    world.assert_clean().await;
}

#[tokio::test]
async fn a_container_goes_to_the_lane_with_the_fewest_and_of_equals_to_the_first() {
    let world = World::with_lanes(2);
    let lane_of = |name: &str| {
        let actors = world.runtime.actors();
        let supervisor = format!("supervisor {name} #");
        let found = actors.iter().find(|actor| actor.name.starts_with(&supervisor));
        found.expect("it lives").arbiter
    };
    for (name, lane) in [("a", 0), ("b", 1), ("c", 0)] {
        world.launch(World::config(name)).await;
        assert_eq!(lane_of(name), ("kernel", lane), "{name}");
    }
    for name in ["a", "c"] {
        world.host.exit(&World::id(name), 0);
        world.log_until(&format!("{name} terminated exit_code=0")).await;
        world.supervisors_ended(&format!("{name} #")).await;
    }
    // One after the other they stay where the caches are warm.
    for name in ["d", "e"] {
        world.launch(World::config(name)).await;
        assert_eq!(lane_of(name), ("kernel", 0), "{name}");
        world.host.exit(&World::id(name), 0);
        world.log_until(&format!("{name} terminated exit_code=0")).await;
        world.supervisors_ended(&format!("{name} #")).await;
    }
    let _ = world.ask(&World::id("b"), Destroy).await.await;
    world.assert_clean().await;
}

#[tokio::test]
async fn an_end_is_on_disk_and_survives_until_it_is_acknowledged() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    world.host.exit(&id, 5 << 8);
    let log = world.log_until("exit_code=5").await;
    assert!(log.contains("a terminated"), "{log}");
    let path = world.directory.path().join("run/records/a");
    let record = checkpoint::read::<RecordV1>(&path).expect("readable").expect("written");
    let record = record.thaw().expect("it makes sense");
    assert_eq!(record.end.termination.expect("it ran").exit_code, 5);
    assert_eq!(record.end.usage.cpu_ns, Some(7));
    world.acknowledge(&id).await;
    assert!(!std::fs::exists(&path).expect("its directory can be read"));
    assert!(world.events.container(&id).is_none());
    world.assert_clean().await;
}

#[tokio::test]
async fn who_awaits_the_start_of_a_stuck_container_learns_that_it_is_stuck() {
    let world = World::new();
    let id = World::id("a");
    world.host.fail_next("fork");
    world.host.fail_next("kill");
    world.launch(World::config("a")).await;
    let awaited = world.ask(&id, AwaitRunning).await.result().await.expect("answered");
    let conclusion = awaited.expect_err("it never ran");
    assert_eq!(conclusion.remaining, ["kill was refused"]);
    let _ = world.ask(&id, Destroy).await.await;
    world.assert_clean().await;
}

#[tokio::test]
async fn what_a_dead_owner_left_is_undone_and_its_end_kept_as_it_was() {
    let left = |stage| Left::of(None, Ending::left(stage));
    let asked = Ending { cause: Cause::Wanted(Why::Requested), ..Ending::left(Stage::Run) };
    for (name, left, status, expected) in [
        ("running", left(Stage::Run), None, " exit_code=137"),
        ("ended", left(Stage::Run), Some(5 << 8), " exit_code=5"),
        ("stopping", Left::of(None, asked), Some(15), " exit_code=143 stopped"),
        ("starting", left(Stage::Start), None, " start: its owner died and left it"),
        ("further", left(Stage::Isolate), Some(9), " exit_code=137"),
        ("started", left(Stage::Start), Some(0), " exit_code=0"),
        ("failed", left(Stage::Start), Some(1 << 8), " start: its owner died and left it"),
        ("early", left(Stage::Fork), None, " fork: its owner died and left it"),
    ] {
        let world = World::new();
        let mut config = World::config(name);
        config.labels.insert("task".into(), "42".into());
        config.data = b"opaque".to_vec();
        status.into_iter().for_each(|status| world.host.leave_status(status));
        let end = world.bury(config, left).await;
        assert_eq!(world.log_until(expected).await, format!("{name} terminated{expected}\n"));
        let path = world.directory.path().join("run/records").join(name);
        let record = checkpoint::read::<RecordV1>(&path).expect("readable").expect("written");
        let record = record.thaw().expect("it makes sense");
        assert_eq!((&record.end, &record.data[..]), (&end, &b"opaque"[..]));
        assert_eq!(record.labels["task"], "42");
        world.assert_clean().await;
    }
}

#[tokio::test]
async fn an_end_that_was_written_down_before_its_owner_died_stays_the_end() {
    let world = World::new();
    let mut end = End::default();
    end.usage.cpu_ns = Some(99);
    let (labels, data) = Default::default();
    let container_id = World::id("a");
    let record = Record { container_id, ended_ns: 5, labels, data, end };
    let ending = Ending::left(Stage::Run);
    let left = Left { recorded: Some(record), ..Left::of(None, ending) };
    let end = world.bury(World::config("a"), left).await;
    assert_eq!((end.usage.cpu_ns, end.termination), (Some(99), None));
    let path = world.directory.path().join("run/records/a");
    let record = checkpoint::read::<RecordV1>(&path).expect("readable").expect("written");
    let record = record.thaw().expect("it makes sense");
    assert_eq!((record.ended_ns, record.end.usage.cpu_ns), (5, Some(99)));
    world.assert_clean().await;
}
