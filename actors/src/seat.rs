//! Arbiters and their groups: where actors live, and how a lost arbiter is replaced.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::crossings::Here;
use crate::engine::{Engine, Thread};
use crate::eventual::{Discarder, Eventual};
use crate::lock;
use crate::outcome::Exit;

/// One arbiter: a thread that runs actors, one turn at a time.
pub(crate) struct Seat {
    pub(crate) group: &'static str,
    pub(crate) index: usize,
    pub(crate) thread: Thread,
    /// Its thread.
    pub(crate) here: Here,
    ended: Mutex<Option<Eventual<()>>>,
    actors: AtomicUsize,
    lost: AtomicBool,
    tasks: Mutex<Tasks>,
}

/// The background tasks that run here, to be abandoned with the thread.
#[derive(Default)]
struct Tasks {
    next_key: u64,
    running: BTreeMap<u64, Discarder>,
}

impl Seat {
    fn start(engine: &Engine, group: &'static str, index: usize) -> io::Result<Arc<Self>> {
        let (mut thread, here) = engine.arbiter()?;
        let ended = Mutex::new(thread.take_ended());
        let (actors, lost) = (AtomicUsize::new(0), AtomicBool::new(false));
        let tasks = Mutex::default();
        Ok(Arc::new(Self { group, index, thread, here, ended, actors, lost, tasks }))
    }

    /// Notes a background task until the result is dropped.
    pub(crate) fn note_task(self: &Arc<Self>, task: Discarder) -> TaskNote {
        let mut tasks = lock(&self.tasks);
        tasks.next_key += 1;
        let key = tasks.next_key;
        tasks.running.insert(key, task);
        TaskNote { seat: Arc::clone(self), key }
    }

    pub(crate) fn enter(&self) {
        self.actors.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.actors.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Gives the thread up: it takes nothing new, and ends if its turn ever does.
    pub(crate) fn give_up(&self) {
        self.lost.store(true, Ordering::Release);
        self.thread.stop();
        let tasks = std::mem::take(&mut lock(&self.tasks).running);
        for task in tasks.into_values() {
            task.abandon(Exit::Killed("arbiter lost"));
        }
    }

    /// Ends when the thread has. Given out once.
    pub(crate) fn take_ended(&self) -> Option<Eventual<()>> {
        lock(&self.ended).take()
    }
}

/// Forgets a background task when it is over.
pub(crate) struct TaskNote {
    seat: Arc<Seat>,
    key: u64,
}

impl Drop for TaskNote {
    fn drop(&mut self) {
        let task = lock(&self.seat.tasks).running.remove(&self.key);
        drop(task);
    }
}

/// Arbiters of one purpose.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    seats: Mutex<Vec<Arc<Seat>>>,
}

impl Group {
    pub(crate) fn start(engine: &Engine, name: &'static str, size: usize) -> io::Result<Self> {
        let seats = (0..size).map(|index| Seat::start(engine, name, index));
        Ok(Self { name, seats: Mutex::new(seats.collect::<io::Result<_>>()?) })
    }

    /// The arbiter with the fewest actors, the first of them where several have.
    pub(crate) fn least_loaded(&self) -> Option<Arc<Seat>> {
        let seats = lock(&self.seats);
        seats.iter().min_by_key(|seat| seat.actors.load(Ordering::Relaxed)).cloned()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Arc<Seat>> {
        lock(&self.seats).get(index).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Seat>> {
        lock(&self.seats).clone()
    }

    /// Puts a new arbiter in the place of one, which is given up and returned.
    pub(crate) fn replace(&self, engine: &Engine, index: usize) -> io::Result<Option<Arc<Seat>>> {
        if self.get(index).is_none() {
            return Ok(None);
        }
        let fresh = Seat::start(engine, self.name, index)?;
        let old = std::mem::replace(&mut lock(&self.seats)[index], fresh);
        old.give_up();
        Ok(Some(old))
    }
}
