//! The isolators' actors: one generic shell for each isolator, and a chain that asks them in turn.
//!
//! All of one lane live on one arbiter that may block, so a call costs a fraction of a microsecond
//! and still is a message of its own: with a deadline, a line in the pending list, and a place where
//! a test can let it fail. A shell holds nothing of any container: what an isolator remembers comes
//! with the call, so every lane can serve every container.

pub(crate) mod apart;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use longshore_actors::{Cx, Handler, Message, Pid, Process, Promise, Reply};

use self::apart::Apart;
use super::erased::{Made, Whose};
use super::messages::{
    Call, Cleanup, CleanupOne, Figures, Isolate, IsolateOne, Isolated, IsolatedOne, IsolatorCall,
    Measure, MeasureOne, Measured, Prepare, PrepareOne, Prepared, Remembered, Update, UpdateOne,
};
use super::{DynIsolator, IsolatorError};
use crate::error::{ErrorKind, Stage, failure};
use crate::limits;
use crate::messages::flatten;
use crate::model::{ContainerId, Failure, LaunchInfo};

/// One isolator, as the actors of all lanes share it.
#[derive(Debug, Clone)]
pub(crate) enum Shared {
    /// Called right here: this arbiter may block, and it will not for long.
    Here(Arc<dyn DynIsolator>),
    /// The embedder's.
    Apart { apart: Apart, name: &'static str, prepares_only: bool },
}

impl From<Made> for Shared {
    fn from(Made { isolator, whose }: Made) -> Self {
        match whose {
            Whose::BuiltIn => Self::Here(isolator),
            Whose::Embedders => {
                let (name, prepares_only) = (isolator.name(), isolator.prepares_only());
                Self::Apart { apart: Apart::new(isolator), name, prepares_only }
            }
        }
    }
}

impl Shared {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Here(isolator) => isolator.name(),
            Self::Apart { name, .. } => name,
        }
    }

    fn prepares_only(&self) -> bool {
        match self {
            Self::Here(isolator) => isolator.prepares_only(),
            Self::Apart { prepares_only, .. } => *prepares_only,
        }
    }
}

/// One isolator on one lane.
pub(crate) struct IsolatorActor {
    isolator: Shared,
}

impl IsolatorActor {
    pub(crate) fn new(isolator: Shared) -> Self {
        Self { isolator }
    }

    fn call<T: Send + 'static>(
        &self,
        cx: &mut Cx<Self>,
        what: (Stage, &'static str),
        id: &ContainerId,
        work: impl FnOnce(&dyn DynIsolator) -> Result<T, IsolatorError> + Send + 'static,
    ) -> Reply<Result<T, Failure>> {
        match &self.isolator {
            Shared::Here(isolator) => {
                let name = isolator.name();
                Reply::Now(work(&**isolator).map_err(|error| told(what.0, name, &error)))
            }
            Shared::Apart { apart, .. } => apart.call(cx, what, id, work),
        }
    }
}

/// What an isolator says, with its name.
fn told(stage: Stage, name: &str, error: &IsolatorError) -> Failure {
    let told = failure(stage, error);
    Failure { message: format!("{name}: {}", told.message), ..told }
}

impl Process for IsolatorActor {}

