//! Every hop of a launch and of its undoing × what can go wrong with it: the container ends in time,
//! once, and nothing is left.

use std::time::Duration;

use longshore_actors::{Fate, Fault, Match};

use super::world::World;
use crate::containerizer::supervisor::messages::Destroy;

/// Calls of a launch, in order, as the fake host knows them, and their stage.
const LAUNCH: [(&str, &str); 6] = [
    ("provision", "provision"),
    ("prepare", "prepare"),
    ("fork", "fork"),
    ("isolate", "isolate"),
    ("fetch", "fetch"),
    ("start", "start"),
];

/// Messages of a launch and of its undoing.
pub(super) const HOPS: [&str; 12] = [
    "Create",
    "Provision",
    "Prepare",
    "Fork",
    "Isolate",
    "Fetch",
    "Kill",
    "Measure",
    "Cleanup",
    "Forget",
    "Unprovision",
    "Conclude",
];

/// Longer than every deadline there is.
const AGES: Duration = Duration::from_secs(10_000);

#[tokio::test]
async fn a_launch_that_fails_at_any_step_undoes_itself_and_names_the_stage() {
    for (call, stage) in LAUNCH {
        let world = World::new();
        world.host.fail_next(call);
        world.launch(World::config("a")).await;
        world.advance(AGES).await;
        let log = world.log();
        let expected = format!("a terminated {stage}: {call} was refused\n");
        assert!(log.ends_with(&expected), "{call}: {log}");
        world.assert_clean().await;
    }
}

/// However a hop goes wrong, insisting destroys it all, and there is one terminal event.
async fn survives(hop: &str, fate: Fate) {
    let world = World::new();
    let rule = world.runtime.filter().on(Match::any().label(hop).nth(1), fate.clone());
    world.launch(World::config("a")).await;
    world.advance(AGES).await;
    for _ in 0..3 {
        let id = World::id("a");
        if let Some(supervisor) = world.supervisor(&id).await {
            drop(supervisor.dispatch(Destroy, AGES));
            world.advance(AGES).await;
        }
    }
    assert_eq!(rule.hits(), 1, "{hop} {fate:?}: the hop was not taken");
    let log = world.log();
    let ends = log.lines().filter(|line| line.starts_with("a terminated")).count();
    assert_eq!(ends, 1, "{hop} {fate:?}: {log}");
    world.assert_clean().await;
}

#[tokio::test]
async fn a_hop_that_fails_leaves_nothing() {
    for hop in HOPS {
        survives(hop, Fate::Fail(Fault::new("injected"))).await;
    }
}

#[tokio::test]
async fn a_hop_that_is_never_answered_leaves_nothing() {
    for hop in HOPS {
        survives(hop, Fate::LoseRequest).await;
    }
}

#[tokio::test]
async fn a_hop_whose_answer_is_lost_leaves_nothing() {
    for hop in HOPS {
        survives(hop, Fate::LoseReply).await;
    }
}

#[tokio::test]
async fn a_hop_that_is_late_leaves_nothing() {
    for hop in HOPS {
        // Within its deadline. What comes after that is `LoseReply`: no message overtakes another
        // between two actors, so a late step is always handled before its undoing.
        survives(hop, Fate::Delay(Duration::from_secs(3))).await;
    }
}

#[tokio::test]
async fn a_destroy_at_any_step_leaves_nothing() {
    for hop in &HOPS[..6] {
        let world = World::new();
        let delayed = Fate::Delay(Duration::from_secs(1));
        let _rule = world.runtime.filter().on(Match::any().label(*hop).nth(1), delayed);
        world.launch(World::config("a")).await;
        let destroyed = world.ask(&World::id("a"), Destroy).await;
        world.advance(AGES).await;
        assert!(destroyed.result().await.expect("answered").stuck.is_none(), "{hop}");
        world.assert_clean().await;
    }
}

#[tokio::test]
async fn a_supervisor_that_breaks_is_replaced_and_its_container_destroyed() {
    let world = World::new();
    let id = World::id("a");
    world.launch(World::config("a")).await;
    let _rule = world.runtime.filter().on(Match::any().label("GetUsage").nth(1), Fate::Panic);
    let asked = crate::containerizer::supervisor::messages::GetUsage;
    drop(world.ask(&id, asked).await);
    let log = world.log_until("its supervisor broke, and it was destroyed").await;
    assert!(log.contains("a terminated"), "{log}");
    world.assert_clean().await;
}
