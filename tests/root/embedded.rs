//! A containerizer in the test's own process, and a root file system of busybox for its containers.

use std::future::Future;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore::config::Config;
use longshore::events::{Event, EventKind, Notice, Since, Subscription};
use longshore::model::{ContainerId, End, Volume};
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers, Job};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use crate::support::World;
use crate::support::cli::DEADLINE;

/// A world with a containerizer in it.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) node: Containerizer,
}

/// Runs `test` on a scene, shuts its containerizer down, and fails if anything is left.
pub(crate) fn embedded(test: impl AsyncFnOnce(&Scene)) {
    embedded_with(|_| {}, test);
}

/// As [`embedded`], with other settings.
pub(crate) fn embedded_with(set: impl FnOnce(&mut Config), test: impl AsyncFnOnce(&Scene)) {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let mut settings = config(&world);
    set(&mut settings);
    let scene = block_on(async {
        let node = start(&world, settings).await.expect("the host has all that is needed");
        let scene = Scene { world, node };
        test(&scene).await;
        scene.node.shutdown(Containers::Destroy).await.expect("everything ends in order");
        scene
    });
    let Scene { world, node } = scene;
    drop(node);
    world.assert_clean();
}

/// Runs `future` on this thread; fails when it takes far too long.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(within(future))
}

/// Fails the test when `future` hangs.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it hangs")
}

/// The settings of a world: everything of the default but the name of its cgroup.
pub(crate) fn config(world: &World) -> Config {
    let mut config = Config::default();
    config.cgroups_root = world.cgroups_root().to_owned();
    config
}

/// Starts a containerizer on a world's directories.
pub(crate) async fn start(
    world: &World,
    config: Config,
) -> Result<Containerizer, longshore::error::Error> {
    Containerizer::builder(world.work_dir(), world.runtime_dir()).config(config).start().await
}

/// What the payloads call. A list, because busybox can be asked for its own only by a process that
/// waits for its children.
const APPLETS: &[&str] = &[
    "cat", "chmod", "cut", "dd", "echo", "env", "false", "grep", "head", "hostname", "id", "kill",
    "ln", "ls", "mkdir", "mknod", "mount", "od", "pwd", "readlink", "rm", "seq", "sh", "sleep",
    "sort", "stat", "tail", "touch", "tr", "true", "wc", "yes",
];

/// Makes what containers of the world see: a root of busybox, and a directory of doors.
pub(crate) fn furnish(world: &World) {
    let root = root_of(world);
    for directory in ["bin", "etc", "tmp", "home", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(directory)).expect("the world can be written");
    }
    let busybox = root.join("bin/busybox");
    std::fs::copy("/usr/bin/busybox", &busybox).expect("busybox-static is installed");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("each has its own name");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n";
    write(&root.join("etc/passwd"), passwd, 0o644);
    write(&root.join("etc/group"), "root:x:0:\nuser:x:1000:\nmore:x:1001:user\n", 0o644);
    std::fs::create_dir(world.path().join("doors")).expect("the world can be written");
}

/// Writes a file of this mode.
pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("the world can be written");
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).expect("it was just made");
}

/// The directory that is the only layer of the image.
pub(crate) fn root_of(world: &World) -> PathBuf {
    world.path().join("root")
}

/// A reference to the root file system of a furnished world.
pub(crate) fn image(world: &World) -> String {
    format!("rootfs:{}", root_of(world).display())
}

/// A container that runs a line of shell; it can write to its door, `$DOOR`.
pub(crate) fn spec(world: &World, id: &str, line: &str) -> ContainerSpec {
    furnished(world, ContainerSpec::image(id, &image(world)).expect("both are valid"), line)
}

/// Gives `spec` a line of shell and the doors.
fn furnished(world: &World, spec: ContainerSpec, line: &str) -> ContainerSpec {
    let door = format!("/doors/{}", spec.id());
    spec.shell(line).env("DOOR", door).volume(Volume::new(world.path().join("doors"), "/doors"))
}

/// A FIFO through which one container tells how far it is.
#[derive(Debug)]
pub(crate) struct Door {
    lines: tokio::io::Lines<BufReader<pipe::Receiver>>,
}

