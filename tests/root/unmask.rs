//! What of /proc and /sys a container sees, and what it may write there.

use crate::support::images::Images;
use crate::support::{World, finish};

/// What is hidden or read-only: mount points below /proc and /sys.
const LOOK: &str = "awk '$2 ~ \"^/(proc|sys)/\" { print $2 }' /proc/mounts | sort; \
    cd /proc/sys/kernel && (cat hostname > hostname) 2>/dev/null && echo writable";

fn lines(world: &World, flags: &[&str]) -> Vec<String> {
    let mut run = world.longshore("run");
    run.args(["--image", &Images::busybox()]).args(flags);
    let ended = finish(run.args(["--command", LOOK]));
    ended.stdout.lines().map(ToOwned::to_owned).collect()
}

#[test]
fn nothing_is_hidden_from_a_container_that_is_unmasked() {
    require!(root, overlayfs);
    let world = World::new();
    let masked = lines(&world, &[]);
    for path in ["/proc/keys", "/proc/sys", "/proc/timer_list"] {
        assert!(masked.iter().any(|line| line == path), "{path}: {masked:?}");
    }
    assert!(!masked.iter().any(|line| line == "writable"), "{masked:?}");
    let unmasked = lines(&world, &["--unmask"]);
    let below = |line: &&String| !line.starts_with("/sys/fs/cgroup") && *line != "writable";
    assert_eq!(unmasked.iter().filter(below).count(), 0, "{unmasked:?}");
    assert!(unmasked.iter().any(|line| line == "writable"), "{unmasked:?}");
    world.assert_clean();
}

#[test]
fn unmasked_paths_need_their_isolator() {
    require!(root);
    let world = World::new();
    let run = ["--isolation", "cgroups/pids", "--unmask", "--", "true"];
    let ended = finish(world.longshore("run").args(run));
    ended.assert_code(125);
    assert!(ended.stderr.contains("filesystem/linux"), "{}", ended.stderr);
    world.assert_clean();
}
