//! Hosts that lack something, or whose directories cannot be used.

use std::ffi::CStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::calls::{without, without_overlayfs};
use super::{Act, Case, Scenery, refused, table, works};
use crate::support::images::Images;
use crate::support::{Ended, finish, start};

use Act::By;

const READ_ONLY: &str = "configure: … read-only file system";
const LACKS: &str = "configure: … the host lacks …";
const BACKEND: &str = "configure: backend … does not work: …";

pub(super) const CASES: &[Case] = &[
    refused(
        "an ordinary user",
        By(|s| ordinary_user(s, &["run"])),
        125,
        "configure: run of an image needs root; …",
    )
    .saying(&["this is user 65534"]),
    refused(
        "an ordinary user who provisions",
        By(|s| ordinary_user(s, &["provision", "rootfs:/", "/tmp/nowhere"])),
        125,
        "configure: provision needs root; …",
    ),
    refused(
        "root without the right to mount",
        By(without_rights),
        125,
        "configure: the launcher linux needs root (CAP_SYS_ADMIN)",
    ),
    refused("a work directory that is read-only", By(|s| read_only(s, "work")), 125, READ_ONLY)
        .saying(&["/work: "]),
    refused("a runtime directory that is read-only", By(|s| read_only(s, "run")), 125, READ_ONLY)
        .saying(&["/run: "]),
    refused("a work directory that is a file", By(a_file), 125, "configure: … file exists")
        .saying(&["/file: "]),
    refused("no v1 memory controller", By(|s| no_controller(s, "memory")), 125, LACKS).saying(&[
        "cgroups/mem: ",
        "cgroup controllers",
        "memory",
    ]),
    refused("no v1 pids controller", By(|s| no_controller(s, "pids")), 125, LACKS).saying(&[
        "cgroups/pids: ",
        "cgroup controllers",
        "pids",
    ]),
    refused("no v1 cpu controller", By(|s| no_controller(s, "cpu")), 125, LACKS)
        .saying(&["cgroups/cpu: ", "no hierarchy with cpu is mounted"]),
    works("a missing controller that no isolator needs", By(unneeded_controller)),
    works("neither v2 nor the systemd hierarchy", By(without_v2)),
    refused("cgroups that are read-only", By(read_only_cgroups), 125, "prepare: … = EROFS")
        .saying(&["cgroups/pids", "mkdir("]),
    refused(
        "no overlayfs, which was asked for",
        By(|s| no_overlayfs(s, &["--image-provisioner-backend", "overlay"])),
        1,
        "provision: backend … does not work: …",
    )
    .saying(&["overlay", "the kernel has no overlayfs"]),
    works("a run without overlayfs, where a copy does", By(|s| runs_without_overlayfs(s, &[]))),
    refused(
        "a run without overlayfs, which was asked for",
        By(|s| runs_without_overlayfs(s, &["--image-provisioner-backend", "overlay"])),
        125,
        BACKEND,
    )
    .saying(&["overlay", "the kernel has no overlayfs"]),
    Case { code: 0, ..works("no overlayfs, where a copy does", By(|s| no_overlayfs(s, &[]))) },
    works("overlay on overlay, where a copy does", By(|s| on_overlay(s, &[]))),
    refused(
        "overlay on overlay, which was asked for",
        By(|s| on_overlay(s, &["--image-provisioner-backend", "overlay"])),
        125,
        BACKEND,
    )
    .saying(&["is on overlay"]),
    refused(
        "a backend that nobody knows",
        Act::Run(&["--image-provisioner-backend", "nonsense", "--", "true"]),
        125,
        "configure: … is not one of …",
    )
    .saying(&["\"nonsense\"", "overlay, copy, bind"]),
    refused("a file of a payload that cannot be removed", By(busy), 0, "destroy: … remaining: …")
        .saying(&["provisioner/containers/busy", "unlinkat(\"made\"", "EBUSY"]),
];

/// A tmpfs that goes with this.
#[derive(Debug)]
pub(super) struct Mounted(PathBuf);

impl Mounted {
    pub(super) fn new(at: &Path, options: &CStr) -> Self {
        mount("none", at, "tmpfs", MountFlags::empty(), Some(options)).expect("root may mount");
        Self(at.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::empty()).expect("nothing of a failed run uses it");
    }
}

/// The checkout may lie where others cannot look: the program is copied.
fn ordinary_user(scenery: &Scenery, words: &[&str]) -> Ended {
    let program = scenery.world.path().join("longshore");
    fs::copy(env!("CARGO_BIN_EXE_longshore"), &program).expect("our own directory");
    for path in [scenery.world.path(), &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let mut run = Command::new("setpriv");
    run.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program).args(words);
    run.args(["--work-dir", "/nonexistent/work", "--runtime-dir", "/nonexistent/run"]);
    if words == ["run"] {
        run.args(["--image", "docker://127.0.0.1:1/x", "--command", "true"]);
    }
    finish(&mut run)
}

fn without_rights(scenery: &Scenery) -> Ended {
    let mut run = scenery.run();
    run.args(["--launcher", "linux", "--", "true"]);
    let mut less = Command::new("setpriv");
    less.args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]);
    finish(super::wrapped(&mut less, &run))
}

