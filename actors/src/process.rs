//! What an actor is: the traits that embedders implement.

use std::sync::Arc;

use crate::cx::Cx;
use crate::eventual::{Eventual, Promise};
use crate::outcome::{Exit, Fault};
use crate::pid::AnyPid;

/// A request or a report that an actor accepts.
pub trait Message: Sized + Send + 'static {
    /// What the handler answers. Use `()` for reports.
    type Reply: Send + 'static;

    /// The name by which pending lists, errors and filters know this kind of message.
    fn label(&self) -> &'static str {
        short_name::<Self>()
    }

    /// Which object the message concerns, for pending lists and filters. Asked of every message.
    fn subject(&self) -> Option<Arc<str>> {
        None
    }

    /// A second copy, for the filter's duplicate delivery; `None` where the message cannot be copied.
    fn duplicate(&self) -> Option<Self> {
        None
    }
}

/// An actor: one owner of some state, which handles one message at a time.
///
/// The state need not be `Send`: it is made on the arbiter that it lives on. Every method runs as a
/// turn of the actor, under panic isolation: a panic ends this actor and nothing else.
pub trait Process: Sized + 'static {
    /// Runs before any message. An error ends the actor with [`Exit::Failed`].
    fn initialize(&mut self, cx: &mut Cx<Self>) -> Result<(), Fault> {
        let _ = cx;
        Ok(())
    }

    /// Runs when a drain is through: nothing is admitted any more, and what was has been handled. Who has
    /// something to finish lingers; everybody else ends here, which is the default.
    fn drained(&mut self, cx: &mut Cx<Self>) -> Drained {
        let _ = cx;
        Drained::End
    }

    /// Runs last, unless the actor panicked: then its state is not to be trusted.
    fn finalize(&mut self, cx: &mut Cx<Self>, why: &Exit) {
        let _ = (cx, why);
    }

    /// Runs when an actor that this one watches has ended, after that one's `finalize`.
    fn exited(&mut self, cx: &mut Cx<Self>, who: &AnyPid, why: &Exit) {
        let _ = (cx, who, why);
    }
}

/// What an actor does when it has been drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// It ends. Continuations and timers that are still out are dropped.
    End,
    /// It goes on with its continuations, its timers and the exits that it watches, until it says
    /// [`Cx::stop`] or is killed.
    Linger,
}

/// How a [`Process`] answers one kind of message.
pub trait Handler<M: Message>: Process {
    /// Handles one message. What takes time is returned as [`Reply::Later`].
    fn handle(&mut self, message: M, cx: &mut Cx<Self>) -> Reply<M::Reply>;
}

/// A handler's answer: at once, or when an [`Eventual`] ends.
#[derive(Debug)]
pub enum Reply<R> {
    /// The answer itself.
    Now(R),
    /// The answer comes when this ends; a discard of the request is passed on to it.
    Later(Eventual<R>),
}

impl<R: Send + 'static> Reply<R> {
    /// Answers at once.
    pub fn now(value: R) -> Self {
        Self::Now(value)
    }

    /// Answers when `eventual` ends.
    pub fn later(eventual: Eventual<R>) -> Self {
        Self::Later(eventual)
    }

    /// Answers through a promise that the actor keeps.
    pub fn promised() -> (Promise<R>, Self) {
        let (promise, eventual) = crate::eventual::promise();
        (promise, Self::Later(eventual))
    }
}

impl<R> From<Eventual<R>> for Reply<R> {
    fn from(eventual: Eventual<R>) -> Self {
        Self::Later(eventual)
    }
}

/// The last path segment of a type's name, its generic arguments left out.
pub(crate) fn short_name<T: ?Sized>() -> &'static str {
    let full = std::any::type_name::<T>();
    // Asked for every message: only generic names need the search from the front.
    let path = if full.ends_with('>') { full.split('<').next().unwrap_or(full) } else { full };
    let colon = path.as_bytes().iter().rposition(|byte| *byte == b':');
    colon.map_or(path, |colon| &path[colon + 1..])
}
