//! An isolator that is not ours may panic, fail and hang: each is a named failure of one container.

mod chain;

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_actors::{Clock, Eventual, Lost, Pid, Placement, Runtime, ShutdownPlan, Spawn};

use super::apart::{CALLS, WATCHES};
use super::*;
use crate::error::ErrorKind;
use crate::isolators::tests::{config, context, host};
use crate::isolators::{Host, InitPid, Isolator, Registered, Watch, create};
use crate::limits;
use crate::model::{LaunchContext, Limitation, LimitedResource, Usage};

/// Does what the container's label says.
struct Odd {
    entered: Mutex<Sender<()>>,
    leave: Mutex<Receiver<()>>,
}

impl Isolator for Odd {
    const NAME: &'static str = "acme/odd";
    type Container = String;

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Err(IsolatorError::Invalid("made by a closure only".to_owned()))
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, String), IsolatorError> {
        let behaviour = context.config.labels.get("behaviour").cloned().unwrap_or_default();
        match behaviour.as_str() {
            "panics" => panic!("quite odd"),
            "fails" => {
                let gone = std::io::Error::from_raw_os_error(nix::libc::ENODEV);
                return Err(IsolatorError::host(gone));
            }
            "hangs" => {
                let entered = self.entered.lock().unwrap_or_else(PoisonError::into_inner);
                entered.send(()).expect("the test waits for it");
                let leave = self.leave.lock().unwrap_or_else(PoisonError::into_inner);
                leave.recv().expect("the test lets it go");
            }
            _ => {}
        }
        Ok((LaunchInfo::default(), behaviour))
    }

    fn watch(&self, _: &ContainerId, remembered: &String) -> Option<Watch> {
        match remembered.as_str() {
            "watch panics" => Some(Box::pin(async { panic!("while it watched") })),
            "watches" => Some(Box::pin(async {
                let message = "too many ports".to_owned();
                Ok(Limitation { resource: LimitedResource::Ports, limit: None, message })
            })),
            _ => None,
        }
    }

    fn usage(&self, _: &ContainerId, _: &String) -> Result<Usage, IsolatorError> {
        panic!("no figures")
    }
}

struct World {
    runtime: Runtime,
    clock: Clock,
    actor: Pid<IsolatorActor>,
    entered: Receiver<()>,
    leave: Sender<()>,
}

impl World {
    fn new() -> Self {
        let ((entered_sender, entered), (leave, leave_receiver)) = (channel(), channel());
        let channels = Mutex::new(Some((entered_sender, leave_receiver)));
        let registered = Registered::new(move |_| {
            let taken = channels.lock().unwrap_or_else(PoisonError::into_inner).take();
            let (entered, leave) = taken.expect("made once");
            Ok(Odd { entered: Mutex::new(entered), leave: Mutex::new(leave) })
        });
        let made = create(&host(&["acme/odd"]), &[registered], limits::ISOLATOR_CREATE)
            .expect("made")
            .remove(0);
        let clock = Clock::virtual_();
        let runtime = Runtime::builder()
            .group("kernel", 1)
            .group(WATCHES, 1)
            .lane(CALLS, 2)
            .clock(clock.clone())
            .build()
            .expect("a runtime");
        let shared = Shared::from(made);
        let spawn = Spawn::new("isolator acme/odd #0", move || IsolatorActor::new(shared));
        let actor = runtime.spawn(spawn.place(Placement::Group("kernel"))).expect("spawned");
        Self { runtime, clock, actor, entered, leave }
    }

    fn prepare(&self, behaviour: &str) -> Eventual<Result<(LaunchInfo, Vec<u8>), Failure>> {
        let mut config = config(None);
        config.labels.insert("behaviour".to_owned(), behaviour.to_owned());
        let container_id = config.container_id.clone();
        let context = Arc::new(context(config, None));
        let call = Call { container_id, remembered: None, call: PrepareOne { context } };
        self.actor.dispatch(call, limits::CLEANUP)
    }

    async fn cleanup(&self) -> Result<(), Failure> {
        let container_id = config(None).container_id;
        let call = Call { container_id, remembered: None, call: CleanupOne {} };
        self.actor.dispatch(call, limits::CLEANUP).result().await.expect("answered")
    }

    async fn watch(&self, remembered: &str) -> Result<Limitation, IsolatorError> {
        let container_id = config(None).container_id;
        let remembered = Some(serde_json::to_vec(remembered).expect("a text is JSON"));
        let init = InitPid { pid: 1, start_time: 1 };
        let call = Call { container_id, remembered, call: IsolateOne { init } };
        let isolated = self.actor.dispatch(call, limits::CLEANUP).result().await;
        isolated.expect("answered").expect("isolated").watch.expect("it watches").await
    }

    async fn end(self) {
        let report = self.runtime.shutdown(ShutdownPlan::within(limits::SHUTDOWN)).await;
        assert!(report.is_clean(), "{report:?}");
    }
}

#[tokio::test]
async fn an_error_of_a_strange_isolator_has_its_name_and_its_number() {
    let world = World::new();
    let failure = world.prepare("fails").result().await.expect("answered").expect_err("refused");
    assert_eq!((failure.stage, failure.kind), (Stage::Prepare, ErrorKind::Host));
    assert_eq!(failure.errno.as_deref(), Some("ENODEV"));
    assert!(failure.message.starts_with("acme/odd: no such device"), "{}", failure.message);
    world.end().await;
}

#[tokio::test]
async fn a_panic_of_a_strange_isolator_is_a_failure_and_the_next_call_is_served() {
    let world = World::new();
    let failure = world.prepare("panics").result().await.expect("answered").expect_err("panicked");
    assert_eq!((failure.stage, failure.kind), (Stage::Prepare, ErrorKind::Internal));
    assert_eq!(failure.message, "acme/odd: prepare panicked: quite odd");
    world.cleanup().await.expect("served");
    let container_id = config(None).container_id;
    let remembered = Some(b"\"\"".to_vec());
    let call = Call { container_id, remembered, call: MeasureOne { figures: Figures::Last } };
    let measured = world.actor.dispatch(call, limits::QUERY).result().await.expect("answered");
    assert!(measured.expect_err("panicked").message.contains("acme/odd: usage panicked"));
    world.prepare("").result().await.expect("answered").expect("prepared");
    world.end().await;
}

#[tokio::test]
async fn a_strange_isolator_that_hangs_is_named_and_not_overtaken() {
    let world = World::new();
    let preparing = world.prepare("hangs");
    world.entered.recv().expect("it is called");
    world.clock.advance(limits::CLEANUP + Duration::from_secs(1));
    let lost = preparing.result().await.expect_err("overdue");
    assert!(matches!(lost, Lost::Deadline { .. }), "{lost}");
    assert!(lost.to_string().contains("prepare to isolator acme/odd"), "{lost}");
    let busy = world.cleanup().await.expect_err("it has not come back");
    assert_eq!(busy.kind, ErrorKind::Conflict);
    assert_eq!(busy.message, "acme/odd: an earlier call for a has not come back");
    world.leave.send(()).expect("it waits");
    world.clock.settle().await;
    world.cleanup().await.expect("the retry succeeds");
    world.end().await;
}

#[tokio::test]
async fn a_watch_of_a_strange_isolator_tells_or_breaks_alone() {
    let world = World::new();
    let limitation = world.watch("watches").await.expect("reached");
    assert_eq!(limitation.message, "too many ports");
    let broken = world.watch("watch panics").await.expect_err("broke");
    assert_eq!(broken.to_string(), "the watch of acme/odd broke");
    world.end().await;
}
