//! The first row again, with a crowd of running containers.

use crate::Failure;
use crate::node::Node;
use crate::report::{Bound, Report};
use crate::rows::{Ground, block_on};
use crate::stats::{Sample, ratio};

const CROWD: usize = 1000;

/// Times launches without the crowd, with it, and without it again, in one process.
pub(crate) fn crowd(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    for (overlay, kind) in [(false, "plain"), (true, "overlay")] {
        let [without, with] = block_on(measure(ground, overlay))?;
        let row = format!("1,000 containers running, {kind}");
        report.measured(&row, "longshore, none running", &without);
        report.measured(&row, "longshore, 1,000 running", &with);
        let value = ratio(with.median(), without.median());
        report.promise(&row, "none running", value, "×", Bound::AtMost(1.2));
    }
    Ok(())
}

async fn measure(ground: &Ground, overlay: bool) -> Result<[Sample; 2], Failure> {
    let name = if overlay { "crowd-overlay" } else { "crowd-plain" };
    let mut node = Node::start(&ground.setup(name, overlay)?).await?;
    let measured = with_and_without(ground, &mut node).await;
    let stopped = node.stop().await;
    measured.and_then(|samples| stopped.map(|()| samples))
}

async fn with_and_without(ground: &Ground, node: &mut Node) -> Result<[Sample; 2], Failure> {
    let launches = ground.options.launches;
    launch(node, launches.min(20)).await?;
    let mut without = launch(node, launches.div_ceil(2)).await?;
    let jobs = node.idle(ground.many(CROWD)).await?;
    let with = launch(node, launches).await?;
    node.end(jobs).await?;
    without.append(launch(node, launches.div_ceil(2)).await?);
    Ok([without, with])
}

async fn launch(node: &mut Node, count: usize) -> Result<Sample, Failure> {
    let before = crate::oci::used()?;
    let mut sample = Sample::default();
    for _ in 0..count {
        sample.push(node.once().await?);
    }
    sample.cpu = crate::oci::used()?.saturating_sub(before);
    Ok(sample)
}
