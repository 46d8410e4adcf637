//! The container's tree, and what tries to leave it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::World;
use crate::launcher::LauncherError;
use crate::model::{
    FileOperation, LaunchInfo, Mount, MountFlags, MountSource, Namespace, WaitStatus,
};

fn bind(source: PathBuf, target: &str, read_only: bool) -> Mount {
    Mount {
        source: MountSource::HostPath(source),
        target: target.into(),
        flags: MountFlags { read_only, ..MountFlags::default() },
        optional: false,
    }
}

#[tokio::test]
async fn only_the_image_and_its_mounts_are_there() {
    let mut world = World::new();
    let outcome = world.run(World::shell("ls /; grep -c . /proc/self/mountinfo; echo $$")).await;
    assert_eq!(
        outcome.output, "bin\ndev\netc\nproc\ntmp\n4\n2\n",
        "root, /proc, /dev, /dev/null; pid 2"
    );
}

#[tokio::test]
async fn links_of_the_image_lead_nowhere_else() {
    links_stay_inside(World::new()).await;
}

pub(super) async fn links_stay_inside(mut world: World) {
    let outside = world.path("outside");
    fs::create_dir(&outside).expect("made");
    let root = world.root();
    symlink("/etc", root.join("proc")).expect("linked");
    symlink(&outside, root.join("dev")).expect("linked");
    symlink("../../../../../../..".to_owned() + outside.to_str().expect("text"), root.join("up"))
        .expect("linked");
    fs::create_dir_all(root.join(outside.strip_prefix("/").expect("absolute"))).expect("made");
    let mut launch = World::shell("ls /etc/self/fd >/dev/null && echo proc; ls /up; echo $?");
    launch.mounts.push(bind(world.root().join("bin"), "/up/made/here", true));
    launch.file_operations =
        vec![FileOperation::Mkdir { path: "/up/directory".into(), mode: 0o700 }];
    let outcome = world.run(launch).await;
    assert_eq!(outcome.started, Ok(()));
    assert_eq!(outcome.output, "proc\ndirectory\nmade\nnull\n0\n", "all inside the image");
    assert_eq!(fs::read_dir(&outside).expect("read").count(), 0, "the host's is untouched");
}

#[tokio::test]
async fn a_magic_link_is_refused() {
    magic_links_are_refused(World::new()).await;
}

pub(super) async fn magic_links_are_refused(mut world: World) {
    symlink("/proc/self/fd/4", world.root().join("magic")).expect("linked");
    let mut launch = World::launch(&["/bin/true"]);
    launch.mounts.push(World::new_fs("tmpfs", "/magic/x"));
    let outcome = world.run(launch).await;
    assert_eq!(outcome.step(), "mount tmpfs at /magic/x");
}

#[tokio::test]
async fn a_path_that_goes_upwards_is_refused_before_anything_runs() {
    let mut world = World::new();
    for path in ["/a/../../b", "relative", ".."] {
        let mut launch = World::launch(&["/bin/true"]);
        launch.mounts.push(World::new_fs("tmpfs", path));
        let error = world.fork(launch).expect_err("refused");
        assert!(matches!(error, LauncherError::Compile(_)), "{error}");
    }
}

#[tokio::test]
async fn host_paths_are_shown_with_what_is_below_them() {
    let mut world = World::new();
    let shown = world.path("shown");
    fs::create_dir(&shown).expect("made");
    fs::write(shown.join("file"), "content\n").expect("written");
    let mut launch = World::shell(
        "cat /a/file /one; echo x > /a/file; echo x > /b/new; echo x > /one; cat /b/new",
    );
    launch.mounts.push(bind(shown.clone(), "/a", true));
    launch.mounts.push(bind(shown.clone(), "/b", false));
    launch.mounts.push(bind(shown.join("file"), "/one", true));
    let outcome = world.run(launch).await;
    assert_eq!(outcome.started, Ok(()));
    let refused = |path: &str| format!("/bin/sh: can't create {path}: Read-only file system\n");
    let (a, one) = (refused("/a/file"), refused("/one"));
    assert_eq!(outcome.output, format!("content\ncontent\n{a}{one}x\n"));
    assert_eq!(fs::read_to_string(shown.join("new")).expect("written through"), "x\n");
}

#[tokio::test]
async fn a_missing_host_path_fails_unless_it_is_optional() {
    let mut world = World::new();
    let mut launch = World::launch(&["/bin/true"]);
    launch.mounts.push(bind("/no/such/path".into(), "/a", true));
    assert!(matches!(world.fork(launch.clone()), Err(LauncherError::Kernel(_))));
    launch.mounts.last_mut().expect("pushed").optional = true;
    assert_eq!(world.run(launch).await.status, WaitStatus(0));
}

