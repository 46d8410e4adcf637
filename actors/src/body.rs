//! The life of one actor on its arbiter: turns, panic isolation, the order of the end. Knows no engine.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::cx::Cx;
use crate::eventual::Promise;
use crate::filter::Handling;
use crate::host::Call;
use crate::outcome::{Exit, Fault, panic_text};
use crate::pid::{Core, Urgent, What};
use crate::process::{Drained, Handler, Message, Process, Reply};
use crate::work::Unit;

/// How many turns an actor takes in a row on a thread of its own engine.
const TURNS_PER_SLICE: u32 = 128;

/// What the engine does after a turn.
pub(crate) enum Flow {
    Go,
    Yield,
    End,
}

type Factory<P> = Box<dyn FnOnce() -> P + Send>;

/// An actor's state and context.
pub(crate) struct Body<P: Process> {
    factory: Option<Factory<P>>,
    process: Option<P>,
    cx: Cx<P>,
    turns: u32,
    /// After so many turns the arbiter's other tasks get theirs.
    slice: u32,
    ended: bool,
    /// It was told that it is drained.
    lingers: bool,
    label: &'static str,
    /// When the last turn began, by the stamps of the control.
    began: u64,
    /// Held until it has started.
    starting: Unit,
}

impl<P: Process> Body<P> {
    pub(crate) fn new(factory: Factory<P>, cx: Cx<P>, starting: Unit) -> Self {
        Self {
            factory: Some(factory),
            process: None,
            cx,
            turns: 0,
            slice: TURNS_PER_SLICE,
            ended: false,
            lingers: false,
            label: "",
            began: 0,
            starting,
        }
    }

    /// One turn at a time, for an engine that chooses who has the next one.
    #[cfg(feature = "testing")]
    pub(crate) fn stepwise(mut self) -> Self {
        self.slice = 1;
        self
    }

