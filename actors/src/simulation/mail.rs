//! Mailboxes of simulated actors: one turn is one step.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::machine::{Bell, Machine, Next, Stepped, Strand, Who};
use crate::body::{Body, Flow};
use crate::host::Call;
use crate::lock;
use crate::process::{Handler, Message, Process};
use crate::work::Unit;

/// A mailbox, shared by its two ends.
struct Mail<P: Process> {
    bell: Arc<Bell>,
    who: Who,
    machine: Arc<Machine>,
    state: Mutex<State<P>>,
}

struct State<P: Process> {
    letters: VecDeque<Letter<P>>,
    /// Something urgent, or a change at the gate, is to be looked at.
    kick: Option<Unit>,
    closed: bool,
}

/// An admitted message.
struct Letter<P: Process> {
    label: &'static str,
    open: Open<P>,
}

/// Hands the message to the actor.
type Open<P> = Box<dyn FnOnce(&mut Body<P>) -> Flow + Send>;

/// The sending end.
pub(crate) struct Door<P: Process>(Arc<Mail<P>>);

/// The receiving end.
pub(crate) struct Inbox<P: Process>(Arc<Mail<P>>);

pub(super) fn mailbox<P: Process>(machine: &Arc<Machine>, who: Who) -> (Door<P>, Inbox<P>) {
    let state = State { letters: VecDeque::new(), kick: None, closed: false };
    let (bell, machine) = (machine.bell(&who), Arc::clone(machine));
    let mail = Arc::new(Mail { bell, who, machine, state: Mutex::new(state) });
    (Door(Arc::clone(&mail)), Inbox(mail))
}

impl<P: Process> Door<P> {
    pub(crate) fn send<M: Message>(&self, call: Call<M>)
    where
        P: Handler<M>,
    {
        let label = call.label;
        let open = Box::new(move |body: &mut Body<P>| body.receive(call));
        self.0.machine.note_sent(self.0.bell.id, label);
        let mut state = lock(&self.0.state);
        if state.closed {
            drop(state);
            drop(open);
            return;
        }
        state.letters.push_back(Letter { label, open });
        drop(state);
        self.0.bell.ring();
    }

    pub(crate) fn kick(&self, unit: Unit) {
        let mut state = lock(&self.0.state);
        if state.closed {
            return;
        }
        let before = state.kick.replace(unit);
        drop(state);
        drop(before);
        self.0.bell.ring();
    }
}

impl<P: Process> Inbox<P> {
    pub(super) fn who(&self) -> &Who {
        &self.0.who
    }

    pub(super) fn bell(&self) -> &Arc<Bell> {
        &self.0.bell
    }

    fn is_empty(&self) -> bool {
        let state = lock(&self.0.state);
        state.letters.is_empty() && state.kick.is_none()
    }
}

impl<P: Process> Drop for Inbox<P> {
    /// What is left goes away, which abandons its promises.
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.closed = true;
        let letters = std::mem::take(&mut state.letters);
        let kick = state.kick.take();
        drop(state);
        drop((letters, kick));
    }
}

/// A simulated actor. The fields are dropped in this order: its body, its mail, the notice of its end.
pub(super) struct Actor<P: Process, E> {
    body: Body<P>,
    inbox: Inbox<P>,
    started: bool,
    _ending: E,
}

impl<P: Process, E> Actor<P, E> {
    pub(super) fn new(body: Body<P>, inbox: Inbox<P>, ending: E) -> Self {
        Self { body: body.stepwise(), inbox, started: false, _ending: ending }
    }

    fn turn(&mut self) -> (Flow, &'static str) {
        if !std::mem::replace(&mut self.started, true) {
            return (self.body.start(), "initialize");
        }
        let mut state = lock(&self.inbox.0.state);
        if let Some(unit) = state.kick.take() {
            drop(state);
            let flow = self.body.kicked();
            drop(unit);
            return (flow, self.body.last_label());
        }
        let Some(Letter { label, open }) = state.letters.pop_front() else {
            return (Flow::Go, "nothing");
        };
        drop(state);
        (open(&mut self.body), label)
    }
}

impl<P: Process, E> Strand for Actor<P, E> {
    fn step(&mut self) -> Stepped {
        let (flow, label) = self.turn();
        let next = match flow {
            Flow::End => Next::Done,
            // The budget of a slice is for real threads: here others go in between anyway.
            Flow::Go | Flow::Yield if self.inbox.is_empty() => Next::Wait,
            Flow::Go | Flow::Yield => Next::Again,
        };
        Stepped { next, label }
    }
}