#[tokio::test]
async fn masks_and_read_only_paths_hold() {
    let mut world = World::new();
    fs::create_dir(world.root().join("secret")).expect("made");
    fs::write(world.root().join("secret/file"), "secret").expect("written");
    fs::write(world.root().join("etc/key"), "secret").expect("written");
    let mut launch = World::shell(
        "ls /secret | grep -c .; cat /etc/key /proc/cmdline /tmp/two | grep -c .; \
         echo x > /secret/y; echo x > /tmp/y; echo 1 > /proc/sys/kernel/printk",
    );
    fs::write(world.root().join("tmp/two"), "secret").expect("written");
    launch.masked_paths = ["/secret", "/etc/key", "/proc/cmdline", "/tmp/two", "/no/such"]
        .map(PathBuf::from)
        .to_vec();
    launch.readonly_paths = ["/tmp", "/proc/sys", "/no/such"].map(PathBuf::from).to_vec();
    let output = world.run(launch).await.output;
    assert!(output.starts_with("0\n0\n"), "{output}");
    assert_eq!(output.matches("Read-only file system").count(), 3, "{output}");
}

#[tokio::test]
async fn the_root_can_be_read_only_with_mounts_that_are_not() {
    let mut world = World::new();
    let mut launch = World::shell("touch /x; touch /dev/x && echo fine");
    launch.readonly_rootfs = true;
    let output = world.run(launch).await.output;
    assert_eq!(output, "touch: /x: Read-only file system\nfine\n");
}

#[tokio::test]
async fn the_host_does_not_see_the_containers_mounts() {
    let mut world = World::new();
    let before = fs::read_to_string("/proc/self/mountinfo").expect("read");
    let mut child = world.fork(World::shell("sleep 0.1")).expect("forked");
    child.control.release().expect("released");
    child.report.started().await.expect("started");
    let ours = |table: &str| {
        table.lines().filter(|line| line.contains(world.root().to_str().expect("text"))).count()
    };
    let now = fs::read_to_string("/proc/self/mountinfo").expect("read");
    assert_eq!((ours(&before), ours(&now)), (0, 0));
    child.report.ended().await;
}

#[tokio::test]
async fn links_devices_directories_and_the_host_name_are_made() {
    let mut world = World::new();
    let mut launch =
        World::shell("hostname; ls -l /dev/null | cut -c1-10; cat /link; ls -ld /deep");
    std::os::unix::fs::symlink("busybox", world.root().join("bin/cut")).expect("linked");
    launch.namespaces.insert(Namespace::Uts);
    launch.hostname = Some("box".to_owned());
    launch.file_operations = vec![
        FileOperation::Symlink { target: "/etc/group".into(), link: "/link".into() },
        FileOperation::Symlink { target: "/nowhere".into(), link: "/link".into() },
        FileOperation::Mkdir { path: "/deep".into(), mode: 0o1777 },
    ];
    let output = world.run(launch).await.output;
    assert!(output.starts_with("box\ncrw-rw-rw-\nroot:x:0:\n"), "{output}");
    assert!(output.contains("drwxrwxrwt"), "{output}");
}

#[tokio::test]
async fn on_the_hosts_files_volumes_are_seen_by_the_container_alone() {
    let mut world = World::new();
    let (shown, place) = (world.path("shown"), world.path("place"));
    for directory in [&shown, &place] {
        fs::create_dir(directory).expect("made");
    }
    fs::write(shown.join("file"), "content\n").expect("written");
    let file = place.join("file");
    let launch = LaunchInfo {
        mounts: vec![bind(shown, place.to_str().expect("text"), true)],
        devices: Vec::new(),
        working_directory: Some(place.clone()),
        ..World::shell(&format!("cat {} && pwd", file.display()))
    };
    let mut request = world.request(launch);
    request.rootfs = None;
    let outcome = world.run_request(request).await;
    assert_eq!(outcome.started, Ok(()));
    assert_eq!(outcome.output, format!("content\n{}\n", place.display()));
    assert!(!file.is_file(), "the host sees nothing of it");
}

#[tokio::test]
async fn on_the_hosts_files_no_namespace_is_needed_and_no_mount_point_is_made() {
    let mut world = World::new();
    let plain = |script: &str| LaunchInfo {
        mounts: Vec::new(),
        devices: Vec::new(),
        namespaces: [].into(),
        ..World::shell(script)
    };
    let mut request = world.request(plain("echo fine; ls /proc/self/fd | grep -c ."));
    request.rootfs = None;
    assert_eq!(world.run_request(request).await.output, "fine\n4\n");
    let mut launch = plain("echo no");
    launch.namespaces.insert(Namespace::Mnt);
    let missing = world.path("missing");
    launch.mounts.push(World::new_fs("tmpfs", missing.to_str().expect("text")));
    let mut request = world.request(launch);
    request.rootfs = None;
    let outcome = world.run_request(request).await;
    assert_eq!(outcome.step(), format!("mount tmpfs at {}", missing.display()));
    assert!(!missing.is_dir());
    let mut launch = plain("echo no");
    launch.mounts.push(World::new_fs("tmpfs", "/mnt"));
    let mut request = world.request(launch);
    request.rootfs = None;
    let error = world.launcher.fork(request).expect_err("no namespace for it");
    assert!(error.to_string().contains("needs a mount namespace"), "{error}");
}
