//! What an actor can do from inside a turn.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::body::drop_caught;
use crate::clock::{Due, TimerId};
use crate::engine;
use crate::eventual::{Eventual, Token};
use crate::outcome::{Exit, Fault, Lost, Outcome, panic_text};
use crate::pid::{AnyPid, Core, Notice, Pid, What};
use crate::process::Process;
use crate::runtime::Runtime;
use crate::work::{Counted, Unit};

type Run<P> = Box<dyn FnOnce(&mut P, &mut Cx<P>)>;
type Then<P> = Box<dyn FnOnce(&mut P, &mut Cx<P>, Box<dyn Any + Send>)>;
/// A turn that is due, with its label.
type Turn<P> = (&'static str, Run<P>);
type Task<P> = Pin<Box<dyn Future<Output = Run<P>>>>;

/// An actor's context, handed to each of its turns.
pub struct Cx<P: Process> {
    pub(crate) core: Arc<Core<P>>,
    local: Rc<Local<P>>,
    runtime: Runtime,
}

/// What an actor has under way on its arbiter.
struct Local<P: Process> {
    turns: RefCell<VecDeque<LocalTurn<P>>>,
    /// In order of creation, which is the order in which the end of the actor drops them.
    timers: RefCell<BTreeMap<u64, Timer<P>>>,
    tasks: RefCell<BTreeMap<u64, Running<P>>>,
    waits: RefCell<BTreeMap<u64, Wait<P>>>,
    next_key: Cell<u64>,
}

/// A continuation that is due.
pub(crate) struct LocalTurn<P: Process> {
    pub(crate) label: &'static str,
    pub(crate) run: Run<P>,
    /// Held until the turn is over.
    _unit: Unit,
}

struct Timer<P: Process> {
    id: TimerId,
    label: &'static str,
    fire: Run<P>,
}

/// What follows the end of an eventual; it is handed the outcome, whose type it knows.
struct Wait<P: Process> {
    label: &'static str,
    then: Then<P>,
}

struct Running<P: Process> {
    /// Emptied by the end of the actor, which drops the future there and then.
    future: Rc<RefCell<Option<Task<P>>>>,
    driver: engine::Task,
}

/// Names a timer of one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey(u64);

impl<P: Process> Cx<P> {
    pub(crate) fn new(core: Arc<Core<P>>, runtime: Runtime) -> Self {
        let local = Rc::new(Local {
            turns: RefCell::default(),
            timers: RefCell::default(),
            tasks: RefCell::default(),
            waits: RefCell::default(),
            next_key: Cell::new(0),
        });
        Self { core, local, runtime }
    }

    /// This actor's address.
    pub fn me(&self) -> Pid<P> {
        Pid { core: Arc::clone(&self.core) }
    }

    /// This actor's name.
    pub fn name(&self) -> &str {
        &self.core.control.name
    }

    /// Now, on the runtime's clock.
    pub fn now(&self) -> Instant {
        self.core.control.runtime.clock.now()
    }

    /// The runtime that this actor lives in. The handle does not keep the runtime from ending.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Runs `fire` as a turn of this actor after `delay` on the runtime's clock.
    pub fn after(
        &self,
        delay: Duration,
        label: &'static str,
        fire: impl FnOnce(&mut P, &mut Self) + 'static,
    ) -> TimerKey {
        let key = self.local.next_key();
        let due = Arc::new(TimerDue { core: Arc::downgrade(&self.core), key });
        // A timer that is due at once only queues its key: the table is looked at after this turn.
        let id =
            self.core.control.runtime.clock.schedule(crate::clock::later(self.now(), delay), due);
        let timer = Timer { id, label, fire: Box::new(fire) };
        self.local.timers.borrow_mut().insert(key, timer);
        TimerKey(key)
    }

    /// Stops a timer; false if it has fired or was stopped.
    pub fn cancel(&self, key: TimerKey) -> bool {
        let timer = self.local.timers.borrow_mut().remove(&key.0);
        let Some(timer) = timer else { return false };
        self.core.control.runtime.clock.cancel(timer.id);
        true
    }

    /// Polls `future` on this actor's arbiter, beside its turns, and hands the output to `then` as a turn. Both
    /// are dropped when the actor ends. A panic of the future is a panic of the actor.
    pub fn run<F: Future + 'static>(
        &self,
        label: &'static str,
        future: F,
        then: impl FnOnce(&mut P, &mut Self, F::Output) + 'static,
    ) {
        let key = self.local.next_key();
        let task: Task<P> = Box::pin(async move {
            let output = future.await;
            let run: Run<P> = Box::new(move |process, cx| then(process, cx, output));
            run
        });
        let future = Rc::new(RefCell::new(Some(task)));
        let driver = Driver {
            key,
            label,
            future: Rc::clone(&future),
            local: Rc::downgrade(&self.local),
            core: Arc::clone(&self.core),
        };
        // A task of the arbiter, not of the actix context: that polls all its futures at every wake.
        let counted = Counted::new(self.core.control.runtime.clock.work(), driver);
        let control = &self.core.control;
        let driver = control.seat.thread.spawn_local(&control.name, label, counted);
        self.local.tasks.borrow_mut().insert(key, Running { future, driver });
    }

    /// Hands the end of `eventual` to `then` as a turn of this actor, which goes on meanwhile: what
    /// [`Cx::run`] does for any future, for less. `then` is dropped when the actor ends; that withdraws
    /// nothing.
    pub fn when<T: Send + 'static>(
        &self,
        label: &'static str,
        eventual: Eventual<T>,
        then: impl FnOnce(&mut P, &mut Self, Result<T, Lost>) + 'static,
    ) {
        let key = self.local.next_key();
        let address = eventual.address();
        let then = move |process: &mut P, cx: &mut Self, ended: Box<dyn Any + Send>| {
            let ended = ended.downcast::<Outcome<T>>().expect("the outcome of this very eventual");
            then(process, cx, ended.into_result_at(address.as_ref()));
        };
        self.local.waits.borrow_mut().insert(key, Wait { label, then: Box::new(then) });
        let core = Arc::downgrade(&self.core);
        eventual.hear(move |outcome| {
            if let Some(core) = core.upgrade() {
                core.push(What::Ended(key, Box::new(outcome)));
            }
        });
    }

    /// Tells this actor's [`Process::exited`] when `who` ends, or at once if it has.
    pub fn watch(&self, who: &AnyPid) {
        let me = Arc::downgrade(&self.core);
        let me: std::sync::Weak<dyn Notice> = me;
        who.tell_end_to(&me);
    }

    /// Ends this actor after the current turn. What waits in its mailbox is dropped.
    pub fn stop(&self) {
        self.core.control.terminate(Exit::Normal);
    }

    /// Ends this actor after the current turn, as failed.
    pub fn fail(&self, fault: Fault) {
        self.core.control.terminate(Exit::Failed(fault));
    }

    /// Runs `job` on a thread of `lane`, which may block. The token tells the job when it is no longer wanted.
    pub fn blocking<R: Send + 'static>(
        &self,
        lane: &'static str,
        label: &'static str,
        job: impl FnOnce(&Token) -> R + Send + 'static,
    ) -> Eventual<R> {
        self.runtime.blocking(lane, label, job)
    }

    pub(crate) fn pop_turn(&self) -> Option<LocalTurn<P>> {
        self.local.turns.borrow_mut().pop_front()
    }

    pub(crate) fn has_turn(&self) -> bool {
        !self.local.turns.borrow().is_empty()
    }

    pub(crate) fn take_timer(&self, key: u64) -> Option<Turn<P>> {
        let timer = self.local.timers.borrow_mut().remove(&key)?;
        Some((timer.label, timer.fire))
    }

    pub(crate) fn take_wait(&self, key: u64, outcome: Box<dyn Any + Send>) -> Option<Turn<P>> {
        let Wait { label, then } = self.local.waits.borrow_mut().remove(&key)?;
        Some((label, Box::new(move |process, cx| then(process, cx, outcome))))
    }

    /// Drops all that is under way. The actor has ended.
    pub(crate) fn clear(&self) {
        let clock = &self.core.control.runtime.clock;
        for (_, timer) in self.local.timers.take() {
            clock.cancel(timer.id);
            drop_caught(timer.fire);
        }
        for (_, running) in self.local.tasks.take() {
            let future = running.future.take();
            drop_caught(future);
            running.driver.abort();
        }
        for (_, wait) in self.local.waits.take() {
            drop_caught(wait.then);
        }
        for turn in self.local.turns.take() {
            drop_caught(turn);
        }
    }
}

