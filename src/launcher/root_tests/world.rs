//! A launcher of one's own, a root file system made of busybox, and a file to write to.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::launcher::*;
use crate::limits;
use crate::linux::cgroups::Cgroups;
use crate::linux::pidfd;
use crate::model::{
    Command, DeviceNode, LaunchInfo, Mount, MountFlags, MountSource, Namespace, WaitStatus,
};

/// Everything is below one directory and one cgroup name; both go when the test ends.
pub(super) struct World {
    pub(super) launcher: LinuxLauncher,
    pub(super) cgroups: Arc<Cgroups>,
    directory: tempfile::TempDir,
    ids: Vec<ContainerId>,
}

/// How a payload ended, and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) started: Result<(), StartFailure>,
    pub(super) status: WaitStatus,
    pub(super) output: String,
}

impl Outcome {
    pub(super) fn step(&self) -> &str {
        match &self.started {
            Ok(()) => "",
            Err(failure) => &failure.step,
        }
    }
}

impl World {
    pub(super) fn new() -> Self {
        let name = format!("longshore-test-{}", uuid::Uuid::new_v4().simple());
        let cgroups = Cgroups::detect(&name, Path::new("/nowhere")).expect("hierarchies are found");
        let cgroups = Arc::new(cgroups);
        let launcher = LinuxLauncher::new(Arc::clone(&cgroups)).expect("a launcher");
        let directory = tempfile::tempdir().expect("a scratch directory");
        let root = directory.path().join("root");
        for below in ["bin", "etc", "tmp"] {
            fs::create_dir_all(root.join(below)).expect("made");
        }
        fs::copy("/usr/bin/busybox", root.join("bin/busybox")).expect("busybox-static is there");
        let applets = ["sh", "ls", "cat", "sleep", "id", "pwd", "true", "echo", "setsid", "mkdir"];
        for applet in applets.into_iter().chain(["grep", "touch", "hostname", "ps", "kill", "env"])
        {
            fs::hard_link(root.join("bin/busybox"), root.join("bin").join(applet)).expect("linked");
        }
        fs::write(root.join("bin/payload"), payload()).expect("written");
        fs::set_permissions(
            root.join("bin/payload"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .expect("made executable");
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nredis:x:999:1000::/:/bin/sh\n")
            .expect("written");
        fs::write(root.join("etc/group"), "root:x:0:\nredis:x:1000:\nextra:x:7:redis\n")
            .expect("written");
        Self { launcher, cgroups, directory, ids: Vec::new() }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// What a container of this world usually has: /proc, /dev and namespaces of its own.
    pub(super) fn launch(argv: &[&str]) -> LaunchInfo {
        let argv: Vec<String> = argv.iter().map(|arg| (*arg).to_owned()).collect();
        let path = "/bin:/usr/bin".to_owned();
        LaunchInfo {
            command: Some(Command { executable: argv[0].clone(), argv }),
            environment: BTreeMap::from([("PATH".to_owned(), path)]),
            working_directory: Some("/".into()),
            namespaces: [Namespace::Mnt, Namespace::Pid, Namespace::Ipc].into(),
            mounts: vec![Self::new_fs("proc", "/proc"), Self::new_fs("tmpfs", "/dev")],
            devices: vec![DeviceNode {
                path: "/dev/null".into(),
                character: true,
                major: 1,
                minor: 3,
                mode: 0o666,
            }],
            ..LaunchInfo::default()
        }
    }

    pub(super) fn shell(script: &str) -> LaunchInfo {
        Self::launch(&["/bin/sh", "-c", script])
    }

    pub(super) fn new_fs(kind: &str, target: &str) -> Mount {
        Mount {
            source: MountSource::Filesystem { kind: kind.to_owned(), options: Vec::new() },
            target: target.into(),
            flags: MountFlags { nosuid: true, ..MountFlags::default() },
            optional: false,
        }
    }

    pub(super) fn request(&mut self, launch: LaunchInfo) -> ForkRequest {
        let id = format!("c{}", self.ids.len());
        let container_id = ContainerId::new(&id).expect("valid");
        self.ids.push(container_id.clone());
        let output = || -> OwnedFd {
            let file = fs::File::options().append(true).create(true).open(self.path(&id));
            file.expect("opened").into()
        };
        let stdio = Stdio {
            stdin: fs::File::open("/dev/null").expect("opened").into(),
            stdout: output(),
            stderr: output(),
        };
        ForkRequest {
            container_id,
            launch,
            rootfs: Some(Rootfs::Directory(self.root())),
            task_root: None,
            stdio,
            status_file: self.path(&format!("{id}.status")),
            lifetime: Lifetime::Independent,
        }
    }

    pub(super) fn fork(&mut self, launch: LaunchInfo) -> Result<Child, LauncherError> {
        let request = self.request(launch);
        self.launcher.fork(request)
    }

    /// Launches, waits for the end, and removes.
    pub(super) async fn run(&mut self, launch: LaunchInfo) -> Outcome {
        let request = self.request(launch);
        self.run_request(request).await
    }

    pub(super) async fn run_request(&mut self, request: ForkRequest) -> Outcome {
        let id = request.container_id.clone();
        let mut child = self.launcher.fork(request).expect("forked");
        child.control.release().expect("released");
        let started = child.report.started().await;
        let status = child.report.ended().await;
        self.launcher.kill(&id, Some(child.init), limits::KILL).expect("killed");
        self.launcher.forget(&id).expect("forgotten");
        Outcome { started, status, output: self.output(&id) }
    }

    pub(super) fn spawner(&self) -> i32 {
        self.launcher.spawner_pid().expect("a spawner runs")
    }

    pub(super) fn kill_spawner(&self) {
        let spawner = pidfd::open(self.spawner()).expect("it lives");
        pidfd::kill(spawner.as_fd()).expect("killed");
        assert!(pidfd::has_ended(spawner.as_fd(), 10_000).expect("polled"));
    }

    pub(super) fn descriptors_of_spawner(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.spawner())).expect("read").count()
    }

    /// Children of this process, of whichever thread.
    pub(super) fn children(&self) -> Vec<i32> {
        let mut children = Vec::new();
        for task in fs::read_dir("/proc/self/task").expect("read") {
            let file = task.expect("read").path().join("children");
            let text = fs::read_to_string(file).unwrap_or_default();
            children.extend(text.split_whitespace().map(|pid| pid.parse::<i32>().expect("a pid")));
        }
        children
    }

    pub(super) async fn wait_until_gone(&self, init: InitPid) {
        if let Some(mut adopted) = Adopted::find(init, PathBuf::new()).expect("looked") {
            let ended = tokio::time::timeout(Duration::from_secs(20), adopted.ended());
            ended.await.expect("it ends");
        }
    }

    pub(super) async fn wait_for_output(&self, id: &ContainerId, text: &str) {
        self.wait(|| self.output(id).starts_with(text)).await;
    }

    pub(super) async fn wait_until_empty(&self, id: &ContainerId) {
        self.wait(|| self.processes(id).is_empty()).await;
    }

    /// Looks until it is so, at most for twenty seconds.
    async fn wait(&self, is_so: impl Fn() -> bool) {
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        for _ in 0..10_000 {
            if is_so() {
                return;
            }
            tick.tick().await;
        }
        panic!("it never was so");
    }

    fn processes(&self, id: &ContainerId) -> Vec<i32> {
        self.cgroups.kill_group_processes(&crate::paths::cgroup(id)).expect("read")
    }

    /// The init and the payload are both in the kill group.
    pub(super) async fn assert_joined_its_cgroup(&mut self) {
        let request = self.request(Self::launch(&["/bin/payload", "pause"]));
        let id = request.container_id.clone();
        let mut child = self.launcher.fork(request).expect("forked");
        self.wait(|| self.processes(&id) == [child.init.pid]).await;
        child.control.release().expect("released");
        child.report.started().await.expect("started");
        assert_eq!(self.processes(&id).len(), 2);
        self.launcher.kill(&id, Some(child.init), limits::KILL).expect("killed");
        assert_eq!(child.report.ended().await, WaitStatus::KILLED);
    }

    pub(super) fn assert_no_processes(&self, id: &ContainerId) {
        assert_eq!(self.processes(id), Vec::<i32>::new());
    }

    pub(super) fn output(&self, id: &ContainerId) -> String {
        fs::read_to_string(self.path(&id.to_string())).expect("read")
    }

    pub(super) fn status_text(&self, id: &ContainerId) -> String {
        fs::read_to_string(self.path(&format!("{id}.status"))).expect("read")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for id in &self.ids {
            let _ = self.launcher.kill(id, None, limits::KILL);
            let _ = self.launcher.forget(id);
        }
    }
}
