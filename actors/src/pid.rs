//! Addresses of actors: [`Pid`] knows the actor's type, [`Handle`] one message type, [`AnyPid`] neither.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::clock::Clock;
use crate::control::{ActorStatus, Control};
use crate::crossings::Crossings;
use crate::engine::Door;
use crate::eventual::{Ask, Eventual, asked, promise};
use crate::filter::{Fate, Handling};
use crate::host::Call;
use crate::lock;
use crate::meter;
use crate::outcome::{Address, Exit, Fault, Refusal, Refused};
use crate::process::{Handler, Message, Process};
use crate::waits::Edge;
use crate::work::Unit;

/// One incarnation of an actor: its record, its door, and what must reach it before its messages.
pub(crate) struct Core<P: Process> {
    pub(crate) control: Control,
    pub(crate) door: Door<P>,
    urgent: Mutex<VecDeque<Urgent>>,
    /// A kick is under way: there is something urgent, or a change at the gate to look at.
    kicked: AtomicBool,
}

/// What overtakes messages and knows no bound, since the runtime causes it.
pub(crate) struct Urgent {
    pub(crate) what: What,
    /// Held until it has been acted upon.
    pub(crate) unit: Unit,
}

pub(crate) enum What {
    Timer(u64),
    Exited(AnyPid, Exit),
    /// What [`Cx::when`](crate::Cx::when) waits for has ended, by the number of the wait.
    Ended(u64, Box<dyn Any + Send>),
}

impl<P: Process> Core<P> {
    pub(crate) fn new(control: Control, door: Door<P>) -> Arc<Self> {
        let urgent = Mutex::new(VecDeque::new());
        Arc::new(Self { control, door, urgent, kicked: AtomicBool::new(false) })
    }

    pub(crate) fn push(&self, what: What) {
        let unit = Unit::of(self.control.runtime.clock.work());
        lock(&self.urgent).push_back(Urgent { what, unit });
        if self.control.is_terminating() {
            // Nothing urgent is run any more. The end empties the queue once, which may have been before the push;
            // then its lock was taken after the actor was terminated, and before ours.
            return self.drop_urgent();
        }
        self.kick();
    }

    /// Makes the actor look at its urgent queue and its gate.
    pub(crate) fn kick(&self) {
        if !self.kicked.swap(true, Ordering::AcqRel) {
            self.note_crossing();
            self.door.kick(Unit::of(self.control.runtime.clock.work()));
        }
    }

    fn note_crossing(&self) {
        self.control.runtime.crossings.note_from(self.control.seat.here);
    }

    /// True once per kick; whatever was pushed before is seen by whoever takes it.
    pub(crate) fn take_kick(&self) -> bool {
        self.kicked.load(Ordering::Relaxed) && self.kicked.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn pop_urgent(&self) -> Option<Urgent> {
        lock(&self.urgent).pop_front()
    }

    pub(crate) fn has_urgent(&self) -> bool {
        !lock(&self.urgent).is_empty()
    }

    pub(crate) fn drop_urgent(&self) {
        let dropped = std::mem::take(&mut *lock(&self.urgent));
        drop(dropped);
    }
}

/// What every actor can do, whatever its type.
pub(crate) trait AnyCore: Send + Sync {
    fn control(&self) -> &Control;
    fn kick_any(&self);
}

impl<P: Process> AnyCore for Core<P> {
    fn control(&self) -> &Control {
        &self.control
    }

    fn kick_any(&self) {
        self.kick();
    }
}

/// Who is told of an exit.
pub(crate) trait Notice: Send + Sync {
    fn notice(&self, who: AnyPid, exit: Exit);
}

impl<P: Process> Notice for Core<P> {
    fn notice(&self, who: AnyPid, exit: Exit) {
        self.push(What::Exited(who, exit));
    }
}

/// What accepts messages of one type.
trait Receives<M: Message>: Send + Sync {
    fn ask(
        self: Arc<Self>,
        message: M,
        deadline: Duration,
        edge: Option<Box<Edge>>,
    ) -> Eventual<M::Reply>;
    fn tell(&self, message: M) -> Result<(), Refused>;
    fn tell_filtered(self: Arc<Self>, message: M) -> Result<(), Refused>;
    fn is_filtered(&self) -> bool;
    fn any(self: Arc<Self>) -> AnyPid;
}

impl<P: Handler<M>, M: Message> Receives<M> for Core<P> {
    fn ask(
        self: Arc<Self>,
        message: M,
        deadline: Duration,
        edge: Option<Box<Edge>>,
    ) -> Eventual<M::Reply> {
        let label = message.label();
        let subject = message.subject();
        let filter = &self.control.runtime.filter;
        let fate = filter.fate(|| (&self.control.name, label, &subject));
        let swapped = matches!(fate, Fate::Swap(_));
        let (since, at) = self.control.runtime.clock.deadline(deadline);
        let to = AnyPid(Arc::<Self>::clone(&self));
        let (promise, eventual) =
            asked(Ask { to, label, subject, since, after: deadline, edge }, at);
        let mut call = Call::new(message, label, Some(promise), self.unit());
        call.admitted = self.control.runtime.clock.stamp_of(since);
        match fate {
            Fate::Deliver => self.admit(call),
            Fate::Duplicate => match call.message.duplicate() {
                Some(copy) => {
                    self.admit(Call::new(copy, label, None, self.unit()));
                    self.admit(call);
                }
                None => call.fail(Fault::injected("the message has no `duplicate`")),
            },
            Fate::Delay(by) => self.admit_later(by, call),
            Fate::Swap(within) => self.swap(within, call),
            Fate::Drop => call.drop_by_filter(),
            Fate::LoseRequest => call.lose(),
            Fate::LoseReply => {
                call.handling = Handling::LoseReply;
                self.admit(call);
            }
            Fate::Panic => {
                call.handling = Handling::Panic;
                self.admit(call);
            }
            Fate::Fail(fault) => call.fail(fault),
        }
        if filter.is_installed() && !swapped {
            filter.let_go(self.control.id);
        }
        eventual
    }

