//! Those who observe: one who comes late, one who is slow, one who was away. Nobody misses anything
//! without being told. As root: `cargo run --release --example observe`

mod support;

use std::process::ExitCode;

use futures_util::future::try_join_all;
use longshore::events::{EventKind, Lagged, Notice, Since, Subscription};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers, block_on};
use support::{Failure, Home, exit};

// No runtime: every future can be awaited anywhere, here by the main thread.
fn main() -> ExitCode {
    exit("observe", block_on(observe()))
}

async fn observe() -> Result<(), Failure> {
    let home = Home::new()?;
    let node = home.builder().start().await?;
    let mut slow = node.subscribe(Since::Now);
    run(&node, &home, "first").await?;

    // Comes late: the snapshot has what is there, the ended that nobody has acknowledged included.
    let mut late = node.subscribe(Since::Acknowledged);
    let Some(Notice::Snapshot(snapshot)) = late.next().await else { panic!("a snapshot is first") };
    assert_eq!(snapshot.containers.len(), 1);
    assert_eq!(snapshot.containers[0].container_id.to_string(), "first");

    // Was away: goes on after the last that it has seen, whatever that was.
    let seen = Since::after(&Notice::Snapshot(snapshot));
    drop(late);
    run(&node, &home, "second").await?;
    let mut returned = node.subscribe(seen);
    let kinds = until_the_end(&mut returned).await;
    println!("{kinds:?}");
    assert_eq!(kinds.first(), Some(&EventKind::Provisioning));
    assert_eq!(kinds.last(), Some(&EventKind::Terminated));

    // Is slow: has read nothing while a hundred containers came and went.
    for round in 0..8 {
        let ids: Vec<String> = (0..20).map(|number| format!("many-{round}-{number}")).collect();
        try_join_all(ids.iter().map(|id| run(&node, &home, id))).await?;
    }
    let Some(Notice::Snapshot(_)) = slow.next().await else { panic!("a snapshot is first") };
    let Some(Notice::Lagged(lagged)) = slow.next().await else { panic!("it is told") };
    println!("missed {} to {}", lagged.from_seq, lagged.to_seq);
    let Some(Notice::Snapshot(fresh)) = slow.next().await else { panic!("a fresh snapshot") };
    let Lagged { to_seq, .. } = lagged;
    assert_eq!((fresh.seq, fresh.containers.len()), (to_seq, 162), "nothing between the two");

    for container in node.containers() {
        node.remove(&container.container_id).await?;
    }
    node.shutdown(Containers::Destroy).await?;
    // What was published is read to its end; then there is no more.
    while let Some(notice) = slow.next().await {
        assert!(matches!(notice, Notice::Event(_)), "{notice:?}");
    }
    Ok(())
}

/// One short container, from its launch to its record.
async fn run(node: &Containerizer, home: &Home, id: &str) -> Result<(), Failure> {
    let spec = ContainerSpec::image(id, &home.image)?.command(["/hello", "exit", "0"]);
    let end = node.launch(spec)?.wait().await?;
    assert!(end.failure.is_none(), "{end:?}");
    Ok(())
}

/// Kinds of the events up to the first end.
async fn until_the_end(events: &mut Subscription) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Terminated) {
        match events.next().await {
            Some(Notice::Event(event)) => kinds.push(event.kind),
            other => panic!("nothing is missing: {other:?}"),
        }
    }
    kinds
}
