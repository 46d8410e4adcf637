//! A runtime with nothing to do does nothing: none of its threads wakes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longshore_actors::{Clock, Cx, Handler, Message, Process, Reply, Runtime, Spawn};

struct Ping;

impl Message for Ping {
    type Reply = ();
}

struct Idle;

impl Process for Idle {}

impl Handler<Ping> for Idle {
    fn handle(&mut self, _: Ping, cx: &mut Cx<Self>) -> Reply<()> {
        cx.after(Duration::from_secs(3600), "much later", |_, _| ());
        cx.run("forever", std::future::pending::<()>(), |_, _, ()| ());
        Reply::now(())
    }
}

/// How often the threads of the runtime have gone to sleep.
fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a Linux system");
    let mut sum = 0;
    for task in tasks {
        let path = task.expect("a directory entry").path();
        let Ok(name) = std::fs::read_to_string(path.join("comm")) else { continue };
        if !["actors-", "actix-", "lane-"].iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        let Ok(status) = std::fs::read_to_string(path.join("status")) else { continue };
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.expect("every kernel counts them").trim().parse::<u64>().expect("a number");
    }
    sum
}

/// Lets real time pass, on a clock whose thread is none of the runtime's.
fn pass(time: Duration) {
    let start = Instant::now();
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    let ended = wait.recv_timeout(time);
    assert!(ended.is_err() && start.elapsed() >= time);
}

#[test]
fn no_thread_wakes_while_nothing_happens() {
    let builder = Runtime::builder().group("main", 2).group("kernel", 2).lane("bulk", 2);
    let runtime = builder.clock(Clock::real()).build().expect("threads");
    for n in 0..100 {
        let pid = runtime.spawn(Spawn::new(format!("idle/{n}"), || Idle)).expect("spawned");
        let answer = pid.dispatch(Ping, Duration::from_secs(3600));
        answer.blocking_wait().into_result().expect("answered");
    }
    runtime.blocking("bulk", "nothing", |_| ()).blocking_wait().into_result().expect("it runs");
    let mut command = Command::new("cat");
    let child = runtime.subprocess(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let child = child.expect("there is cat");
    pass(Duration::from_millis(200));
    let before = sleeps();
    pass(Duration::from_millis(500));
    assert_eq!(sleeps(), before);
    // It goes on reading until its pipe is closed.
    assert!(!child.status().is_done());
}
