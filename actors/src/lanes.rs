//! Blocking lanes: named pools of threads for work that may block, each with its limit.
//!
//! Threads start on demand and stay, so that a child process tied to its parent thread's life is not cut off by
//! an idle pool. Work that taints its thread (joining a mount namespace) does not belong here.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::body::panic_fault;
use crate::clock::Clock;
use crate::crossings::Crossings;
use crate::engine::Workers;
use crate::eventual::{Eventual, Promise, Token, counted_promise};
use crate::lock;
use crate::outcome::{Address, Cause, Fault, Outcome, Refusal, Refused};
use crate::work::Unit;

#[cfg(feature = "testing")]
mod simulated;

/// How many jobs may wait in a lane.
pub(crate) const WAITING_MAX: usize = 1024;

/// One pool.
pub(crate) struct Lane {
    name: &'static str,
    threads_max: usize,
    clock: Clock,
    crossings: Crossings,
    #[cfg_attr(
        not(feature = "testing"),
        expect(dead_code, reason = "without it they are threads")
    )]
    workers: Workers,
    state: Mutex<State>,
    /// A job waits, or the lane closes. Threads of the lane wait for it.
    queued: Condvar,
    /// A job is over. A shutdown waits for it.
    finished: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: Vec<Option<Running>>,
    idle: usize,
    closed: bool,
    /// Told when no job runs.
    #[cfg(feature = "testing")]
    idle_promises: Vec<Promise<()>>,
}

#[derive(Clone)]
struct Running {
    label: &'static str,
    since: Instant,
    discard: crate::eventual::Discarder,
}

struct Job {
    label: &'static str,
    discard: crate::eventual::Discarder,
    run: Box<dyn FnOnce(Doom) + Send>,
}

/// Whether a job that reached the front is run.
enum Doom {
    Run,
    /// As `Run`, but it had begun when it was withdrawn, if it was.
    #[cfg(feature = "testing")]
    Begun,
    Discard(Cause),
}

/// What a lane is doing: a line of [`Runtime::lanes`](crate::Runtime::lanes).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaneStatus {
    /// Its name.
    pub name: &'static str,
    /// How many threads it may have.
    pub threads_max: usize,
    /// How many jobs wait for a thread.
    pub waiting: usize,
    /// The jobs that run: label and since when.
    pub running: Vec<(&'static str, Instant)>,
}

impl Lane {
    pub(crate) fn new(
        name: &'static str,
        threads_max: usize,
        workers: Workers,
        clock: &Clock,
        crossings: &Crossings,
    ) -> Arc<Self> {
        let (clock, crossings) = (clock.clone(), crossings.clone());
        let threads_max = threads_max.max(1);
        let (queued, finished) = (Condvar::new(), Condvar::new());
        let state = Mutex::default();
        Arc::new(Self { name, threads_max, clock, crossings, workers, state, queued, finished })
    }

    /// Queues `job`.
    pub(crate) fn submit<R: Send + 'static>(
        self: &Arc<Self>,
        label: &'static str,
        job: impl FnOnce(&Token) -> R + Send + 'static,
    ) -> Eventual<R> {
        self.crossings.note();
        let (promise, eventual) = counted_promise(self.crossings.clone());
        let unit = Unit::of(self.clock.work());
        let discard = eventual.discarder();
        let run = Box::new(move |doom| {
            perform(promise, doom, job);
            drop(unit);
        });
        if let Err((why, job)) = self.push(Job { label, discard, run }) {
            drop(job);
            let address = Address { to: self.name.into(), label };
            return Eventual::ended(Outcome::Failed(Fault::refused(Refused { address, why })));
        }
        eventual
    }

    fn push(self: &Arc<Self>, job: Job) -> Result<(), (Refusal, Job)> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err((Refusal::Gone, job));
        }
        if state.queue.len() >= WAITING_MAX {
            return Err((Refusal::Full { capacity: WAITING_MAX }, job));
        }
        state.queue.push_back(job);
        #[cfg(feature = "testing")]
        if let Workers::Simulated(machine) = &self.workers {
            self.assign(machine, &mut state);
            return Ok(());
        }
        // An idle thread that was notified still counts as idle until it runs, hence the comparison.
        if state.idle < state.queue.len() && state.running.len() < self.threads_max {
            let slot = state.running.len();
            let lane = Arc::clone(self);
            let name = format!("lane-{}-{slot}", self.name);
            let started = thread::Builder::new().name(name).spawn(move || lane.work(slot));
            match started {
                Ok(_) => state.running.push(None),
                // Fewer threads than allowed do; without any, nothing would ever run.
                Err(_) if !state.running.is_empty() => {}
                Err(_) => {
                    let job = state.queue.pop_back().expect("it was pushed above");
                    return Err((Refusal::Full { capacity: 0 }, job));
                }
            }
        }
        self.queued.notify_one();
        Ok(())
    }

    /// The life of one thread.
    fn work(&self, slot: usize) {
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.queue.pop_front() {
                let since = self.clock.now();
                let discard = job.discard;
                state.running[slot] = Some(Running { label: job.label, since, discard });
                let doom = if state.closed { Doom::Discard(Cause::Shutdown) } else { Doom::Run };
                drop(state);
                (job.run)(doom);
                state = lock(&self.state);
                state.running[slot] = None;
                self.finished.notify_all();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                let waited = self.queued.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }

    /// Takes nothing new, discards what waits and asks what runs to stop. Does not wait.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        let waiting = std::mem::take(&mut state.queue);
        let running: Vec<_> = state.running.iter().flatten().cloned().collect();
        drop(state);
        self.queued.notify_all();
        for job in running {
            job.discard.discard(Cause::Shutdown);
        }
        for job in waiting {
            (job.run)(Doom::Discard(Cause::Shutdown));
        }
    }

    /// Waits until no job runs, at most until `at`; gives the labels of those that still do.
    pub(crate) fn wait_idle(&self, at: Instant) -> Vec<&'static str> {
        let mut state = lock(&self.state);
        loop {
            let left: Vec<_> = state.running.iter().flatten().map(|job| job.label).collect();
            let time = at.saturating_duration_since(Instant::now());
            if left.is_empty() || time == Duration::ZERO {
                return left;
            }
            let waited = self.finished.wait_timeout(state, time);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn status(&self) -> LaneStatus {
        let state = lock(&self.state);
        LaneStatus {
            name: self.name,
            threads_max: self.threads_max,
            waiting: state.queue.len(),
            running: state.running.iter().flatten().map(|job| (job.label, job.since)).collect(),
        }
    }
}

/// Runs a job and answers its promise.
fn perform<R: Send + 'static>(
    promise: Promise<R>,
    doom: Doom,
    job: impl FnOnce(&Token) -> R + Send + 'static,
) {
    let token = promise.token();
    let withdrawn = match doom {
        Doom::Discard(cause) => Some(cause),
        // Maybe while it waited.
        Doom::Run => token.cause(),
        #[cfg(feature = "testing")]
        Doom::Begun => None,
    };
    if let Some(cause) = withdrawn {
        promise.end(Outcome::Discarded(cause));
    } else {
        match catch_unwind(AssertUnwindSafe(|| job(&token))) {
            Ok(value) => promise.set(value),
            Err(payload) => promise.fail(panic_fault(&*payload)),
        };
    }
}
