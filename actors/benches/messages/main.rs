//! What a message costs here and on bare actix, in one run: `cargo bench -p longshore-actors`.
//!
//! *tell* sends in windows of a thousand, each closed by an ask; *ask* sends one after another. *One* has asker
//! and actor on one arbiter, *two* on two.

mod bare;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use longshore_actors::{
    Cx, Handler, Message, Pid, Placement, Process, Reply, Runtime, ShutdownPlan, Spawn,
};

const PATIENCE: Duration = Duration::from_secs(60);
const WINDOW: u64 = 1000;

#[derive(Default)]
struct Sum(u64);

struct Add(u64);

impl Message for Add {
    type Reply = u64;
}

impl Process for Sum {}

impl Handler<Add> for Sum {
    fn handle(&mut self, Add(n): Add, _: &mut Cx<Self>) -> Reply<u64> {
        self.0 += n;
        Reply::now(self.0)
    }
}

async fn tell_ours(to: Pid<Sum>, messages: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..messages.div_ceil(WINDOW) {
        for _ in 1..WINDOW {
            to.notify(Add(1)).expect("a window fits");
        }
        to.dispatch(Add(1), PATIENCE).result().await.expect("answered");
    }
    start.elapsed()
}

async fn ask_ours(to: Pid<Sum>, messages: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..messages {
        to.dispatch(Add(1), PATIENCE).await.into_result().expect("answered");
    }
    start.elapsed()
}

fn ours(c: &mut Criterion) {
    let runtime = Runtime::builder().group("main", 2).build().expect("threads");
    let spawn = |name: &str, index| {
        let spawn = Spawn::new(name, Sum::default).capacity(10_000);
        runtime.spawn(spawn.place(Placement::Arbiter("main", index))).expect("spawned")
    };
    let (near, far) = (spawn("near", 0), spawn("far", 1));
    // A future of the group lands on the arbiter with the fewest actors: keep the second one the busier.
    let _ballast = spawn("ballast", 1);
    for (place, to) in [("one", near), ("two", far)] {
        c.bench_function(&format!("tell {place}/ours"), |b| {
            b.iter_custom(|n| {
                let work = tell_ours(to.clone(), n);
                let done = runtime.spawn_future("main", "drive", work).blocking_wait();
                done.into_result().expect("it ends")
            });
        });
        c.bench_function(&format!("ask {place}/ours"), |b| {
            b.iter_custom(|n| {
                let work = ask_ours(to.clone(), n);
                let done = runtime.spawn_future("main", "drive", work).blocking_wait();
                done.into_result().expect("it ends")
            });
        });
    }
    drop(runtime.begin_shutdown(ShutdownPlan::within(PATIENCE)));
}

/// Spawn to answered, and kill to ended.
fn lives(c: &mut Criterion) {
    let runtime = Runtime::builder().build().expect("threads");
    c.bench_function("spawn, ask, kill, exit/ours", |b| {
        b.iter(|| {
            let pid = runtime.spawn(Spawn::new("a", Sum::default)).expect("spawned");
            pid.dispatch(Add(1), PATIENCE).blocking_wait().into_result().expect("answered");
            pid.kill("done").blocking_wait().into_result().expect("it ends");
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = ours, bare::bench, lives
}
criterion_main!(benches);
