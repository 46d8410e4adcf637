//! The example of a search is run as it stands.

#[path = "../../examples/bank.rs"]
mod bank;

#[test]
fn the_bank_loses_count_and_the_search_says_how() {
    bank::main();
}
