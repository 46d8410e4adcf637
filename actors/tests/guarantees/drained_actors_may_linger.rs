//! An actor that has been drained may finish what it has under way, and ends when it says so.

use std::sync::mpsc::Sender;
use std::time::Duration;

use longshore_actors::{
    Cx, Drained, Exit, Handler, Pid, Process, Refusal, Reply, ShutdownPlan, Spawn,
};

use super::support::{Note, PATIENCE, World};

const SECOND: Duration = Duration::from_secs(1);

/// Works for a second after each note, and lingers until nothing is under way.
struct Worker {
    log: Sender<String>,
    under_way: usize,
    drained: bool,
}

impl Worker {
    fn finish(&mut self, text: &str, cx: &Cx<Self>) {
        // The test may have stopped listening.
        let _ = self.log.send(text.to_owned());
        self.under_way -= 1;
        if self.drained && self.under_way == 0 {
            cx.stop();
        }
    }
}

impl Process for Worker {
    fn drained(&mut self, _: &mut Cx<Self>) -> Drained {
        let _ = self.log.send("drained".to_owned());
        self.drained = true;
        if self.under_way == 0 { Drained::End } else { Drained::Linger }
    }
}

impl Handler<Note> for Worker {
    fn handle(&mut self, note: Note, cx: &mut Cx<Self>) -> Reply<usize> {
        self.under_way += 1;
        cx.after(SECOND, "work", move |worker, cx| worker.finish(&note.0, cx));
        Reply::now(0)
    }
}

fn worker(world: &World) -> Pid<Worker> {
    let log = world.log.clone();
    let made = move || Worker { log, under_way: 0, drained: false };
    world.runtime.spawn(Spawn::new("worker", made)).expect("the name is free")
}

#[tokio::test]
async fn who_lingers_finishes_its_timers_and_ends_when_it_says_so() {
    let world = World::virtual_();
    let (pid, clock) = (worker(&world), world.runtime.clock());
    pid.notify(Note("one".into())).expect("room");
    pid.notify(Note("two".into())).expect("room");
    let exit = pid.drain();
    clock.settle().await;
    assert_eq!(world.so_far(), ["drained"]);
    assert_eq!(pid.notify(Note("late".into())).expect_err("closed").why, Refusal::Draining);
    assert!(!exit.is_done());
    clock.advance(SECOND);
    clock.settle().await;
    assert_eq!(world.so_far(), ["one", "two"]);
    assert!(matches!(exit.await.into_result(), Ok(Exit::Normal)));
}

#[tokio::test]
async fn who_has_nothing_to_finish_ends_at_once() {
    let world = World::virtual_();
    let exit = worker(&world).drain();
    world.runtime.clock().settle().await;
    assert!(exit.is_done());
    assert_eq!(world.so_far(), ["drained"]);
}

#[tokio::test]
async fn a_kill_ends_who_lingers() {
    let world = World::virtual_();
    let pid = worker(&world);
    pid.notify(Note("one".into())).expect("room");
    drop(pid.drain());
    world.runtime.clock().settle().await;
    let exit = pid.kill("enough").await.into_result();
    assert!(matches!(exit, Ok(Exit::Killed("enough"))));
    assert_eq!(world.so_far(), ["drained"], "it is asked once");
}

#[tokio::test]
async fn a_shutdown_names_who_lingers_too_long() {
    let world = World::virtual_();
    worker(&world).notify(Note("one".into())).expect("room");
    let plan = ShutdownPlan::within(PATIENCE).each(Duration::from_millis(10));
    let report = world.runtime.shutdown(plan).await;
    assert_eq!(report.offenders.len(), 1, "{:?}", report.offenders);
}
