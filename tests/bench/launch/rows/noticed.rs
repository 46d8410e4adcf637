//! How long after its end a subscriber knows that a payload is gone.

use std::time::{Duration, Instant};

use longshore::events::{EventKind, Notice};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Failure;
use crate::contender::children;
use crate::node::Node;
use crate::report::{Bound, Report};
use crate::rows::{Ground, block_on};
use crate::stats::Sample;

const ROW: &str = "exit seen by a subscriber";

/// Kills the payload, not the container, and waits for the events.
pub(crate) fn noticed(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    let [seen, terminated] = block_on(measure(ground))?;
    report.measured(ROW, "first event that tells it", &seen);
    report.measured(ROW, "`terminated`, everything undone", &terminated);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    report.promise(ROW, "median", ms(seen.median()), " ms", Bound::AtMost(1.0));
    report.promise(ROW, "p99", ms(seen.p99()), " ms", Bound::AtMost(5.0));
    Ok(())
}

async fn measure(ground: &Ground) -> Result<[Sample; 2], Failure> {
    let mut node = Node::start(&ground.setup("noticed", true)?).await?;
    let mut samples = [Sample::default(), Sample::default()];
    let mut measured = Ok(());
    for _ in 0..ground.options.launches {
        measured = one(&mut node, &mut samples).await;
        if measured.is_err() {
            break;
        }
    }
    let stopped = node.stop().await;
    measured.and(stopped).map(|()| samples)
}

async fn one(node: &mut Node, [seen, terminated]: &mut [Sample; 2]) -> Result<(), Failure> {
    let job = node.idle(1).await?.pop().ok_or("no job")?;
    let init = u32::try_from(job.running().await?)?;
    let payload = *children(init)?.first().ok_or("the init has no payload")?;
    let begin = Instant::now();
    kill(Pid::from_raw(i32::try_from(payload)?), Signal::SIGKILL)?;
    let mut first = None;
    loop {
        let notice = node.events.next().await.ok_or("the events have ended")?;
        let Notice::Event(event) = notice else { continue };
        // What was told before the end is not what is waited for.
        if event.container_id != *job.id() || event.kind == EventKind::Running {
            continue;
        }
        first.get_or_insert_with(|| begin.elapsed());
        if event.kind == EventKind::Terminated {
            break;
        }
    }
    terminated.push(begin.elapsed());
    seen.extend(first);
    Ok(node.containerizer.remove(job.id()).await?)
}
