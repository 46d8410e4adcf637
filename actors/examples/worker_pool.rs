//! A pool of workers under a supervisor: one that panics is started again, and the others work on.

use std::time::Duration;

use longshore_actors::{
    Backoff, ChildSpec, Cx, FaultKind, Handler, Intensity, Lost, Message, Pid, Process, Reply,
    Role, RoleHandle, Runtime, ShutdownPlan, Strategy, Supervisor,
};

const PATIENCE: Duration = Duration::from_secs(5);
const WORKERS: usize = 3;

/// Divides 100 by the number.
struct Divide(u32);

impl Message for Divide {
    type Reply = u32;
}

/// Knows how much it has done since it was started.
#[derive(Default)]
struct Worker {
    done: u32,
}

impl Process for Worker {}

impl Handler<Divide> for Worker {
    fn handle(&mut self, Divide(by): Divide, _: &mut Cx<Self>) -> Reply<u32> {
        self.done += 1;
        // Zero is the bug that a supervisor is for.
        Reply::now(100 / by)
    }
}

/// Starts the pool; the roles lead to the workers of the moment.
fn pool(
    runtime: &Runtime,
) -> Result<(Pid<Supervisor>, Vec<RoleHandle<Divide>>), longshore_actors::SpawnError> {
    let roles: Vec<Role<Worker>> = (0..WORKERS).map(|n| Role::new(format!("worker {n}"))).collect();
    let supervisor = Supervisor::new(Strategy::OneForOne)
        .intensity(Intensity::new(10, Duration::from_secs(10)))
        .backoff(Backoff::doubling(Duration::from_millis(1), Duration::from_millis(100)));
    let supervisor = roles.iter().fold(supervisor, |supervisor, role| {
        supervisor.child(ChildSpec::new(role.name(), Worker::default).role(role))
    });
    Ok((supervisor.start(runtime, "pool")?, roles.iter().map(Role::handle).collect()))
}

/// Asks, and asks again while the worker is being started; one that panicked is not asked the same again.
fn divide(runtime: &Runtime, worker: &RoleHandle<Divide>, by: u32) -> Result<u32, Lost> {
    loop {
        match worker.dispatch(Divide(by), PATIENCE).blocking_wait().into_result() {
            Err(Lost::Failed { fault, .. }) if matches!(fault.kind(), FaultKind::Vacant(_)) => {
                drop(runtime.clock().after(Duration::from_millis(1)).blocking_wait());
            }
            answer => return answer,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().group("main", 2).build()?;
    let (pool, workers) = pool(&runtime)?;
    for (n, by) in [4, 0, 5, 10, 0, 20, 50].into_iter().enumerate() {
        match divide(&runtime, &workers[n % WORKERS], by) {
            Ok(answer) => println!("100 / {by} = {answer}"),
            Err(lost) => println!("100 / {by}: {lost}"),
        }
    }
    // One more, on demand.
    let spare = pool.start_child(ChildSpec::new("spare", Worker::default), PATIENCE);
    let spare = spare.blocking_wait().into_result()?;
    println!("100 / 25 = {}", spare.dispatch(Divide(25), PATIENCE).blocking_wait().into_result()?);
    for branch in runtime.tree() {
        print!("{branch}");
    }
    let report = runtime.begin_shutdown(ShutdownPlan::within(PATIENCE).first("pool"));
    assert!(report.blocking_wait().into_result()?.is_clean());
    Ok(())
}