    /// The label of the turn that it is in, or of the last.
    #[cfg(feature = "testing")]
    pub(crate) fn last_label(&self) -> &'static str {
        self.label
    }

    /// Makes the state and initialises it.
    pub(crate) fn start(&mut self) -> Flow {
        let factory = self.factory.take().expect("an actor starts once");
        let _starting = std::mem::take(&mut self.starting);
        if self.core().control.is_terminating() {
            return self.end();
        }
        let began = self.cx.core.control.begin("initialize", &mut self.label);
        let made = catch_unwind(AssertUnwindSafe(|| {
            let mut process = factory();
            let initialized = process.initialize(&mut self.cx);
            (process, initialized)
        }));
        self.core().control.finish(began);
        match made {
            Ok((process, Ok(()))) => {
                self.process = Some(process);
                self.core().control.note_started();
            }
            // Never initialised, so never finalised.
            Ok((process, Err(fault))) => {
                self.core().control.terminate(Exit::Failed(fault));
                drop_caught(process);
            }
            Err(payload) => self.panicked(&*payload),
        }
        self.flow()
    }

    /// Handles one message that left the mailbox.
    pub(crate) fn receive<M: Message>(&mut self, mut call: Call<M>) -> Flow
    where
        P: Handler<M>,
    {
        // Held until an end that follows from the message has taken one of its own.
        let _unit = std::mem::take(&mut call.unit);
        self.core().control.leave();
        // What is urgent overtakes what waited.
        self.run_urgent();
        if !self.must_end() {
            self.handle(call);
        } else {
            drop(call);
        }
        self.flow()
    }

    fn handle<M: Message>(&mut self, call: Call<M>)
    where
        P: Handler<M>,
    {
        let Call { message, label, promise, handling, admitted, unit: _ } = call;
        let reply = self.turn(label, |process, cx| {
            assert!(!matches!(handling, Handling::Panic), "a panic put in by the filter");
            process.handle(message, cx)
        });
        if reply.is_some() {
            self.core().control.note_wait(admitted, self.began);
            self.core().control.count_handled();
        }
        // Without a reply it panicked: the promise is dropped, which names that exit.
        match (reply, promise, handling) {
            (Some(_), Some(promise), Handling::LoseReply) => promise.lose(),
            (Some(reply), Some(promise), Handling::Normal | Handling::Panic) => {
                self.answer(reply, promise);
            }
            (None, _, _) | (_, None, _) => {}
        }
    }

    fn answer<R: Send + 'static>(&self, reply: Reply<R>, promise: Promise<R>) {
        match reply {
            Reply::Now(value) => {
                promise.set(value);
            }
            Reply::Later(eventual) => {
                let core = Arc::clone(self.core());
                // Let go because this actor ended: then its exit is the reason.
                eventual.forward_to(promise, move || {
                    let control = &core.control;
                    control.is_terminating().then(|| control.exit_so_far())
                });
            }
        }
    }

    /// Acts upon a kick: urgent entries, then the gate.
    pub(crate) fn kicked(&mut self) -> Flow {
        self.run_urgent();
        self.flow()
    }

    fn run_urgent(&mut self) {
        if !self.core().take_kick() {
            return;
        }
        let slice_end = self.turns + self.slice;
        while !self.must_end() {
            if self.turns >= slice_end {
                // Timers that set timers must not keep the arbiter: go on at the next kick.
                if self.cx.has_turn() || self.core().has_urgent() {
                    self.core().kick();
                }
                return;
            }
            let local = self.cx.pop_turn();
            let stepwise = self.slice == 1 && local.is_some();
            let urgent = if stepwise { None } else { self.core().pop_urgent() };
            if local.is_none() && urgent.is_none() {
                return;
            }
            if let Some(turn) = local {
                self.turn(turn.label, turn.run);
            }
            if let Some(Urgent { what, unit: _unit }) = urgent {
                self.urgent(what);
            }
        }
    }

    fn urgent(&mut self, what: What) {
        let turn = match what {
            What::Timer(key) => self.cx.take_timer(key),
            What::Ended(key, outcome) => self.cx.take_wait(key, outcome),
            What::Exited(who, exit) => {
                self.turn("exited", |process, cx| process.exited(cx, &who, &exit));
                None
            }
        };
        if let Some((label, run)) = turn {
            self.turn(label, run);
        }
    }

    /// Runs one turn of the actor's code under panic isolation; nothing if it panicked or has ended.
    fn turn<R>(
        &mut self,
        label: &'static str,
        run: impl FnOnce(&mut P, &mut Cx<P>) -> R,
    ) -> Option<R> {
        if self.must_end() {
            return None;
        }
        let process = self.process.as_mut()?;
        self.turns += 1;
        self.began = self.cx.core.control.begin(label, &mut self.label);
        let result = catch_unwind(AssertUnwindSafe(|| run(process, &mut self.cx)));
        self.cx.core.control.finish(self.began);
        match result {
            Ok(value) => Some(value),
            Err(payload) => {
                self.panicked(&*payload);
                None
            }
        }
    }

    fn panicked(&mut self, payload: &(dyn Any + Send)) {
        let control = &self.core().control;
        let text = panic_text(payload);
        tracing::warn!(actor = %control.name, %text, "actor panicked");
        control.terminate(Exit::Panicked(text.clone()));
        control.overrule(Exit::Panicked(text));
    }

    fn must_end(&self) -> bool {
        self.ended || self.core().control.is_terminating()
    }

    /// True when a drain is through and the actor does not linger. It is asked once.
    fn is_drained(&mut self) -> bool {
        if self.lingers || !self.core().control.is_drained() {
            return false;
        }
        self.lingers = true;
        self.turn("drained", |process, cx| process.drained(cx)) != Some(Drained::Linger)
    }

    fn flow(&mut self) -> Flow {
        if self.is_drained() || self.must_end() {
            return self.end();
        }
        if self.turns >= self.slice {
            self.turns = 0;
            return Flow::Yield;
        }
        Flow::Go
    }

    /// Ends the actor: finalize, then its futures and timers, then its state. The exit is published by whoever
    /// runs the body, after the mailbox is gone.
    fn end(&mut self) -> Flow {
        if std::mem::replace(&mut self.ended, true) {
            return Flow::End;
        }
        let core = Arc::clone(self.core());
        let control = &core.control;
        control.begin_end();
        control.terminate(Exit::Normal);
        let exit = control.exit_so_far();
        if let Some(mut process) = self.process.take() {
            // After a panic the state is not to be trusted; when the end is public already, the arbiter was
            // given up, and a successor may own what this would clean up.
            if !matches!(exit, Exit::Panicked(_)) && control.published().is_none() {
                let began = control.begin("finalize", &mut self.label);
                let run = AssertUnwindSafe(|| process.finalize(&mut self.cx, &exit));
                if let Err(payload) = catch_unwind(run) {
                    control.overrule(Exit::Panicked(panic_text(&*payload)));
                }
                control.finish(began);
            }
            drop_caught(process);
        }
        self.cx.clear();
        core.drop_urgent();
        Flow::End
    }

    fn core(&self) -> &Arc<Core<P>> {
        &self.cx.core
    }
}

impl<P: Process> Drop for Body<P> {
    /// The arbiter went first: end in the same order.
    fn drop(&mut self) {
        self.end();
    }
}

/// Drops `value`; a panic in its destructor goes no further.
pub(crate) fn drop_caught<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        tracing::warn!(text = %panic_text(&*payload), "a destructor panicked");
    }
}

/// Runs foreign code where nobody else would catch its panic.
pub(crate) fn run_caught(run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        tracing::warn!(text = %panic_text(&*payload), "a callback panicked");
    }
}

/// The fault of a caught panic.
pub(crate) fn panic_fault(payload: &(dyn Any + Send)) -> Fault {
    Fault::panicked(&panic_text(payload))
}
