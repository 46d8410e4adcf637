//! Lines: who waits, first come first served, and may leave from any place.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::eventual::Promise;
use crate::outcome::Cause;

/// Those who wait, by a number that grows.
pub(crate) struct Line<W> {
    next_place: u64,
    waiting: BTreeMap<u64, W>,
}

impl<W> Default for Line<W> {
    fn default() -> Self {
        Self { next_place: 0, waiting: BTreeMap::new() }
    }
}

impl<W> Line<W> {
    /// Puts at the end what `who` makes of the place.
    pub(crate) fn join(&mut self, who: impl FnOnce(u64) -> W) {
        let place = self.next_place;
        self.next_place += 1;
        self.waiting.insert(place, who(place));
    }

    /// Takes out whoever is first.
    pub(crate) fn next(&mut self) -> Option<W> {
        self.waiting.pop_first().map(|(_, who)| who)
    }

    /// Whoever is first.
    pub(crate) fn first(&self) -> Option<&W> {
        self.waiting.first_key_value().map(|(_, who)| who)
    }

    /// Takes out whoever has this place, if it is still taken.
    pub(crate) fn leave(&mut self, place: u64) -> Option<W> {
        self.waiting.remove(&place)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl<T: Send + 'static> Line<Promise<T>> {
    /// Takes out the first that somebody still waits for. Those before it go to `unheard`, to be dropped without any
    /// lock.
    pub(crate) fn next_heard(&mut self, unheard: &mut Vec<Promise<T>>) -> Option<Promise<T>> {
        loop {
            match self.next()? {
                promise if promise.is_heard() => return Some(promise),
                promise => unheard.push(promise),
            }
        }
    }
}

/// Owns a line behind a lock.
pub(crate) trait Keeper: Send + Sync + 'static {
    /// Takes out whoever has this place, if anybody, and ends it as discarded without the lock.
    fn withdraw(self: &Arc<Self>, place: u64, cause: Cause);
}

/// Takes `promise` out of its line when it is discarded. To be called before anybody can discard it; the lock of the
/// keeper may be held.
pub(crate) fn leave_on_discard<T: Send + 'static>(
    promise: &Promise<T>,
    keeper: &Arc<impl Keeper>,
    place: u64,
) {
    let keeper = Arc::downgrade(keeper);
    promise.on_discard(move |cause| {
        if let Some(keeper) = keeper.upgrade() {
            keeper.withdraw(place, cause);
        }
    });
}