impl Door {
    /// Before the container is launched. Open at both ends here, so that nobody waits to open it.
    pub(crate) fn open(world: &World, id: &ContainerId) -> Self {
        let path = world.path().join("doors").join(id.to_string());
        if rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o666),
            0,
        )
        .is_ok()
        {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))
                .expect("it was just made");
        }
        let receiver = pipe::OpenOptions::new().read_write(true).open_receiver(&path);
        Self { lines: BufReader::new(receiver.expect("a FIFO can be opened")).lines() }
    }

    /// The next line that the payload writes.
    pub(crate) async fn line(&mut self) -> String {
        let line = within(self.lines.next_line()).await;
        line.expect("a FIFO can be read").expect("it has a writer: us")
    }
}

impl Scene {
    /// See [`spec`].
    pub(crate) fn spec(&self, id: &str, line: &str) -> ContainerSpec {
        spec(&self.world, id, line)
    }

    /// Launches and waits for the end.
    pub(crate) async fn end(&self, spec: ContainerSpec) -> End {
        let job = self.node.launch(spec).expect("the spec is valid and the id free");
        within(job.wait()).await.expect("it was launched")
    }

    /// As [`Self::end`], of a container whose id is free again afterwards.
    pub(crate) async fn run(&self, spec: ContainerSpec) -> End {
        let id = spec.id().clone();
        let end = self.end(spec).await;
        self.node.remove(&id).await.expect("it has ended");
        end
    }

    /// Launches and waits for the first line at its door, which it returns.
    pub(crate) async fn up(&self, spec: ContainerSpec) -> (Job, Door, String) {
        let mut door = Door::open(&self.world, spec.id());
        let job = self.node.launch(spec).expect("the spec is valid and the id free");
        let line = tokio::select! {
            line = door.line() => line,
            end = job.wait() => panic!("it ended before it said a word: {end:?}"),
        };
        // Its word can come before the init's.
        within(job.running()).await.expect("it runs");
        (job, door, line)
    }

    /// What a container has written to its stdout.
    pub(crate) fn stdout(&self, id: &str) -> String {
        let path = self.world.work_dir().join("containers").join(id).join("stdout");
        std::fs::read_to_string(path).expect("the sandbox is there until it is removed")
    }

    /// Runs a line to its end and returns what it wrote; fails unless it exits with 0.
    pub(crate) async fn output(&self, spec: ContainerSpec) -> String {
        let id = spec.id().clone();
        let end = self.end(spec).await;
        let sandbox = self.world.work_dir().join("containers").join(id.to_string());
        let errors = std::fs::read_to_string(sandbox.join("stderr")).unwrap_or_default();
        assert_eq!(code(&end), 0, "{end:?} {errors}");
        let written = self.stdout(&id.to_string());
        self.node.remove(&id).await.expect("it has ended");
        written
    }

    pub(crate) fn events(&self) -> Watching {
        Watching(self.node.subscribe(Since::Now))
    }

    /// What ended containers have left on the host; not the containerizer's own lock and cgroup, nor
    /// the doors of the test.
    pub(crate) fn left(&self) -> Vec<String> {
        let own = |line: &String| {
            let root = Path::new(line.strip_prefix("cgroup ").unwrap_or_default());
            line.ends_with("agent.lock")
                || line.ends_with("numbering")
                || line.contains("/doors/")
                || root.file_name().is_some_and(|name| name == self.world.cgroups_root())
        };
        self.world.leaks().into_iter().filter(|line| !own(line)).collect()
    }
}

/// The events of all containers.
#[derive(Debug)]
pub(crate) struct Watching(Subscription);

impl Watching {
    /// Waits for this event of this container.
    pub(crate) async fn until(&mut self, id: &ContainerId, kind: EventKind) -> Arc<Event> {
        within(async {
            loop {
                match self.0.next().await.expect("the containerizer lives") {
                    Notice::Event(event) if event.container_id == *id && event.kind == kind => {
                        return event;
                    }
                    Notice::Lagged(lagged) => panic!("events are lost: {lagged:?}"),
                    _ => {}
                }
            }
        })
        .await
    }
}

/// The exit code of an end at which a payload ran.
#[track_caller]
pub(crate) fn code(end: &End) -> i32 {
    end.termination.as_ref().unwrap_or_else(|| panic!("nothing ran: {end:?}")).exit_code
}
