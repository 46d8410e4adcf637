//! The tree of supervision can be read while an arbiter is stuck, also what is not there at the moment.

use std::time::Duration;

use longshore_actors::{Backoff, Intensity, Placement, Strategy, Supervisor};

use super::family::Family;
use super::support::hold;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn the_tree_has_children_below_their_supervisor_also_those_that_wait() {
    let mut family = Family::new();
    let place = Placement::Arbiter("kernel", 0);
    let (a, b) = (family.spec("a").place(place.clone()), family.spec("b").place(place));
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(Intensity::new(5, SECOND))
        .backoff(Backoff::doubling(SECOND, SECOND));
    family.start(supervisor.child(a).child(b)).await;
    family.world.probe("alone");
    family.panics("a").await;
    let release = hold(&family.holder("b"));
    let tree = family.world.runtime.tree();
    let text: String = tree.iter().map(ToString::to_string).collect();
    let expected = "root Supervisor main/0 idle, 0 of 1024 wait, 0 handled\n  \
                    a waits to be started, restarts: 0, the last one panicked: boom\n  \
                    b Probe kernel/0 Do for 0ns, 0 of 1024 wait, 0 handled\n\
                    alone Probe main/0 idle, 0 of 1024 wait, 0 handled\n";
    assert_eq!(text, expected);
    drop(release);
}
