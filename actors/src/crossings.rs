//! Counts what is handed from one thread to another.
//!
//! A hand-over costs ten to a hundred times what it costs on one thread, so those who care for latency count
//! theirs. Counted are: an actor spawned, a message, an urgent entry (timer, exit) or a job given to another
//! thread, and an answer taken by another thread than the one that gave it. What comes from the kernel, such as
//! a readable socket, is handed to the thread that waits for it and crosses nothing of ours.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The count of one runtime. One relaxed addition for each crossing, nothing for what stays on its thread.
#[derive(Clone, Default)]
pub(crate) struct Crossings(Arc<AtomicU64>);

impl Crossings {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes one if `from` is not this thread.
    pub(crate) fn note_from(&self, from: Here) {
        if from != Here::now() {
            self.note();
        }
    }
}

/// A thread, by a number that no other thread of the process ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Here(u32);

impl Here {
    /// No thread.
    pub(crate) const NOWHERE: Self = Self(0);

    /// The calling thread.
    pub(crate) fn now() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        thread_local!(static ME: Cell<u32> = const { Cell::new(0) });
        ME.with(|me| {
            if me.get() == 0 {
                me.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            Self(me.get())
        })
    }
}
