//! The whole of Longshore in one go, with no network and no registry: makes a small image, runs it as
//! a supervised container, shows its life, and leaves nothing behind. As root:
//!
//! `cargo run --release --example quickstart`

mod support;

use std::process::ExitCode;

use longshore::Containers;
use longshore::events::{EventKind, Notice, Since, Subscription};
use longshore::model::{Bytes, Output};
use longshore::spec::ContainerSpec;
use support::{Failure, Home, exit};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit("quickstart", quickstart().await)
}

async fn quickstart() -> Result<(), Failure> {
    let home = Home::new()?;
    let node = home.builder().start().await?;

    let spec = ContainerSpec::image("hello", &home.image)?
        .memory(Bytes::mib(64))
        .label("made-by", "quickstart")
        .stdout(Output::Inherit);
    let mut events = node.subscribe(Since::Now);
    let job = node.launch(spec)?;
    print_until_the_end(&mut events).await;

    let end = job.destroy().await?;
    println!("ended: {:?}, peak memory {:?}", end.termination, end.usage.memory_peak);
    node.remove(job.id()).await?;
    node.shutdown(Containers::Destroy).await?;
    Ok(())
}

async fn print_until_the_end(events: &mut Subscription) {
    while let Some(notice) = events.next().await {
        println!("{}", notice.to_json());
        if matches!(notice, Notice::Event(event) if event.kind == EventKind::Terminated) {
            return;
        }
    }
}
