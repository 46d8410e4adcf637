//! An actor runtime in the manner of libprocess, hosted on actix and tokio.
//!
//! An actor is a [`Process`]; it answers each kind of [`Message`] by a [`Handler`]. A [`Runtime`] spawns it and
//! gives its [`Pid`]; a [`Handle`] is the same address for one kind of message. [`Pid::dispatch`] asks, with a
//! deadline, and gives an [`Eventual`]; [`Pid::notify`] tells. No type of actix is public, but
//! behind the feature `actix` in `recipients`.
//!
//! # Layout
//!
//! In reading order: `process` (the traits), `outcome` and `eventual` (how things end), `pid` (addresses),
//! `cx` (what a turn can do), `runtime`, `spawn`, `shutdown`, `clock`, `lanes` (blocking work), `filter` (tests),
//! `sync` (locks, queues, sequences), `guard` (what undoes when dropped), `subprocess` and `reap` (children).
//! Beneath: `control` (what is known about an actor without asking it), `gate` (the bound), `body` (its life), `seat` (arbiters),
//! `line` (who waits for what), `work` (quiescence), `host` (the engine: besides `recipients`, the only module that names actix).

mod body;
mod clock;
mod control;
mod crossings;
mod cx;
mod eventual;
mod filter;
mod gate;
mod guard;
mod host;
mod lanes;
mod line;
mod outcome;
mod pid;
mod process;
mod reap;
#[cfg(feature = "actix")]
pub mod recipients;
mod runtime;
mod seat;
mod shutdown;
mod spawn;
mod subprocess;
pub mod sync;
mod work;

pub use clock::Clock;
pub use control::{ActorStatus, Turn};
pub use cx::{Cx, TimerKey};
pub use eventual::{Discarder, Eventual, Promise, SharedEventual, Token, promise};
pub use eventual::{all, first_ok, loop_, settle_all};
#[cfg(feature = "testing")]
pub use filter::{Fate, Filter, Match, Rule, Seen};
pub use guard::{DiscardOnDrop, Guarded};
pub use lanes::LaneStatus;
pub use outcome::{Address, Cause, Exit, Fault, FaultKind, Lost, Outcome, Refusal, Refused};
pub use pid::{AnyPid, Handle, Pid};
pub use process::{Handler, Message, Process, Reply};
pub use runtime::{BuildError, Builder, Pending, ReplaceError, Runtime, SpawnError};
pub use shutdown::{Offender, ShutdownPlan, ShutdownReport};
pub use spawn::{CAPACITY_DEFAULT, Placement, Spawn};
pub use subprocess::{Subprocess, SubprocessError};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// Locks, also after a panic elsewhere: nothing here leaves its data half changed across foreign code.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