impl Handler<Call<PrepareOne>> for IsolatorActor {
    fn handle(
        &mut self,
        call: Call<PrepareOne>,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<(LaunchInfo, Vec<u8>), Failure>> {
        let (id, context) = (call.container_id.clone(), call.call.context);
        self.call(cx, (Stage::Prepare, "prepare"), &call.container_id, move |isolator| {
            isolator.prepare(&id, &context)
        })
    }
}

impl Handler<Call<IsolateOne>> for IsolatorActor {
    fn handle(
        &mut self,
        call: Call<IsolateOne>,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<IsolatedOne, Failure>> {
        let (id, init) = (call.container_id.clone(), call.call.init);
        let before = call.remembered.unwrap_or_default();
        let away = match &self.isolator {
            Shared::Here(_) => None,
            Shared::Apart { name, .. } => Some((cx.runtime().unowned(), *name)),
        };
        self.call(cx, (Stage::Isolate, "isolate"), &call.container_id, move |isolator| {
            let remembered = isolator.isolate(&id, &before, init)?;
            let watch = isolator.watch(&id, &remembered)?;
            let watch = match away {
                None => watch,
                Some((runtime, name)) => watch.map(|watch| apart::watch(&runtime, name, watch)),
            };
            Ok(IsolatedOne { remembered, watch })
        })
    }
}

impl Handler<Call<UpdateOne>> for IsolatorActor {
    fn handle(
        &mut self,
        call: Call<UpdateOne>,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<Vec<u8>, Failure>> {
        let (id, before) = (call.container_id.clone(), call.remembered.unwrap_or_default());
        self.call(cx, (Stage::Run, "update"), &call.container_id, move |isolator| {
            isolator.update(&id, &before, &call.call.resources)
        })
    }
}

impl Handler<Call<MeasureOne>> for IsolatorActor {
    fn handle(
        &mut self,
        call: Call<MeasureOne>,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<Measured, Failure>> {
        let (id, remembered) = (call.container_id.clone(), call.remembered.unwrap_or_default());
        let figures = call.call.figures;
        self.call(cx, (Stage::Run, "usage"), &call.container_id, move |isolator| {
            let (usage, limitation) = match figures {
                Figures::Current => (isolator.usage(&id, &remembered)?, None),
                Figures::Last => isolator.last(&id, &remembered)?,
            };
            Ok(Measured { usage, limitation })
        })
    }
}

impl Handler<Call<CleanupOne>> for IsolatorActor {
    fn handle(&mut self, call: Call<CleanupOne>, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let (id, remembered) = (call.container_id.clone(), call.remembered);
        self.call(cx, (Stage::Destroy, "cleanup"), &call.container_id, move |isolator| {
            isolator.cleanup(&id, remembered.as_deref())
        })
    }
}

/// One isolator of a lane.
pub(crate) struct Link {
    name: &'static str,
    pid: Pid<IsolatorActor>,
    prepares_only: bool,
}

impl Link {
    pub(crate) fn new(isolator: &Shared, pid: Pid<IsolatorActor>) -> Self {
        Self { name: isolator.name(), pid, prepares_only: isolator.prepares_only() }
    }

    pub(crate) const fn pid(&self) -> &Pid<IsolatorActor> {
        &self.pid
    }
}

/// Asks the isolators of its lane in turn.
pub(crate) struct Isolation {
    chain: Chain,
    /// What is in flight and would have to be undone, by container.
    doing: BTreeMap<ContainerId, Doing>,
}

type Cleaned = <Cleanup as Message>::Reply;

/// Calls of one container that a cleanup must not overtake, though whoever asked for them has given up:
/// its deadline has passed, or it broke.
#[derive(Default)]
struct Doing {
    calls: usize,
    overtaken: Overtaken,
    waiting: Vec<(Cleanup, Promise<Cleaned>)>,
}

/// Says that the container is to be cleaned up: what is being done stops at the isolator that it has
/// come to.
#[derive(Clone, Default)]
struct Overtaken(Rc<Cell<bool>>);

impl Overtaken {
    fn check(&self, stage: Stage) -> Result<(), Failure> {
        if !self.0.get() {
            return Ok(());
        }
        let message = "the container is being cleaned up".to_owned();
        Err(Failure { stage, kind: ErrorKind::Discarded, errno: None, message })
    }
}

impl Isolation {
    /// `isolators` in table order; `undertakers` take part in no launch, but clean up what isolators
    /// of their name have left of another owner's containers.
    pub(crate) fn new(isolators: Arc<[Link]>, undertakers: Arc<[Link]>) -> Self {
        Self { chain: Chain { isolators, undertakers }, doing: BTreeMap::new() }
    }

