//! Simulated threads of actors, and the futures that run there.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::local;
use super::machine::{Bell, Id, Machine, NO_SEAT, Next, Part, SeatId, Stepped, Strand, Who};
use super::mail::{Actor, Door, Inbox, mailbox};
use crate::body::Body;
use crate::eventual::{Eventual, Promise, promise};
use crate::lock;
use crate::process::Process;

/// A place for actors that could be a thread. It only matters when it is lost or stopped: what lives there goes
/// with it.
pub(crate) struct Thread {
    machine: Arc<Machine>,
    seat: SeatId,
    stopped: AtomicBool,
    running: Mutex<Option<Promise<()>>>,
    ended: Option<Eventual<()>>,
}

impl Thread {
    pub(crate) fn new(machine: &Arc<Machine>) -> Self {
        let (running, ended) = promise();
        Self {
            machine: Arc::clone(machine),
            seat: machine.next_seat(),
            stopped: AtomicBool::new(false),
            running: Mutex::new(Some(running)),
            ended: Some(ended),
        }
    }

    pub(crate) fn mailbox<P: Process>(&self, name: &Arc<str>) -> (Door<P>, Inbox<P>) {
        mailbox(&self.machine, Who::new(Part::Actor, Arc::clone(name), "actor"))
    }

    pub(crate) fn run_actor<P: Process>(
        &self,
        inbox: Inbox<P>,
        make: impl FnOnce() -> Body<P> + Send + 'static,
        ending: impl Send + 'static,
    ) {
        if self.is_stopped() {
            return;
        }
        let (bell, who) = (Arc::clone(inbox.bell()), inbox.who().clone());
        self.machine.arrive(bell, self.seat, who, move || {
            Box::new(Actor::new(make(), inbox, ending)) as Box<dyn Strand>
        });
    }

    pub(crate) fn spawn(
        &self,
        label: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        if !self.is_stopped() {
            spawn(&self.machine, self.seat, Who::new(Part::Future, label, label), move || future);
        }
    }

    pub(crate) fn spawn_local(
        &self,
        name: &Arc<str>,
        label: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> Task {
        let who = Who::new(Part::Future, Arc::clone(name), label);
        let bell = self.machine.bell(&who);
        let id = bell.id;
        let simulation = local::current().expect("an actor of a simulation runs in its step");
        let strand = Box::new(FutureStrand::new(&bell, label, future));
        simulation.add(Arc::clone(&bell), self.seat, who, strand);
        bell.ring();
        Task(id)
    }

    pub(crate) fn stop(&self) {
        let Some(running) = lock(&self.running).take() else { return };
        self.stopped.store(true, Ordering::Release);
        let seat = self.seat;
        spawn(
            &self.machine,
            NO_SEAT,
            Who::new(Part::Future, "arbiter", "stop"),
            move || async move {
                if let Some(local) = local::current() {
                    local.remove_seat(seat);
                }
                running.set(());
            },
        );
    }

    pub(crate) fn take_ended(&mut self) -> Option<Eventual<()>> {
        self.ended.take()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// Runs the future that `make` makes in a first step.
pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
    machine: &Arc<Machine>,
    seat: SeatId,
    who: Who,
    make: impl FnOnce() -> F + Send + 'static,
) {
    let (bell, label) = (machine.bell(&who), who.label);
    let own = Arc::clone(&bell);
    machine.arrive(bell, seat, who, move || {
        Box::new(FutureStrand::new(&own, label, make())) as Box<dyn Strand>
    });
}

/// A future that runs in the simulation.
struct FutureStrand<F> {
    future: Pin<Box<F>>,
    waker: Waker,
    label: &'static str,
}

impl<F: Future<Output = ()>> FutureStrand<F> {
    fn new(bell: &Arc<Bell>, label: &'static str, future: F) -> Self {
        Self { future: Box::pin(future), waker: Waker::from(Arc::clone(bell)), label }
    }
}

impl<F: Future<Output = ()>> Strand for FutureStrand<F> {
    fn step(&mut self) -> Stepped {
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&self.waker));
        let next = match polled {
            Poll::Ready(()) => Next::Done,
            Poll::Pending => Next::Wait,
        };
        Stepped { next, label: self.label }
    }
}

/// A future of an actor, on the thread that it lives on.
pub(crate) struct Task(Id);

impl Task {
    pub(crate) fn abort(&self) {
        // Outside of any step the machine is gone, and all its futures with it.
        if let Some(simulation) = local::current() {
            simulation.remove(self.0);
        }
    }
}
