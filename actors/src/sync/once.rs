//! Work that is done once for all who ask for it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use crate::body::panic_fault;
use crate::eventual::{Eventual, SharedEventual, promise};
use crate::lock;

/// A value that is made when it is first asked for, and then given to everybody.
///
/// Whoever asks while it is being made waits for the same work. If that ends without an answer, all of them hear so, and
/// the next who asks has it tried again. A discard withdraws who waits, not the work.
pub struct Once<T: Send + 'static>(Arc<Mutex<Option<SharedEventual<T>>>>);

impl<T: Clone + Send + Sync + 'static> Once<T> {
    /// One that has made nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }

    /// The value, made by `make` if nobody has made it or does. `make` is called at once, and only where it is needed; it
    /// must not block.
    pub fn get_or(&self, make: impl FnOnce() -> Eventual<T>) -> Eventual<T> {
        let mut made = lock(&self.0);
        if let Some(shared) = made.as_ref().filter(|shared| !shared.is_lost()) {
            let shared = shared.clone();
            drop(made);
            return shared.wait();
        }
        let (promise, eventual) = promise();
        let shared = eventual.share();
        let lost = made.replace(shared.clone());
        // From here on the others wait, and what is foreign runs without the lock.
        drop(made);
        drop(lost);
        let value = shared.wait();
        match catch_unwind(AssertUnwindSafe(make)) {
            Ok(eventual) => promise.follow(eventual),
            Err(payload) => {
                promise.fail(panic_fault(&*payload));
            }
        }
        value
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static> Clone for Once<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Once").field(&*lock(&self.0)).finish()
    }
}
