//! The ordered end of a runtime: drain, then kill, then report who did not obey. Always within its deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::Turn;
use crate::eventual::{Eventual, Promise, promise};
use crate::lock;
use crate::outcome::Outcome;
use crate::pid::AnyPid;
use crate::runtime::{Inner, Runtime};
use crate::seat::Seat;

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
    /// time, whatever the runtime's clock. A second call gets the report of the first. It goes on when the
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
        let work = move || inner.shut_down(&plan);
        // On a thread of its own, so that it neither depends on an arbiter nor on who polls.
        let started = thread::Builder::new().name("actors-shutdown".to_owned()).spawn(work.clone());
        if started.is_err() {
            work();
        }
    }
}

impl Inner {
    fn shut_down(&self, plan: &ShutdownPlan) {
        let start = Instant::now();
        let deadline = start + plan.deadline;
        self.shutdown.close();
        let mut report = ShutdownReport::default();
        for pid in self.shutdown_order(&plan.first) {
            let until = deadline.min(Instant::now() + plan.each);
            drain_one(&pid, until, &mut report);
        }
        for lane in self.lanes() {
            lane.close();
        }
        for lane in self.lanes() {
            let name = lane.status().name;
            let left = lane.wait_idle(deadline);
            report
                .offenders
                .extend(left.into_iter().map(|label| Offender::Job { lane: name, label }));
        }
        let seats = self.seats();
        seats.iter().for_each(|seat| seat.thread.stop());
        report.offenders.extend(seats.iter().filter_map(|seat| wait_for_thread(seat, deadline)));
        self.stop_engine();
        report.took = start.elapsed();
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

fn drain_one(pid: &AnyPid, until: Instant, report: &mut ShutdownReport) {
    if pid.has_ended() {
        return;
    }
    if pid.drain().blocking_wait_until(until).is_some() {
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

fn wait_for_thread(seat: &Arc<Seat>, until: Instant) -> Option<Offender> {
    let ended = seat.take_ended()?;
    match ended.blocking_wait_until(until) {
        Some(_) => None,
        None => Some(Offender::Arbiter { group: seat.group, index: seat.index }),
    }
}
