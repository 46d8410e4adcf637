//! The last handle that is dropped ends the runtime without waiting, and leaves no thread behind.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use longshore_actors::{Cx, Exit, Handler, Message, Process, Reply, Runtime, Spawn};

struct Hold {
    reached: Sender<()>,
    until: Receiver<()>,
}

impl Message for Hold {
    type Reply = ();
}

struct Holder;

impl Process for Holder {}

impl Handler<Hold> for Holder {
    fn handle(&mut self, hold: Hold, _: &mut Cx<Self>) -> Reply<()> {
        hold.reached.send(()).expect("the test waits for it");
        // Ends when the test drops the sender.
        let _ = hold.until.recv();
        Reply::now(())
    }
}

/// The names of the threads of this process that a runtime made.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a Linux system");
    let names = tasks.filter_map(|task| {
        // A thread may end while it is looked at.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    let ours = |name: &String| ["actors-", "actix-", "lane-"].iter().any(|p| name.starts_with(p));
    names.filter(ours).collect()
}

#[test]
fn the_drop_returns_while_an_actor_hangs_and_all_threads_end_when_it_does() {
    let runtime = Runtime::builder().group("main", 2).lane("bulk", 1).build().expect("threads");
    let pid = runtime.spawn(Spawn::new("a", || Holder)).expect("spawned");
    let clone = runtime.clone();
    let inside = runtime.clock().after(Duration::from_secs(3600));
    runtime.blocking("bulk", "nothing", |_| ()).blocking_wait().into_result().expect("it runs");
    let (release, until) = channel();
    let (reached, hangs) = channel();
    let asked = pid.dispatch(Hold { reached, until }, Duration::from_secs(3600));
    hangs.recv().expect("the actor begins to hang");
    let exit = pid.exit();
    // The system, two arbiters, the lane's thread and the clock's; each names itself when it first runs.
    while threads().len() < 5 {
        std::thread::yield_now();
    }
    drop(clone);
    assert!(!exit.is_done());
    drop(runtime);
    assert!(!exit.is_done(), "the drop did not wait for the actor");
    drop(release);
    let exit = exit.blocking_wait().into_result();
    assert!(matches!(exit, Ok(Exit::Killed("the runtime was dropped"))), "{exit:?}");
    drop((asked, inside, pid));
    // The threads end by themselves, soon but not at once.
    while !threads().is_empty() {
        std::thread::yield_now();
    }
}
