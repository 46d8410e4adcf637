//! One actor for all tests: it does what the test's closures say.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use longshore_actors::{
    AnyPid, Clock, Cx, Eventual, Exit, Fault, Handler, Message, Pid, Process, Refused, Reply,
    Runtime, Spawn,
};

/// Longer than any test takes; where it passes, the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a probe reports.
pub(crate) type Log = Sender<String>;

type Start = Box<dyn FnOnce(&mut Cx<Probe>) -> Result<(), Fault> + Send>;

/// An actor that runs closures and reports its life to a channel.
pub(crate) struct Probe {
    pub(crate) log: Log,
    pub(crate) on_initialize: Option<Start>,
    pub(crate) on_finalize: Option<Box<dyn FnOnce() + Send>>,
    /// A place for what a test wants the actor to own.
    pub(crate) keep: Vec<Box<dyn std::any::Any>>,
}

impl Probe {
    pub(crate) fn new(log: &Log) -> Self {
        Self { log: log.clone(), on_initialize: None, on_finalize: None, keep: Vec::new() }
    }

    pub(crate) fn say(&self, text: impl Into<String>) {
        // The test may have stopped listening.
        let _ = self.log.send(text.into());
    }
}

impl Process for Probe {
    fn initialize(&mut self, cx: &mut Cx<Self>) -> Result<(), Fault> {
        self.on_initialize.take().map_or(Ok(()), |run| run(cx))
    }

    fn finalize(&mut self, cx: &mut Cx<Self>, why: &Exit) {
        self.say(format!("{} finalizes: {why}", cx.name()));
        if let Some(run) = self.on_finalize.take() {
            run();
        }
    }

    fn exited(&mut self, cx: &mut Cx<Self>, who: &AnyPid, why: &Exit) {
        self.say(format!("{} hears: {who} {why}", cx.name()));
    }
}

pub(crate) type Act<R> = Box<dyn FnOnce(&mut Probe, &mut Cx<Probe>) -> Reply<R> + Send>;

/// Runs a closure in the probe.
pub(crate) struct Do<R>(pub(crate) Act<R>);

impl<R: Send + 'static> Message for Do<R> {
    type Reply = R;
}

impl<R: Send + 'static> Handler<Do<R>> for Probe {
    fn handle(&mut self, message: Do<R>, cx: &mut Cx<Self>) -> Reply<R> {
        (message.0)(self, cx)
    }
}

/// A plain message, to match and to copy.
#[derive(Clone)]
pub(crate) struct Note(pub String);

impl Message for Note {
    type Reply = usize;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.0.as_str().into())
    }

    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Handler<Note> for Probe {
    fn handle(&mut self, note: Note, _: &mut Cx<Self>) -> Reply<usize> {
        self.say(note.0.clone());
        Reply::now(note.0.len())
    }
}

pub(crate) fn act<R>(run: impl FnOnce(&mut Probe, &mut Cx<Probe>) -> R + Send + 'static) -> Do<R>
where
    R: Send + 'static,
{
    Do(Box::new(move |probe, cx| Reply::now(run(probe, cx))))
}

pub(crate) fn act_later<R>(
    run: impl FnOnce(&mut Probe, &mut Cx<Probe>) -> Eventual<R> + Send + 'static,
) -> Do<R>
where
    R: Send + 'static,
{
    Do(Box::new(move |probe, cx| Reply::later(run(probe, cx))))
}

/// Runs a closure in `pid` and waits for its answer.
pub(crate) fn ask<R: Send + 'static>(
    pid: &Pid<Probe>,
    run: impl FnOnce(&mut Probe, &mut Cx<Probe>) -> R + Send + 'static,
) -> R {
    pid.dispatch(act(run), PATIENCE).blocking_wait().into_result().expect("the probe answers")
}

/// Holds the arbiter of `pid` until the returned sender is used or dropped; returns once it is held.
pub(crate) fn hold(pid: &Pid<Probe>) -> Sender<()> {
    let (release, held) = channel::<()>();
    let (entered, is_held) = channel();
    let sent: Result<(), Refused> = pid.notify(act(move |_, _| {
        entered.send(()).expect("the test waits for it");
        // Ends by a message or by the drop of the sender.
        let _ = held.recv();
    }));
    sent.expect("the probe has room");
    is_held.recv_timeout(PATIENCE).expect("the probe runs it");
    release
}

/// A runtime on the real clock, one probe, and what the probe says.
pub(crate) struct World {
    pub(crate) runtime: Runtime,
    pub(crate) log: Log,
    pub(crate) said: Receiver<String>,
}

impl World {
    pub(crate) fn real() -> Self {
        Self::on(Clock::real())
    }

    pub(crate) fn virtual_() -> Self {
        Self::on(Clock::virtual_())
    }

    fn on(clock: Clock) -> Self {
        let builder = Runtime::builder().group("main", 2).group("kernel", 2).lane("bulk", 2);
        let runtime = builder.clock(clock).build().expect("the system has threads");
        let (log, said) = channel();
        Self { runtime, log, said }
    }

    /// Spawns a probe on the first arbiter of the group `main`.
    pub(crate) fn probe(&self, name: &str) -> Pid<Probe> {
        self.spawn(self.order(name))
    }

    pub(crate) fn order(&self, name: &str) -> Spawn<Probe> {
        let log = self.log.clone();
        Spawn::new(name, move || Probe::new(&log))
            .place(longshore_actors::Placement::Arbiter("main", 0))
    }

    pub(crate) fn spawn(&self, order: Spawn<Probe>) -> Pid<Probe> {
        self.runtime.spawn(order).expect("the name is free")
    }

    pub(crate) fn next(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("somebody says something")
    }

    /// Everything said until now.
    pub(crate) fn so_far(&self) -> Vec<String> {
        self.said.try_iter().collect()
    }
}

/// Waits for the exit.
pub(crate) fn exit_of(pid: &Pid<Probe>) -> Exit {
    pid.exit().blocking_wait().into_result().expect("exits are always published")
}
