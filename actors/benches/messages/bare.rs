//! The other side of the comparison: the engine alone.

use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message};
use criterion::Criterion;

use super::WINDOW;

#[derive(Default)]
struct Sum(u64);

struct Add(u64);

impl Message for Add {
    type Result = u64;
}

impl Actor for Sum {
    type Context = Context<Self>;
}

impl Handler<Add> for Sum {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Self::Context) -> u64 {
        self.0 += n;
        self.0
    }
}

async fn tell(to: Addr<Sum>, messages: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..messages.div_ceil(WINDOW) {
        for _ in 1..WINDOW {
            #[expect(clippy::disallowed_methods, reason = "what is compared with")]
            to.do_send(Add(1));
        }
        to.send(Add(1)).await.expect("answered");
    }
    start.elapsed()
}

async fn ask(to: Addr<Sum>, messages: u64) -> Duration {
    let start = Instant::now();
    for _ in 0..messages {
        to.send(Add(1)).await.expect("answered");
    }
    start.elapsed()
}

/// The same loads.
pub(crate) fn bench(c: &mut Criterion) {
    let system = actix::System::new();
    let near = system.block_on(async { Sum::default().start() });
    let arbiter = system.block_on(async { actix::Arbiter::new() });
    let far = Sum::start_in_arbiter(&arbiter.handle(), |_| Sum::default());
    for (place, to) in [("one", near), ("two", far)] {
        c.bench_function(&format!("tell {place}/actix"), |b| {
            b.iter_custom(|n| {
                let work = tell(to.clone(), n);
                system.block_on(async { actix::spawn(work).await.expect("it ends") })
            });
        });
        c.bench_function(&format!("ask {place}/actix"), |b| {
            b.iter_custom(|n| {
                let work = ask(to.clone(), n);
                system.block_on(async { actix::spawn(work).await.expect("it ends") })
            });
        });
    }
}
