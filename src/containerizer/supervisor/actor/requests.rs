//! What callers ask of a container.

use longshore_actors::{Cx, Eventual, Handler, Reply};

use super::super::messages::{
    AwaitRunning, Conclusion, Destroy, GetUsage, SetResources, Signal, Stop, Wait,
};
use super::super::state::{Input, Why};
use super::Supervisor;
use crate::error::{ErrorKind, Stage};
use crate::events::LayerProgress;
use crate::isolators::messages::{Figures, Measure, Measured, Update};
use crate::limits;
use crate::messages::flatten;
use crate::model::{Failure, State, Usage};

impl Supervisor {
    /// An answer that comes with the end.
    fn at_the_end(&mut self) -> Reply<Conclusion> {
        let (promise, reply) = Reply::promised();
        self.waiting.push(promise);
        reply
    }

    fn must_run(&self) -> Result<(), Failure> {
        let state = self.state.name();
        if state == State::Running {
            return Ok(());
        }
        let message = format!("container {} is {state}, not RUNNING", self.id());
        Err(Failure { stage: Stage::Run, kind: ErrorKind::Conflict, errno: None, message })
    }
}

impl Handler<Wait> for Supervisor {
    fn handle(&mut self, _: Wait, _: &mut Cx<Self>) -> Reply<Conclusion> {
        let reply = self.at_the_end();
        self.answer_published();
        reply
    }
}

impl Handler<AwaitRunning> for Supervisor {
    fn handle(&mut self, _: AwaitRunning, _: &mut Cx<Self>) -> Reply<Result<i32, Conclusion>> {
        let (promise, reply) = Reply::promised();
        self.awaiting_running.push(promise);
        self.answer_published();
        reply
    }
}

impl Handler<Destroy> for Supervisor {
    fn handle(&mut self, _: Destroy, cx: &mut Cx<Self>) -> Reply<Conclusion> {
        self.input(cx, Input::Destroy(Why::Requested));
        self.at_the_end()
    }
}

impl Handler<Stop> for Supervisor {
    fn handle(&mut self, stop: Stop, cx: &mut Cx<Self>) -> Reply<Conclusion> {
        // One that has to wait for the payload waits with those before it.
        match self.stops.iter_mut().find(|waiting| waiting.signal == stop.signal) {
            Some(waiting) => waiting.grace = waiting.grace.min(stop.grace),
            None => self.stops.push(stop),
        }
        self.input(cx, Input::Stop(Why::Requested));
        self.at_the_end()
    }
}

impl Handler<Signal> for Supervisor {
    fn handle(
        &mut self,
        Signal { signal }: Signal,
        _: &mut Cx<Self>,
    ) -> Reply<Result<(), Failure>> {
        let sent = self.must_run().and_then(|()| match &self.control {
            Some(control) => control.signal(signal),
            None => Ok(()),
        });
        Reply::Now(sent)
    }
}

impl Handler<SetResources> for Supervisor {
    fn handle(&mut self, set: SetResources, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        if let Err(failure) = self.must_run() {
            return Reply::Now(Err(failure));
        }
        let update = Update {
            container_id: self.id().clone(),
            remembered: self.prepared.remembered.clone(),
            resources: set.resources,
        };
        let (promise, reply) = Reply::promised();
        let answer = self.lane.update.dispatch(update, limits::QUERY);
        cx.when("update", answer, move |supervisor: &mut Self, cx, answer| {
            let updated = flatten(Stage::Run, answer).map(|remembered| {
                supervisor.prepared.remembered = remembered;
                supervisor.save(cx, None);
            });
            promise.set(updated);
        });
        reply
    }
}

impl Handler<GetUsage> for Supervisor {
    fn handle(&mut self, _: GetUsage, cx: &mut Cx<Self>) -> Reply<Result<Usage, Failure>> {
        let measure = Measure {
            figures: Figures::Current,
            container_id: self.id().clone(),
            remembered: self.prepared.remembered.clone(),
        };
        let (promise, reply) = Reply::promised();
        let answer: Eventual<Measured> = self.lane.measure.dispatch(measure, limits::QUERY);
        cx.when("usage", answer, move |_: &mut Self, _, answer| {
            promise.set(flatten(Stage::Run, answer.map(|measured| Ok(measured.usage))));
        });
        reply
    }
}

/// How far a layer of the image has come.
#[derive(Debug)]
pub(super) struct Progress(pub(super) LayerProgress);

impl longshore_actors::Message for Progress {
    type Reply = ();
}

impl Handler<Progress> for Supervisor {
    fn handle(&mut self, Progress(progress): Progress, _: &mut Cx<Self>) -> Reply<()> {
        self.publish_progress(progress);
        Reply::Now(())
    }
}
