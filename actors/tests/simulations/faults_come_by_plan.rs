//! Faults come in any combination, by rules or by a seeded plan, on threads and in simulations.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use longshore_actors::{Fate, Faults, Match, Outcome, Pid, Runtime, Simulation, Spawn};

use super::support::{Note, PATIENCE, Probe, World, ask};

const SECOND: Duration = Duration::from_secs(1);

fn note(text: &str) -> Note {
    Note(text.to_owned())
}

fn notes() -> Match {
    Match::any().label("Note")
}

fn simulated(seed: u64) -> (Simulation, Pid<Probe>, Receiver<String>) {
    let sim = Runtime::simulated(seed);
    let (log, said) = channel();
    let pid = sim.runtime().spawn(Spawn::new("a", move || Probe::new(&log))).expect("free");
    (sim, pid, said)
}

#[test]
fn a_swapped_message_changes_places_with_the_next_one() {
    let (sim, pid, said) = simulated(1);
    sim.runtime().filter().on(notes().nth(1), Fate::Swap(SECOND));
    let first = pid.dispatch(note("first"), PATIENCE);
    sim.run_until_settled();
    assert_eq!(said.try_iter().count(), 0);
    pid.notify(note("second")).expect("room");
    pid.notify(note("third")).expect("room");
    assert!(matches!(sim.block_on(first), Outcome::Ok(5)));
    sim.run_until_settled();
    assert_eq!(said.try_iter().collect::<Vec<_>>(), ["second", "first", "third"]);
}

#[test]
fn without_a_next_one_a_swapped_message_is_late() {
    let (sim, pid, said) = simulated(1);
    sim.runtime().filter().on(notes(), Fate::Swap(SECOND));
    pid.notify(note("first")).expect("room");
    sim.advance(SECOND / 2);
    assert_eq!(said.try_iter().count(), 0);
    sim.advance(SECOND);
    assert_eq!(said.try_iter().collect::<Vec<_>>(), ["first"]);
    // Of three in a row the first two change places.
    ["x", "y", "z"].iter().for_each(|text| pid.notify(note(text)).expect("room"));
    sim.advance(SECOND);
    assert_eq!(said.try_iter().collect::<Vec<_>>(), ["y", "x", "z"]);
}

#[test]
fn a_swap_works_on_threads_too() {
    let world = World::virtual_();
    let pid = world.probe("a");
    world.runtime.filter().on(notes().nth(1), Fate::Swap(SECOND));
    pid.notify(note("first")).expect("room");
    pid.notify(note("second")).expect("room");
    ask(&pid, |_, _| ());
    assert_eq!(world.so_far(), ["second", "first"]);
}

/// Every kind of fate, in a simulation: what the asker gets, and what was handled.
#[test]
fn every_fate_is_met_in_a_simulation_as_on_threads() {
    let meet = |fate: Fate| {
        let (sim, pid, said) = simulated(2);
        sim.runtime().filter().on(notes(), fate);
        let outcome = match sim.block_on(pid.dispatch(note("x"), PATIENCE)) {
            Outcome::Ok(_) => "ok",
            Outcome::Failed(_) => "failed",
            Outcome::Discarded(_) => "late",
            Outcome::Abandoned(_) => "gone",
        };
        sim.run_until_settled();
        (outcome, said.try_iter().filter(|said| said == "x").count())
    };
    let fault = longshore_actors::Fault::new("on purpose");
    let fates = [
        (Fate::Deliver, ("ok", 1)),
        (Fate::Drop, ("gone", 0)),
        (Fate::LoseRequest, ("late", 0)),
        (Fate::LoseReply, ("late", 1)),
        (Fate::Delay(SECOND), ("ok", 1)),
        (Fate::Delay(2 * PATIENCE), ("late", 0)),
        (Fate::Swap(SECOND), ("ok", 1)),
        (Fate::Fail(fault), ("failed", 0)),
        (Fate::Duplicate, ("ok", 2)),
        (Fate::Panic, ("gone", 0)),
    ];
    for (fate, expected) in fates {
        assert_eq!(meet(fate.clone()), expected, "{fate:?}");
    }
}

/// Two hundred notes under a plan: which of them met what.
fn met(run: u64, faults: Faults) -> Vec<String> {
    let (sim, pid, _said) = simulated(run);
    let plan = sim.runtime().filter().plan(notes(), faults);
    for number in 0..200 {
        drop(pid.dispatch(note(&format!("{}", number % 20)), SECOND));
        if sim.random("pause").chance(0.5) {
            sim.step();
        }
    }
    sim.advance(PATIENCE);
    let met = plan.met().into_iter();
    met.map(|(seen, fate)| format!("{} {fate:?}", seen.subject.unwrap_or_default())).collect()
}

#[test]
fn a_plan_meets_each_message_by_its_seed_whatever_the_schedule() {
    let faults = |seed| Faults::of_all_kinds(seed, 0.2, SECOND);
    let one = met(1, faults(7));
    assert!((20..60).contains(&one.len()), "{one:?}");
    for kind in ["Drop", "LoseRequest", "LoseReply", "Fail", "Delay", "Swap"] {
        assert!(one.iter().any(|met| met.contains(kind)), "no {kind}: {one:?}");
    }
    assert_eq!(met(1, faults(7)), one);
    assert_eq!(met(2, faults(7)), one);
    assert_ne!(met(1, faults(8)), one);
}

#[test]
fn a_plan_says_its_seed_and_what_met_what() {
    let (sim, pid, _said) = simulated(1);
    let filter = sim.runtime().filter();
    let plan = filter.plan(notes(), Faults::seeded(42).drop(1.0));
    drop(pid.dispatch(note("layer 7"), SECOND));
    let text = plan.to_string();
    assert!(text.starts_with("faults of seed 42, Drop 1\n"), "{text}");
    assert!(text.ends_with("Note to a (layer 7): Drop"), "{text}");
    plan.remove();
    assert!(sim.block_on(pid.dispatch(note("x"), SECOND)).is_ok());
}
