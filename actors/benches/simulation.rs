//! What a step of a simulation costs: `cargo bench -p longshore-actors --bench simulation`.
//!
//! *step* passes tokens round a ring of a thousand actors: one message, one turn, one choice. *ask* is a question
//! and its answer as a turn of the asker, five steps. *life* makes a runtime with three actors of which one asks,
//! blocks and waits, runs it to its end and drops it: what one seed of a search costs.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use longshore_actors::{
    Cx, Handle, Handler, Message, Process, Reply, Runtime, Schedule, Simulation, Spawn,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Hops that are left.
struct Token(u64);

impl Message for Token {
    type Reply = u64;
}

/// Passes tokens on.
#[derive(Default)]
struct Hop {
    next: Option<Handle<Token>>,
}

struct Join(Handle<Token>);

impl Message for Join {
    type Reply = ();
}

impl Process for Hop {}

impl Handler<Join> for Hop {
    fn handle(&mut self, Join(next): Join, _: &mut Cx<Self>) -> Reply<()> {
        self.next = Some(next);
        Reply::now(())
    }
}

impl Handler<Token> for Hop {
    fn handle(&mut self, Token(left): Token, _: &mut Cx<Self>) -> Reply<u64> {
        if let Some(next) = self.next.as_ref().filter(|_| left > 0) {
            next.notify(Token(left - 1)).expect("room");
        }
        Reply::now(left)
    }
}

/// Asks somebody, again and again.
struct Asker {
    to: Handle<Token>,
}

struct Ask(u64);

impl Message for Ask {
    type Reply = ();
}

impl Process for Asker {}

impl Handler<Ask> for Asker {
    fn handle(&mut self, Ask(left): Ask, cx: &mut Cx<Self>) -> Reply<()> {
        if left > 0 {
            cx.run("answer", self.to.dispatch(Token(0), PATIENCE), move |_, cx, _| {
                cx.me().notify(Ask(left - 1)).expect("room");
            });
        }
        Reply::now(())
    }
}

struct Live;

impl Message for Live {
    type Reply = ();
}

impl Handler<Live> for Asker {
    fn handle(&mut self, _: Live, cx: &mut Cx<Self>) -> Reply<()> {
        let asked = self.to.dispatch(Token(3), PATIENCE);
        cx.run("asked", asked, |_, cx, _| {
            cx.run("worked", cx.blocking("bulk", "work", |_| ()), |_, cx, _| {
                cx.after(PATIENCE, "later", |_, cx| cx.stop());
            });
        });
        Reply::now(())
    }
}

fn simulated(schedule: impl Into<Schedule>) -> Simulation {
    let builder = Runtime::builder().group("main", 2).lane("bulk", 2);
    let simulation = builder.simulated(schedule).expect("well-formed");
    simulation.limit(u64::MAX);
    simulation
}

/// A ring of so many actors.
fn ring(sim: &Simulation, actors: usize) -> Vec<Handle<Token>> {
    let spawn = |index| sim.runtime().spawn(Spawn::new(format!("{index}"), Hop::default));
    let pids: Vec<_> = (0..actors).map(|index| spawn(index).expect("a free name")).collect();
    for (index, pid) in pids.iter().enumerate() {
        pid.notify(Join(pids[(index + 1) % actors].handle())).expect("room");
    }
    sim.run_until_settled();
    pids.iter().map(|pid| pid.handle()).collect()
}

fn steps(c: &mut Criterion) {
    let schedules = [("random", Schedule::random(1)), ("pct", Schedule::pct(1, 3, 1000))];
    for ((name, schedule), tokens) in schedules.into_iter().flat_map(|s| [(s.clone(), 1), (s, 100)])
    {
        c.bench_function(&format!("step, {tokens} can run/{name}"), |b| {
            b.iter_custom(|steps| {
                let sim = simulated(schedule.clone());
                let ring = ring(&sim, 1000);
                let each = steps.div_ceil(tokens);
                let starts = ring.iter().step_by(ring.len() / tokens as usize);
                starts.for_each(|start| start.notify(Token(each)).expect("room"));
                let start = Instant::now();
                let taken = sim.run_until_settled();
                start.elapsed().mul_f64(steps as f64 / taken as f64)
            });
        });
    }
}

fn asks(c: &mut Criterion) {
    c.bench_function("ask, five steps/random", |b| {
        b.iter_custom(|asks| {
            let sim = simulated(1);
            let to = ring(&sim, 1).remove(0);
            let asker = sim.runtime().spawn(Spawn::new("asker", move || Asker { to }));
            asker.expect("a free name").notify(Ask(asks)).expect("room");
            let start = Instant::now();
            sim.run_until_settled();
            start.elapsed()
        });
    });
}

fn lives(c: &mut Criterion) {
    let mut seed = 0;
    c.bench_function("life of a world/random", |b| {
        b.iter(|| {
            seed += 1;
            let sim = simulated(seed);
            let to = ring(&sim, 2).remove(0);
            let asker = sim.runtime().spawn(Spawn::new("asker", move || Asker { to }));
            asker.expect("a free name").notify(Live).expect("room");
            sim.advance(2 * PATIENCE);
            sim.steps()
        });
    });
}

criterion_group!(benches, steps, asks, lives);
criterion_main!(benches);