fn exit_7(scenery: &Scenery) -> Command {
    let mut run = scenery.run();
    run.args(["--command", "exit 7"]);
    run
}

fn read_only(scenery: &Scenery, directory: &str) -> Ended {
    let line = format!(
        "mount --bind $WORLD/{directory} $WORLD/{directory}\n\
         mount -o remount,bind,ro $WORLD/{directory}"
    );
    scenery.in_other_mounts(&line, &exit_7(scenery))
}

fn a_file(scenery: &Scenery) -> Ended {
    let file = scenery.world.path().join("file");
    fs::write(&file, "").expect("our own directory");
    let mut run = scenery.world.program();
    run.arg("run")
        .arg("--work-dir")
        .arg(file)
        .arg("--runtime-dir")
        .arg(scenery.world.runtime_dir());
    finish(run.args(["--image", &Images::busybox(), "--", "true"]))
}

/// Where the controller of a v1 hierarchy is mounted; hosts of pure v2 have another way.
fn hide(controller: &str) -> String {
    format!(
        "if [ -d /sys/fs/cgroup/{controller} ]; then umount /sys/fs/cgroup/{controller}; else \
         grep -vw {controller} /sys/fs/cgroup/cgroup.controllers >$WORLD/controllers || true; \
         mount --bind $WORLD/controllers /sys/fs/cgroup/cgroup.controllers; fi"
    )
}

fn no_controller(scenery: &Scenery, controller: &str) -> Ended {
    scenery.in_other_mounts(&hide(controller), &exit_7(scenery))
}

fn unneeded_controller(scenery: &Scenery) -> Ended {
    let mut run = exit_7(scenery);
    run.args(["--isolation", "filesystem/linux,docker/runtime,cgroups/pids"]);
    scenery.in_other_mounts(&hide("memory"), &run)
}

/// The kill group is in the freezer then.
fn without_v2(scenery: &Scenery) -> Ended {
    let line = "for name in unified systemd; do\n\
                if [ -d /sys/fs/cgroup/$name ]; then umount /sys/fs/cgroup/$name; fi; done";
    scenery.in_other_mounts(line, &exit_7(scenery))
}

fn read_only_cgroups(scenery: &Scenery) -> Ended {
    let line = "mount -o remount,bind,ro /sys/fs/cgroup/pids";
    scenery.in_other_mounts(line, &exit_7(scenery))
}

/// `provision` on a kernel without fsopen(2) whose list of file systems has no overlay. The launcher
/// would refuse such a host before it came to that.
fn no_overlayfs(scenery: &Scenery, flags: &[&str]) -> Ended {
    let target = scenery.world.path().join("shown");
    let mut provision = scenery.world.longshore("provision");
    provision.args(flags).arg(Images::busybox()).arg(&target);
    let script = "grep -vw overlay /proc/filesystems >$WORLD/filesystems\n\
                  mount --bind $WORLD/filesystems /proc/filesystems\n\
                  \"$@\" || exit $?\n\
                  test -f $WORLD/shown/bin/busybox";
    let ended = scenery.in_mounts_of(script, &without("ENOSYS", "fsopen", &provision));
    if ended.code() == 0 {
        finish(scenery.world.longshore("unprovision").arg(&target)).assert_code(0);
    }
    ended
}

fn runs_without_overlayfs(scenery: &Scenery, flags: &[&str]) -> Ended {
    finish(&mut without_overlayfs(exit_7(scenery).args(flags)))
}

fn on_overlay(scenery: &Scenery, flags: &[&str]) -> Ended {
    let line = "mkdir $WORLD/lower $WORLD/upper $WORLD/scratch\n\
                mount -t overlay -o lowerdir=$WORLD/lower,upperdir=$WORLD/upper,\
workdir=$WORLD/scratch overlay $WORLD/work";
    scenery.in_other_mounts(line, exit_7(scenery).args(flags))
}

/// Somebody has mounted something in the writable layer; the next run finishes the work.
fn busy(scenery: &Scenery) -> Ended {
    let mut run = scenery.run();
    let line = "mkdir /made; echo up; read x; exit 0";
    run.args(["--name", "busy", "--volume"]);
    let go = scenery.world.path().join("go");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, mode, 0).expect("ours");
    run.arg(format!("{}:/go", go.display()))
        .args(["--command", &line.replace("read x", "read x </go")]);
    let mut running = start(&mut run);
    running.wait_for_output("up\n");
    let made = made_in_upper(&scenery.world.work_dir().join("provisioner/containers/busy"));
    let mounted = Mounted::new(&made, c"size=4k");
    fs::write(&go, "go\n").expect("the payload reads it");
    let ended = running.finish();
    drop(mounted);
    finish(scenery.world.longshore("run").args(["--command", "true"])).assert_code(0);
    Ended { stdout: ended.stdout.replace("up\n", ""), ..ended }
}

fn made_in_upper(kept: &Path) -> PathBuf {
    let scratch = kept.join("backends/overlay/scratch");
    let mut below = fs::read_dir(scratch).expect("the backend is overlay").flatten();
    below.next().expect("there is one root").path().join("upperdir/made")
}

#[test]
fn a_host_that_lacks_something_is_refused_in_one_line_or_served_by_other_means() {
    table(CASES);
}
