//! The result of asynchronous work: [`Eventual`] on the side that waits, [`Promise`] on the side that works.
//!
//! An eventual ends in exactly one [`Outcome`]; a promise that is dropped unset ends it as abandoned, so nothing
//! hangs because somebody died. A discard is a request: it marks the promise, whose owner decides what follows.
//!
//! Beneath: `discard` (its handles), `chain` (one eventual made of another), `within` (a deadline for any), `gather`
//! (many made one), `repeat` (loops), `share` (one for many), `cascade` (how continuations run).

mod cascade;
mod chain;
mod discard;
mod gather;
mod repeat;
mod share;
mod within;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::clock::{Due, TimerId};
use crate::crossings::{Crossings, Here};
use crate::lock;
use crate::outcome::{Address, Cause, Exit, Fault, Lost, Outcome};
use crate::pid::AnyPid;
use crate::waits::Edge;

pub(crate) use cascade::run as cascade;
pub use discard::{Discarder, Token};
pub use gather::{all, first_ok, settle_all};
pub use repeat::loop_;
pub use share::SharedEventual;

/// What an [`Eventual`] and its [`Promise`] share.
pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
    /// Present where this is the answer to a dispatch.
    ask: Option<Ask>,
    /// Where an answer that crosses threads is counted, if it is not that of a dispatch.
    crossings: Option<Crossings>,
    /// The dispatch that this is derived from, for the texts of errors.
    derived_from: Option<Box<Address>>,
}

/// A dispatch that waits for its answer.
pub(crate) struct Ask {
    pub(crate) to: AnyPid,
    pub(crate) label: &'static str,
    pub(crate) subject: Option<Arc<str>>,
    pub(crate) since: Instant,
    pub(crate) after: Duration,
    /// Present where the asker cannot go on without it.
    pub(crate) edge: Option<Box<Edge>>,
}

struct State<T> {
    outcome: Option<Outcome<T>>,
    done: bool,
    /// The thread that gave the outcome.
    given: Here,
    waker: Option<Waker>,
    /// Boxed, since hardly any request is withdrawn.
    discard: Option<Box<Cause>>,
    discard_wakers: Vec<Waker>,
    forward: Option<Box<dyn FnOnce(Outcome<T>) + Send>>,
    on_discard: Option<Box<dyn FnOnce(Cause) + Send>>,
    /// The deadline, on the clock of the runtime that was asked.
    timer: Option<TimerId>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            outcome: None,
            done: false,
            given: Here::NOWHERE,
            waker: None,
            discard: None,
            discard_wakers: Vec::new(),
            forward: None,
            on_discard: None,
            timer: None,
        }
    }
}

impl<T: Send + 'static> Shared<T> {
    fn new(ask: Option<Ask>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { state, ask, crossings: None, derived_from: None })
    }

    /// Ends it. The first outcome counts, later ones are dropped.
    pub(crate) fn complete(&self, outcome: Outcome<T>) -> bool {
        let mut state = lock(&self.state);
        if state.done {
            return false;
        }
        state.done = true;
        state.given = Here::now();
        let timer = state.timer.take();
        let waker = state.waker.take();
        let hook = state.on_discard.take();
        let undelivered = match state.forward.take() {
            Some(forward) => Some((forward, outcome)),
            None => {
                state.outcome = Some(outcome);
                None
            }
        };
        // Foreign code (wakers, hooks, destructors) runs without the lock.
        drop(state);
        drop(hook);
        if let (Some(id), Some(ask)) = (timer, &self.ask) {
            ask.to.clock().cancel(id);
            if let Some(edge) = &ask.edge {
                edge.remove();
            }
        }
        if let Some((forward, outcome)) = undelivered {
            forward(outcome);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Sends the outcome to `forward` instead of to whoever awaits; says who had given it, if it was there already.
    fn forward(&self, forward: impl FnOnce(Outcome<T>) + Send + 'static) -> Option<Here> {
        let mut state = lock(&self.state);
        match state.outcome.take() {
            Some(outcome) => {
                let given = state.given;
                drop(state);
                forward(outcome);
                Some(given)
            }
            None => {
                assert!(!state.done, "an eventual was chained after it had given its outcome");
                state.forward = Some(Box::new(forward));
                None
            }
        }
    }

    /// Calls `hook` once a discard is asked for, now if it was already.
    fn on_discard(&self, hook: impl FnOnce(Cause) + Send + 'static) {
        let mut state = lock(&self.state);
        match state.discard.clone() {
            Some(cause) => {
                drop(state);
                hook(*cause);
            }
            None if state.done => {}
            None => {
                let replaced = state.on_discard.replace(Box::new(hook));
                // What the old hook owns is dropped without the lock.
                drop(state);
                drop(replaced);
            }
        }
    }

    /// Counts an answer that this thread takes from another.
    fn note_taken(&self, given: Here) {
        let asked = self.ask.as_ref().map(|ask| ask.to.crossings());
        if let Some(crossings) = asked.or(self.crossings.as_ref()) {
            crossings.note_from(given);
        }
    }

    fn abandon(&self, exit: Exit) {
        // Who was asked to stop and then let go has answered the discard.
        let asked = self.discard_cause();
        self.complete(asked.map_or(Outcome::Abandoned(exit), Outcome::Discarded));
    }
}

/// The parts of [`Shared`] that do not depend on the type of the answer.
pub(crate) trait Discardable: Send + Sync {
    fn request_discard(&self, cause: Cause) -> bool;
    fn discard_cause(&self) -> Option<Cause>;
    fn abandon_with(&self, exit: Exit);
}

impl<T: Send + 'static> Discardable for Shared<T> {
    fn request_discard(&self, cause: Cause) -> bool {
        let mut state = lock(&self.state);
        if state.done || state.discard.is_some() {
            return false;
        }
        state.discard = Some(Box::new(cause.clone()));
        let wakers = std::mem::take(&mut state.discard_wakers);
        let hook = state.on_discard.take();
        drop(state);
        if let Some(hook) = hook {
            hook(cause);
        }
        wakers.into_iter().for_each(Waker::wake);
        true
    }

    fn abandon_with(&self, exit: Exit) {
        self.complete(Outcome::Abandoned(exit));
    }

    fn discard_cause(&self) -> Option<Cause> {
        lock(&self.state).discard.as_deref().cloned()
    }
}