    /// As [`Isolation::later`]; a cleanup of the container waits until it has settled.
    fn doing<T, F>(
        &mut self,
        cx: &mut Cx<Self>,
        label: &'static str,
        id: ContainerId,
        work: impl FnOnce(Chain, Overtaken) -> F,
    ) -> Reply<Result<T, Failure>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + 'static,
    {
        let (promise, reply): (Promise<Result<T, Failure>>, _) = Reply::promised();
        let doing = self.doing.entry(id.clone()).or_default();
        doing.calls += 1;
        let work = work(self.chain.clone(), doing.overtaken.clone());
        cx.run(label, work, move |isolation: &mut Self, cx, answer| {
            promise.set(answer);
            isolation.settled(cx, &id);
        });
        reply
    }

    fn settled(&mut self, cx: &mut Cx<Self>, id: &ContainerId) {
        let Some(doing) = self.doing.get_mut(id) else { return };
        doing.calls -= 1;
        if doing.calls > 0 {
            return;
        }
        let waiting = self.doing.remove(id).map(|doing| doing.waiting);
        for (cleanup, promise) in waiting.into_iter().flatten() {
            let chain = self.chain.clone();
            let cleaning = async move { chain.cleanup(cleanup).await };
            cx.run("cleanup", cleaning, move |_: &mut Self, _, answer| {
                promise.set(answer);
            });
        }
    }

    /// Runs `work` beside other containers' work and answers with what it yields.
    fn later<T: Send + 'static>(
        cx: &mut Cx<Self>,
        label: &'static str,
        work: impl Future<Output = T> + 'static,
    ) -> Reply<T> {
        let (promise, reply): (Promise<T>, _) = Reply::promised();
        cx.run(label, work, move |_: &mut Self, _, answer| {
            promise.set(answer);
        });
        reply
    }
}

impl Process for Isolation {}

impl Handler<Prepare> for Isolation {
    fn handle(&mut self, message: Prepare, cx: &mut Cx<Self>) -> Reply<Result<Prepared, Failure>> {
        let id = message.context.config.container_id.clone();
        self.doing(cx, "prepare", id, |chain, overtaken| async move {
            chain.prepare(message, overtaken).await
        })
    }
}

impl Handler<Isolate> for Isolation {
    fn handle(&mut self, message: Isolate, cx: &mut Cx<Self>) -> Reply<Result<Isolated, Failure>> {
        let id = message.container_id.clone();
        self.doing(cx, "isolate", id, |chain, overtaken| async move {
            chain.isolate(message, overtaken).await
        })
    }
}

impl Handler<Update> for Isolation {
    fn handle(&mut self, message: Update, cx: &mut Cx<Self>) -> Reply<Result<Remembered, Failure>> {
        let id = message.container_id.clone();
        self.doing(cx, "update", id, |chain, overtaken| async move {
            chain.update(message, overtaken).await
        })
    }
}

impl Handler<Measure> for Isolation {
    fn handle(&mut self, message: Measure, cx: &mut Cx<Self>) -> Reply<Measured> {
        let chain = self.chain.clone();
        Self::later(cx, "usage", async move { chain.measure(message).await })
    }
}

impl Handler<Cleanup> for Isolation {
    fn handle(&mut self, message: Cleanup, cx: &mut Cx<Self>) -> Reply<Result<(), Vec<Failure>>> {
        if let Some(doing) = self.doing.get_mut(&message.container_id) {
            doing.overtaken.0.set(true);
            let (promise, reply) = Reply::promised();
            doing.waiting.push((message, promise));
            return reply;
        }
        let chain = self.chain.clone();
        Self::later(cx, "cleanup", async move { chain.cleanup(message).await })
    }
}

/// The isolators of a lane, in table order.
#[derive(Clone)]
struct Chain {
    isolators: Arc<[Link]>,
    undertakers: Arc<[Link]>,
}

impl Chain {
    async fn ask<C: IsolatorCall>(
        &self,
        stage: Stage,
        isolator: &Link,
        call: Call<C>,
    ) -> Result<C::Answer, Failure>
    where
        IsolatorActor: Handler<Call<C>>,
    {
        let answer = isolator.pid.dispatch(call, limits::CLEANUP).result().await;
        flatten(stage, answer)
    }

