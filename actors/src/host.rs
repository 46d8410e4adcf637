//! The engine: the only module that names actix.
//!
//! Every actor is one [`Host`], a generic actix actor that forwards to a [`Body`]. What actix does not promise (a
//! bound that bounds, a drain, a kill, isolation of panics, fairness) is done beside it, in `Control` and `Body`.
//! To leave actix, rewrite this file.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context as TaskContext, Poll};
use std::thread;

use actix::dev::channel;
use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, Addr, Arbiter, ArbiterHandle, AsyncContext, Context, System};

use crate::body::{Body, Flow};
use crate::crossings::Here;
use crate::eventual::{Eventual, Promise, promise};
use crate::filter::Handling;
use crate::outcome::{Exit, Fault, Outcome};
use crate::process::{Handler, Message, Process};
use crate::work::Unit;

/// One admitted message on its way.
pub(crate) struct Call<M: Message> {
    pub(crate) message: M,
    pub(crate) label: &'static str,
    pub(crate) promise: Option<Promise<M::Reply>>,
    pub(crate) handling: Handling,
    /// When it was admitted, by the stamps of the clock; zero where that is not counted.
    pub(crate) admitted: u64,
    pub(crate) unit: Unit,
}

impl<M: Message> Call<M> {
    pub(crate) fn new(
        message: M,
        label: &'static str,
        promise: Option<Promise<M::Reply>>,
        unit: Unit,
    ) -> Self {
        Self { message, label, promise, handling: Handling::Normal, admitted: 0, unit }
    }

    /// Goes away; the asker learns so at once.
    pub(crate) fn drop_by_filter(self) {
        if let Some(promise) = self.promise {
            promise.end(Outcome::Abandoned(Exit::Killed("dropped by the filter")));
        }
    }

    /// Never answers: the asker waits until its deadline.
    pub(crate) fn lose(self) {
        if let Some(promise) = self.promise {
            promise.lose();
        }
    }

    /// Answers with a failure instead of handling.
    pub(crate) fn fail(self, fault: Fault) {
        if let Some(promise) = self.promise {
            promise.end(Outcome::Failed(fault));
        }
    }
}

impl<M: Message> actix::Message for Call<M> {
    type Result = ();
}

/// Makes an actor look at its urgent queue and its gate. Held as a unit of work.
struct Kick(#[expect(dead_code, reason = "held until the kick has been acted upon")] Unit);

impl actix::Message for Kick {
    type Result = ();
}

/// The sending end of an actor's mailbox.
pub(crate) struct Door<P: Process>(Addr<Host<P>>);

/// The receiving end, on its way to the arbiter.
pub(crate) struct Inbox<P: Process>(channel::AddressReceiver<Host<P>>);

/// A mailbox. Its bound is kept by the gate, not by actix, whose own bound admits one more per sender.
pub(crate) fn mailbox<P: Process>() -> (Door<P>, Inbox<P>) {
    let (sender, receiver) = channel::channel(0);
    (Door(Addr::new(sender)), Inbox(receiver))
}

impl<P: Process> Door<P> {
    /// Sends what the gate has admitted. A mailbox that is closed drops it, which abandons its promise.
    pub(crate) fn send<M: Message>(&self, call: Call<M>)
    where
        P: Handler<M>,
    {
        #[expect(clippy::disallowed_methods, reason = "the gate before it keeps the bound")]
        self.0.do_send(call);
    }

    pub(crate) fn kick(&self, unit: Unit) {
        #[expect(clippy::disallowed_methods, reason = "the runtime causes it, at most one waits")]
        self.0.do_send(Kick(unit));
    }
}

/// The one actix actor.
struct Host<P: Process> {
    body: Body<P>,
}

/// Nothing in it is ever pinned in place: turns get plain references.
impl<P: Process> Unpin for Host<P> {}

impl<P: Process> Host<P> {
    fn follow(&mut self, flow: Flow, ctx: &mut Context<Self>) {
        match flow {
            Flow::Go => {}
            // The mailbox loop of actix has no budget; a wait breaks it, so that the arbiter's other tasks run.
            Flow::Yield => ctx.wait(YieldOnce(false)),
            Flow::End => ctx.terminate(),
        }
    }
}

impl<P: Process> Actor for Host<P> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let flow = self.body.start();
        self.follow(flow, ctx);
    }
}