impl<T: Send + 'static> Due for Shared<T> {
    fn due(self: Arc<Self>) {
        let Some(ask) = &self.ask else { return };
        let cause = Cause::Deadline { to: ask.to.name_arc(), label: ask.label, after: ask.after };
        self.request_discard(cause.clone());
        self.complete(Outcome::Discarded(cause));
    }

    fn ask(&self) -> Option<&Ask> {
        self.ask.as_ref()
    }

    fn abandon(&self, exit: Exit) {
        self.complete(Outcome::Abandoned(exit));
    }
}

/// The waiting side: a future of an [`Outcome`], on any executor.
///
/// Dropping it withdraws nothing: the message is handled, the job runs. Say [`Eventual::discard`] to withdraw.
#[must_use = "an eventual that is dropped lets the work go on unobserved; say so with `let _ =`"]
pub struct Eventual<T> {
    shared: Arc<Shared<T>>,
}

impl<T: Send + 'static> Eventual<T> {
    /// One that has ended well already.
    pub fn ready(value: T) -> Self {
        Self::ended(Outcome::Ok(value))
    }

    /// One that has ended already.
    pub fn ended(outcome: Outcome<T>) -> Self {
        let shared = Shared::new(None);
        shared.complete(outcome);
        Self { shared }
    }

    /// Asks for the work to be withdrawn; false if it was asked before or has ended. The worker decides: the
    /// eventual ends as discarded when the worker lets go, or with the answer if that was first.
    pub fn discard(&self, cause: impl Into<Cause>) -> bool {
        self.shared.request_discard(cause.into())
    }

    /// A handle that can discard this after the eventual itself was given away.
    pub fn discarder(&self) -> Discarder {
        Discarder(Arc::<Shared<T>>::clone(&self.shared))
    }

    /// True when it has ended.
    pub fn is_done(&self) -> bool {
        lock(&self.shared.state).done
    }

    /// The answer, or an error whose text names actor, message and reason.
    pub async fn result(self) -> Result<T, Lost> {
        let address = self.address();
        self.await.into_result_at(address.as_ref())
    }

    /// Blocks this thread until the end. For callers outside any executor; an actor that does this blocks its
    /// whole arbiter. In a simulation it panics: nobody else would ever run.
    pub fn blocking_wait(mut self) -> Outcome<T> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut cx) {
                return outcome;
            }
            #[cfg(feature = "testing")]
            crate::simulation::refuse_to_block(self.shared.ask.as_ref().map(|ask| &ask.to));
            std::thread::park();
        }
    }

    /// Blocks this thread until the end, but no longer than until `at` in real time.
    pub(crate) fn blocking_wait_until(mut self, at: Instant) -> Option<Outcome<T>> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut self).poll(&mut cx) {
                return Some(outcome);
            }
            let left = at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::park_timeout(left);
        }
    }

    /// Ends `outer` as this ends, and passes a discard of `outer` on to this. `blame` is the exit that an
    /// abandonment is put down to, where the actor in between has ended itself.
    pub(crate) fn forward_to(
        self,
        outer: Promise<T>,
        blame: impl FnOnce() -> Option<Exit> + Send + 'static,
    ) {
        let inner = Arc::clone(&self.shared);
        outer.shared().on_discard(move |cause| {
            inner.request_discard(cause);
        });
        let outer = outer.disarm();
        self.shared.forward(move |outcome| {
            outer.complete(match outcome {
                Outcome::Abandoned(exit) => Outcome::Abandoned(blame().unwrap_or(exit)),
                other @ (Outcome::Ok(_) | Outcome::Failed(_) | Outcome::Discarded(_)) => other,
            });
        });
    }

    /// Calls `heard` with the outcome, on the thread that gives it.
    pub(crate) fn hear(self, heard: impl FnOnce(Outcome<T>) + Send + 'static) {
        if let Some(given) = self.shared.forward(heard) {
            self.shared.note_taken(given);
        }
    }

    pub(crate) fn address(&self) -> Option<Address> {
        match &self.shared.ask {
            Some(ask) => Some(Address { to: ask.to.name_arc(), label: ask.label }),
            None => self.shared.derived_from.as_deref().cloned(),
        }
    }
}