    async fn prepare(
        &self,
        Prepare { context }: Prepare,
        overtaken: Overtaken,
    ) -> Result<Prepared, Failure> {
        let mut prepared = Prepared::default();
        let mut all = Vec::with_capacity(self.isolators.len());
        for isolator in &*self.isolators {
            overtaken.check(Stage::Prepare)?;
            let call = Call {
                container_id: context.config.container_id.clone(),
                remembered: None,
                call: PrepareOne { context: Arc::clone(&context) },
            };
            let (info, remembered) = self.ask(Stage::Prepare, isolator, call).await?;
            prepared.contributions.push((isolator.name, info));
            all.push((isolator.name.to_owned(), remembered));
        }
        prepared.remembered = all.into();
        Ok(prepared)
    }

    async fn isolate(&self, message: Isolate, overtaken: Overtaken) -> Result<Isolated, Failure> {
        let (mut all, mut watches) = (Vec::with_capacity(self.isolators.len()), Vec::new());
        for isolator in &*self.isolators {
            overtaken.check(Stage::Isolate)?;
            let remembered = of(&message.remembered, isolator.name);
            if isolator.prepares_only {
                all.push((isolator.name.to_owned(), remembered.unwrap_or_default()));
                continue;
            }
            let container_id = message.container_id.clone();
            let call = Call { container_id, remembered, call: IsolateOne { init: message.init } };
            let one = self.ask(Stage::Isolate, isolator, call).await?;
            all.push((isolator.name.to_owned(), one.remembered));
            watches.extend(one.watch);
        }
        Ok(Isolated { remembered: all.into(), watches })
    }

    async fn update(&self, message: Update, overtaken: Overtaken) -> Result<Remembered, Failure> {
        let mut updated = Vec::with_capacity(self.isolators.len());
        for isolator in &*self.isolators {
            overtaken.check(Stage::Run)?;
            let remembered = of(&message.remembered, isolator.name);
            if isolator.prepares_only {
                updated.push((isolator.name.to_owned(), remembered.unwrap_or_default()));
                continue;
            }
            let container_id = message.container_id.clone();
            let call = UpdateOne { resources: message.resources };
            let call = Call { container_id, remembered, call };
            updated.push((isolator.name.to_owned(), self.ask(Stage::Run, isolator, call).await?));
        }
        Ok(updated.into())
    }

    /// Figures that one isolator cannot give are missing; the others' are there.
    async fn measure(&self, message: Measure) -> Measured {
        let mut all = Measured::default();
        for isolator in self.isolators.iter().filter(|isolator| !isolator.prepares_only) {
            let Some(remembered) = of(&message.remembered, isolator.name) else { continue };
            let container_id = message.container_id.clone();
            let call = MeasureOne { figures: message.figures };
            let call = Call { container_id, remembered: Some(remembered), call };
            match self.ask(Stage::Run, isolator, call).await {
                Ok(one) => {
                    all.usage = all.usage.or(one.usage);
                    all.limitation = all.limitation.or(one.limitation);
                }
                Err(failure) => {
                    tracing::debug!(isolator = isolator.name, %failure.message, "no usage")
                }
            }
        }
        all
    }

    async fn cleanup(&self, message: Cleanup) -> Result<(), Vec<Failure>> {
        let mut failures = Vec::new();
        // What a launch that got through `prepare` remembers names all who took part in it.
        let took_part = |isolator: &&Link| {
            message.remembered.is_empty()
                || message.remembered.iter().any(|(name, _)| name == isolator.name)
        };
        let undertakers = self.undertakers.iter().filter(took_part);
        let all = self.isolators.iter().chain(undertakers);
        for isolator in all.filter(|isolator| !isolator.prepares_only).rev() {
            let remembered = of(&message.remembered, isolator.name);
            let container_id = message.container_id.clone();
            let call = Call { container_id, remembered, call: CleanupOne {} };
            failures.extend(self.ask(Stage::Destroy, isolator, call).await.err());
        }
        if failures.is_empty() { Ok(()) } else { Err(failures) }
    }
}

fn of(remembered: &Remembered, name: &str) -> Option<Vec<u8>> {
    remembered.iter().find(|(of, _)| of == name).map(|(_, bytes)| bytes.clone())
}

#[cfg(test)]
mod tests;
