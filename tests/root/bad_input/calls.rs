//! System calls that a kernel lacks (`ENOSYS`) or a filter hides (`EPERM`): each has a stand-in, or
//! its absence is refused in a line that names it.

use std::process::Command;

use super::{Act, Case, Scenery, refused, table, works};
use crate::support::images::Images;
use crate::support::{Ended, finish};

use Act::By;

const LACKS: &str = "configure: the host lacks …";

pub(super) const CASES: &[Case] = &[
    works("no openat2", By(|s| run(s, "ENOSYS", "openat2"))),
    works("openat2 refused", By(|s| run(s, "EPERM", "openat2"))),
    works("no clone3", By(|s| run(s, "ENOSYS", "clone3"))),
    refused(
        "clone3 refused: the C library makes no thread then",
        By(|s| run(s, "EPERM", "clone3")),
        125,
        "configure: start a thread: …",
    )
    .saying(&["operation not permitted"]),
    works("no close_range", By(|s| run(s, "ENOSYS", "close_range"))),
    works("close_range refused", By(|s| run(s, "EPERM", "close_range"))),
    works("no copy_file_range", By(|s| run(s, "ENOSYS", "copy_file_range"))),
    works("copy_file_range refused", By(|s| run(s, "EPERM", "copy_file_range"))),
    works("none of those with a stand-in", By(|s| run(s, "ENOSYS", "openat2,clone3,close_range"))),
    refused("no fsopen", By(|s| run(s, "ENOSYS", "fsopen")), 125, LACKS)
        .saying(&["the mount API: fsopen = ENOSYS"]),
    refused("fsopen refused", By(|s| run(s, "EPERM", "fsopen")), 125, LACKS)
        .saying(&["the mount API: fsopen = EPERM"]),
    refused("no fsconfig", By(|s| run(s, "ENOSYS", "fsconfig")), 125, LACKS)
        .saying(&["the mount API: fsconfig = ENOSYS"]),
    refused("no fsmount", By(|s| run(s, "ENOSYS", "fsmount")), 125, LACKS)
        .saying(&["the mount API: fsmount = ENOSYS"]),
    refused("fsmount refused", By(|s| run(s, "EPERM", "fsmount")), 125, LACKS)
        .saying(&["the mount API: fsmount = EPERM"]),
    refused("no open_tree", By(|s| run(s, "ENOSYS", "open_tree")), 125, LACKS)
        .saying(&["the mount API: open_tree = ENOSYS"]),
    refused("open_tree refused", By(|s| run(s, "EPERM", "open_tree")), 125, LACKS)
        .saying(&["the mount API: open_tree = EPERM"]),
    refused("no move_mount", By(|s| run(s, "ENOSYS", "move_mount")), 125, LACKS)
        .saying(&["the mount API: move_mount = ENOSYS"]),
    refused("move_mount refused", By(|s| run(s, "EPERM", "move_mount")), 125, LACKS)
        .saying(&["the mount API: move_mount = EPERM"]),
    refused("no mount_setattr", By(|s| run(s, "ENOSYS", "mount_setattr")), 125, LACKS)
        .saying(&["mount_setattr: mount_setattr = ENOSYS"]),
    refused("mount_setattr refused", By(|s| run(s, "EPERM", "mount_setattr")), 125, LACKS)
        .saying(&["mount_setattr: mount_setattr = EPERM"]),
    refused("no pidfd_open", By(|s| run(s, "ENOSYS", "pidfd_open")), 125, LACKS)
        .saying(&["pidfd: pidfd_open = ENOSYS"]),
    refused("pidfd_open refused", By(|s| run(s, "EPERM", "pidfd_open")), 125, LACKS)
        .saying(&["pidfd: pidfd_open = EPERM"]),
    refused("no pidfd_send_signal", By(|s| run(s, "ENOSYS", "pidfd_send_signal")), 125, LACKS)
        .saying(&["pidfd: pidfd_send_signal = ENOSYS"]),
    refused("pidfd_send_signal refused", By(|s| run(s, "EPERM", "pidfd_send_signal")), 125, LACKS)
        .saying(&["pidfd: pidfd_send_signal = EPERM"]),
    refused("no statx", By(|s| run(s, "ENOSYS", "statx")), 125, LACKS)
        .saying(&["statx: statx = ENOSYS"]),
    refused(
        "no file in memory",
        By(|s| run(s, "ENOSYS", "memfd_create")),
        125,
        "configure: memfd_create(…) = …",
    ),
    refused(
        "no execution of what is open",
        By(|s| run(s, "EPERM", "execveat")),
        125,
        "fork: execveat(…) = …",
    ),
    refused(
        "no namespaces",
        By(|s| run(s, "EPERM", "unshare")),
        125,
        "fork: prepare the spawner's mount namespace: …",
    )
    .saying(&["operation not permitted"]),
];

/// Executes the rest of its arguments behind a filter: ERRNO CALL,CALL… PROGRAM ARGS….
const FILTER: &str = "
import ctypes, errno, os, platform, struct, sys
# From 424 on all architectures have the same numbers.
calls = dict(pidfd_send_signal=424, open_tree=428, move_mount=429, fsopen=430, fsconfig=431,
             fsmount=432, pidfd_open=434, clone3=435, close_range=436, openat2=437,
             mount_setattr=442)
