//! How continuations run: on the thread that ends what they wait for, one after the other, never one inside another.
//!
//! What a continuation causes on its own thread (the next one of its chain, the next turn of a loop, the next
//! holder of a lock) runs when it has returned. So a chain of any length needs the stack of one, and no
//! continuation finds another half done beneath it. A panic ends with the continuation it is in.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::body::run_caught;

type Job = Box<dyn FnOnce()>;

thread_local! {
    /// What runs after the continuation that is running; nothing where none is.
    static FOLLOWING: RefCell<Option<VecDeque<Job>>> = const { RefCell::new(None) };
}

/// Runs `job` now, and whatever follows from it; where a job of this thread is running, right after that.
pub(crate) fn run(job: impl FnOnce() + 'static) {
    let mut job = Some(job);
    let outermost = FOLLOWING.try_with(|following| match &mut *following.borrow_mut() {
        Some(following) => {
            following.extend(job.take().map(|job| Box::new(job) as Job));
            false
        }
        none => {
            *none = Some(VecDeque::new());
            true
        }
    });
    let Some(job) = job else { return };
    run_caught(job);
    // A thread that is going away has no queue any more: there each runs inside its cause.
    if outermost == Ok(true) {
        while let Some(job) = next() {
            run_caught(job);
        }
    }
}

fn next() -> Option<Job> {
    FOLLOWING.with_borrow_mut(|following| {
        let next = following.as_mut().and_then(VecDeque::pop_front);
        if next.is_none() {
            *following = None;
        }
        next
    })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::run;

    #[test]
    fn what_a_job_causes_runs_after_it_and_in_order() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let inner = Rc::clone(&log);
        run(move || {
            for name in ["b", "c"] {
                let log = Rc::clone(&inner);
                run(move || log.borrow_mut().push(name));
            }
            inner.borrow_mut().push("a");
        });
        assert_eq!(*log.borrow(), ["a", "b", "c"]);
    }

    #[test]
    fn a_panic_ends_one_job_and_not_those_behind_it() {
        let done = Rc::new(RefCell::new(0));
        let inner = Rc::clone(&done);
        run(move || {
            run(|| panic!("this one only"));
            run(move || *inner.borrow_mut() += 1);
        });
        run(|| panic!("nobody sees it"));
        assert_eq!(*done.borrow(), 1);
    }
}
