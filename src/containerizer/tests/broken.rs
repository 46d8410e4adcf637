//! A supervisor with one row broken, to see that the simulation finds it: a destroy begins to clean up
//! while the isolators still prepare.

use std::cell::Cell;

use longshore_actors::{Finding, Search};

use super::lives::prepared_when_destroyed;
use super::simulated::builder;
use crate::containerizer::supervisor::state::{
    Cause, Effect, Ending, Input, Lifecycle, Next, Step, Wish,
};
use crate::error::Stage;

thread_local! {
    static BROKEN: Cell<bool> = const { Cell::new(false) };
}

/// What the broken row decides; nothing unless the test of this thread has broken it.
pub(in crate::containerizer) fn row(state: &Lifecycle, input: &Input) -> Option<Next> {
    let (Lifecycle::Preparing(Wish::Run), Input::Destroy(why)) = (state, input) else {
        return None;
    };
    let cause = Cause::Wanted(why.clone());
    let ending = Ending { cause, status: None, ran: false, stage: Stage::Prepare };
    let state = Lifecycle::Destroying(Step::Cleanup, ending);
    BROKEN.get().then(|| Next { state, effects: vec![Effect::Begin(Step::Cleanup)] })
}

fn search(seeds: u64) -> Option<Finding> {
    Search::new(builder()).seeds(0..seeds).find(prepared_when_destroyed)
}

#[test]
fn a_cleanup_that_does_not_wait_for_the_prepare_is_found_shrunk_and_drawn() {
    BROKEN.set(true);
    let finding = search(1000);
    BROKEN.set(false);
    let finding = finding.expect("a thousand seeds are enough");
    println!("{finding}");
    assert!(finding.replayable, "{finding}");
    assert!(finding.text.starts_with("isolated is held of a"), "{finding}");
    let left = finding.shrunk.switches();
    assert!(left < finding.recorded.switches() && left <= Some(12), "{finding}");
    let cleanup = finding.diagram.find("[Cleanup]").expect("it is cleaned up");
    let prepared = finding.diagram.rfind("[prepare]").expect("it is prepared");
    assert!(cleanup < prepared, "{finding}");
}

#[test]
fn the_row_as_it_is_passes_the_same_search() {
    let finding = search(100);
    assert!(finding.is_none(), "{finding:?}");
}
