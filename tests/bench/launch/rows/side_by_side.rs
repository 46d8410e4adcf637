//! Rows in which programs that speak `--serve`, crun and runc take turns.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::contender::{Contender, alternate};
use crate::floor::Variant;
use crate::oci::Oci;
use crate::options::Options;
use crate::report::{Bound, Report};
use crate::rows::Ground;
use crate::stats::{Sample, ratio};

/// Mounts that a busy host has.
const HOST_MOUNTS: usize = 4000;

type Contenders = Vec<Box<dyn Contender>>;

/// Launch to gone, one at a time.
pub(crate) fn single(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    for (overlay, row) in [(false, "one launch, plain"), (true, "one launch, overlay")] {
        let mut all = everybody(ground, &ground.what(overlay), 1)?;
        let samples = alternate(&mut all, ground.options.launches)?;
        for (who, sample) in all.iter().zip(&samples) {
            report.measured(row, who.name(), sample);
        }
        let ours = samples[0].median();
        let mut promise = |name: &str, limit| {
            let Some(peer) = all.iter().position(|who| who.name() == name) else { return };
            let value = ratio(ours, samples[peer].median());
            report.promise(row, name, value, "×", Bound::AtMost(limit));
        };
        promise("floor-like", 1.5);
        promise("crun", 0.5);
        promise("runc", 0.2);
    }
    Ok(())
}

/// We first, then the floors, then the others.
fn everybody(ground: &Ground, what: &Options, at_once: usize) -> Result<Contenders, Failure> {
    let mut all: Contenders = vec![Box::new(ground.ours("longshore", what, &[])?)];
    for variant in Variant::ALL {
        all.push(Box::new(ground.floor.serve(variant, what, at_once)?));
    }
    let scratch = ground.scratch(if what.overlay { "overlay" } else { "plain" })?;
    for program in ["crun", "runc"] {
        let scratch = scratch.join(at_once.to_string());
        all.push(Box::new(Oci::new(program, &scratch, what, (at_once, at_once))?));
    }
    Ok(all)
}

/// Launches per second with some in flight.
pub(crate) fn throughput(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    for in_flight in [2, 32] {
        let row = format!("launches per second, {in_flight} in flight");
        let mut all = everybody(ground, &ground.what(true), in_flight)?;
        let rates = rates(&mut all, ground.many(ground.options.launches.max(100)), in_flight)?;
        let mut by_name = std::collections::BTreeMap::new();
        for (who, rate) in all.iter().zip(&rates) {
            report.figure(&row, who.name(), &format!("{rate:.0}/s"));
            by_name.insert(who.name().to_owned(), *rate);
        }
        for (peer, limit) in [("floor-like", 0.7), ("crun", 2.0)] {
            let value = rates[0] / by_name[peer];
            report.promise(&row, peer, value, "×", Bound::AtLeast(limit));
        }
    }
    Ok(())
}

/// The middle one of some bursts of each, in turns.
fn rates(all: &mut Contenders, count: usize, in_flight: usize) -> Result<Vec<f64>, Failure> {
    const BURSTS: usize = 5;
    let each = (count / BURSTS).max(in_flight);
    let mut samples = vec![Sample::default(); all.len()];
    for burst in 0..=BURSTS {
        for (who, sample) in all.iter_mut().zip(&mut samples) {
            let begin = Instant::now();
            who.burst(each, in_flight)?;
            // The first one warms up.
            if burst > 0 {
                sample.push(begin.elapsed());
            }
        }
    }
    let each = u32::try_from(each)?;
    Ok(samples.iter().map(|sample| f64::from(each) / sample.median().as_secs_f64()).collect())
}

/// With many mounts on the host.
pub(crate) fn mounts(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    let mounts = ground.many(HOST_MOUNTS).to_string();
    compare(
        ground,
        report,
        Comparison {
            row: "4,000 mounts on the host",
            usual: ("few mounts", &["--mounts", "0"]),
            other: ("4,000 mounts", &["--mounts", &mounts]),
            limit: 1.2,
        },
    )
}

/// From a program that has much memory.
pub(crate) fn resident(ground: &Ground, report: &mut Report) -> Result<(), Failure> {
    let rss = if ground.options.quick { "64" } else { "4096" };
    compare(
        ground,
        report,
        Comparison {
            row: "4 GiB resident",
            usual: ("10 MiB", &["--rss", "10"]),
            other: ("4 GiB", &["--rss", rss]),
            limit: 1.05,
        },
    )
}

/// We against ourselves.
struct Comparison<'a> {
    row: &'a str,
    usual: (&'a str, &'a [&'a str]),
    other: (&'a str, &'a [&'a str]),
    limit: f64,
}

fn compare(ground: &Ground, report: &mut Report, what: Comparison<'_>) -> Result<(), Failure> {
    for overlay in [false, true] {
        let kind = if overlay { "overlay" } else { "plain" };
        let row = format!("{}, {kind}", what.row);
        let options = ground.what(overlay);
        let mut both: Contenders = Vec::new();
        for (name, switches) in [what.usual, what.other] {
            both.push(Box::new(ground.ours(&format!("longshore, {name}"), &options, switches)?));
        }
        let samples = alternate(&mut both, ground.options.launches)?;
        for (who, sample) in both.iter().zip(&samples) {
            report.measured(&row, who.name(), sample);
        }
        let [usual, other]: [Duration; 2] = [samples[0].median(), samples[1].median()];
        report.promise(&row, what.usual.0, ratio(other, usual), "×", Bound::AtMost(what.limit));
    }
    Ok(())
}
