//! The ordered end of a runtime: drain, then kill, then report who did not obey. Always within its deadline.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};
#[cfg(feature = "testing")]
use std::{pin::Pin, task::Poll};

#[cfg(feature = "testing")]
use crate::clock::Clock;
use crate::control::Turn;
#[cfg(feature = "testing")]
use crate::engine::Engine;
use crate::eventual::{Eventual, Promise, promise};
use crate::lanes::Lane;
use crate::lock;
use crate::outcome::Outcome;
use crate::pid::AnyPid;
use crate::runtime::{Inner, Runtime};
#[cfg(feature = "testing")]
use crate::simulation;

/// How a runtime shuts down.
#[derive(Clone, Debug)]
pub struct ShutdownPlan {
    deadline: Duration,
    each: Duration,
    first: Vec<String>,
}

impl ShutdownPlan {
    /// Drains all actors in reverse start order and takes at most `deadline` of real time for everything. One
    /// actor gets at most a quarter of it.
    pub fn within(deadline: Duration) -> Self {
        Self { deadline, each: deadline / 4, first: Vec::new() }
    }

    /// Gives each actor at most this time to drain before it is killed.
    pub fn each(mut self, limit: Duration) -> Self {
        self.each = limit;
        self
    }

    /// Drains this actor before those in reverse start order; called again, after the ones named before.
    pub fn first(mut self, name: impl Into<String>) -> Self {
        self.first.push(name.into());
        self
    }
}

/// How a shutdown went.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Actors that drained, in the order in which they ended.
    pub drained: Vec<Arc<str>>,
    /// Who did not end when told to.
    pub offenders: Vec<Offender>,
    /// How long it took.
    pub took: Duration,
}

impl ShutdownReport {
    /// True when everything ended in order.
    pub fn is_clean(&self) -> bool {
        self.offenders.is_empty()
    }
}

/// What did not end when told to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Offender {
    /// An actor did not drain in time and was killed.
    Actor {
        /// Its name.
        name: Arc<str>,
        /// What it was doing.
        current: Option<Turn>,
        /// How many messages it left.
        depth: usize,
    },
    /// A blocking job did not return.
    Job {
        /// The lane it runs on.
        lane: &'static str,
        /// Its label.
        label: &'static str,
    },
    /// A thread of actors did not end.
    Arbiter {
        /// Its group.
        group: &'static str,
        /// Its index.
        index: usize,
    },
}

