//! What the compiler is asked: everything of the interface may be sent to another thread.

use std::future::Future;

use super::{Builder, Containerizer, Containers, Guard, Job, Stop};
use crate::events::{ContainerSnapshot, Event, Notice, Since, Snapshot, Subscription};
use crate::messages::Launch;
use crate::model::{ContainerId, End, PullPolicy, Resources};
use crate::spec::ContainerSpec;

fn value<T: Send + 'static>() {}

fn shared<T: Send + Sync + 'static>() {}

fn future<T>(_: impl Future<Output = T> + Send) {}

/// Never called: it compiles.
fn futures(
    node: &Containerizer,
    builder: Builder,
    job: &Job,
    id: &ContainerId,
    spec: ContainerSpec,
) {
    future(builder.start());
    future(node.acknowledge(id));
    future(node.remove(id));
    future(node.shutdown(Containers::Keep));
    future(node.pull("alpine", PullPolicy::Missing));
    future(node.pull_with_progress("alpine", PullPolicy::Missing, |_| ()));
    future(node.images());
    future(node.prune(["alpine"]));
    future(node.ask(Launch { spec }));
    future(async { node.subscribe(Since::Now).next().await });
    future(job.running());
    future(job.wait());
    future(job.stop(Stop::from_image()));
    future(job.destroy());
    future(job.kill(9));
    future(job.update(Resources::default()));
    future(job.usage());
}

#[test]
fn everything_of_the_interface_can_go_to_another_thread() {
    shared::<Containerizer>();
    shared::<Job>();
    shared::<Guard>();
    shared::<Builder>();
    shared::<ContainerSpec>();
    shared::<crate::error::Error>();
    shared::<(Event, Snapshot, Notice, ContainerSnapshot, End)>();
    value::<Subscription>();
    let _compiled: fn(&Containerizer, Builder, &Job, &ContainerId, ContainerSpec) = futures;
}
