//! A search finds a schedule under which a scenario fails, shrinks it to what the failure needs, and draws it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_actors::{
    Cx, Eventual, Handle, Handler, Message, Outcome, Process, Promise, Reply, Runtime, Schedule,
    Search, Simulation, Spawn,
};

use super::support::{Note, PATIENCE, Probe, act};

const SECOND: Duration = Duration::from_secs(1);

/// What exists outside the actors; jobs change it.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<BTreeSet<&'static str>>>);

impl Outside {
    fn held(&self) -> BTreeSet<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<&'static str>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// When a keeper that is told to destroy cleans up.
#[derive(Clone, Copy, PartialEq)]
enum Cleans {
    AtOnce,
    WhenPrepared,
}

/// Prepares something on a lane when told to launch, and cleans up when told to destroy.
struct Keeper {
    outside: Outside,
    cleans: Cleans,
    preparing: bool,
    destroy: Option<Promise<()>>,
}

struct Launch;
struct Destroy;

impl Message for Launch {
    type Reply = ();
}
impl Message for Destroy {
    type Reply = ();
}
impl Process for Keeper {}

impl Handler<Launch> for Keeper {
    fn handle(&mut self, _: Launch, cx: &mut Cx<Self>) -> Reply<()> {
        self.preparing = true;
        let outside = self.outside.clone();
        let prepare = move |_: &_| outside.change(|held| assert!(held.insert("mount")));
        cx.run("prepared", cx.blocking("bulk", "prepare", prepare), |keeper, cx, _| {
            keeper.preparing = false;
            if let Some(promise) = keeper.destroy.take() {
                keeper.clean(promise, cx);
            }
        });
        Reply::now(())
    }
}

impl Handler<Destroy> for Keeper {
    fn handle(&mut self, _: Destroy, cx: &mut Cx<Self>) -> Reply<()> {
        let (promise, reply) = Reply::promised();
        if self.preparing && self.cleans == Cleans::WhenPrepared {
            self.destroy = Some(promise);
        } else {
            self.clean(promise, cx);
        }
        reply
    }
}

impl Keeper {
    fn clean(&self, promise: Promise<()>, cx: &Cx<Self>) {
        let outside = self.outside.clone();
        let clean =
            move |_: &_| outside.change(|held| assert!(held.remove("mount") || held.is_empty()));
        cx.run("cleaned", cx.blocking("bulk", "clean", clean), |_, _, _| assert!(promise.set(())));
    }
}

/// A launch and a destroy; nothing must be left.
fn keep(cleans: Cleans) -> impl Fn(&Simulation) -> Result<(), String> {
    move |sim| {
        let outside = Outside::default();
        let kept = outside.clone();
        let spawn = Spawn::new("keeper", move || Keeper {
            outside: kept,
            cleans,
            preparing: false,
            destroy: None,
        });
        let keeper = sim.runtime().spawn(spawn).map_err(|error| error.to_string())?;
        keeper.notify(Launch).map_err(|error| error.to_string())?;
        let destroyed = keeper.dispatch(Destroy, PATIENCE);
        sim.advance(PATIENCE);
        if !destroyed.is_done() {
            return Err("the destroy was not answered".to_owned());
        }
        match outside.held() {
            held if held.is_empty() => Ok(()),
            held => Err(format!("left behind: {held:?}")),
        }
    }
}

fn search() -> Search {
    Search::new(Runtime::builder().group("main", 2).lane("bulk", 2))
}

#[test]
fn a_cleanup_that_does_not_wait_for_the_prepare_is_found_shrunk_and_drawn() {
    let finding = search().find(keep(Cleans::AtOnce)).expect("a bug is in it");
    println!("{finding}");
    assert_eq!(finding.text, "left behind: {\"mount\"}");
    assert!(finding.replayable);
    assert!(finding.shrunk.switches() <= Some(2), "{finding}");
    assert!(finding.shrunk.switches() <= finding.recorded.switches());
    for part in ["keeper", "lane bulk", "[prepare]", "[clean]", "--Destroy", "cleaned"] {
        assert!(finding.diagram.contains(part), "no {part} in\n{finding}");
    }
    let clean = finding.diagram.find("[clean]").expect("it was drawn");
    assert!(clean < finding.diagram.find("[prepare]").expect("it was drawn"), "{finding}");
}

#[test]
fn what_was_shrunk_fails_again_and_needs_each_of_its_switches() {
    let finding = search().find(keep(Cleans::AtOnce)).expect("a bug is in it");
    let shrunk: Schedule = finding.shrunk.to_string().parse().expect("a schedule");
    let run = |schedule: Schedule| {
        let builder = Runtime::builder().group("main", 2).lane("bulk", 2);
        keep(Cleans::AtOnce)(&builder.simulated(schedule).expect("well-formed"))
    };
    assert_eq!(run(shrunk).err(), Some(finding.text));
    assert_eq!(run(Schedule::usual(finding.found.seed())), Ok(()));
}

#[test]
fn where_no_bug_is_none_is_found() {
    search().check(keep(Cleans::WhenPrepared));
    search().pct(3, 60).hurried(20).check(keep(Cleans::WhenPrepared));
}

#[test]
fn a_check_that_fails_says_seed_schedule_and_diagram() {
    let run = AssertUnwindSafe(|| search().check(keep(Cleans::AtOnce)));
    let payload = catch_unwind(run).expect_err("a bug is in it");
    let text = payload.downcast::<String>().expect("a text");
    for part in ["left behind", "found by \"random ", "shrunk to \"recorded ", "keeper"] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

/// Says a word to the other, in so many turns.
struct Slow {
    turns: u32,
    to: Handle<Note>,
}

struct Go;

impl Message for Go {
    type Reply = ();
}
impl Process for Slow {}

impl Handler<Go> for Slow {
    fn handle(&mut self, _: Go, cx: &mut Cx<Self>) -> Reply<()> {
        self.turns -= 1;
        let sent =
            if self.turns > 0 { cx.me().notify(Go) } else { self.to.notify(Note("late".into())) };
        sent.expect("room");
        Reply::now(())
    }
}

/// Fails where the slow one's twenty turns all come before the quick one's single turn.
fn quick_and_slow(sim: &Simulation) -> Result<(), String> {
    let (log, said) = std::sync::mpsc::channel();
    let to = sim.runtime().spawn(Spawn::new("to", move || Probe::new(&log))).expect("free");
    let slow = Spawn::new("slow", {
        let to = to.handle();
        move || Slow { turns: 20, to }
    });
    let slow = sim.runtime().spawn(slow).expect("free");
    let quick = Spawn::new("quick", || Probe::new(&std::sync::mpsc::channel().0));
    let quick = sim.runtime().spawn(quick).expect("free");
    slow.notify(Go).expect("room");
    quick.notify(act(move |_, _| to.notify(Note("early".into())).expect("room"))).expect("room");
    sim.run_until_settled();
    match said.try_iter().next() {
        Some(first) if first == "late" => Err("the slow one was first".to_owned()),
        _ => Ok(()),
    }
}

#[test]
fn priorities_find_what_random_schedules_hardly_ever_do() {
    let random = search().find(quick_and_slow);
    assert!(random.is_none(), "{random:?}");
    let finding = search().pct(1, 60).seeds(0..50).find(quick_and_slow).expect("found");
    assert!(finding.shrunk.switches() <= Some(2), "{finding}");
}

/// Asks with a deadline and takes a missing answer for a missing effect.
fn asks_with_a_deadline(sim: &Simulation) -> Result<(), String> {
    let (log, said) = std::sync::mpsc::channel();
    let pid = sim.runtime().spawn(Spawn::new("a", move || Probe::new(&log))).expect("free");
    let answer: Eventual<usize> = pid.dispatch(Note("x".into()), SECOND);
    let outcome = sim.block_on(answer);
    sim.run_until_settled();
    match outcome {
        Outcome::Ok(_) => Ok(()),
        _ if said.try_iter().count() == 0 => Ok(()),
        other => Err(format!("no answer, and yet it was handled: {other:?}")),
    }
}

#[test]
fn where_time_hurries_deadlines_pass_while_work_waits() {
    assert!(search().find(asks_with_a_deadline).is_none());
    let finding = search().hurried(100).find(asks_with_a_deadline).expect("found");
    assert_eq!(finding.shrunk.switches(), Some(1), "{finding}");
    assert!(finding.replayable && finding.diagram.contains("------ 1s ------"), "{finding}");
}

#[test]
fn what_is_not_simulated_is_said_to_be_so() {
    let runs = AtomicU32::new(0);
    let finding = search().find(|sim| {
        let run = runs.fetch_add(1, Ordering::Relaxed);
        let texts = (0..run % 7).map(|_| Note("x".into()));
        let sent = quick_and_slow(sim).and_then(|()| {
            let pid = sim
                .runtime()
                .spawn(Spawn::new("more", || Probe::new(&std::sync::mpsc::channel().0)));
            let pid = pid.map_err(|error| error.to_string())?;
            texts.for_each(|text| pid.notify(text).expect("room"));
            sim.run_until_settled();
            Ok(())
        });
        sent.and(if run == 0 { Err("the first".to_owned()) } else { Ok(()) })
    });
    let finding = finding.expect("the first run fails");
    assert!(!finding.replayable && finding.trials == 0);
    assert!(finding.to_string().contains("not simulated"), "{finding}");
}