impl<P: Process> fmt::Debug for Cx<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cx({})", self.name())
    }
}

impl<P: Process> Local<P> {
    fn next_key(&self) -> u64 {
        let key = self.next_key.get() + 1;
        self.next_key.set(key);
        key
    }
}

/// Polls the future of [`Cx::run`] and queues its continuation.
struct Driver<P: Process> {
    key: u64,
    label: &'static str,
    future: Rc<RefCell<Option<Task<P>>>>,
    local: Weak<Local<P>>,
    core: Arc<Core<P>>,
}

impl<P: Process> Future for Driver<P> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Taken out while it is polled: no borrow is held in foreign code.
        let taken = self.future.take();
        let Some(mut task) = taken else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
            Ok(Poll::Pending) => {
                self.future.replace(Some(task));
                Poll::Pending
            }
            Ok(Poll::Ready(run)) => {
                self.finish(Some(run));
                Poll::Ready(())
            }
            Err(payload) => {
                drop_caught(task);
                self.core.control.terminate(Exit::Panicked(panic_text(&*payload)));
                self.finish(None);
                Poll::Ready(())
            }
        }
    }
}

impl<P: Process> Driver<P> {
    fn finish(&self, run: Option<Run<P>>) {
        if let Some(local) = self.local.upgrade() {
            local.tasks.borrow_mut().remove(&self.key);
            if let Some(run) = run {
                let unit = Unit::of(self.core.control.runtime.clock.work());
                let turn = LocalTurn { label: self.label, run, _unit: unit };
                local.turns.borrow_mut().push_back(turn);
            }
        }
        self.core.kick();
    }
}

/// The timer of [`Cx::after`], on the clock.
struct TimerDue<P: Process> {
    core: std::sync::Weak<Core<P>>,
    key: u64,
}

impl<P: Process> Due for TimerDue<P> {
    fn due(self: Arc<Self>) {
        if let Some(core) = self.core.upgrade() {
            core.push(What::Timer(self.key));
        }
    }
}
