//! Blocking jobs in a simulation: each begins in one step and is done in another, so that a withdrawal can come
//! before, between and after. What a job does it does in one step, since nothing can interrupt it.

use std::sync::{Arc, MutexGuard};

use super::{Doom, Job, Lane, Running, State};
use crate::engine::Workers;
use crate::eventual::{Eventual, promise};
use crate::lock;
use crate::outcome::Cause;
use crate::simulation::{Machine, NO_SEAT, Next, Part, Stepped, Strand, Who};

impl Lane {
    /// Gives the jobs at the front to the threads that are free.
    pub(super) fn assign(self: &Arc<Self>, machine: &Arc<Machine>, state: &mut State) {
        while let Some(slot) = free_slot(state, self.threads_max) {
            let Some(job) = state.queue.pop_front() else { return };
            let (label, since) = (job.label, self.clock.now());
            let discard = job.discard.clone();
            state.running[slot] = Some(Running { label, since, discard });
            let who = Who::new(Part::Job, format!("lane {}", self.name), label);
            let bell = machine.bell(&who);
            let (lane, job) = (Arc::clone(self), Some(job));
            machine.arrive(bell, NO_SEAT, who, move || {
                Box::new(Working { lane, slot, job, begun: false }) as Box<dyn Strand>
            });
        }
    }

    /// Ends when no job runs.
    pub(crate) fn idle(&self) -> Eventual<()> {
        let mut state = lock(&self.state);
        if is_idle(&state) {
            return Eventual::ready(());
        }
        let (promise, eventual) = promise();
        state.idle_promises.push(promise);
        eventual
    }

    fn finish(self: &Arc<Self>, slot: usize) {
        let mut state = lock(&self.state);
        state.running[slot] = None;
        if let Workers::Simulated(machine) = &self.workers {
            self.assign(machine, &mut state);
        }
        tell_if_idle(state);
    }
}

fn free_slot(state: &mut State, threads_max: usize) -> Option<usize> {
    let free = state.running.iter().position(Option::is_none);
    if free.is_none() && state.running.len() < threads_max {
        state.running.push(None);
        return Some(state.running.len() - 1);
    }
    free
}

fn is_idle(state: &State) -> bool {
    state.running.iter().all(Option::is_none)
}

fn tell_if_idle(mut state: MutexGuard<'_, State>) {
    if is_idle(&state) {
        let promises = std::mem::take(&mut state.idle_promises);
        drop(state);
        for promise in promises {
            promise.set(());
        }
    }
}

/// A job that a thread has taken.
struct Working {
    lane: Arc<Lane>,
    slot: usize,
    job: Option<Job>,
    begun: bool,
}

impl Strand for Working {
    fn step(&mut self) -> Stepped {
        let Some(job) = self.job.take() else { return Stepped { next: Next::Done, label: "job" } };
        let label = job.label;
        let doom = if self.begun {
            Doom::Begun
        } else if lock(&self.lane.state).closed {
            Doom::Discard(Cause::Shutdown)
        } else if let Some(cause) = job.discard.cause() {
            Doom::Discard(cause)
        } else {
            self.begun = true;
            self.job = Some(job);
            return Stepped { next: Next::Again, label: "begins" };
        };
        (job.run)(doom);
        self.lane.finish(self.slot);
        Stepped { next: Next::Done, label }
    }
}
