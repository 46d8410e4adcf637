//! The strands of a simulation, and what makes them step.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use super::machine::{Arrival, Bell, Id, Machine, Next, Picked, SeatId, Strand, Who};
use super::random;
use crate::body::drop_caught;

/// The part of a simulation that stays on its thread: the strands, which need not be `Send`.
pub(crate) struct Local {
    pub(crate) machine: Arc<Machine>,
    /// Looked into for every step, so it is not kept in order; whoever goes through it sorts.
    strands: RefCell<HashMap<Id, Slot, BuildHasherDefault<IdHasher>>>,
}

/// Creation numbers are spread well enough.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = random::hash(self.0, u64::from(*byte)));
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = random::hash(0, u64::from(id));
    }
}

struct Slot {
    /// Taken out while it runs.
    strand: Option<Box<dyn Strand>>,
    bell: Arc<Bell>,
    seat: SeatId,
    who: Who,
}

thread_local! {
    /// The simulations whose code runs on this thread, innermost last.
    static CURRENT: RefCell<Vec<Rc<Local>>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, its simulation is the current one of this thread.
pub(crate) struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        let left = CURRENT.with(|current| current.borrow_mut().pop());
        drop(left);
    }
}

/// True in the code of a simulated strand.
pub(crate) fn is_inside() -> bool {
    CURRENT.with(|current| !current.borrow().is_empty())
}

/// The simulation whose code this is.
pub(crate) fn current() -> Option<Rc<Local>> {
    CURRENT.with(|current| current.borrow().last().cloned())
}

impl Local {
    pub(crate) fn new(machine: &Arc<Machine>) -> Rc<Self> {
        Rc::new(Self { machine: Arc::clone(machine), strands: RefCell::default() })
    }

    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        CURRENT.with(|current| current.borrow_mut().push(Rc::clone(self)));
        Entered(())
    }

    /// Adds a strand that waits for its bell.
    pub(crate) fn add(&self, bell: Arc<Bell>, seat: SeatId, who: Who, strand: Box<dyn Strand>) {
        let slot = Slot { strand: Some(strand), bell: Arc::clone(&bell), seat, who };
        self.strands.borrow_mut().insert(bell.id, slot);
    }

    /// One step of whoever is chosen; a strand that is not in here is the caller's, who gets its number.
    pub(crate) fn step(&self) -> Step {
        let id = match self.machine.pick() {
            Picked::Next(id) => id,
            Picked::Nobody => return Step::Settled,
            Picked::Foreign(id) => panic!("{} was woken by another thread", self.name_of(id)),
        };
        let Some(mut strand) = self.take(id).or_else(|| self.take_arrival(id)) else {
            return Step::Callers(id);
        };
        let stepped = strand.step();
        match stepped.next {
            Next::Done => {
                drop_caught(strand);
                self.remove(id);
            }
            Next::Again | Next::Wait => self.put_back(id, strand, &stepped.next),
        }
        self.machine.note(id, stepped.label);
        Step::Taken
    }

    fn take(&self, id: Id) -> Option<Box<dyn Strand>> {
        let mut strands = self.strands.borrow_mut();
        let slot = strands.get_mut(&id)?;
        slot.bell.hear();
        slot.strand.take()
    }

    fn take_arrival(&self, id: Id) -> Option<Box<dyn Strand>> {
        let Arrival { bell, seat, who, make } = self.machine.take_arrival(id)?;
        self.add(bell, seat, who, make());
        self.take(id)
    }

    /// The caller's own strand has made its step.
    pub(crate) fn note_callers(&self, id: Id) {
        self.machine.note(id, "goes on");
    }

    fn put_back(&self, id: Id, strand: Box<dyn Strand>, next: &Next) {
        let mut strands = self.strands.borrow_mut();
        let Some(slot) = strands.get_mut(&id) else {
            // It was removed by its own step.
            drop(strands);
            drop_caught(strand);
            return;
        };
        slot.strand = Some(strand);
        if matches!(next, Next::Again) {
            slot.bell.ring();
        }
    }

    /// Takes a strand away and drops it.
    pub(crate) fn remove(&self, id: Id) {
        let removed = self.strands.borrow_mut().remove(&id);
        if let Some(slot) = removed {
            slot.bell.retire();
            drop_caught(slot);
        }
        if let Some(arrival) = self.machine.take_arrival(id) {
            arrival.bell.retire();
            drop_caught(arrival);
        }
        self.machine.forget(id);
    }

    /// Drops what lives on a simulated thread, oldest first.
    pub(crate) fn remove_seat(&self, seat: SeatId) {
        let strands = self.strands.borrow();
        let here = strands.iter().filter(|(_, slot)| slot.seat == seat).map(|(id, _)| *id);
        let mut ids: Vec<Id> = here.collect();
        drop(strands);
        ids.extend(self.machine.arrivals_of(seat));
        ids.sort_unstable();
        ids.into_iter().for_each(|id| self.remove(id));
    }

    /// Drops everything, oldest first, and takes nothing new.
    pub(crate) fn close(&self) {
        self.machine.close();
        loop {
            let mut ids: Vec<Id> = self.strands.borrow().keys().copied().collect();
            ids.extend(self.machine.first_arrival());
            if ids.is_empty() {
                return;
            }
            ids.sort_unstable();
            ids.into_iter().for_each(|id| self.remove(id));
        }
    }

    /// Names of who could go on, for the report that they do so for ever.
    pub(crate) fn names_of_ready(&self) -> Vec<String> {
        self.machine.ready().into_iter().take(8).map(|id| self.name_of(id)).collect()
    }

    fn name_of(&self, id: Id) -> String {
        match self.strands.borrow().get(&id).map(|slot| &slot.who) {
            Some(who) if *who.name == *who.label => who.label.to_owned(),
            Some(who) => format!("{} ({})", who.name, who.label),
            None => "who is blocked on, or has not run yet,".to_owned(),
        }
    }
}

/// What [`Local::step`] has done.
pub(crate) enum Step {
    /// Nothing can run.
    Settled,
    /// Somebody went on by one step.
    Taken,
    /// It is the turn of a strand that the caller keeps.
    Callers(Id),
}
