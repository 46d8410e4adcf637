//! A search makes thousands of worlds in one process: each must go whole, whatever was under way in it.

use std::time::Duration;

use longshore_actors::{Cx, Fate, Handle, Handler, Match, Message, Process, Reply, Runtime, Spawn};

const PATIENCE: Duration = Duration::from_secs(60);

struct Ask(Vec<u8>);

impl Message for Ask {
    type Reply = ();
}

struct Asker {
    other: Option<Handle<Ask>>,
}

impl Process for Asker {}

impl Handler<Ask> for Asker {
    fn handle(&mut self, ask: Ask, cx: &mut Cx<Self>) -> Reply<()> {
        assert_eq!(ask.0.len(), 10_000);
        let Some(other) = &self.other else { return Reply::now(()) };
        cx.after(PATIENCE, "later", |_, _| ());
        cx.run("work", cx.blocking("bulk", "work", |_| ()), |_, _, _| ());
        cx.run("asked", other.dispatch(ask, PATIENCE), |_, _, _| ());
        Reply::now(())
    }
}

/// A world in which messages wait, are lost, late and held, jobs wait, and nothing comes to its end.
fn world(seed: u64) {
    let builder = Runtime::builder().group("main", 2).lane("bulk", 1);
    let sim = builder.simulated(seed).expect("well-formed");
    let fates = [Fate::LoseRequest, Fate::Delay(PATIENCE), Fate::Swap(PATIENCE), Fate::Deliver];
    let fate = fates[(seed % 4) as usize].clone();
    sim.runtime().filter().on(Match::any().to("b"), fate);
    let b = sim.runtime().spawn(Spawn::new("b", || Asker { other: None })).expect("free");
    let other = Some(b.handle());
    let a = sim.runtime().spawn(Spawn::new("a", || Asker { other })).expect("free");
    (0..4).for_each(|_| a.notify(Ask(vec![1; 10_000])).expect("room"));
    for _ in 0..sim.random("steps").below(40) {
        sim.step();
    }
}

/// Kilobytes that this process has in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn worlds_that_are_dropped_at_any_step_give_all_memory_back() {
    (0..200).for_each(world);
    let before = resident();
    (200..2200).for_each(world);
    let grown = resident().saturating_sub(before);
    // One message kept of each world would be 20 MB.
    assert!(grown < 2_000, "{grown} kB");
}
