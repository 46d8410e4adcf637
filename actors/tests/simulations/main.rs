//! What simulations promise: one guarantee a file. `docs/runtime.md` numbers them and names these tests.
//!
//! Apart from the tests of the other guarantees, some of which measure real time: these here use all of a core.

mod faults_come_by_plan;
mod searches_find_and_shrink;
mod simulations_are_replayed;
mod simulations_run_the_same_actors;
#[expect(dead_code, reason = "the tests on threads need more of it")]
#[path = "../guarantees/support.rs"]
mod support;
mod the_example_finds_its_bug;
