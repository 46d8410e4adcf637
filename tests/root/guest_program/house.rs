//! A program that does as it likes: the house in which two containerizers are guests.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, System};
use dashmap_other::DashMap;
use nix_other::errno::Errno;
use nix_other::sys::stat::{Mode, umask};
use nix_other::sys::wait::{WaitStatus, waitpid};
use nix_other::unistd::{chdir, getcwd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that everything this process executes would inherit.
const DESCRIPTORS: usize = 5_000;

/// Between two pranks.
const PAUSE: Duration = Duration::from_micros(200);

/// Masks that open everything, shut everybody out, and what lies between.
const MASKS: [u32; 5] = [0, 0o777, 0o077, 0o022, 0o570];

/// Who learns how this process' children end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Children {
    /// A loop of waitpid(-1).
    Reaped,
    /// Nobody: SIGCHLD is ignored, and a loop of waitpid(-1) runs all the same.
    Ignored,
}

/// Everything that goes on in the process besides its guests.
pub(super) struct House {
    children: Children,
    quiet: Arc<Quiet>,
    seen: Arc<DashMap<i32, Option<i32>>>,
    threads: Vec<JoinHandle<u64>>,
    tasks: tokio::runtime::Runtime,
    ticks: Arc<AtomicU64>,
    open: Vec<OwnedFd>,
    memory: Vec<u8>,
    /// Exit codes that our own children will have, by pid.
    expected: BTreeMap<i32, i32>,
}

/// Says when it is over.
#[derive(Debug, Default)]
struct Quiet {
    over: Mutex<bool>,
    told: Condvar,
}

impl Quiet {
    fn tell(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.told.notify_all();
    }

    /// Waits for a moment; whether it is over.
    fn after(&self, pause: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.told.wait_timeout_while(over, pause, |over| !*over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl House {
    /// Begins all of it; `places` are directories to stray through.
    pub(super) fn begin(children: Children, memory: usize, places: Vec<PathBuf>) -> Self {
        raise_descriptors();
        let quiet = Arc::new(Quiet::default());
        let seen = Arc::new(DashMap::new());
        let ticks = Arc::new(AtomicU64::new(0));
        let thread = |work: Box<dyn FnOnce(&Quiet) -> u64 + Send>| {
            let quiet = Arc::clone(&quiet);
            std::thread::spawn(move || work(&quiet))
        };
        let reaped = Arc::clone(&seen);
        let threads = vec![
            thread(Box::new(move |quiet| stray(quiet, &places))),
            thread(Box::new(move |quiet| reap(quiet, &reaped))),
            thread(Box::new(act)),
        ];
        let null = File::open("/dev/null").expect("it is there");
        let dup = |_| rustix::io::dup(&null).expect("the limit was raised");
        Self {
            children,
            threads,
            tasks: tasks(&ticks),
            ticks,
            open: (0..DESCRIPTORS).map(dup).collect(),
            memory: vec![1; memory],
            expected: BTreeMap::new(),
            quiet,
            seen,
        }
    }

    /// Starts a child of this process' own, for which nobody but the loop of waitpid(-1) waits.
    pub(super) fn child(&mut self, code: i32) {
        let child = Command::new("/bin/sh").args(["-c", &format!("exit {code}")]).spawn();
        let pid = child.expect("a shell can be started").id();
        self.expected.insert(i32::try_from(pid).expect("pids are small"), code);
    }

    /// Ends all of it, and fails if anything of it was disturbed. Processes of the guests may have
    /// come by our waitpid(-1), which a program that waits like this has to expect of any library.
    pub(super) fn end(self) {
        for fd in &self.open {
            let flags = rustix::io::fcntl_getfd(fd).expect("nobody has closed it");
            assert!(flags.is_empty(), "nobody has marked it");
        }
        let touched =
            self.memory.iter().step_by(4096).map(|byte| usize::from(*byte)).sum::<usize>();
        assert_eq!(touched, self.memory.len().div_ceil(4096));
        let before = self.ticks.load(Ordering::Relaxed);
        while self.ticks.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
        self.quiet.tell();
        for thread in self.threads {
            let done = thread.join().expect("it was not disturbed");
            assert!(done > 10, "it has hardly done anything: {done}");
        }
        drop(self.tasks);
        chdir("/").expect("it is there");
        umask(Mode::from_bits_truncate(0o022));
        let seen: BTreeMap<_, _> =
            self.seen.iter().map(|entry| (*entry.key(), *entry.value())).collect();
        if self.children == Children::Reaped {
            for (pid, code) in &self.expected {
                assert_eq!(seen.get(pid), Some(&Some(*code)), "our own child {pid}");
            }
        }
    }
}

/// As many as are allowed.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < 2 * DESCRIPTORS as u64) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("up to the hard limit");
    }
}

/// Changes the working directory and the umask at random, and notices if somebody else does.
fn stray(quiet: &Quiet, places: &[PathBuf]) -> u64 {
    let (mut random, mut rounds) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    let mut mask = 0o022;
    umask(Mode::from_bits_truncate(mask));
    while !quiet.after(PAUSE) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let pick = |count: usize| usize::try_from(random >> 33).expect("31 bits") % count;
        let place = &places[pick(places.len())];
        chdir(place).expect("it is there");
        let next = MASKS[pick(MASKS.len())];
        let last = umask(Mode::from_bits_truncate(next));
        assert_eq!(last, Mode::from_bits_truncate(mask), "somebody else has set the umask");
        assert_eq!(getcwd().expect("it is there"), *place, "somebody else has changed directory");
        (mask, rounds) = (next, rounds + 1);
    }
    rounds
}

/// Waits for any child, for as long as there may be one.
fn reap(quiet: &Quiet, seen: &DashMap<i32, Option<i32>>) -> u64 {
    let mut looks = 0;
    loop {
        looks += 1;
        match waitpid(None, None) {
            Ok(WaitStatus::Exited(pid, code)) => drop(seen.insert(pid.as_raw(), Some(code))),
            Ok(WaitStatus::Signaled(pid, ..)) => drop(seen.insert(pid.as_raw(), None)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) if quiet.after(PAUSE) => return looks,
            Err(_) => {}
        }
    }
}

/// An actor that counts.
struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

/// Counts one more; the sum.
struct One;

impl Message for One {
    type Result = u64;
}

impl Handler<One> for Counter {
    type Result = u64;

    fn handle(&mut self, _: One, _: &mut Self::Context) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// An actix system of the house's own.
fn act(quiet: &Quiet) -> u64 {
    let system = System::new();
    let counted = system.block_on(async {
        let counter = Counter(0).start();
        loop {
            let sum = counter.send(One).await.expect("it lives as long as its system");
            if quiet.after(PAUSE) {
                return sum;
            }
        }
    });
    System::current().stop();
    system.run().expect("it was told to stop");
    counted
}

/// An event loop of the house's own, with timers on several threads.
fn tasks(ticks: &Arc<AtomicU64>) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime can be made");
    for _ in 0..4 {
        let ticks = Arc::clone(ticks);
        runtime.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(1));
            loop {
                tick.tick().await;
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    runtime
}

/// Whether this process ignores the end of its children.
pub(super) fn ignores_children() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("proc(5)");
    let bits = u64::from_str_radix(line.trim(), 16).expect("the kernel prints a number");
    bits & (1 << 16) != 0
}
