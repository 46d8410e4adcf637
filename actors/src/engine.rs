//! What runs actors: threads of the host or, in tests, one simulated machine on the caller's thread.
//!
//! Whatever stands above says `Thread`, `Door` and `Task` and does not know which of the two it is on.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::body::Body;
use crate::crossings::Here;
use crate::eventual::Eventual;
use crate::host::{self, Call};
use crate::process::{Handler, Message, Process};
#[cfg(feature = "testing")]
use crate::simulation::{self, Machine};
use crate::work::Unit;

/// Makes the threads of a runtime.
pub(crate) enum Engine {
    Host(host::Engine),
    #[cfg(feature = "testing")]
    Simulated(Arc<Machine>),
}

impl Engine {
    pub(crate) fn start() -> io::Result<Self> {
        host::Engine::start().map(Self::Host)
    }

    /// Starts a thread for actors; which one it is.
    pub(crate) fn arbiter(&self) -> io::Result<(Thread, Here)> {
        match self {
            Self::Host(engine) => {
                engine.arbiter().map(|(thread, here)| (Thread::Host(thread), here))
            }
            #[cfg(feature = "testing")]
            Self::Simulated(machine) => {
                Ok((Thread::Simulated(simulation::Thread::new(machine)), Here::now()))
            }
        }
    }

    /// Ends the threads; it does not wait for any.
    pub(crate) fn stop(&self) {
        match self {
            Self::Host(engine) => engine.stop(),
            // It has no thread of its own.
            #[cfg(feature = "testing")]
            Self::Simulated(_) => {}
        }
    }

    /// Who does blocking work.
    pub(crate) fn workers(&self) -> Workers {
        match self {
            Self::Host(_) => Workers::Threads,
            #[cfg(feature = "testing")]
            Self::Simulated(machine) => Workers::Simulated(Arc::clone(machine)),
        }
    }
}

/// Who does blocking work.
pub(crate) enum Workers {
    /// Threads that are started on demand.
    Threads,
    /// Steps of the machine.
    #[cfg(feature = "testing")]
    Simulated(Arc<Machine>),
}

/// A thread that runs actors.
pub(crate) enum Thread {
    Host(host::Thread),
    #[cfg(feature = "testing")]
    Simulated(simulation::Thread),
}

impl Thread {
    /// A mailbox for an actor of this thread. Its bound is kept by the gate.
    pub(crate) fn mailbox<P: Process>(&self, name: &Arc<str>) -> (Door<P>, Inbox<P>) {
        match self {
            Self::Host(_) => {
                let _ = name;
                let (door, inbox) = host::mailbox();
                (Door::Host(door), Inbox::Host(inbox))
            }
            #[cfg(feature = "testing")]
            Self::Simulated(thread) => {
                let (door, inbox) = thread.mailbox(name);
                (Door::Simulated(door), Inbox::Simulated(inbox))
            }
        }
    }

    /// Runs the actor that `make` makes there, to its end; then drops what is left of its mailbox, then `ending`.
    pub(crate) fn run_actor<P: Process>(
        &self,
        inbox: Inbox<P>,
        make: impl FnOnce() -> Body<P> + Send + 'static,
        ending: impl Send + 'static,
    ) {
        match (self, inbox) {
            (Self::Host(thread), Inbox::Host(inbox)) => {
                thread.spawn_fn(move || {
                    let body = make();
                    tokio::task::spawn_local(async move {
                        let _ending = ending;
                        host::run(body, inbox).await;
                    });
                });
            }
            #[cfg(feature = "testing")]
            (Self::Simulated(thread), Inbox::Simulated(inbox)) => {
                thread.run_actor(inbox, make, ending);
            }
            #[cfg(feature = "testing")]
            (Self::Host(_), Inbox::Simulated(_)) | (Self::Simulated(_), Inbox::Host(_)) => {
                unreachable!("the inbox was made by this thread")
            }
        }
    }

    /// Spawns `future` there; nothing if the thread has ended. Never waits for the thread.
    pub(crate) fn spawn(
        &self,
        label: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        match self {
            Self::Host(thread) => {
                let _ = label;
                thread.spawn(future);
            }
            #[cfg(feature = "testing")]
            Self::Simulated(thread) => thread.spawn(label, future),
        }
    }

    /// Spawns `future` for the actor `name` on this thread, which is the calling one.
    pub(crate) fn spawn_local(
        &self,
        name: &Arc<str>,
        label: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> Task {
        match self {
            Self::Host(_) => {
                let _ = (name, label);
                Task::Host(tokio::task::spawn_local(future).abort_handle())
            }
            #[cfg(feature = "testing")]
            Self::Simulated(thread) => Task::Simulated(thread.spawn_local(name, label, future)),
        }
    }

    /// Asks the thread to end when its current turn is over.
    pub(crate) fn stop(&self) {
        match self {
            Self::Host(thread) => thread.stop(),
            #[cfg(feature = "testing")]
            Self::Simulated(thread) => thread.stop(),
        }
    }

    /// Ends when the thread has dropped all its tasks. Given out once.
    pub(crate) fn take_ended(&mut self) -> Option<Eventual<()>> {
        match self {
            Self::Host(thread) => thread.take_ended(),
            #[cfg(feature = "testing")]
            Self::Simulated(thread) => thread.take_ended(),
        }
    }
}

/// The sending end of an actor's mailbox.
pub(crate) enum Door<P: Process> {
    Host(host::Door<P>),
    #[cfg(feature = "testing")]
    Simulated(simulation::Door<P>),
}

impl<P: Process> Door<P> {
    /// Sends what the gate has admitted. A mailbox that is closed drops it, which abandons its promise.
    pub(crate) fn send<M: Message>(&self, call: Call<M>)
    where
        P: Handler<M>,
    {
        match self {
            Self::Host(door) => door.send(call),
            #[cfg(feature = "testing")]
            Self::Simulated(door) => door.send(call),
        }
    }

    pub(crate) fn kick(&self, unit: Unit) {
        match self {
            Self::Host(door) => door.kick(unit),
            #[cfg(feature = "testing")]
            Self::Simulated(door) => door.kick(unit),
        }
    }
}

/// The receiving end, on its way to the thread.
pub(crate) enum Inbox<P: Process> {
    Host(host::Inbox<P>),
    #[cfg(feature = "testing")]
    Simulated(simulation::Inbox<P>),
}

/// A future that was spawned on its own thread.
pub(crate) enum Task {
    Host(AbortHandle),
    #[cfg(feature = "testing")]
    Simulated(simulation::Task),
}

impl Task {
    /// Drops the future, unless it has ended.
    pub(crate) fn abort(&self) {
        match self {
            Self::Host(task) => task.abort(),
            #[cfg(feature = "testing")]
            Self::Simulated(task) => task.abort(),
        }
    }
}