    fn is_filtered(&self) -> bool {
        self.control.runtime.filter.is_installed()
    }

    fn tell(&self, message: M) -> Result<(), Refused> {
        let label = message.label();
        self.offer(Call::new(message, label, None, self.unit())).map_err(|refused| refused.0)
    }

    fn tell_filtered(self: Arc<Self>, message: M) -> Result<(), Refused> {
        let (label, subject) = (message.label(), message.subject());
        let filter = &self.control.runtime.filter;
        let fate = filter.fate(|| (&self.control.name, label, &subject));
        let mut call = Call::new(message, label, None, self.unit());
        if let Fate::Swap(within) = fate {
            self.swap(within, call);
            return Ok(());
        }
        let told = match fate {
            Fate::Deliver | Fate::LoseReply => self.offer(call).map_err(|refused| refused.0),
            Fate::Duplicate => {
                if let Some(copy) = call.message.duplicate() {
                    let twin = Call::new(copy, label, None, self.unit());
                    self.offer(twin).map_err(|refused| refused.0)?;
                }
                self.offer(call).map_err(|refused| refused.0)
            }
            Fate::Delay(by) => {
                self.admit_later(by, call);
                Ok(())
            }
            Fate::Drop | Fate::LoseRequest | Fate::Fail(_) | Fate::Swap(_) => Ok(()),
            Fate::Panic => {
                call.handling = Handling::Panic;
                self.offer(call).map_err(|refused| refused.0)
            }
        };
        filter.let_go(self.control.id);
        told
    }

    fn any(self: Arc<Self>) -> AnyPid {
        AnyPid(self)
    }
}

/// Tells without touching the reference count, unless a filter wants to keep the message.
fn tell<M: Message>(to: &Arc<impl Receives<M> + ?Sized>, message: M) -> Result<(), Refused> {
    if to.is_filtered() { Arc::clone(to).tell_filtered(message) } else { to.tell(message) }
}

impl<P: Process> Core<P> {
    pub(crate) fn unit(&self) -> Unit {
        Unit::of(self.control.runtime.clock.work())
    }

    /// Puts the call into the mailbox, or gives it back with the reason.
    fn offer<M: Message>(&self, mut call: Call<M>) -> Result<(), (Refused, Call<M>)>
    where
        P: Handler<M>,
    {
        match self.control.admit() {
            Ok(()) => {
                if call.admitted == 0 && meter::is_sampled() {
                    call.admitted = self.control.stamp();
                }
                self.note_crossing();
                self.door.send(call);
                Ok(())
            }
            Err(why) => {
                let address = Address { to: Arc::clone(&self.control.name), label: call.label };
                Err((Refused { address, why }, call))
            }
        }
    }

    /// Puts the call into the mailbox, or answers it with the refusal.
    pub(crate) fn admit<M: Message>(&self, call: Call<M>)
    where
        P: Handler<M>,
    {
        if let Err((refused, call)) = self.offer(call) {
            match refused.why {
                // The promise ends as abandoned, with the reason of the exit.
                Refusal::Gone => drop(call),
                Refusal::Full { .. } | Refusal::Draining => call.fail(Fault::refused(refused)),
            }
        }
    }
}

/// The address of an actor of type `P`.
///
/// It names one incarnation: after the end it leads nowhere, also when another actor has taken the name. It does
/// not keep the actor alive; an actor lives until it stops, is stopped, or its runtime goes.
pub struct Pid<P: Process> {
    pub(crate) core: Arc<Core<P>>,
}

impl<P: Process> Pid<P> {
    /// Sends `message` and gives its answer. The answer comes within `deadline` of the runtime's clock, or the
    /// eventual ends as discarded; the message may still be handled then.
    pub fn dispatch<M: Message>(&self, message: M, deadline: Duration) -> Eventual<M::Reply>
    where
        P: Handler<M>,
    {
        Arc::clone(&self.core).ask(message, deadline, None)
    }

    /// Sends `message` without waiting for an answer. `Ok` means that it was admitted.
    pub fn notify<M: Message>(&self, message: M) -> Result<(), Refused>
    where
        P: Handler<M>,
    {
        tell(&self.core, message)
    }

