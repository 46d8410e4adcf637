//! For embedders that are actix programs: the one place where types of actix are public.
//!
//! A [`Recipient`] made here is served on a thread of this runtime and may be used on any system of the
//! embedder's, also before that has started.

use std::future::Future;

use actix::dev::channel;
use actix::{Actor, Addr, Context, Handler, ResponseFuture};

pub use actix::{Message as ActixMessage, Recipient};

use crate::runtime::Runtime;

/// How many messages wait before senders do; actix' own default.
const CAPACITY: usize = 16;

/// Answers each message by a future; several messages are answered at a time.
struct Front<F> {
    answer: F,
}

impl<F: Unpin + 'static> Actor for Front<F> {
    type Context = Context<Self>;
}

impl<M, F, A> Handler<M> for Front<F>
where
    M: ActixMessage + 'static,
    M::Result: Send + 'static,
    F: Fn(M) -> A + Unpin + 'static,
    A: Future<Output = M::Result> + 'static,
{
    type Result = ResponseFuture<M::Result>;

    fn handle(&mut self, message: M, _: &mut Context<Self>) -> Self::Result {
        Box::pin((self.answer)(message))
    }
}

/// A recipient of `M` whose messages are answered by `answer`, on an arbiter of `group`. What was begun is
/// ended even if the sender does not wait for it. It is closed when the runtime has shut down.
pub fn recipient<M, F, A>(runtime: &Runtime, group: &'static str, answer: F) -> Recipient<M>
where
    M: ActixMessage + Send + 'static,
    M::Result: Send + 'static,
    F: Fn(M) -> A + Send + Unpin + 'static,
    A: Future<Output = M::Result> + Send + 'static,
{
    let (sender, receiver) = channel::channel(CAPACITY);
    let address = Addr::new(sender);
    // The eventual only says that the front has been set up.
    let _set_up = runtime.spawn_future(group, "recipient", async move {
        let front =
            async move { Context::with_receiver(receiver).into_future(Front { answer }).await };
        tokio::task::spawn_local(front);
    });
    address.recipient()
}
