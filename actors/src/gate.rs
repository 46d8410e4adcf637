//! The gate before a mailbox: one word that bounds it, closes it, and tells when it has run dry.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::outcome::Refusal;

const CLOSED: usize = 1 << (usize::BITS - 1);
const TERMINATING: usize = 1 << (usize::BITS - 2);
const COUNT: usize = TERMINATING - 1;

/// `CLOSED | TERMINATING | number of messages that wait`, and how many may.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicUsize,
    capacity: usize,
}

impl Gate {
    /// An open gate; at least one message may wait.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { word: AtomicUsize::new(0), capacity: capacity.clamp(1, COUNT) }
    }

    /// Takes a place, or says why there is none. Exact: never more than the capacity wait.
    pub(crate) fn admit(&self) -> Result<(), Refusal> {
        let admitted = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & CLOSED == 0 && word & COUNT < self.capacity).then_some(word + 1)
        });
        let Err(word) = admitted else { return Ok(()) };
        Err(if word & TERMINATING != 0 {
            Refusal::Gone
        } else if word & CLOSED != 0 {
            Refusal::Draining
        } else {
            Refusal::Full { capacity: self.capacity }
        })
    }

    /// Gives back the place of a message that left the mailbox; how many waited with it. Since they become fewer
    /// here only, the greatest of these is the most that ever waited.
    pub(crate) fn leave(&self) -> usize {
        let before = self.word.fetch_sub(1, Ordering::AcqRel) & COUNT;
        debug_assert!(before > 0, "a message left that was never admitted");
        before
    }

    /// Admits nothing from now on.
    pub(crate) fn close(&self) {
        self.word.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Admits nothing from now on, and what waits is not handled any more.
    pub(crate) fn terminate(&self) {
        self.word.fetch_or(CLOSED | TERMINATING, Ordering::AcqRel);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.word.load(Ordering::Acquire) & CLOSED != 0
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.word.load(Ordering::Acquire) & TERMINATING != 0
    }

    /// Closed, and whatever had been admitted has left. Once true it stays true.
    pub(crate) fn is_drained(&self) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word & CLOSED != 0 && word & COUNT == 0
    }

    pub(crate) fn depth(&self) -> usize {
        self.word.load(Ordering::Acquire) & COUNT
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Gate, Refusal};

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Admit,
        Leave,
        Close,
        Terminate,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => Just(Step::Admit),
            6 => Just(Step::Leave),
            1 => Just(Step::Close),
            1 => Just(Step::Terminate),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn the_gate_counts_bounds_and_closes_like_its_model(capacity in 0_usize..5, steps in steps()) {
            let gate = Gate::new(capacity);
            let bound = capacity.max(1);
            let (mut waiting, mut closed, mut terminating) = (0, false, false);
            for step in steps {
                match step {
                    Step::Admit => {
                        let expected = if terminating {
                            Err(Refusal::Gone)
                        } else if closed {
                            Err(Refusal::Draining)
                        } else if waiting == bound {
                            Err(Refusal::Full { capacity: bound })
                        } else {
                            waiting += 1;
                            Ok(())
                        };
                        prop_assert_eq!(gate.admit(), expected);
                    }
                    Step::Leave if waiting > 0 => {
                        gate.leave();
                        waiting -= 1;
                    }
                    Step::Leave => {}
                    Step::Close => {
                        gate.close();
                        closed = true;
                    }
                    Step::Terminate => {
                        gate.terminate();
                        (closed, terminating) = (true, true);
                    }
                }
                prop_assert_eq!(gate.depth(), waiting);
                prop_assert_eq!(gate.is_closed(), closed);
                prop_assert_eq!(gate.is_terminating(), terminating);
                prop_assert_eq!(gate.is_drained(), closed && waiting == 0);
            }
        }
    }
}