impl<P: Handler<M>, M: Message> actix::Handler<Call<M>> for Host<P> {
    type Result = ();

    fn handle(&mut self, call: Call<M>, ctx: &mut Self::Context) {
        let flow = self.body.receive(call);
        self.follow(flow, ctx);
    }
}

impl<P: Process> actix::Handler<Kick> for Host<P> {
    type Result = ();

    fn handle(&mut self, kick: Kick, ctx: &mut Self::Context) {
        let flow = self.body.kicked();
        drop(kick);
        self.follow(flow, ctx);
    }
}

/// Lets everything else on the arbiter run once.
struct YieldOnce(bool);

impl<P: Process> ActorFuture<Host<P>> for YieldOnce {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        _: &mut Host<P>,
        _: &mut Context<Host<P>>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs an actor to its end on the current arbiter.
pub(crate) async fn run<P: Process>(body: Body<P>, inbox: Inbox<P>) {
    let context = Context::with_receiver(inbox.0);
    // Dropped at the end of the statement, with all messages that are left: their askers know before the
    // watchers do.
    context.into_future(Host { body }).await;
}

/// The actix system, on a thread of its own, so that the embedder needs none.
pub(crate) struct Engine {
    system: System,
}

impl Engine {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().name("actors-system".to_owned()).spawn(move || {
            let runner = System::new();
            // The receiver is gone only if the builder panicked; then the system ends too.
            if sender.send(System::current()).is_ok() {
                // The exit code is always ours, zero.
                let _ = runner.run();
            }
        })?;
        let system = receiver.recv().map_err(|_| io::Error::other("the actor system died"))?;
        Ok(Self { system })
    }

    /// Starts a thread for actors; which one it is.
    pub(crate) fn arbiter(&self) -> io::Result<(Thread, Here)> {
        let system = self.system.clone();
        // On a scratch thread: actix binds the calling thread to its system for good, and the caller's may
        // belong to a system of the embedder.
        let scratch = thread::Builder::new().name("actors-start".to_owned());
        let started = scratch.spawn(move || {
            System::set_current(system);
            Arbiter::try_new().map(|arbiter| arbiter.handle())
        })?;
        let handle = started.join().map_err(|_| io::Error::other("the arbiter died"))??;
        let (running, ended) = promise::<()>();
        let (sender, receiver) = mpsc::channel();
        handle.spawn(async move {
            // Whoever asked has waited for it, or is gone.
            let _ = sender.send(Here::now());
            // Dropped with the arbiter's tasks, which ends `ended`.
            let _running = running;
            std::future::pending::<()>().await;
        });
        let here = receiver.recv().map_err(|_| io::Error::other("the arbiter died"))?;
        Ok((Thread { handle, ended: Some(ended) }, here))
    }

    /// Stops the system; it does not wait for any thread.
    pub(crate) fn stop(&self) {
        self.system.stop();
    }
}

/// A thread that runs actors.
pub(crate) struct Thread {
    handle: ArbiterHandle,
    ended: Option<Eventual<()>>,
}

impl Thread {
    /// Spawns `future` there; nothing if the thread has ended. Never waits for the thread.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.handle.spawn(future);
    }

    /// Runs `start` there, which may spawn local tasks; nothing if the thread has ended.
    pub(crate) fn spawn_fn(&self, start: impl FnOnce() + Send + 'static) {
        self.handle.spawn_fn(start);
    }

    /// Asks the thread to end when its current turn is over.
    pub(crate) fn stop(&self) {
        self.handle.stop();
    }

    /// Ends when the thread has dropped all its tasks. Given out once.
    pub(crate) fn take_ended(&mut self) -> Option<Eventual<()>> {
        self.ended.take()
    }
}