/// The state of a runtime's shutdown.
#[derive(Default)]
pub(crate) struct Shutdown {
    closed: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
enum Progress {
    #[default]
    Open,
    Running(Vec<Promise<ShutdownReport>>),
    Over(ShutdownReport),
}

/// Nothing new is taken.
pub(crate) struct Closed;

impl Shutdown {
    pub(crate) fn check_open(&self) -> Result<(), Closed> {
        if self.closed.load(Ordering::SeqCst) { Err(Closed) } else { Ok(()) }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

impl Runtime {
    /// Ends everything in order: no new actors; actors drain, those named by the plan first, then in reverse start
    /// order; who does not drain in time is killed; blocking lanes, arbiters, the system. The deadline is in real
    /// time, whatever the runtime's clock, but in a simulation, which has no other. A second call gets the report of the first. It goes on when the
    /// returned future is dropped.
    pub async fn shutdown(&self, plan: ShutdownPlan) -> ShutdownReport {
        match self.begin_shutdown(plan).await {
            Outcome::Ok(report) => report,
            Outcome::Failed(_) | Outcome::Discarded(_) | Outcome::Abandoned(_) => {
                unreachable!("the coordinator answers everybody and is never discarded")
            }
        }
    }

    /// As [`Runtime::shutdown`], for callers outside any executor: it starts at once.
    pub fn begin_shutdown(&self, plan: ShutdownPlan) -> Eventual<ShutdownReport> {
        let (promise, eventual) = promise();
        let mut progress = lock(&self.inner.shutdown.progress);
        match &mut *progress {
            Progress::Over(report) => {
                let report = report.clone();
                drop(progress);
                promise.set(report);
            }
            Progress::Running(waiting) => waiting.push(promise),
            open @ Progress::Open => {
                *open = Progress::Running(vec![promise]);
                drop(progress);
                self.coordinate(plan);
            }
        }
        eventual
    }

    /// Nothing is spawned any more.
    pub(crate) fn is_shutting_down(&self) -> bool {
        self.inner.shutdown.check_open().is_err()
    }

    fn coordinate(&self, plan: ShutdownPlan) {
        let inner = Arc::clone(&self.inner);
        #[cfg(feature = "testing")]
        if let Engine::Simulated(machine) = &inner.engine {
            let machine = Arc::clone(machine);
            let who = simulation::Who::new(simulation::Part::Future, "shutdown", "shutdown");
            simulation::spawn(&machine, simulation::NO_SEAT, who, move || async move {
                inner.shut_down(&plan, Wait::Simulated(inner.clock.clone())).await;
            });
            return;
        }
        let work = move || {
            let mut work = pin!(inner.shut_down(&plan, Wait::Blocking));
            let polled = work.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(polled.is_ready(), "it blocks where it waits");
        };
        // On a thread of its own, so that it neither depends on an arbiter nor on who polls.
        let started = thread::Builder::new().name("actors-shutdown".to_owned()).spawn(work.clone());
        if started.is_err() {
            work();
        }
    }
}

impl Inner {
    async fn shut_down(&self, plan: &ShutdownPlan, wait: Wait) {
        let start = wait.now();
        let deadline = start + plan.deadline;
        self.shutdown.close();
        let mut report = ShutdownReport::default();
        for pid in self.shutdown_order(&plan.first) {
            let until = deadline.min(wait.now() + plan.each);
            drain_one(&pid, until, &wait, &mut report).await;
        }
        for lane in self.lanes() {
            lane.close();
        }
        for lane in self.lanes() {
            let name = lane.status().name;
            let left = wait.until_idle(lane, deadline).await;
            report
                .offenders
                .extend(left.into_iter().map(|label| Offender::Job { lane: name, label }));
        }
        let seats = self.seats();
        seats.iter().for_each(|seat| seat.thread.stop());
        for seat in &seats {
            let Some(ended) = seat.take_ended() else { continue };
            if !wait.until(ended, deadline).await {
                let arbiter = Offender::Arbiter { group: seat.group, index: seat.index };
                report.offenders.push(arbiter);
            }
        }
        self.engine.stop();
        report.took = wait.now().saturating_duration_since(start);
        self.finish_shutdown(report);
    }

    fn shutdown_order(&self, first: &[String]) -> Vec<AnyPid> {
        let mut order = self.actors_in_start_order();
        order.reverse();
        let rank = |pid: &AnyPid| first.iter().position(|name| name == pid.name());
        // Stable: those that are not named stay in reverse start order.
        order.sort_by_key(|pid| rank(pid).unwrap_or(first.len()));
        order
    }

    fn finish_shutdown(&self, report: ShutdownReport) {
        let over = Progress::Over(report.clone());
        let before = std::mem::replace(&mut *lock(&self.shutdown.progress), over);
        if let Progress::Running(waiting) = before {
            for promise in waiting {
                promise.set(report.clone());
            }
        }
    }
}

async fn drain_one(pid: &AnyPid, until: Instant, wait: &Wait, report: &mut ShutdownReport) {
    if pid.has_ended() {
        return;
    }
    if wait.until(pid.drain(), until).await {
        report.drained.push(pid.name_arc());
        return;
    }
    // Looked at before the kill, which drops what waits.
    let status = pid.status();
    report.offenders.push(Offender::Actor {
        name: pid.name_arc(),
        current: status.current,
        depth: status.depth,
    });
    drop(pid.kill("did not drain in time"));
}

/// How a shutdown waits: its order is the same.
enum Wait {
    /// By blocking its thread, in real time.
    Blocking,
    /// On the virtual clock.
    #[cfg(feature = "testing")]
    Simulated(Clock),
}

impl Wait {
    fn now(&self) -> Instant {
        match self {
            Self::Blocking => Instant::now(),
            #[cfg(feature = "testing")]
            Self::Simulated(clock) => clock.now(),
        }
    }

    /// True if `what` ends until `at`.
    async fn until<T: Send + 'static>(&self, what: Eventual<T>, at: Instant) -> bool {
        match self {
            Self::Blocking => what.blocking_wait_until(at).is_some(),
            #[cfg(feature = "testing")]
            Self::Simulated(clock) => ends_until(what, at, clock).await,
        }
    }

    /// Waits until no job of `lane` runs; gives the labels of those that still do at `at`.
    async fn until_idle(&self, lane: &Lane, at: Instant) -> Vec<&'static str> {
        match self {
            Self::Blocking => lane.wait_idle(at),
            #[cfg(feature = "testing")]
            Self::Simulated(_) if self.until(lane.idle(), at).await => Vec::new(),
            #[cfg(feature = "testing")]
            Self::Simulated(_) => lane.status().running.iter().map(|(label, _)| *label).collect(),
        }
    }
}

#[cfg(feature = "testing")]
async fn ends_until<T: Send + 'static>(mut what: Eventual<T>, at: Instant, clock: &Clock) -> bool {
    let mut timer = clock.after(at.saturating_duration_since(clock.now()));
    std::future::poll_fn(|cx| {
        if Pin::new(&mut what).poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        Pin::new(&mut timer).poll(cx).map(|_| false)
    })
    .await
}
