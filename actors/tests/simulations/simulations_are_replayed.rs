//! In a simulation a seed decides who goes next: equal seeds give equal runs, and bugs of order show themselves.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use longshore_actors::{
    AnyPid, Clock, Cx, Handle, Handler, Message, Placement, Process, Reply, Runtime, Schedule,
    ShutdownPlan, Simulation, Spawn,
};

use super::support::{PATIENCE, Probe, act, act_later};

const SECOND: Duration = Duration::from_secs(1);

fn simulated(schedule: impl Into<Schedule>) -> Simulation {
    let builder = Runtime::builder().group("main", 2).group("kernel", 1).lane("bulk", 2);
    builder.simulated(schedule).expect("well-formed")
}

/// Five actors that talk, wait, block, watch and end; what they said, and the hash of the run.
fn busy_run(schedule: impl Into<Schedule>) -> (Vec<String>, u64, Simulation) {
    let sim = simulated(schedule);
    let (log, said) = channel();
    let names = ["a", "b", "c", "d", "e"];
    let pids: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(index, name)| {
            let log = log.clone();
            let spawn = Spawn::new(*name, move || Probe::new(&log));
            let spawn = spawn.place(Placement::Arbiter("main", index % 2));
            sim.runtime().spawn(spawn).expect("the name is free")
        })
        .collect();
    for (index, pid) in pids.iter().enumerate() {
        let next = pids[(index + 1) % pids.len()].clone();
        let watched = next.any();
        let sent = pid.notify(act(move |_, cx| {
            cx.watch(&watched);
            let asked = act_later(move |probe: &mut Probe, cx| {
                probe.say(format!("{} is asked", cx.name()));
                cx.blocking("bulk", "think", move |_| index)
            });
            cx.run("answer", next.dispatch(asked, SECOND).result(), |probe, cx, answer| {
                probe.say(format!("{} hears {:?}", cx.name(), answer.ok()));
            });
            cx.after(SECOND, "later", |probe, cx| probe.say(format!("{} later", cx.name())));
        }));
        sent.expect("room");
    }
    let clock = sim.clock();
    let task = sim.runtime().spawn_future("kernel", "nap", async move {
        let _ = clock.after(SECOND).await;
    });
    sim.advance(2 * SECOND);
    drop(pids[2].kill("enough"));
    sim.block_on(task).into_result().expect("it wakes");
    let report = sim.block_on(sim.runtime().shutdown(ShutdownPlan::within(PATIENCE)));
    assert!(report.is_clean(), "{report:?}");
    (said.try_iter().collect(), sim.hash(), sim)
}

#[test]
fn one_seed_is_one_run_and_others_differ() {
    let mut hashes = BTreeSet::new();
    for seed in 0..100 {
        let (said, hash, _) = busy_run(seed);
        let (again, same, _) = busy_run(seed);
        assert_eq!((&said, hash), (&again, same), "seed {seed}");
        hashes.insert(hash);
    }
    assert_eq!(hashes.len(), 100);
}

#[test]
fn priorities_are_replayed_as_well() {
    let run = |seed| busy_run(Schedule::pct(seed, 3, 200)).1;
    assert_eq!(run(1), run(1));
    let hashes: BTreeSet<u64> = (0..50).map(run).collect();
    assert!(hashes.len() > 40, "{}", hashes.len());
}

#[test]
fn a_recorded_schedule_is_the_run_that_it_was_recorded_of() {
    for schedule in [Schedule::random(5), Schedule::pct(5, 4, 200)] {
        let (said, hash, sim) = busy_run(schedule);
        let text = sim.recorded().to_string();
        let (again, same, replayed) = busy_run(text.parse::<Schedule>().expect("a schedule"));
        assert_eq!((said, hash), (again, same));
        assert_eq!(replayed.recorded().to_string(), text);
    }
}

/// Asks for print jobs, and believes that it knows a job's number before the job is done.
struct Desk {
    printer: Handle<Print>,
    expected: BTreeSet<u32>,
    strangers: Arc<AtomicUsize>,
}

/// Prints on a lane, and says so afterwards.
#[derive(Default)]
struct Printer {
    jobs: u32,
}

