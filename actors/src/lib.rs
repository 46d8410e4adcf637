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
//! `cx` (what a turn can do), `builder`, `runtime`, `spawn`, `shutdown`, `clock`, `lanes` (blocking work), `filter` (tests),
//! `sync` (locks, queues, sequences), `guard` (what undoes when dropped), `subprocess` and `reap` (children).
//! `supervise` (restarts), `role` (addresses over incarnations), `tree` (who supervises whom),
//! `log` (events for subscribers), `waits` (who cannot go on without whom),
//! `meter` and `export` (what is counted, and how it is told).
//! Beneath: `control` (what is known about an actor without asking it), `gate` (the bound), `body` (its life), `seat` (arbiters),
//! `line` (who waits for what), `work` (quiescence), `engine` (what runs actors), of which there are two: `host` (threads;
//! besides `recipients`, the only module that names actix) and `simulation` (one thread and a seed, in tests).

mod answering;
mod body;
mod builder;
mod clock;
mod control;
mod crossings;
mod cx;
mod engine;
mod eventual;
mod export;
mod filter;
mod gate;
mod guard;
mod host;
mod lanes;
mod line;
mod log;
mod meter;
mod outcome;
mod pid;
mod process;
mod reap;
#[cfg(feature = "actix")]
pub mod recipients;
mod role;
mod runtime;
mod seat;
mod shutdown;
#[cfg(feature = "testing")]
mod simulation;
mod spawn;
mod subprocess;
mod supervise;
pub mod sync;
mod tree;
mod waits;
mod work;

pub use builder::{BuildError, Builder};
pub use clock::Clock;
pub use control::{ActorStatus, Turn};
pub use cx::{Cx, TimerKey};
pub use eventual::{Discarder, Eventual, Promise, SharedEventual, Token, promise};
pub use eventual::{all, first_ok, loop_, settle_all};
#[cfg(feature = "testing")]
pub use filter::{Fate, Faults, Filter, Match, Plan, Rule, Seen};
pub use guard::{DiscardOnDrop, Guarded};
pub use lanes::LaneStatus;
pub use log::{
    Change, Log, LogBounds, LogStart, Notice, Snapshot, SubscribeFrom, Subscription, Version,
};
pub use meter::{DURATION_CLASSES, Durations, Totals};
pub use outcome::{Address, Cause, Exit, Fault, FaultKind, Lost, Outcome, Refusal, Refused};
pub use pid::{AnyPid, Handle, Pid};
pub use process::{Drained, Handler, Message, Process, Reply};
pub use role::{Role, RoleHandle, Unsent, Vacant};
pub use runtime::{Pending, ReplaceError, Runtime, SpawnError};
pub use shutdown::{Offender, ShutdownPlan, ShutdownReport};
#[cfg(feature = "testing")]
pub use simulation::{Finding, NoSchedule, Random, Schedule, Search, Simulation};
pub use spawn::{CAPACITY_DEFAULT, Placement, Spawn};
pub use subprocess::{Subprocess, SubprocessError};
pub use supervise::{
    Backoff, ChildEnd, ChildSpec, ChildState, ChildStatus, GaveUp, Intensity, Restart, StartChild,
    Stop, StopChild, Strategy, Supervisor,
};
pub use tree::Branch;
pub use waits::{AskCycle, Wait};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// Locks, also after a panic elsewhere: nothing here leaves its data half changed across foreign code.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
