//! Coordination between actors, tasks and threads: all of it waits in an [`Eventual`](crate::Eventual), never on a
//! thread.
//!
//! Whoever waits is served first come first served. A discard takes it out of the line at once; dropping its eventual
//! withdraws nothing, but nothing is given to somebody who cannot take it any more. Every type here is a handle, cheap
//! to clone; clones are one and the same lock, queue or latch.

mod latch;
mod limiter;
mod mutex;
mod once;
mod queue;
mod rwlock;
mod sequence;

pub use latch::Latch;
pub use limiter::RateLimiter;
pub use mutex::{Mutex, MutexGuard};
pub use once::Once;
pub use queue::{Full, Queue};
pub use rwlock::{ReadGuard, RwLock, WriteGuard};
pub use sequence::Sequence;