struct Order;
struct Print(Handle<Printed>);
struct Printed(u32);

impl Message for Order {
    type Reply = ();
}
impl Message for Print {
    type Reply = u32;
}
impl Message for Printed {
    type Reply = ();
}
impl Process for Desk {}
impl Process for Printer {}

impl Handler<Order> for Desk {
    fn handle(&mut self, _: Order, cx: &mut Cx<Self>) -> Reply<()> {
        let number = self.printer.dispatch(Print(cx.me().handle()), PATIENCE);
        cx.run("ordered", number, |desk, _, number| {
            desk.expected.extend(number.into_result().ok());
        });
        Reply::now(())
    }
}

impl Handler<Print> for Printer {
    fn handle(&mut self, Print(to): Print, cx: &mut Cx<Self>) -> Reply<u32> {
        self.jobs += 1;
        let number = self.jobs;
        let printed = cx.blocking("bulk", "print", |_| ());
        cx.run("printed", printed, move |_, _, _| to.notify(Printed(number)).expect("room"));
        Reply::now(number)
    }
}

impl Handler<Printed> for Desk {
    fn handle(&mut self, Printed(number): Printed, _: &mut Cx<Self>) -> Reply<()> {
        if !self.expected.remove(&number) {
            self.strangers.fetch_add(1, Ordering::Relaxed);
        }
        Reply::now(())
    }
}

fn desk(runtime: &Runtime) -> (Handle<Order>, AnyPid, Arc<AtomicUsize>) {
    let printer = runtime.spawn(Spawn::new("printer", Printer::default)).expect("free");
    let (handle, strangers) = (printer.handle(), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&strangers);
    let order = Spawn::new("desk", move || Desk {
        printer: handle,
        expected: BTreeSet::new(),
        strangers: count,
    });
    let desk = runtime.spawn(order.place(Placement::With(printer.any()))).expect("free");
    (desk.handle(), printer.any(), strangers)
}

/// One order; true if its job was done before its number was known.
fn finds(sim: &Simulation) -> bool {
    let (order, _, strangers) = desk(sim.runtime());
    order.notify(Order).expect("room");
    sim.run_until_settled();
    strangers.load(Ordering::Relaxed) == 1
}

#[tokio::test]
async fn a_bug_of_order_that_threads_hardly_ever_show_is_found_within_a_few_seeds() {
    // The answer needs two turns of a thread that is at it, the job another thread: the answer practically wins.
    let clock = Clock::virtual_();
    let builder = Runtime::builder().group("main", 1).lane("bulk", 1).clock(clock.clone());
    let runtime = builder.build().expect("threads");
    let (order, _, strangers) = desk(&runtime);
    for _ in 0..200 {
        order.notify(Order).expect("room");
        clock.settle().await;
    }
    assert!(strangers.load(Ordering::Relaxed) < 20, "{strangers:?}");

    let found: Vec<u64> = (0..100).filter(|seed| finds(&simulated(*seed))).collect();
    assert!((1..50).contains(&found.len()), "{found:?}");
    assert!(
        found.iter().all(|seed| finds(&simulated(*seed))),
        "a seed that finds it does so again"
    );
}

#[test]
fn what_no_seed_decides_is_refused() {
    let sim = simulated(1);
    let clock = sim.clock();
    let nap = sim.runtime().clock().after(SECOND);
    drop(sim.runtime().spawn_future("main", "naps", async move {
        let _ = nap.await;
    }));
    sim.run_until_settled();
    let other = std::thread::spawn(move || clock.advance(SECOND));
    other.join().expect("it advances the clock");
    let refused = catch_unwind(AssertUnwindSafe(|| sim.run_until_settled()));
    let text = *refused.expect_err("refused").downcast::<String>().expect("a text");
    assert_eq!(text, "naps was woken by another thread");
}

#[test]
fn choices_of_the_test_come_from_the_same_seed() {
    let three = |seed, name| {
        let mut random = simulated(seed).random(name);
        [random.number(), random.number(), random.number()]
    };
    assert_eq!(three(1, "sizes"), three(1, "sizes"));
    assert_ne!(three(1, "sizes"), three(2, "sizes"));
    assert_ne!(three(1, "sizes"), three(1, "delays"));
}
