//! An agent of a scheduler, on tokio: takes orders, launches, stops and destroys, and reports what
//! becomes of each task. As root: `cargo run --release --example embed`

mod support;

use std::{collections::BTreeMap, process::ExitCode};

use longshore::events::{EventKind, Notice, Since};
use longshore::model::{Bytes, ContainerId};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers, Stop};
use support::{Failure, Home, exit};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What the scheduler wants.
enum Order {
    Launch(Box<ContainerSpec>),
    Stop(ContainerId),
    Destroy(ContainerId),
}

/// What the agent tells of a task: that it runs, or how it has ended.
type Update = (ContainerId, Option<String>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit("embed", embed().await)
}

async fn embed() -> Result<(), Failure> {
    let home = Home::new()?;
    let node = home.builder().start().await?;
    let ((orders, taken), (told, updates)) = (unbounded_channel(), unbounded_channel());
    let scheduler = scheduler(&home.image, orders, updates);
    let ((), ended) = tokio::try_join!(agent(&node, taken, told), scheduler)?;
    println!("{ended:#?}");
    let how = ["Stopped", "Exited { code: 3 }", "LaunchFailed", "Exited { code: 0 }", "Stopped"];
    assert!(ended.values().zip(how).all(|(end, how)| end.starts_with(how)));
    node.shutdown(Containers::Destroy).await?;
    Ok(())
}

/// Serves until the scheduler has no more orders. Never waits for one container.
async fn agent(
    node: &Containerizer,
    mut orders: UnboundedReceiver<Order>,
    updates: UnboundedSender<Update>,
) -> Result<(), Failure> {
    // An agent that starts again learns from the snapshot which ends it has not acknowledged.
    let mut events = node.subscribe(Since::Acknowledged);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                None => return Ok(()),
                Some(Order::Launch(spec)) => drop(node.launch(*spec)?),
                Some(Order::Stop(id)) => {
                    let job = node.job(id);
                    tokio::spawn(async move { job.stop(Stop::from_image()).await });
                }
                // A guard that is dropped destroys; its event tells when it is done.
                Some(Order::Destroy(id)) => drop(node.job(id).guard()),
            },
            Some(Notice::Event(event)) = events.next() => match event.kind {
                EventKind::Running => updates.send((event.container_id.clone(), None))?,
                EventKind::Terminated => {
                    let end = node.job(event.container_id.clone()).wait().await?;
                    updates.send((event.container_id.clone(), Some(format!("{:?}", end.cause()))))?;
                    node.remove(&event.container_id).await?;
                }
                _ => {}
            },
        }
    }
}

const TASKS: [&str; 5] = ["short", "failing", "stopped", "destroyed", "missing"];
const LINES: [&str; 5] = ["/hello echo", "/hello exit 3", "/hello pause", "/hello pause", "/no"];

/// Gives orders, and returns how each task has ended.
async fn scheduler(
    image: &str,
    orders: UnboundedSender<Order>,
    mut updates: UnboundedReceiver<Update>,
) -> Result<BTreeMap<ContainerId, String>, Failure> {
    for (task, line) in TASKS.iter().zip(LINES) {
        let spec = ContainerSpec::image(task, image)?.command(line.split(' '));
        orders.send(Order::Launch(Box::new(spec.memory(Bytes::mib(64)))))?;
    }
    let mut ended = BTreeMap::new();
    while ended.len() < 5 {
        match updates.recv().await.ok_or("the agent is gone")? {
            (task, Some(how)) => drop(ended.insert(task, how)),
            (task, None) if task.to_string() == "stopped" => orders.send(Order::Stop(task))?,
            (task, None) if task.to_string() == "destroyed" => orders.send(Order::Destroy(task))?,
            (_, None) => {}
        }
    }
    Ok(ended)
}
