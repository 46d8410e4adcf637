//! Restarts that do not help end: the supervisor stops the rest and fails, and its own supervisor decides.

use std::time::Duration;

use longshore_actors::{
    ChildSpec, Exit, Intensity, Placement, Restart, Role, Spawn, Strategy, Supervisor,
};

use super::family::{Family, gave_up, states};
use super::support::{Note, PATIENCE, ask, hold};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn too_many_restarts_stop_the_rest_in_reverse_and_are_told_as_a_history() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::OneForOne, Restart::Always);
    let root = family.start(supervisor.intensity(Intensity::new(2, SECOND))).await;
    family.panics("a").await;
    family.panics("b").await;
    family.said();
    family.panics("a").await;
    assert_eq!(family.said(), ["c finalizes: ended", "b finalizes: ended"]);
    let exit = root.exit().await.into_result().expect("exits are always published");
    let gave_up = gave_up(&exit);
    let history: Vec<_> =
        gave_up.history.iter().map(|end| format!("{} {}", end.child, end.exit)).collect();
    assert_eq!(history, ["a panicked: boom", "b panicked: boom", "a panicked: boom"]);
    let text = "failed: more than 2 restarts within 1s; the last: a panicked: boom";
    assert_eq!(exit.to_string(), text);
}

#[tokio::test]
async fn restarts_that_are_far_enough_apart_go_on_for_ever() {
    let mut family = Family::new();
    let supervisor = family.of_three(Strategy::RestForOne, Restart::Always);
    let root = family.start(supervisor.intensity(Intensity::new(2, SECOND))).await;
    for _ in 0..20 {
        family.panics("b").await;
        family.world.runtime.clock().advance(SECOND / 2);
    }
    assert_eq!(root.children()[1].restarts, 20);
    assert!(!root.any().has_ended());
}

#[tokio::test]
async fn a_child_that_cannot_start_counts_as_one_that_ended() {
    let mut family = Family::new();
    let taken = family.world.probe("a");
    let supervisor = Supervisor::new(Strategy::OneForOne).child(family.spec("a"));
    let root = family.start(supervisor).await;
    let exit = root.exit().await.into_result().expect("exits are always published");
    assert_eq!(gave_up(&exit).history.len(), 2);
    assert!(exit.to_string().ends_with("an actor named a is still there"), "{exit}");
    assert!(!taken.any().has_ended(), "whose name it is stays");
}

/// A supervisor `inner` of the three children below a supervisor `root`.
async fn nested(family: &mut Family) -> (longshore_actors::Pid<Supervisor>, Role<Supervisor>) {
    let roles = ["a", "b", "c"].map(|name| {
        drop(family.spec(name));
        family.role(name).clone()
    });
    let role = Role::new("inner");
    let log = family.world.log.clone();
    let inner = ChildSpec::new("inner", move || {
        roles.iter().fold(Supervisor::new(Strategy::OneForOne), |inner, role| {
            let log = log.clone();
            let factory = move || super::support::Probe::new(&log);
            inner.child(ChildSpec::new(role.name(), factory).role(role))
        })
    });
    let root = Supervisor::new(Strategy::OneForOne).child(inner.role(&role));
    (family.start(root).await, role)
}

#[tokio::test]
async fn a_supervisor_that_gave_up_is_started_again_by_its_own() {
    let mut family = Family::new();
    let (root, inner) = nested(&mut family).await;
    let (first, a) = (inner.resolve().expect("it runs"), family.holder("a"));
    family.panics("b").await;
    family.panics("b").await;
    let second = inner.resolve().expect("it runs again");
    assert_ne!(first.any(), second.any());
    assert!(a.any().has_ended());
    assert_eq!(second.children().len(), 3);
    assert!(ask(&family.holder("a"), |probe, _| probe.keep.is_empty()));
    // Once more, and the outer one gives up too.
    family.panics("c").await;
    family.panics("c").await;
    let exit = root.exit().await.into_result().expect("exits are always published");
    let history = &gave_up(&exit).history;
    assert_eq!(history.len(), 2);
    assert_eq!(super::family::gave_up(&history[1].exit).history.len(), 2, "the reasons nest");
    assert!(family.world.runtime.actors().is_empty());
}

#[tokio::test]
async fn a_drain_of_the_root_takes_the_whole_tree_along_in_reverse() {
    let mut family = Family::new();
    let (root, _) = nested(&mut family).await;
    root.drain().await.into_result().expect("it ends");
    assert_eq!(family.said(), ["c finalizes: ended", "b finalizes: ended", "a finalizes: ended"]);
    assert!(family.world.runtime.actors().is_empty());
}

#[tokio::test]
async fn a_killed_supervisor_leaves_no_child_and_its_successor_waits_for_their_names() {
    let mut family = Family::new();
    let (root, inner) = nested(&mut family).await;
    let old = inner.resolve().expect("it runs");
    let child = family.holder("a");
    old.kill("by a test").await.into_result().expect("it ends");
    family.settle().await;
    assert!(child.any().has_ended());
    assert_ne!(inner.resolve().expect("it runs again").any(), old.any());
    assert_eq!(inner.resolve().expect("it runs again").children().len(), 3);
    assert_eq!(root.children()[0].restarts, 1);
    family.holder("a").dispatch(Note("x".into()), PATIENCE).await.into_result().expect("anew");
}

#[tokio::test]
async fn the_children_end_with_a_supervisor_whose_arbiter_is_lost() {
    let mut family = Family::new();
    let stuck = family.world.order("stuck").place(Placement::Arbiter("kernel", 0));
    let stuck = family.world.spawn(stuck);
    let supervisor = family.of_three(Strategy::OneForOne, Restart::Always);
    let order = Spawn::new("root", move || supervisor).place(Placement::With(stuck.any()));
    let root = family.world.runtime.spawn(order).expect("the name is free");
    family.settle().await;
    let child = family.holder("b");
    let release = hold(&stuck);
    assert_eq!(states(&root).len(), 3, "the children can be listed all the same");
    family.world.runtime.replace_arbiter("kernel", 0).expect("a new thread");
    let exit = child.exit().await.into_result().expect("exits are always published");
    assert!(matches!(exit, Exit::Killed("its supervisor has ended")));
    assert!(family.role("b").resolve().is_err(), "nobody has its role");
    assert!(root.children().is_empty());
    drop(release);
}
