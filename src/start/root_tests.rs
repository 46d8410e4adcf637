//! What a launch costs in hand-overs between threads, on the real kernel.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Config;
use crate::events::{EventKind, Notice, Since, Subscription};
use crate::model::{Bytes, ContainerId, Output};
use crate::spec::ContainerSpec;
use crate::{Containerizer, Containers};

/// What a launch may cost: from `launch` in the caller's thread until `RUNNING` is published.
const LAUNCH_MAX: u64 = 6;

/// The whole life of a container whose payload exits by itself: to the supervisor and back out.
const LIFE_MAX: u64 = 16;

async fn until(events: &mut Subscription, id: &ContainerId, kind: EventKind) {
    while let Some(notice) = events.next().await {
        if matches!(notice, Notice::Event(e) if e.container_id == *id && e.kind == kind) {
            return;
        }
    }
    unreachable!("the containerizer lives as long as the test");
}

fn spec(root: &Path, id: &str, arguments: [&str; 2]) -> ContainerSpec {
    let image = format!("rootfs:{}", root.display());
    ContainerSpec::image(id, &image)
        .expect("a name and a reference")
        .command(["/payload"].into_iter().chain(arguments))
        .memory(Bytes::mib(64))
        .cpus(1.0)
        .pids(10)
        .stdout(Output::Null)
        .stderr(Output::Null)
}

#[tokio::test]
async fn a_launch_crosses_threads_at_most_six_times() {
    let world = tempfile::tempdir().expect("a directory");
    let root = world.path().join("root");
    std::fs::create_dir(&root).expect("made");
    let payload = root.join("payload");
    std::fs::write(&payload, crate::launcher::payload()).expect("written");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&payload, executable).expect("its mode is set");
    let config = Config {
        cgroups_root: format!("longshore-crossings-{}", std::process::id()),
        ..Config::default()
    };
    let (work, run) = (world.path().join("work"), world.path().join("run"));
    let builder = Containerizer::builder(work, run).config(config);
    let node = builder.start().await.expect("started");
    let crossings = || node.inner().runtime.crossings();
    let mut events = node.subscribe(Since::Now);
    // The first starts what all others share.
    for id in ["warm", "short"] {
        let before = crossings();
        let job = node.launch(spec(&root, id, ["exit", "0"])).expect("launched");
        until(&mut events, job.id(), EventKind::Terminated).await;
        let life = crossings() - before;
        assert!(life <= LIFE_MAX, "{id}: {life} in its whole life");
        node.remove(job.id()).await.expect("removed");
    }
    let before = crossings();
    let job = node.launch(spec(&root, "long", ["pause", ""])).expect("launched");
    until(&mut events, job.id(), EventKind::Running).await;
    let launch = crossings() - before;
    assert!(launch <= LAUNCH_MAX, "{launch} until it ran");
    job.destroy().await.expect("destroyed");
    node.shutdown(Containers::Destroy).await.expect("in order");
}