calls.update(dict(memfd_create=279, execveat=281, unshare=97, statx=291, copy_file_range=285)
             if platform.machine() == 'aarch64' else
             dict(memfd_create=319, execveat=322, unshare=272, statx=332, copy_file_range=326))
seccomp = 277 if platform.machine() == 'aarch64' else 317
answer = 0x50000 | getattr(errno, sys.argv[1])
steps = [(0x20, 0, 0, 0)]
for call in sys.argv[2].split(','):
    steps += [(0x15, 0, 1, calls[call]), (0x06, 0, 0, answer)]
steps.append((0x06, 0, 0, 0x7fff0000))
code = b''.join(struct.pack('HBBI', *step) for step in steps)
code = ctypes.create_string_buffer(code, len(code))
class Program(ctypes.Structure):
    _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
program = Program(len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.syscall(seccomp, 1, 0, ctypes.byref(program)):
    sys.exit('seccomp: ' + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[3], sys.argv[3:])
";

/// `program` where these calls answer nothing but `errno`.
pub(super) fn without(errno: &str, calls: &str, program: &Command) -> Command {
    let mut python = Command::new("python3");
    python.arg("-c").arg(FILTER).args([errno, calls]);
    super::wrapped(&mut python, program);
    python
}

/// Executes its arguments, PROGRAM ARGS…, on a kernel that knows no file system called overlay: asked
/// by each fsopen(2), says ENODEV to that name and lets the kernel go on with all others.
const ASKED: &str = "
import ctypes, errno, os, platform, select, socket, struct, sys
from fcntl import ioctl
RECEIVE, SEND, CONTINUE = 0xc0502100, 0xc0182101, 1
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 430), (0x06, 0, 0, 0x7fc00000), (0x06, 0, 0, 0x7fff0000)]
    code = b''.join(struct.pack('HBBI', *step) for step in steps)
    code = ctypes.create_string_buffer(code, len(code))
    class Program(ctypes.Structure):
        _fields_ = [('len', ctypes.c_ushort), ('filter', ctypes.c_void_p)]
    program = Program(len(steps), ctypes.addressof(code))
    seccomp = 277 if platform.machine() == 'aarch64' else 317
    listener = ctypes.CDLL(None, use_errno=True).syscall(seccomp, 1, 8, ctypes.byref(program))
    if listener < 0:
        sys.exit('seccomp: ' + os.strerror(ctypes.get_errno()))
    socket.send_fds(theirs, [b'x'], [listener])
    os.close(listener)
    ours.close(), theirs.close()
    os.execv(sys.argv[1], sys.argv[1:])
theirs.close()
_, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
poll = select.poll()
poll.register(listener, select.POLLIN)
# Until nobody is left who could ask.
while not poll.poll()[0][1] & select.POLLHUP:
    request = bytearray(80)
    try:
        ioctl(listener, RECEIVE, request)
        asked, pid = struct.unpack_from('QI', request)
        with open(f'/proc/{pid}/mem', 'rb', 0) as memory:
            memory.seek(struct.unpack_from('Q', request, 32)[0])
            unknown = memory.read(8) == b'overlay\\0'
        answer = (-errno.ENODEV, 0) if unknown else (0, CONTINUE)
        ioctl(listener, SEND, struct.pack('QqiI', asked, 0, *answer))
    except OSError as error:
        # Whoever has asked is gone.
        if error.errno not in (errno.ENOENT, errno.ESRCH):
            raise
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

/// `program` on a kernel without overlayfs.
pub(super) fn without_overlayfs(program: &Command) -> Command {
    let mut python = Command::new("python3");
    python.arg("-c").arg(ASKED);
    super::wrapped(&mut python, program);
    python
}

fn run(scenery: &Scenery, errno: &str, calls: &str) -> Ended {
    let mut run = scenery.run();
    run.args(["--command", "exit 7"]);
    finish(&mut without(errno, calls, &run))
}

#[test]
fn a_call_that_is_missing_or_hidden_has_a_stand_in_or_is_named() {
    table(CASES);
}

#[test]
fn images_unpack_to_the_same_trees_without_openat2() {
    require!(root, overlayfs);
    let images = Images::with(&["busybox", "layers60"]);
    for errno in ["ENOSYS", "EPERM"] {
        let world = super::World::new();
        for name in ["library_busybox_latest", "library_layers60_latest"] {
            let image = format!("oci:{}:latest", images.image(name).join("oci").display());
            let target = world.path().join(name);
            let mut provision = world.longshore("provision");
            provision.arg(&image).arg(&target);
            finish(&mut without(errno, "openat2", &provision)).assert_code(0);
            let seen = Images::scan(&target);
            finish(world.longshore("unprovision").arg(&target)).assert_code(0);
            assert!(seen == images.expected(name), "{name} with {errno}: {seen:.2000}");
        }
        world.assert_clean();
    }
}