    /// The same address for one kind of message, whatever the actor.
    pub fn handle<M: Message>(&self) -> Handle<M>
    where
        P: Handler<M>,
    {
        Handle { to: Arc::<Core<P>>::clone(&self.core) }
    }

    /// The same address for no message at all.
    pub fn any(&self) -> AnyPid {
        AnyPid(Arc::<Core<P>>::clone(&self.core))
    }

    /// As [`AnyPid::name`].
    pub fn name(&self) -> &str {
        &self.core.control.name
    }

    /// As [`AnyPid::drain`].
    pub fn drain(&self) -> Eventual<Exit> {
        self.any().drain()
    }

    /// As [`AnyPid::kill`].
    pub fn kill(&self, why: &'static str) -> Eventual<Exit> {
        self.any().kill(why)
    }

    /// As [`AnyPid::started`].
    pub fn started(&self) -> Eventual<()> {
        self.any().started()
    }

    /// As [`AnyPid::exit`].
    pub fn exit(&self) -> Eventual<Exit> {
        self.any().exit()
    }
}

impl<P: Process> Clone for Pid<P> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<P: Process> fmt::Debug for Pid<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any().fmt(f)
    }
}

/// The address of some actor that accepts `M`. This is what rooms hand to each other.
pub struct Handle<M: Message> {
    to: Arc<dyn Receives<M>>,
}

impl<M: Message> Handle<M> {
    /// As [`Pid::dispatch`].
    pub fn dispatch(&self, message: M, deadline: Duration) -> Eventual<M::Reply> {
        Arc::clone(&self.to).ask(message, deadline, None)
    }

    /// A dispatch that takes `edge` out of the graph of waits when it ends.
    pub(crate) fn dispatch_along(
        &self,
        message: M,
        deadline: Duration,
        edge: Edge,
    ) -> Eventual<M::Reply> {
        Arc::clone(&self.to).ask(message, deadline, Some(Box::new(edge)))
    }

    /// As [`Pid::notify`].
    pub fn notify(&self, message: M) -> Result<(), Refused> {
        tell(&self.to, message)
    }

    /// Who this leads to.
    pub fn pid(&self) -> AnyPid {
        Arc::clone(&self.to).any()
    }
}

impl<M: Message> Clone for Handle<M> {
    fn clone(&self) -> Self {
        Self { to: Arc::clone(&self.to) }
    }
}

impl<M: Message> fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pid().fmt(f)
    }
}

/// The address of any actor: to watch, drain, kill or look at it.
#[derive(Clone)]
pub struct AnyPid(pub(crate) Arc<dyn AnyCore>);

impl AnyPid {
    /// The name it was spawned with.
    pub fn name(&self) -> &str {
        &self.0.control().name
    }

    /// The number of this incarnation, unique within the runtime.
    pub fn id(&self) -> u64 {
        self.0.control().id
    }

    /// What it is doing; answered without its co-operation.
    pub fn status(&self) -> ActorStatus {
        self.0.control().status()
    }

    /// Lets it handle what it has been sent, and nothing more, then end. Continuations and timers that are still
    /// out when the last message has been handled are dropped.
    pub fn drain(&self) -> Eventual<Exit> {
        self.0.control().close();
        self.0.kick_any();
        self.exit()
    }

    /// Ends it after the turn that it is in. What waits is dropped; its askers see the abandonment.
    pub fn kill(&self, why: &'static str) -> Eventual<Exit> {
        self.0.control().terminate(Exit::Killed(why));
        self.0.kick_any();
        self.exit()
    }

    /// Ends well when the actor's `initialize` is through, and as abandoned, with the reason, if it never is.
    pub fn started(&self) -> Eventual<()> {
        let (promise, eventual) = promise();
        self.0.control().promise_start(promise);
        eventual
    }

    /// Ends when the actor has: after `finalize`, and when its name is free again.
    pub fn exit(&self) -> Eventual<Exit> {
        let (promise, eventual) = promise();
        self.0.control().promise_exit(promise);
        eventual
    }

    /// True once it has ended.
    pub fn has_ended(&self) -> bool {
        self.0.control().published().is_some()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.control().runtime.clock
    }

    pub(crate) fn crossings(&self) -> &Crossings {
        &self.0.control().runtime.crossings
    }

    pub(crate) fn name_arc(&self) -> Arc<str> {
        Arc::clone(&self.0.control().name)
    }

    pub(crate) fn exit_so_far(&self) -> Exit {
        self.0.control().exit_so_far()
    }

    /// Tells `watcher` of the end, at once if it is past.
    pub(crate) fn tell_end_to(&self, watcher: &Weak<dyn Notice>) {
        let control = self.0.control();
        if control.add_watcher(Weak::clone(watcher)) {
            return;
        }
        let exit = control.exit_so_far();
        if let Some(watcher) = watcher.upgrade() {
            watcher.notice(self.clone(), exit);
        }
    }
}

impl PartialEq for AnyPid {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.control().runtime, &other.0.control().runtime)
            && self.id() == other.id()
    }
}

impl Eq for AnyPid {}

impl fmt::Debug for AnyPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name(), self.id())
    }
}

impl fmt::Display for AnyPid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
