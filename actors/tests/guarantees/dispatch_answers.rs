//! A dispatch reaches its actor and brings the answer back, whoever asks from wherever.

use std::time::Duration;

use longshore_actors::{
    Cx, Handle, Handler, Message, Process, Reply, Runtime, ShutdownPlan, Spawn,
};

const PATIENCE: Duration = Duration::from_secs(10);

struct Add(u64);

impl Message for Add {
    type Reply = u64;
}

#[derive(Default)]
struct Sum(u64);

impl Process for Sum {}

impl Handler<Add> for Sum {
    fn handle(&mut self, Add(n): Add, _: &mut Cx<Self>) -> Reply<u64> {
        self.0 += n;
        Reply::now(self.0)
    }
}

struct Relay(Handle<Add>);

impl Process for Relay {}

impl Handler<Add> for Relay {
    fn handle(&mut self, add: Add, _: &mut Cx<Self>) -> Reply<u64> {
        self.0.dispatch(add, PATIENCE).into()
    }
}

#[test]
fn a_plain_thread_gets_the_answer() {
    let runtime = Runtime::builder().build().expect("threads");
    let sum = runtime.spawn(Spawn::new("sum", Sum::default)).expect("spawned");
    sum.notify(Add(1)).expect("admitted");
    let answer = sum.dispatch(Add(2), PATIENCE).blocking_wait().into_result();
    assert_eq!(answer.expect("answered"), 3);
}

#[test]
fn an_answer_passes_through_an_actor_on_another_arbiter() {
    let runtime = Runtime::builder().group("main", 2).build().expect("threads");
    let sum = runtime.spawn(Spawn::new("sum", Sum::default)).expect("spawned").handle();
    let relay = runtime.spawn(Spawn::new("relay", || Relay(sum))).expect("spawned");
    let answer = relay.dispatch(Add(2), PATIENCE).blocking_wait().into_result();
    assert_eq!(answer.expect("answered"), 2);
}

#[tokio::test]
async fn a_foreign_executor_gets_the_answer() {
    let runtime = Runtime::builder().build().expect("threads");
    let sum = runtime.spawn(Spawn::new("sum", Sum::default)).expect("spawned");
    assert_eq!(sum.dispatch(Add(7), PATIENCE).result().await.expect("answered"), 7);
    let report = runtime.shutdown(ShutdownPlan::within(PATIENCE)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.drained.len(), 1);
}

#[test]
fn a_closure_can_stand_for_an_actor() {
    let runtime = Runtime::builder().build().expect("threads");
    let fake = Handle::from_fn(&runtime, "fake", |Add(n)| Reply::now(n * 10)).expect("spawned");
    let answer = fake.dispatch(Add(4), PATIENCE).blocking_wait().into_result();
    assert_eq!(answer.expect("answered"), 40);
    assert_eq!(fake.pid().name(), "fake");
}
