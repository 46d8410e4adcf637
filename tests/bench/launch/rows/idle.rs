//! What idle containers hold, and what it takes to end them one after the other.

use std::fs;
use std::time::Instant;

use longshore::Job;
use nix::sys::prctl;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::Failure;
use crate::contender::children;
use crate::node::Node;
use crate::oci::Oci;
use crate::options::Options;
use crate::report::{Bound, Report};
use crate::rows::{Ground, block_on};
use crate::stats::{Sample, ratio};

const IDLE: usize = 200;

/// Lines of /proc/meminfo that are the kernel's own memory and cannot be reclaimed.
pub(crate) const KERNEL: &[&str] = &["SUnreclaim", "KernelStack", "PageTables", "Percpu"];

/// Memory of idle containers: of their inits, of ours, of the kernel's.
pub(crate) fn idle(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    let count = ground.many(IDLE);
    let what = ground.what(true);
    let before = ground.floor.hold(&what, count)?;
    let held = block_on(measure(ground, count))?;
    let after = ground.floor.hold(&what, count)?;
    let floor = f64::midpoint(before, after);
    let row = "one idle container";
    let kib = |value: f64| format!("{value:.1} KiB");
    report.figure(row, "PSS of its init", &kib(held.init));
    report.figure(row, "PSS of its payload", &kib(held.payload));
    report.figure(row, "PSS in the agent", &kib(held.agent));
    report.figure(row, "kernel, longshore", &kib(held.kernel));
    report.figure(row, "kernel, floor-best", &kib(floor));
    report.promise(row, "its init", held.init, " KiB", Bound::AtMost(64.0));
    report.promise(row, "in the agent", held.agent, " KiB", Bound::AtMost(48.0));
    report.promise(row, "kernel, floor-best", held.kernel / floor, "×", Bound::AtMost(1.1));
    Ok(())
}

/// KiB of one container.
#[derive(Debug)]
struct Held {
    init: f64,
    payload: f64,
    agent: f64,
    kernel: f64,
}

async fn measure(ground: &Ground, count: usize) -> Result<Held, Failure> {
    let mut node = Node::start(&ground.setup("idle", true)?).await?;
    let held = held_by(&mut node, count).await;
    let stopped = node.stop().await;
    held.and_then(|held| stopped.map(|()| held))
}

async fn held_by(node: &mut Node, count: usize) -> Result<Held, Failure> {
    // What the first ones make is not theirs.
    let first = node.idle(count.min(20)).await?;
    node.end(first).await?;
    let (agent, kernel) = (pss(std::process::id())?, kernel_memory()?);
    let jobs = node.idle(count).await?;
    let each = |sum: f64| sum / count as f64;
    let (agent, kernel) = (pss(std::process::id())? - agent, kernel_memory()? - kernel);
    let (mut init, mut payload) = (0.0, 0.0);
    for job in &jobs {
        let pid = u32::try_from(job.running().await?)?;
        init += pss(pid)?;
        payload += children(pid)?.into_iter().map(pss).sum::<Result<f64, _>>()?;
    }
    node.end(jobs).await?;
    let [init, payload, agent, kernel] = [init, payload, agent, kernel].map(each);
    Ok(Held { init, payload, agent, kernel })
}

/// The proportional set size of a process, in KiB.
fn pss(pid: u32) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(in_kib(&text, "Pss").ok_or("no Pss")?)
}

fn kernel_memory() -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let sum = KERNEL.iter().map(|key| in_kib(&text, key)).sum::<Option<f64>>();
    Ok(sum.ok_or("meminfo lacks a line")?)
}

/// The line `key:  N kB`.
fn in_kib(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Destroys idle containers one after the other, ours, crun's and runc's in turns.
pub(crate) fn destroy(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    // Detached containers of crun and runc have nobody else.
    prctl::set_child_subreaper(true)?;
    let destroyed = block_on(destroy_each(ground, report));
    reap();
    prctl::set_child_subreaper(false)?;
    let [ours, crun, runc] = destroyed?;
    let row = "destroy of an idle container";
    report.measured(row, "longshore", &ours);
    report.measured(row, "crun delete -f", &crun);
    report.measured(row, "runc delete -f", &runc);
    let value = |peer: &Sample| ratio(ours.median(), peer.median());
    report.promise(row, "crun", value(&crun), "×", Bound::AtMost(0.25));
    report.promise(row, "runc", value(&runc), "×", Bound::AtMost(0.03));
    Ok(())
}

/// Nothing else of ours runs by now.
fn reap() {
    while waitpid(None, Some(WaitPidFlag::WNOHANG)).is_ok_and(|end| end != WaitStatus::StillAlive) {
    }
}

async fn destroy_each(ground: &Ground, report: &mut Report) -> Result<[Sample; 3], Failure> {
    let count = ground.many(IDLE);
    let what = Options { command: crate::idle_command(), ..ground.what(true) };
    let [crun, runc] = [
        Oci::new("crun", &ground.scratch("idle-crun")?, &what, (count, 1))?,
        Oci::new("runc", &ground.scratch("idle-runc")?, &what, (count, 1))?,
    ];
    crun.start_all()?;
    runc.start_all()?;
    let mut node = Node::start(&ground.setup("destroy", true)?).await?;
    let jobs = node.idle(count).await?;
    say_cgroups(report, &jobs, &crun, &runc).await?;
    let mut samples = [Sample::default(), Sample::default(), Sample::default()];
    for (number, job) in jobs.iter().enumerate() {
        let begin = Instant::now();
        job.destroy().await?;
        node.containerizer.remove(job.id()).await?;
        samples[0].push(begin.elapsed());
        samples[1].push(crun.delete(number)?);
        samples[2].push(runc.delete(number)?);
    }
    node.stop().await?;
    Ok(samples)
}

/// Which cgroups each side makes.
async fn say_cgroups(
    report: &mut Report,
    jobs: &[Job],
    crun: &Oci,
    runc: &Oci,
) -> Result<(), Failure> {
    let job = jobs.first().ok_or("no job")?;
    let ours = crate::cgroups_of(u32::try_from(job.running().await?)?)?;
    let sides = [("longshore", ours), ("crun", crun.cgroups()?), ("runc", runc.cgroups()?)];
    for (side, cgroups) in sides {
        report.note(format!("cgroups of {side}: {}", cgroups.join(", ")));
    }
    report.note(
        "cgroups of floor-like: every v1 hierarchy; floor-best, floor-ours: cpu, memory, pids",
    );
    Ok(())
}
