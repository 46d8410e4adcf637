//! Messages that a filter holds back.

use std::sync::Arc;
use std::time::Duration;

use super::Held;
use crate::host::Call;
use crate::pid::Core;
use crate::process::{Handler, Message, Process};

impl<P: Process> Core<P> {
    /// Admits the call after `by`. Until then it is no outstanding work: only the clock can bring it on.
    pub(crate) fn admit_later<M: Message>(self: &Arc<Self>, by: Duration, mut call: Call<M>)
    where
        P: Handler<M>,
    {
        let core = Arc::clone(self);
        drop(std::mem::take(&mut call.unit));
        self.control.runtime.clock.later(by, move || {
            call.unit = core.unit();
            core.admit(call);
        });
    }

    /// Admits the call behind the next one, or after `within`. Until then it is no outstanding work either.
    pub(crate) fn swap<M: Message>(self: &Arc<Self>, within: Duration, mut call: Call<M>)
    where
        P: Handler<M>,
    {
        let core = Arc::clone(self);
        drop(std::mem::take(&mut call.unit));
        let held = Held::new(move || {
            call.unit = core.unit();
            core.admit(call);
        });
        let filter = &self.control.runtime.filter;
        if filter.hold(self.control.id, held.clone()) {
            self.control.runtime.clock.later(within, move || held.deliver());
        } else {
            // It is itself the next one.
            held.deliver();
            filter.let_go(self.control.id);
        }
    }
}
