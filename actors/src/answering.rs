//! Actors that are one closure.

use crate::cx::Cx;
use crate::pid::Handle;
use crate::process::{Handler, Message, Process, Reply};
use crate::runtime::{Runtime, SpawnError};
use crate::spawn::Spawn;

impl<M: Message> Handle<M> {
    /// Spawns an actor that answers `M` by calling `answer`, in the first group of `runtime`. For fakes in tests
    /// and for small services without a state worth a type.
    pub fn from_fn(
        runtime: &Runtime,
        name: impl Into<String>,
        answer: impl FnMut(M) -> Reply<M::Reply> + Send + 'static,
    ) -> Result<Self, SpawnError> {
        let spawn = Spawn::new(name, move || Answering(Box::new(answer)));
        Ok(runtime.spawn(spawn)?.handle())
    }
}

/// The actor behind [`Handle::from_fn`].
struct Answering<M: Message>(Box<dyn FnMut(M) -> Reply<M::Reply> + Send>);

impl<M: Message> Process for Answering<M> {}

impl<M: Message> Handler<M> for Answering<M> {
    fn handle(&mut self, message: M, _: &mut Cx<Self>) -> Reply<M::Reply> {
        (self.0)(message)
    }
}
