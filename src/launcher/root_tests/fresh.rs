//! File systems that the init has made itself, and reaches without their paths.

use std::os::unix::fs::symlink;

use super::World;
use crate::model::{LaunchInfo, WaitStatus};

fn mounts(places: &[(&str, &str)], script: &str) -> LaunchInfo {
    let mounts = places.iter().map(|(kind, target)| World::new_fs(kind, target)).collect();
    LaunchInfo { mounts, ..World::shell(script) }
}

#[tokio::test]
async fn a_device_is_made_in_what_was_mounted_last() {
    let places = [
        &[("tmpfs", "/dev"), ("tmpfs", "/dev")][..],
        &[("tmpfs", "/dev"), ("tmpfs", "/link")],
        &[("tmpfs", "/link"), ("tmpfs", "/dev")],
        &[("tmpfs", "/link"), ("tmpfs", "/etc/d"), ("tmpfs", "/link")],
    ];
    for (index, places) in places.into_iter().enumerate() {
        let mut world = World::new();
        symlink("/dev", world.root().join("link")).expect("linked");
        let (dev, other) = (world.root().join("dev"), world.root().join("etc/d"));
        std::fs::create_dir(if index == 3 { other } else { dev.clone() }).expect("made");
        if index == 3 {
            symlink("/etc/d", dev).expect("linked");
        }
        let outcome = world.run(mounts(places, "echo lost > /dev/null; ls /dev")).await;
        assert_eq!(outcome.started, Ok(()), "{places:?}");
        assert_eq!(outcome.output, "null\n", "{places:?}");
    }
}

#[tokio::test]
async fn what_is_mounted_later_is_hidden_as_well() {
    for second in ["/proc", "/link"] {
        let mut world = World::new();
        symlink("/proc", world.root().join("link")).expect("linked");
        let launch = mounts(
            &[("proc", "/proc"), ("tmpfs", "/dev"), ("proc", second)],
            "cat /proc/cmdline | grep -c .; echo 1 > /proc/sys/kernel/printk",
        );
        let masked_paths = vec!["/proc/cmdline".into()];
        let readonly_paths = vec!["/proc/sys".into()];
        let outcome = world.run(LaunchInfo { masked_paths, readonly_paths, ..launch }).await;
        assert!(outcome.output.starts_with("0\n"), "{second}: {}", outcome.output);
        assert!(outcome.output.contains("Read-only file system"), "{second}: {}", outcome.output);
    }
}

#[tokio::test]
async fn what_is_mounted_below_a_hidden_place_stays_there() {
    let mut world = World::new();
    let script = "ls /dev/sub; ls /dev/sub/below; ls /dev/null; cat /proc/1/mounts | grep -c .";
    let mut launch = mounts(
        &[("tmpfs", "/dev"), ("tmpfs", "/dev/sub"), ("tmpfs", "/dev/sub/below"), ("proc", "/proc")],
        script,
    );
    // The link leads to the init's own, which is process 1.
    launch.masked_paths = ["/proc/mounts", "/dev/sub/below"].map(Into::into).to_vec();
    let outcome = world.run(launch).await;
    assert_eq!(outcome.started, Ok(()));
    assert_eq!(outcome.output, "below\n/dev/null\n0\n");
}

#[tokio::test]
async fn nobody_changes_for_others_what_hides_paths() {
    let mut world = World::new();
    symlink("busybox", world.root().join("bin/chmod")).expect("linked");
    std::fs::create_dir(world.root().join("secret")).expect("made");
    let mut launch = World::shell("chmod 0 /proc/cmdline; touch /secret/x; echo x > /proc/cmdline");
    launch.masked_paths = ["/proc/cmdline", "/secret"].map(Into::into).to_vec();
    let outcome = world.run(launch).await;
    assert_eq!(outcome.output.matches("Read-only file system").count(), 2, "{}", outcome.output);
    assert_eq!(outcome.status, WaitStatus(0), "the null device takes what is written");
}
