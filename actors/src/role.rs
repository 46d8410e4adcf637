//! Roles: addresses that outlive the actors behind them.
//!
//! A [`Pid`] names one incarnation. A [`Role`] names a duty: whoever a supervisor has started for it, resolved for
//! each send. While nobody has it a send is refused, and what was sent to an incarnation stays with that one: no
//! message comes to a successor that it was not meant for.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::eventual::Eventual;
use crate::lock;
use crate::outcome::{Fault, Outcome, Refused};
use crate::pid::{Handle, Pid};
use crate::process::{Handler, Message, Process};

/// A stable address for actors of type `P`. Clones are the same role.
///
/// Give it to a child by [`ChildSpec::role`](crate::ChildSpec::role). The child has the role from the end of its
/// `initialize` until it takes nothing new.
pub struct Role<P: Process> {
    post: Arc<Post<P>>,
}

struct Post<P: Process> {
    name: Arc<str>,
    holder: Mutex<Option<Pid<P>>>,
}

/// Nobody has the role at present: its actor is being started or restarted, is stopped, or was never started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody has the role {role} at present")]
pub struct Vacant {
    /// The name of the role.
    pub role: Arc<str>,
}

/// Why a message to a role was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsent {
    /// There was nobody to send it to.
    #[error(transparent)]
    Vacant(#[from] Vacant),
    /// Who has the role did not admit it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl<P: Process> Role<P> {
    /// A role that nobody has yet. Its name is for errors.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { post: Arc::new(Post { name: name.into(), holder: Mutex::new(None) }) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.post.name
    }

    /// The incarnation that has the role now.
    pub fn resolve(&self) -> Result<Pid<P>, Vacant> {
        self.post.holder()
    }

    /// The same role for one kind of message, whatever the actor.
    pub fn handle<M: Message>(&self) -> RoleHandle<M>
    where
        P: Handler<M>,
    {
        RoleHandle { to: Arc::<Post<P>>::clone(&self.post) }
    }

    pub(crate) fn fill(&self, holder: Pid<P>) {
        *lock(&self.post.holder) = Some(holder);
    }

    /// Takes the role away from `holder`. It may be somebody else's by now, where a supervisor is dropped late.
    pub(crate) fn vacate(&self, holder: &Pid<P>) {
        let mut post = lock(&self.post.holder);
        let left = post.take_if(|other| other.core.control.id == holder.core.control.id);
        drop(post);
        drop(left);
    }
}

impl<P: Process> Post<P> {
    fn holder(&self) -> Result<Pid<P>, Vacant> {
        // One that has begun to end is nobody, also before its supervisor has heard of it.
        let taken = |pid: &Pid<P>| !pid.core.control.is_closed();
        let holder = lock(&self.holder).as_ref().filter(|pid| taken(pid)).cloned();
        holder.ok_or_else(|| Vacant { role: Arc::clone(&self.name) })
    }
}

impl<P: Process> Clone for Role<P> {
    fn clone(&self) -> Self {
        Self { post: Arc::clone(&self.post) }
    }
}

impl<P: Process> fmt::Debug for Role<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holder = self.resolve().ok();
        f.debug_struct("Role").field("name", &self.post.name).field("holder", &holder).finish()
    }
}

/// What finds the present addressee of messages of one type.
trait Resolves<M: Message>: Send + Sync {
    fn resolve(&self) -> Result<Handle<M>, Vacant>;
}

impl<P: Handler<M>, M: Message> Resolves<M> for Post<P> {
    fn resolve(&self) -> Result<Handle<M>, Vacant> {
        Ok(self.holder()?.handle())
    }
}

/// A role that accepts `M`: as a [`Handle`], over incarnations.
pub struct RoleHandle<M: Message> {
    to: Arc<dyn Resolves<M>>,
}

impl<M: Message> RoleHandle<M> {
    /// As [`Pid::dispatch`], to whoever has the role now. Fails with
    /// [`FaultKind::Vacant`](crate::FaultKind::Vacant) where nobody has.
    pub fn dispatch(&self, message: M, deadline: Duration) -> Eventual<M::Reply> {
        match self.resolve() {
            Ok(holder) => holder.dispatch(message, deadline),
            Err(vacant) => Eventual::ended(Outcome::Failed(Fault::vacant(vacant))),
        }
    }

    /// As [`Pid::notify`], to whoever has the role now.
    pub fn notify(&self, message: M) -> Result<(), Unsent> {
        Ok(self.resolve()?.notify(message)?)
    }

    /// The incarnation that has the role now. What is sent to the result does not follow the role.
    pub fn resolve(&self) -> Result<Handle<M>, Vacant> {
        self.to.resolve()
    }
}

impl<M: Message> Clone for RoleHandle<M> {
    fn clone(&self) -> Self {
        Self { to: Arc::clone(&self.to) }
    }
}

impl<M: Message> fmt::Debug for RoleHandle<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RoleHandle").field(&self.resolve()).finish()
    }
}
