//! A thread in a mount namespace of its own, without the unified cgroup hierarchy.
//!
//! crun 1.8 refuses a host whose unified hierarchy stands beside those of version 1 and has a
//! controller left over. So it, and runc for the same conditions, run where there is none.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

use crate::Failure;
use crate::place::own_namespace;

type Job = Box<dyn FnOnce() -> Result<(), Failure> + Send>;

/// The thread; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Aside {
    jobs: Sender<Job>,
    done: Receiver<Result<Duration, Failure>>,
}

impl Aside {
    pub(crate) fn start() -> Result<Self, Failure> {
        let (jobs, taken) = channel::<Job>();
        let (told, done) = channel();
        std::thread::Builder::new().name("aside".to_owned()).spawn(move || {
            let ready = without_unified();
            let failed = ready.is_err();
            if told.send(ready.map(|()| Duration::ZERO)).is_err() || failed {
                return;
            }
            for job in taken {
                let begin = Instant::now();
                let ended = job();
                // The time is taken here, so that the way to this thread does not count.
                if told.send(ended.map(|()| begin.elapsed())).is_err() {
                    return;
                }
            }
        })?;
        let aside = Self { jobs, done };
        aside.finish()?;
        Ok(aside)
    }

    /// Begins a job; [`Self::finish`] waits for it.
    pub(crate) fn begin(
        &self,
        job: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        self.jobs.send(Box::new(job)).map_err(|_| "the thread has ended".into())
    }

    /// How long the job has taken.
    pub(crate) fn finish(&self) -> Result<Duration, Failure> {
        self.done.recv()?
    }

    /// Both.
    pub(crate) fn run(
        &self,
        job: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> Result<Duration, Failure> {
        self.begin(job)?;
        self.finish()
    }
}

fn without_unified() -> Result<(), Failure> {
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    own_namespace()?;
    let mounted = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    if mounted.lines().any(|line| line.split_whitespace().nth(4) == Some(UNIFIED)) {
        umount2(UNIFIED, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}
