//! A gate that opens once.

use std::fmt;
use std::sync::{Arc, Mutex};

use crate::eventual::{Eventual, Promise, SharedEventual, promise};
use crate::lock;

/// Opens when it has been counted down, for everybody who waits then or later.
///
/// With the last handle of one that never opened, who waits ends as abandoned.
#[derive(Clone)]
pub struct Latch(Arc<Inner>);

struct Inner {
    left: Mutex<(usize, Option<Promise<()>>)>,
    open: SharedEventual<()>,
}

impl Latch {
    /// Opens at the `count`th [`Latch::count_down`]; with zero it is open.
    pub fn new(count: usize) -> Self {
        let (promise, eventual) = promise();
        let open = eventual.share();
        let promise = if count == 0 {
            promise.set(());
            None
        } else {
            Some(promise)
        };
        Self(Arc::new(Inner { left: Mutex::new((count, promise)), open }))
    }

    /// Counts one; true if that opened it.
    pub fn count_down(&self) -> bool {
        let mut left = lock(&self.0.left);
        left.0 = left.0.saturating_sub(1);
        let opens = if left.0 == 0 { left.1.take() } else { None };
        // Who waits may run at once.
        drop(left);
        opens.is_some_and(|promise| promise.set(()))
    }

    /// Ends when it opens.
    pub fn opened(&self) -> Eventual<()> {
        self.0.open.wait()
    }

    /// True when it is open.
    pub fn is_open(&self) -> bool {
        lock(&self.0.left).0 == 0
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("left", &lock(&self.0.left).0).finish()
    }
}
