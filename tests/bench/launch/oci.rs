//! crun and runc, told to make the same container from a bundle that is ready.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde_json::{Value, json};

use crate::Failure;
use crate::aside::Aside;
use crate::contender::Contender;
use crate::options::Options;

/// An OCI runtime, with a bundle for each container that it may have at once.
#[derive(Debug)]
pub(crate) struct Oci {
    runtime: Runtime,
    bundles: Vec<Bundle>,
    /// Where it runs, one for each container that is in flight.
    threads: Vec<Aside>,
    cpu: Duration,
}

/// The program, and where it keeps what it knows.
#[derive(Debug, Clone)]
struct Runtime {
    program: &'static str,
    state: PathBuf,
}

/// One container's bundle, and where its layer is stacked if it has one.
#[derive(Debug, Clone)]
struct Bundle {
    id: String,
    directory: PathBuf,
    lower: Option<PathBuf>,
}

impl Oci {
    /// Bundles for `count` containers, below `scratch`, of the root and the command in `what`, of
    /// which `in_flight` may be at work at once.
    pub(crate) fn new(
        program: &'static str,
        scratch: &Path,
        what: &Options,
        (count, in_flight): (usize, usize),
    ) -> Result<Self, Failure> {
        let state = scratch.join(format!("{program}-state"));
        fs::create_dir_all(&state)?;
        let root = what.root.clone().ok_or("no root")?;
        let bundle = |number: usize| -> Result<Bundle, Failure> {
            let id = format!("longshore-bench-{}-{program}-{number}", std::process::id());
            let directory = scratch.join(&id);
            let lower = what.overlay.then(|| root.clone());
            let bundle = Bundle { id, directory, lower };
            bundle.write(&root, &what.command)?;
            Ok(bundle)
        };
        let bundles = (0..count).map(bundle).collect::<Result<_, _>>()?;
        let threads = (0..in_flight).map(|_| Aside::start()).collect::<Result<_, _>>()?;
        Ok(Self { runtime: Runtime { program, state }, bundles, threads, cpu: Duration::ZERO })
    }

    /// The first thread, where everything happens that is not in flight.
    fn aside(&self) -> Result<&Aside, Failure> {
        Ok(self.threads.first().ok_or("no thread")?)
    }

    /// Starts every container, detached.
    pub(crate) fn start_all(&self) -> Result<(), Failure> {
        let (runtime, bundles) = (self.runtime.clone(), self.bundles.clone());
        self.aside()?.run(move || bundles.iter().try_for_each(|bundle| runtime.start(bundle)))?;
        Ok(())
    }

    /// Ends one that was started; how long it took.
    pub(crate) fn delete(&self, number: usize) -> Result<Duration, Failure> {
        let bundle = self.bundles.get(number).ok_or("no such bundle")?.clone();
        let runtime = self.runtime.clone();
        self.aside()?.run(move || runtime.delete(&bundle))
    }

    /// Controllers for which the container has a cgroup of its own.
    pub(crate) fn cgroups(&self) -> Result<Vec<String>, Failure> {
        let bundle = self.bundles.first().ok_or("no bundle")?;
        let mut command = self.runtime.command();
        let said = command.arg("state").arg(&bundle.id).stdout(Stdio::piped()).output()?;
        let state: Value = serde_json::from_slice(&said.stdout)?;
        crate::cgroups_of(u32::try_from(state["pid"].as_u64().ok_or("no pid")?)?)
    }
}

impl Runtime {
    fn command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--root").arg(&self.state).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// One container; `run` is create, start, wait and delete in one call.
    fn whole(&self, bundle: &Bundle) -> Result<(), Failure> {
        bundle.stack()?;
        let mut run = self.command();
        run.args(["run", "--bundle"]).arg(&bundle.directory).arg(&bundle.id);
        finish(&mut run)?;
        bundle.unstack()
    }

    fn start(&self, bundle: &Bundle) -> Result<(), Failure> {
        bundle.stack()?;
        let mut run = self.command();
        run.args(["run", "--detach", "--bundle"]).arg(&bundle.directory).arg(&bundle.id);
        // Its standard streams are the container's, which outlives it.
        finish(run.stderr(Stdio::null()))
    }

