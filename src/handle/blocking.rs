//! For threads that belong to no executor.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

/// Blocks this thread until `future` ends: every future of this crate can be awaited so, no runtime is
/// needed. On a thread of an executor it holds up whatever else runs there.
///
/// ```no_run
/// use longshore::{Containerizer, block_on};
///
/// # fn main() -> Result<(), longshore::error::Error> {
/// let node = block_on(Containerizer::builder("/var/lib/ci", "/run/ci").start())?;
/// # drop(node);
/// # Ok(())
/// # }
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut cx) {
            Poll::Ready(output) => return output,
            // A wake that came first is remembered: this returns at once then.
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_for_a_future_of_another_thread() {
        let (promise, eventual) = longshore_actors::promise::<u32>();
        let other = std::thread::spawn(move || promise.set(7));
        assert_eq!(block_on(eventual.result()).expect("set"), 7);
        assert!(other.join().expect("no panic"));
    }
}
