//! Who of a chain is asked what.

use std::sync::{Arc, Mutex, PoisonError};

use longshore_actors::{Pid, Runtime, ShutdownPlan, Spawn};

use super::super::*;
use crate::isolators::erased::Made;
use crate::isolators::tests::{config, context};
use crate::isolators::{Host, InitPid, Isolator};
use crate::model::{LaunchContext, Usage};

type Calls = Arc<Mutex<Vec<String>>>;

/// Notes its calls.
struct Noting<const PREPARES_ONLY: bool>(Calls);

impl<const PREPARES_ONLY: bool> Noting<PREPARES_ONLY> {
    fn note(&self, call: &str) {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(format!("{call} {}", Self::NAME));
    }
}

impl<const PREPARES_ONLY: bool> Isolator for Noting<PREPARES_ONLY> {
    const NAME: &'static str = if PREPARES_ONLY { "brief" } else { "whole" };
    const PREPARES_ONLY: bool = PREPARES_ONLY;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self(Calls::default()))
    }

    fn prepare(
        &self,
        _: &ContainerId,
        _: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        self.note("prepare");
        Ok((LaunchInfo::default(), ()))
    }

    fn isolate(&self, _: &ContainerId, (): &mut (), _: InitPid) -> Result<(), IsolatorError> {
        self.note("isolate");
        Ok(())
    }

    fn usage(&self, _: &ContainerId, (): &()) -> Result<Usage, IsolatorError> {
        self.note("usage");
        Ok(Usage::default())
    }

    fn cleanup(&self, _: &ContainerId, _: Option<&()>) -> Result<(), IsolatorError> {
        self.note("cleanup");
        Ok(())
    }
}

struct World {
    runtime: Runtime,
    isolation: Pid<Isolation>,
    calls: Calls,
}

impl World {
    /// Both kinds in the chain, or the other one as undertaker.
    fn new(undertaker: bool) -> Self {
        let (runtime, calls) = (Runtime::builder().build().expect("a runtime"), Calls::default());
        let link = |name: &str, isolator: Arc<dyn DynIsolator>| {
            let shared = Shared::from(Made { isolator, whose: Whose::BuiltIn });
            let own = shared.clone();
            let pid = runtime.spawn(Spawn::new(name, move || IsolatorActor::new(own)));
            Link::new(&shared, pid.expect("spawned"))
        };
        let brief = link("a", Arc::new(Noting::<true>(Arc::clone(&calls))));
        let whole = link("b", Arc::new(Noting::<false>(Arc::clone(&calls))));
        let (chain, undertakers) = match undertaker {
            true => (vec![brief], vec![whole]),
            false => (vec![brief, whole], vec![]),
        };
        let (chain, undertakers): (Arc<[_]>, Arc<[_]>) = (chain.into(), undertakers.into());
        let spawn = Spawn::new("isolation", move || Isolation::new(chain, undertakers));
        let isolation = runtime.spawn(spawn).expect("spawned");
        Self { runtime, isolation, calls }
    }

    async fn cleanup(&self, remembered: Remembered) {
        let cleanup = Cleanup { container_id: config(None).container_id, remembered };
        let answer = self.isolation.dispatch(cleanup, limits::CLEANUP_ALL).result().await;
        answer.expect("answered").expect("cleaned up");
    }

    async fn end(self) -> Vec<String> {
        let report = self.runtime.shutdown(ShutdownPlan::within(limits::SHUTDOWN)).await;
        assert!(report.is_clean(), "{report:?}");
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[tokio::test]
async fn who_has_nothing_but_preparing_to_do_is_asked_nothing_else_and_is_remembered() {
    let world = World::new(false);
    let container_id = config(None).container_id;
    let context = Arc::new(context(config(None), None));
    let prepare = world.isolation.dispatch(Prepare { context }, limits::CLEANUP_ALL);
    let prepared = prepare.result().await.expect("answered").expect("prepared");
    let init = InitPid { pid: 1, start_time: 1 };
    let remembered = prepared.remembered.clone();
    let isolate = Isolate { container_id: container_id.clone(), remembered, init };
    let isolated = world.isolation.dispatch(isolate, limits::CLEANUP_ALL).result().await;
    let remembered = isolated.expect("answered").expect("isolated").remembered;
    assert_eq!(remembered, prepared.remembered);
    let figures = Figures::Last;
    let measure = Measure { figures, container_id, remembered: remembered.clone() };
    world.isolation.dispatch(measure, limits::CLEANUP_ALL).result().await.expect("answered");
    world.cleanup(remembered).await;
    let calls = world.end().await;
    let expected = ["prepare brief", "prepare whole", "isolate whole", "usage whole"];
    assert_eq!(calls[..4], expected);
    assert_eq!(calls[4..], ["cleanup whole"]);
}

#[tokio::test]
async fn an_undertaker_is_asked_of_a_container_that_it_may_have_had_a_part_in() {
    let world = World::new(true);
    world.cleanup([("brief".to_owned(), Vec::new())].into()).await;
    world.cleanup([("whole".to_owned(), b"null".to_vec())].into()).await;
    // Its owner died before anybody could be asked what it remembers.
    world.cleanup(Remembered::default()).await;
    assert_eq!(world.end().await, ["cleanup whole", "cleanup whole"]);
}

/// What a chain of three is asked under a schedule: a cleanup comes when some steps of a prepare are
/// taken, and nobody has withdrawn that.
fn overtaken(seed: u64, steps: u64) -> Vec<String> {
    let sim = Runtime::builder().simulated(seed).expect("a simulation");
    let calls = Calls::default();
    let link = |name: &str| {
        let isolator = Arc::new(Noting::<false>(Arc::clone(&calls)));
        let shared = Shared::from(Made { isolator, whose: Whose::BuiltIn });
        let own = shared.clone();
        let pid = sim.runtime().spawn(Spawn::new(name, move || IsolatorActor::new(own)));
        Link::new(&shared, pid.expect("spawned"))
    };
    let links: Arc<[Link]> = [link("a"), link("b"), link("c")].into();
    let spawn = Spawn::new("isolation", move || Isolation::new(links, Arc::default()));
    let isolation = sim.runtime().spawn(spawn).expect("spawned");
    sim.run_until_settled();
    let context = Arc::new(context(config(None), None));
    let prepared = isolation.dispatch(Prepare { context }, limits::PREPARE);
    for _ in 0..steps {
        sim.step();
    }
    let container_id = config(None).container_id;
    let cleanup = Cleanup { container_id, remembered: Remembered::default() };
    let cleaned = isolation.dispatch(cleanup, limits::CLEANUP_ALL);
    sim.run_until_settled();
    assert!(prepared.is_done(), "it settles");
    sim.block_on(cleaned.result()).expect("answered").expect("cleaned up");
    let calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.clone()
}

#[test]
fn a_cleanup_waits_for_a_prepare_in_flight_which_stops_where_it_is() {
    let mut stopped = 0;
    for (seed, steps) in (0..20).flat_map(|seed| (0..15).map(move |steps| (seed, steps))) {
        let calls = overtaken(seed, steps);
        let prepared = calls.iter().take_while(|call| *call == "prepare whole").count();
        assert_eq!(calls[prepared..], ["cleanup whole"; 3], "seed {seed}, {steps} steps");
        stopped += usize::from(prepared < 3);
    }
    assert!(stopped > 0, "it is never stopped half way");
}
