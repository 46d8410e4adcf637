//! The default isolators, merged and started by the real launcher: what a payload finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tests::{config, context, provisioned};
use super::{DEFAULT_FOR_IMAGES, DynIsolator, Host, create};
use crate::launcher::plan::{MergeContext, Root, merge};
use crate::launcher::{ForkRequest, Lifetime, LinuxLauncher, Stdio};
use crate::limits;
use crate::linux::cgroups::Cgroups;
use crate::model::{
    AgentInfo, Bytes, ContainerConfig, LaunchContext, Resources, Usage, Volume, WaitStatus,
};
use crate::paths::Paths;

const SANDBOX: &str = "/mnt/mesos/sandbox";

/// One container of the default set.
struct World {
    directory: tempfile::TempDir,
    cgroups: Arc<Cgroups>,
    launcher: LinuxLauncher,
    isolators: Vec<Arc<dyn DynIsolator>>,
}

/// What came of it.
struct Outcome {
    status: WaitStatus,
    output: String,
    usage: Usage,
}

impl World {
    fn new() -> Self {
        let name = format!("longshore-test-{}", uuid::Uuid::new_v4().simple());
        let cgroups = Cgroups::detect(&name, Path::new("/nowhere")).expect("hierarchies are found");
        let cgroups = Arc::new(cgroups);
        let host = Host {
            paths: Paths::new("/work", "/run/longshore"),
            cgroups: Arc::clone(&cgroups),
            isolation: DEFAULT_FOR_IMAGES.iter().map(|name| (*name).to_owned()).collect(),
            sandbox_directory: SANDBOX.into(),
        };
        let made =
            create(&host, &[], limits::ISOLATOR_CREATE).expect("this host can do the default set");
        let isolators = made.into_iter().map(|made| made.isolator).collect();
        let launcher = LinuxLauncher::new(Arc::clone(&cgroups)).expect("a launcher");
        let directory = tempfile::tempdir().expect("a scratch directory");
        let world = Self { directory, cgroups, launcher, isolators };
        fs::create_dir_all(world.path("root/bin")).expect("made");
        fs::create_dir(world.path("sandbox")).expect("made");
        fs::copy("/usr/bin/busybox", world.path("root/bin/busybox")).expect("busybox-static");
        for applet in ["sh", "cat", "ls", "id", "grep", "touch", "ps", "readlink", "pwd", "echo"] {
            fs::hard_link(world.path("root/bin/busybox"), world.path("root/bin").join(applet))
                .expect("linked");
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, image: Option<&str>, script: &str) -> ContainerConfig {
        let mut config = config(image);
        config.command.shell = true;
        config.command.value = Some(script.to_owned());
        config.sandbox = self.path("sandbox");
        config
    }

    async fn in_an_image(&self, config: ContainerConfig) -> Outcome {
        let root = self.path("root").to_str().expect("text").to_owned();
        self.run(&context(config, Some(provisioned(&root)))).await
    }

    async fn run(&self, context: &LaunchContext) -> Outcome {
        let id = context.config.container_id.clone();
        let prepared: Vec<_> = self
            .isolators
            .iter()
            .map(|isolator| isolator.prepare(&id, context).expect("prepared"))
            .collect();
        let names = self.isolators.iter().map(|isolator| isolator.name());
        let contributions: Vec<_> =
            names.zip(prepared.iter().map(|(info, _)| info.clone())).collect();
        let rootfs = context.provisioned.as_ref().map(|image| &image.rootfs);
        let merged = merge(
            contributions,
            MergeContext {
                config: &context.config,
                root: Root::of(&context.config.shape, rootfs),
                sandbox_directory: Path::new(SANDBOX),
                agent: &AgentInfo::default(),
            },
        );
        let out = fs::File::create(self.path("out")).expect("opened");
        let request = ForkRequest {
            container_id: id.clone(),
            launch: merged.expect("the contributions fit together"),
            rootfs: rootfs.cloned(),
            task_root: None,
            stdio: Stdio {
                stdin: fs::File::open("/dev/null").expect("opened").into(),
                stdout: out.try_clone().expect("cloned").into(),
                stderr: out.into(),
            },
            status_file: self.path("status"),
            lifetime: Lifetime::Independent,
        };
        let mut child = self.launcher.fork(request).expect("forked");
        for (isolator, (_, bytes)) in self.isolators.iter().zip(&prepared) {
            isolator.isolate(&id, bytes, child.init).expect("isolated");
        }
        child.control.release().expect("released");
        child.report.started().await.expect("the payload starts");
        let status = child.report.ended().await;
        self.launcher.kill(&id, Some(child.init), limits::KILL).expect("killed");
        let usage = self
            .isolators
            .iter()
            .zip(&prepared)
            .map(|(isolator, (_, bytes))| isolator.usage(&id, bytes).expect("measured"))
            .fold(Usage::default(), Usage::or);
        for isolator in self.isolators.iter().rev() {
            isolator.cleanup(&id, None).expect("cleaned up");
        }
        self.launcher.forget(&id).expect("forgotten");
        assert!(self.cgroups.containers().expect("listed").is_empty());
        let output = fs::read_to_string(self.path("out")).expect("read");
        Outcome { status, output, usage }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let id = config(None).container_id;
        let _ = self.launcher.kill(&id, None, limits::KILL);
        for isolator in self.isolators.iter().rev() {
            let _ = isolator.cleanup(&id, None);
        }
        let _ = self.launcher.forget(&id);
    }
}

#[tokio::test]
async fn a_payload_in_an_image_finds_what_it_expects() {
    let world = World::new();
    let script = "
        echo pid $(readlink /proc/self) init $(cat /proc/1/comm > /dev/null && echo seen)
        for name in full null random tty urandom zero; do test -c /dev/$name || echo no $name; done
        for link in fd stdin stdout stderr ptmx; do readlink /dev/$link > /dev/null || echo no $link; done
        echo x > /dev/null && test -d /dev/pts && touch /dev/shm/x && echo devices
        echo 1 > /proc/sys/kernel/panic && echo WRITTEN
        test -s /proc/kcore && echo KCORE
        touch /sys/x && echo WRITTEN
        grep CapEff /proc/self/status
        touch /mnt/mesos/sandbox/made && pwd
        cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max
        touch /sys/fs/cgroup/x /sys/fs/cgroup/memory/x || echo readonly
    ";
    let mut config = world.config(Some("rootfs:/srv"), &format!("{{ {script} }} 2>/dev/null"));
    config.resources = Resources { cpus: Some(1.0), memory: Some(Bytes::mib(64)), pids: Some(20) };
    let outcome = world.in_an_image(config).await;
    let output = &outcome.output;
    assert_eq!(outcome.status, WaitStatus(0), "{output}");
    for line in ["devices", "67108864", "readonly", "/"] {
        assert!(output.lines().any(|found| found == line), "no {line}: {output}");
    }
    for word in ["no ", "WRITTEN", "KCORE"] {
        assert!(!output.contains(word), "{word}: {output}");
    }
    assert!(output.contains("init seen"), "{output}");
    assert!(!output.contains("000001ffffffffff"), "not every capability: {output}");
    assert!(world.path("sandbox/made").is_file(), "the sandbox is the host's directory");
    let usage = outcome.usage;
    assert!(usage.cpu_ns.is_some_and(|ns| ns > 0) && usage.oom_kills == Some(0), "{usage:?}");
}

#[tokio::test]
async fn a_payload_that_needs_more_memory_than_it_may_is_killed() {
    let world = World::new();
    let grow = "x=x; while :; do x=$x$x; done";
    let mut config = world.config(Some("rootfs:/srv"), grow);
    config.resources.memory = Some(Bytes::mib(16));
    let outcome = world.in_an_image(config).await;
    assert_eq!(outcome.status.signal(), Some(9), "{}", outcome.output);
    assert!(outcome.usage.oom_kills.is_some_and(|kills| kills > 0), "{:?}", outcome.usage);
}

#[tokio::test]
async fn volumes_appear_where_they_were_asked_for() {
    let world = World::new();
    fs::create_dir(world.path("data")).expect("made");
    fs::write(world.path("data/file"), "text\n").expect("written");
    let script = "cat /data/file relative/file /one; touch /data/x; touch relative/y";
    let mut config = world.config(Some("rootfs:/srv"), script);
    config.working_directory = Some(SANDBOX.into());
    let volume = |source: &str, target: &str, read_only| Volume {
        source: world.path(source),
        target: target.into(),
        read_only,
    };
    config.volumes = vec![
        volume("data", "/data", true),
        volume("data", "relative", false),
        volume("data/file", "/one", true),
    ];
    let outcome = world.in_an_image(config).await;
    assert_eq!(outcome.output.matches("text").count(), 3, "{}", outcome.output);
    assert!(!world.path("data/x").is_file() && world.path("data/y").is_file());
}

#[tokio::test]
async fn without_an_image_it_is_the_hosts_files_and_nobody_elses_processes() {
    let world = World::new();
    let config = world.config(None, "pwd; ls -d /proc/[0-9]* | wc -l; hostname > made");
    let outcome = world.run(&context(config, None)).await;
    let sandbox = world.path("sandbox");
    let mut lines = outcome.output.lines();
    assert_eq!(lines.next(), sandbox.to_str(), "{}", outcome.output);
    let processes: u32 = lines.next().and_then(|n| n.trim().parse().ok()).expect("a number");
    assert!(processes <= 5, "{processes} processes are seen");
    assert!(sandbox.join("made").is_file());
}