    fn delete(&self, bundle: &Bundle) -> Result<(), Failure> {
        finish(self.command().args(["delete", "--force"]).arg(&bundle.id))?;
        bundle.unstack()
    }
}

impl Contender for Oci {
    fn name(&self) -> &str {
        self.runtime.program
    }

    fn once(&mut self) -> Result<Duration, Failure> {
        let before = used()?;
        let bundle = self.bundles.first().ok_or("no bundle")?.clone();
        let runtime = self.runtime.clone();
        let taken = self.aside()?.run(move || runtime.whole(&bundle))?;
        self.cpu += used()?.saturating_sub(before);
        Ok(taken)
    }

    fn burst(&mut self, count: usize, in_flight: usize) -> Result<(), Failure> {
        let left = Arc::new(AtomicUsize::new(count));
        let busy = &self.threads[..in_flight.min(self.threads.len())];
        for (thread, bundle) in busy.iter().zip(&self.bundles) {
            let (left, runtime, bundle) = (left.clone(), self.runtime.clone(), bundle.clone());
            thread.begin(move || {
                let take = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    runtime.whole(&bundle)?;
                }
                Ok(())
            })?;
        }
        busy.iter().try_for_each(|thread| thread.finish().map(drop))
    }

    fn cpu(&self) -> Result<Duration, Failure> {
        Ok(self.cpu)
    }
}

impl Bundle {
    fn merged(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    fn write(&self, root: &Path, command: &[String]) -> Result<(), Failure> {
        fs::create_dir_all(self.merged())?;
        let root = if self.lower.is_some() { self.merged() } else { root.to_owned() };
        let config = config(&self.id, &root, command);
        Ok(fs::write(self.directory.join("config.json"), config.to_string())?)
    }

    /// Mounts the overlay, as the callers of OCI runtimes do.
    fn stack(&self) -> Result<(), Failure> {
        let Some(lower) = &self.lower else { return Ok(()) };
        stack(lower, &self.directory)
    }

    fn unstack(&self) -> Result<(), Failure> {
        match &self.lower {
            Some(_) => unstack(&self.directory),
            None => Ok(()),
        }
    }
}

/// A writable layer over `lower`, mounted at `directory/rootfs`; without a sync at the end, as ours.
pub(crate) fn stack(lower: &Path, directory: &Path) -> Result<(), Failure> {
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    let options = format!(
        "lowerdir={},upperdir={},workdir={},volatile",
        lower.display(),
        upper.display(),
        work.display()
    );
    let merged = directory.join("rootfs");
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}

pub(crate) fn unstack(directory: &Path) -> Result<(), Failure> {
    umount2(&directory.join("rootfs"), MntFlags::empty())?;
    fs::remove_dir_all(directory.join("upper"))?;
    Ok(fs::remove_dir_all(directory.join("work"))?)
}

/// CPU time of this process and of all that it has reaped.
pub(crate) fn used() -> Result<Duration, Failure> {
    let sum = |usage: Usage| usage.user_time() + usage.system_time();
    let both = sum(getrusage(UsageWho::RUSAGE_SELF)?) + sum(getrusage(UsageWho::RUSAGE_CHILDREN)?);
    Ok(Duration::from_micros(u64::try_from(both.num_microseconds())?))
}

/// Runs a program to its end.
pub(crate) fn finish(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {status}").into()),
    }
}

/// The namespaces, cgroups and mounts of every side's container, and nothing else.
fn config(id: &str, root: &Path, command: &[String]) -> Value {
    let namespace = |kind: &str| json!({ "type": kind });
    let namespaces: Vec<Value> =
        ["mount", "pid", "ipc", "uts", "cgroup"].into_iter().map(namespace).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "args": command, "cwd": "/", "env": ["PATH=/usr/bin:/bin"],
            "user": { "uid": 0, "gid": 0 },
        },
        "root": { "path": root },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
        ],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "namespaces": namespaces,
            "resources": {
                "cpu": { "shares": 1024, "quota": 100_000, "period": 100_000 },
                "memory": { "limit": 256 << 20 },
                "pids": { "limit": 128 },
            },
        },
    })
}
