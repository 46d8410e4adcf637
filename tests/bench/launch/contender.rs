//! Who takes part: anything that can run one container from nothing to nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::stats::Sample;

/// Launches before those that count.
const WARM: usize = 10;

/// One side of a comparison.
pub(crate) trait Contender {
    fn name(&self) -> &str;

    /// One container, from nothing to nothing, and how long it took.
    fn once(&mut self) -> Result<Duration, Failure>;

    /// `count` of them, `in_flight` at any moment.
    fn burst(&mut self, count: usize, in_flight: usize) -> Result<(), Failure>;

    /// CPU time that it and everything it started has used so far.
    fn cpu(&self) -> Result<Duration, Failure>;
}

/// Times `count` containers of each, alternately, so that what disturbs the machine disturbs all.
pub(crate) fn alternate(
    contenders: &mut [Box<dyn Contender>],
    count: usize,
) -> Result<Vec<Sample>, Failure> {
    for contender in contenders.iter_mut() {
        for _ in 0..WARM.min(count) {
            contender.once()?;
        }
    }
    let mut samples = vec![Sample::default(); contenders.len()];
    let before = all_cpu(contenders)?;
    for round in 0..count {
        for turn in 0..contenders.len() {
            // Nobody always comes after the same one.
            let who = (round + turn) % contenders.len();
            samples[who].push(contenders[who].once()?);
        }
    }
    let after = all_cpu(contenders)?;
    for (sample, (before, after)) in samples.iter_mut().zip(before.into_iter().zip(after)) {
        sample.cpu = after.saturating_sub(before);
    }
    Ok(samples)
}

fn all_cpu(contenders: &[Box<dyn Contender>]) -> Result<Vec<Duration>, Failure> {
    contenders.iter().map(|contender| contender.cpu()).collect()
}

/// A program that speaks `--serve`.
#[derive(Debug)]
pub(crate) struct Served {
    name: String,
    child: Child,
    requests: Option<ChildStdin>,
    answers: ChildStdout,
}

impl Served {
    pub(crate) fn start(name: &str, command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let requests = child.stdin.take();
        let answers = child.stdout.take().ok_or("no pipe")?;
        Ok(Self { name: name.to_owned(), child, requests, answers })
    }

    fn ask(&mut self) -> Result<(), Failure> {
        let requests = self.requests.as_mut().ok_or("it was ended")?;
        Ok(requests.write_all(b"x")?)
    }

    fn await_answer(&mut self) -> Result<(), Failure> {
        let mut answer = [0];
        self.answers.read_exact(&mut answer).map_err(|_| format!("{} has ended", self.name).into())
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Contender for Served {
    fn name(&self) -> &str {
        &self.name
    }

    fn once(&mut self) -> Result<Duration, Failure> {
        let begin = Instant::now();
        self.ask()?;
        self.await_answer()?;
        Ok(begin.elapsed())
    }

    fn burst(&mut self, count: usize, in_flight: usize) -> Result<(), Failure> {
        for number in 0..count + in_flight {
            if number >= in_flight {
                self.await_answer()?;
            }
            if number < count {
                self.ask()?;
            }
        }
        Ok(())
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        tree_cpu(self.pid())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The end of its stdin ends it.
        self.requests = None;
        match self.child.wait() {
            Ok(status) if status.success() => {}
            ended => eprintln!("launch: {}: {ended:?}", self.name),
        }
    }
}

/// CPU time of a process, of what it has reaped, and of all that descends from it and lives.
fn tree_cpu(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have spaces; utime, stime, cutime and cstime are fields 14 to 17, proc(5).
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    let mut sum = Duration::from_millis(ticks * 1000 / ticks_per_second()?);
    for child in children(pid)? {
        // One that has just ended is its parent's by now, or nobody's.
        sum += tree_cpu(child).unwrap_or_default();
    }
    Ok(sum)
}

fn ticks_per_second() -> Result<u64, Failure> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    Ok(ticks.and_then(|ticks| u64::try_from(ticks).ok()).ok_or("no clock ticks")?)
}

/// Children of every thread of a process.
pub(crate) fn children(pid: u32) -> Result<Vec<u32>, Failure> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
        let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(found)
}
