//! A counter: told to add, asked for its value, and asked to say when a value is reached.

use std::time::Duration;

use longshore_actors::{
    Cx, Eventual, Handler, Message, Pid, Process, Promise, Reply, Runtime, ShutdownPlan, Spawn, all,
};

const PATIENCE: Duration = Duration::from_secs(1);

/// Adds to the counter.
struct Add(u64);

impl Message for Add {
    type Reply = ();
}

/// Asks for the value.
struct Value;

impl Message for Value {
    type Reply = u64;
}

/// Is answered when the counter has reached a value.
struct Reached(u64);

impl Message for Reached {
    type Reply = u64;
}

/// The only owner of the value: nobody has to lock it.
#[derive(Default)]
struct Counter {
    value: u64,
    waiting: Vec<(u64, Promise<u64>)>,
}

impl Process for Counter {}

impl Handler<Add> for Counter {
    fn handle(&mut self, Add(n): Add, _: &mut Cx<Self>) -> Reply<()> {
        self.value += n;
        for (_, promise) in self.waiting.extract_if(.., |(at, _)| *at <= self.value) {
            promise.set(self.value);
        }
        Reply::now(())
    }
}

impl Handler<Value> for Counter {
    fn handle(&mut self, _: Value, _: &mut Cx<Self>) -> Reply<u64> {
        Reply::now(self.value)
    }
}

impl Handler<Reached> for Counter {
    fn handle(&mut self, Reached(at): Reached, _: &mut Cx<Self>) -> Reply<u64> {
        if at <= self.value {
            return Reply::now(self.value);
        }
        let (promise, reply) = Reply::promised();
        self.waiting.push((at, promise));
        reply
    }
}

/// Asks for the value, and makes a text of it or of the reason why there is none.
fn describe(counter: &Pid<Counter>) -> Eventual<String> {
    let value = counter.dispatch(Value, PATIENCE).map(|n| format!("the counter is at {n}"));
    value.recover(|lost| Eventual::ready(format!("nobody counts: {lost}")))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().build()?;
    let counter = runtime.spawn(Spawn::new("counter", Counter::default))?;
    let ten = counter.dispatch(Reached(10), PATIENCE);
    let additions = (1..=4).map(|n| counter.dispatch(Add(n), PATIENCE)).collect();
    all(additions).blocking_wait().into_result()?;
    println!("it has reached {}", ten.blocking_wait().into_result()?);
    println!("{}", describe(&counter).blocking_wait().into_result()?);
    let never = counter.dispatch(Reached(99), PATIENCE).within(&runtime.clock(), PATIENCE / 20);
    println!("{}", never.blocking_wait().into_result().expect_err("nobody adds"));
    counter.kill("it has counted enough").blocking_wait();
    println!("{}", describe(&counter).blocking_wait().into_result()?);
    let report = runtime.begin_shutdown(ShutdownPlan::within(PATIENCE));
    assert!(report.blocking_wait().into_result()?.is_clean());
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it runs to its end");
}
