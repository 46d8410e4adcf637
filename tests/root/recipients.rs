//! Recipients for programs that are written with actix, on systems of the program's own.

use actix::{Actor, Context, Handler, System};
use longshore::events::{EventKind, Notice, Since};
use longshore::messages::{Destroy, Launch, Remove, Running, Wait};
use longshore::model::Cause;
use longshore::{Containers, block_on};
use tokio::sync::mpsc;

use crate::embedded::{config, furnish, spec};
use crate::support::World;

/// Hands on what it is told.
struct Listener {
    to: mpsc::UnboundedSender<Notice>,
}

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<Notice> for Listener {
    type Result = ();

    fn handle(&mut self, notice: Notice, _: &mut Self::Context) {
        // A test that has seen enough does not listen any more.
        drop(self.to.send(notice));
    }
}

fn started(world: &World) -> longshore::Containerizer {
    let builder = longshore::Containerizer::builder(world.work_dir(), world.runtime_dir());
    block_on(builder.config(config(world)).start()).expect("it starts")
}

#[test]
fn an_actix_program_launches_destroys_and_hears_of_it() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    // Before there is any system of the program.
    let node = started(&world);
    let (launch, running) = (node.recipient::<Launch>(), node.recipient::<Running>());
    let (destroy, remove) = (node.recipient::<Destroy>(), node.recipient::<Remove>());
    let (to, mut told) = mpsc::unbounded_channel();
    System::new().block_on(async {
        let delivery = node.deliver(Since::Now, Listener { to }.start().recipient());
        let spec = spec(&world, "a", "exec sleep 1000");
        let job = launch.send(Launch { spec }).await.expect("served").expect("free");
        let container_id = job.id().clone();
        let running = running.send(Running { container_id: container_id.clone() }).await;
        let pid = running.expect("served").expect("it runs");
        let end = destroy.send(Destroy { container_id: container_id.clone() }).await;
        assert_eq!(end.expect("served").expect("destroyed").cause(), Cause::Stopped);
        let mut kinds = Vec::new();
        while kinds.last() != Some(&EventKind::Terminated) {
            match told.recv().await.expect("the listener lives") {
                Notice::Snapshot(snapshot) => assert!(snapshot.containers.is_empty()),
                Notice::Event(event) => {
                    let running = event.kind == EventKind::Running;
                    assert!(!running || event.pid == Some(pid), "{event:?}");
                    kinds.push(event.kind);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(kinds.first(), Some(&EventKind::Provisioning));
        remove.send(Remove { container_id }).await.expect("served").expect("it has ended");
        delivery.stop();
        // With the delivery goes the last sender: the listener ends.
        assert!(told.recv().await.is_none());
    });
    block_on(node.shutdown(Containers::Destroy)).expect("in order");
    drop(node);
    world.assert_clean();
}

#[test]
fn systems_on_several_threads_use_one_containerizer() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let node = started(&world);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let (launch, wait) = (node.recipient::<Launch>(), node.recipient::<Wait>());
            let spec = spec(&world, &format!("of-{number}"), &format!("exit {number}"));
            scope.spawn(move || {
                System::new().block_on(async {
                    let launched = launch.send(Launch { spec }).await.expect("served");
                    let container_id = launched.expect("free").id().clone();
                    let end = wait.send(Wait { container_id }).await.expect("served");
                    let end = end.expect("it ends");
                    assert_eq!(end.cause(), Cause::Exited { code: number });
                });
            });
        }
    });
    block_on(node.shutdown(Containers::Destroy)).expect("in order");
    drop(node);
    world.assert_clean();
}

#[test]
fn what_was_sent_is_done_though_the_sender_is_gone_and_a_shutdown_closes() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let node = started(&world);
    let launch = node.recipient::<Launch>();
    let mut events = node.subscribe(Since::Now);
    let sent = spec(&world, "sent", "exit 5");
    launch.try_send(Launch { spec: sent }).expect("there is room");
    let ended = block_on(async {
        loop {
            match events.next().await.expect("the containerizer lives") {
                Notice::Event(event) if event.kind == EventKind::Terminated => return event,
                _ => {}
            }
        }
    });
    assert_eq!(ended.termination.as_ref().map(|end| end.exit_code), Some(5));
    block_on(node.shutdown(Containers::Destroy)).expect("in order");
    let spec = spec(&world, "late", "true");
    let closed = System::new().block_on(launch.send(Launch { spec }));
    assert!(closed.is_err(), "nobody is there any more");
    drop((node, events));
    world.assert_clean();
}
