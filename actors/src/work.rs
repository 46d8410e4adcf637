//! Units of outstanding work: when none is left, the system is settled.
//!
//! An admitted message, a running turn, a woken task and a blocking job each hold one unit. Whatever causes
//! more work takes the new unit before it gives up its own, so zero cannot be seen in between.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use crate::lock;

/// The counter. Only a virtual clock has one.
#[derive(Debug, Default)]
pub(crate) struct Work {
    count: AtomicUsize,
    waiting: Mutex<Vec<Waker>>,
}

impl Work {
    fn acquire(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    fn release(&self) {
        if self.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            let wakers = std::mem::take(&mut *lock(&self.waiting));
            wakers.into_iter().for_each(Waker::wake);
        }
    }
}

/// One unit of work, held until dropped. Empty where nothing is counted.
#[derive(Debug, Default)]
pub(crate) struct Unit(Option<Arc<Work>>);

impl Unit {
    pub(crate) fn of(work: Option<&Arc<Work>>) -> Self {
        Self(work.map(|work| {
            work.acquire();
            Arc::clone(work)
        }))
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(work) = &self.0 {
            work.release();
        }
    }
}

/// Ends when no unit is held.
#[cfg(feature = "testing")]
#[derive(Debug)]
pub(crate) struct Settled(pub(crate) Arc<Work>);

#[cfg(feature = "testing")]
impl Future for Settled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut waiting = lock(&self.0.waiting);
        // Looked at under the lock: a release between the look and the push would wake nobody.
        if self.0.count.load(Ordering::SeqCst) == 0 {
            return Poll::Ready(());
        }
        waiting.push(cx.waker().clone());
        Poll::Pending
    }
}

/// A waker that holds a unit from the wake to the end of the next poll.
///
/// A task that merely waits counts for nothing; one that was woken and has not run yet does.
pub(crate) struct CountingWaker {
    work: Arc<Work>,
    state: Mutex<Scheduled>,
}

#[derive(Default)]
struct Scheduled {
    due: bool,
    retired: bool,
    waker: Option<Waker>,
}

impl CountingWaker {
    /// For a task that is about to be spawned, hence due to run.
    pub(crate) fn new(work: &Arc<Work>) -> Arc<Self> {
        work.acquire();
        let state = Scheduled { due: true, ..Scheduled::default() };
        Arc::new(Self { work: Arc::clone(work), state: Mutex::new(state) })
    }

    /// Polls by `poll` so that wakes count.
    pub(crate) fn poll<R>(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> R {
        // The unit of the wake that led here is held through the poll; a wake during it takes another.
        let held = {
            let mut state = lock(&self.state);
            state.waker = Some(cx.waker().clone());
            std::mem::take(&mut state.due)
        };
        let waker = Waker::from(Arc::clone(self));
        let result = poll(&mut Context::from_waker(&waker));
        if held {
            self.work.release();
        }
        result
    }

    /// Gives back the unit of a task that will not be polled again.
    pub(crate) fn retire(&self) {
        let mut state = lock(&self.state);
        state.retired = true;
        state.waker = None;
        let held = std::mem::take(&mut state.due);
        drop(state);
        if held {
            self.work.release();
        }
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        if state.retired {
            return;
        }
        if !std::mem::replace(&mut state.due, true) {
            self.work.acquire();
        }
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A future whose wakes are counted; plain where nothing is counted.
pub(crate) struct Counted<F> {
    future: Pin<Box<F>>,
    waker: Option<Arc<CountingWaker>>,
}

impl<F: Future> Counted<F> {
    pub(crate) fn new(work: Option<&Arc<Work>>, future: F) -> Self {
        Self { future: Box::pin(future), waker: work.map(CountingWaker::new) }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, waker } = self.get_mut();
        match waker {
            None => future.as_mut().poll(cx),
            Some(waker) => waker.poll(cx, |cx| future.as_mut().poll(cx)),
        }
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        if let Some(waker) = &self.waker {
            waker.retire();
        }
    }
}