impl<T: Send + 'static> Future for Eventual<T> {
    type Output = Outcome<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<T>> {
        let mut state = lock(&self.shared.state);
        if let Some(outcome) = state.outcome.take() {
            self.shared.note_taken(state.given);
            return Poll::Ready(outcome);
        }
        assert!(!state.done, "an eventual was polled after it had given its outcome");
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> fmt::Debug for Eventual<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.shared.state);
        f.debug_struct("Eventual")
            .field("done", &state.done)
            .field("discard", &state.discard)
            .finish_non_exhaustive()
    }
}

/// The working side. Dropped unset, it abandons its [`Eventual`].
pub struct Promise<T: Send + 'static> {
    /// Taken by whoever ends it.
    shared: Option<Arc<Shared<T>>>,
}

impl<T: Send + 'static> Promise<T> {
    /// Answers. False, with the value dropped, if the eventual had ended by its deadline.
    pub fn set(self, value: T) -> bool {
        self.disarm().complete(Outcome::Ok(value))
    }

    /// Fails.
    pub fn fail(self, fault: Fault) -> bool {
        self.disarm().complete(Outcome::Failed(fault))
    }

    /// Ends in any way.
    pub fn end(self, outcome: Outcome<T>) -> bool {
        self.disarm().complete(outcome)
    }

    /// True when the asker withdrew, or its deadline passed.
    pub fn is_discarded(&self) -> bool {
        self.shared().discard_cause().is_some()
    }

    /// Ends when the asker withdraws.
    pub fn discarded(&self) -> impl Future<Output = Cause> + Send + 'static {
        let shared = Arc::clone(self.shared());
        std::future::poll_fn(move |cx| {
            let mut state = lock(&shared.state);
            match &state.discard {
                Some(cause) => Poll::Ready(Cause::clone(cause)),
                None => {
                    if !state.discard_wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                        state.discard_wakers.push(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
    }

    /// What tells a job whether it is still wanted.
    pub fn token(&self) -> Token {
        Token(Arc::<Shared<T>>::clone(self.shared()))
    }

    fn disarm(mut self) -> Arc<Shared<T>> {
        self.shared.take().expect("a promise ends once, by value")
    }

    fn shared(&self) -> &Arc<Shared<T>> {
        self.shared.as_ref().expect("a promise ends once, by value")
    }

    /// Gives up without a word: only a deadline ends the eventual then.
    pub(crate) fn lose(self) {
        drop(self.disarm());
    }

    /// Calls `hook` when the asker withdraws.
    pub(crate) fn on_discard(&self, hook: impl FnOnce(Cause) + Send + 'static) {
        self.shared().on_discard(hook);
    }
}

impl<T: Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let exit = shared.ask.as_ref().map(|ask| ask.to.exit_so_far());
            shared.abandon(exit.unwrap_or(Exit::Killed("promise dropped")));
        }
    }
}

impl<T: Send + 'static> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("discarded", &self.is_discarded()).finish_non_exhaustive()
    }
}

/// A promise and its eventual.
pub fn promise<T: Send + 'static>() -> (Promise<T>, Eventual<T>) {
    pair(Shared::new(None))
}

/// A promise and its eventual for work that another thread does, counted in `crossings`.
pub(crate) fn counted_promise<T: Send + 'static>(
    crossings: Crossings,
) -> (Promise<T>, Eventual<T>) {
    derived(Some(crossings), None)
}

/// A promise and its eventual for what is made of another.
fn derived<T: Send + 'static>(
    crossings: Option<Crossings>,
    derived_from: Option<Box<Address>>,
) -> (Promise<T>, Eventual<T>) {
    pair(Arc::new(Shared { state: Mutex::default(), ask: None, crossings, derived_from }))
}

/// A promise and its eventual for a dispatch, which ends at `at` by the clock.
pub(crate) fn asked<T: Send + 'static>(ask: Ask, at: Instant) -> (Promise<T>, Eventual<T>) {
    let id = ask.to.clock().reserve(at);
    let state = State { timer: Some(id), ..State::default() };
    let state = Mutex::new(state);
    let shared = Arc::new(Shared { state, ask: Some(ask), crossings: None, derived_from: None });
    let due: Arc<dyn Due> = Arc::<Shared<T>>::clone(&shared);
    if let Some(ask) = &shared.ask {
        ask.to.clock().put(id, due);
    }
    pair(shared)
}

fn pair<T: Send + 'static>(shared: Arc<Shared<T>>) -> (Promise<T>, Eventual<T>) {
    (Promise { shared: Some(Arc::clone(&shared)) }, Eventual { shared })
}

/// Wakes a thread that waits in [`Eventual::blocking_wait`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
