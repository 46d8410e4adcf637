//! A good guest: nothing depends on what the embedder does with SIGCHLD and its children, and
//! nothing of the payload's limits reaches the init.
//!
//! What concerns the whole process runs in a process of its own: this test program again, with one
//! test named.

use std::process::Command;

use super::World;
use crate::model::{Rlimit, RlimitKind, WaitStatus};

/// Set in the process that has a loop of waitpid(-1).
const FOREIGN_WAIT: &str = "LONGSHORE_TEST_FOREIGN_WAIT";

/// Set in a process that was started for one test.
pub(super) const ALONE: &str = "LONGSHORE_TEST_ALONE";

/// Runs the test `name` in a process of its own, after `prefix`, a shell's words.
pub(super) fn alone(name: &str, prefix: &str, environment: &[(&str, &str)]) {
    let program = std::env::current_exe().expect("known");
    let script = format!("{prefix} exec \"$0\" --exact --nocapture \"$1\"");
    let name = name.split_once("::").expect("the crate comes first").1;
    let output = Command::new("/bin/sh")
        .args(["-c", &script])
        .arg(program)
        .arg(name)
        .env(ALONE, "1")
        .envs(environment.iter().copied())
        .output()
        .expect("started");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

const EVERY_END: &str = concat!(module_path!(), "::every_end_is_known");

#[tokio::test]
async fn every_end_is_known() {
    if std::env::var_os(FOREIGN_WAIT).is_some() {
        std::thread::spawn(|| {
            loop {
                // ECHILD, most of the time: then somebody else runs.
                if nix::sys::wait::waitpid(None, None).is_err() {
                    std::thread::yield_now();
                }
            }
        });
    }
    let mut world = World::new();
    for round in 0..20 {
        let code = round.to_string();
        let outcome = world.run(World::launch(&["/bin/payload", "exit", &code])).await;
        assert_eq!((outcome.started, outcome.status), (Ok(()), WaitStatus(round << 8)));
        let outcome = world.run(World::launch(&["/bin/payload", "signal", "9"])).await;
        assert_eq!((outcome.started, outcome.status), (Ok(()), WaitStatus(9)));
    }
    // The spawner itself is the embedder's child as well.
    world.kill_spawner();
    assert_eq!(world.run(World::launch(&["/bin/true"])).await.status, WaitStatus(0));
}

#[test]
fn sigchld_may_be_ignored() {
    alone(EVERY_END, "trap '' CHLD;", &[]);
}

#[test]
fn somebody_else_may_wait_for_every_child() {
    alone(EVERY_END, "", &[(FOREIGN_WAIT, "1")]);
}

#[test]
fn both_at_once_are_fine() {
    alone(EVERY_END, "trap '' CHLD;", &[(FOREIGN_WAIT, "1")]);
}

#[tokio::test]
async fn a_file_size_limit_of_zero_does_not_lose_the_status() {
    let mut world = World::new();
    let mut launch = World::launch(&["/bin/payload", "exit", "3"]);
    launch.rlimits = vec![Rlimit { kind: RlimitKind::Fsize, soft: Some(0), hard: Some(0) }];
    let request = world.request(launch);
    let id = request.container_id.clone();
    assert_eq!(world.run_request(request).await.status, WaitStatus(3 << 8));
    assert_eq!(world.status_text(&id), "768");
}

/// A filter that answers EPERM to one system call and allows the rest.
fn deny(number: u64) -> Vec<u64> {
    // struct sock_filter: code u16, jt u8, jf u8, k u32, as one little-endian word.
    let word = |code: u64, jt: u64, jf: u64, k: u64| code | jt << 16 | jf << 24 | k << 32;
    vec![
        word(0x20, 0, 0, 0),
        word(0x15, 0, 1, number),
        word(0x06, 0, 0, 0x0005_0001),
        word(0x06, 0, 0, 0x7fff_0000),
    ]
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_filter_that_denies_wait4_binds_the_payload_only() {
    const WAIT4: u64 = 61;
    for no_new_privileges in [false, true] {
        let mut world = World::new();
        let mut launch = World::shell("sleep 0.01 & wait; grep -c 'Seccomp:.2' /proc/self/status");
        launch.no_new_privileges = no_new_privileges;
        launch.seccomp = Some(deny(WAIT4));
        let request = world.request(launch);
        let id = request.container_id.clone();
        let mut child = world.launcher.fork(request).expect("forked");
        child.control.release().expect("released");
        child.report.started().await.expect("started");
        // The shell cannot wait for anybody, and may hang or end: the init tells whichever it is.
        world.wait_for_output(&id, "").await;
        child.control.signal(15).expect("sent");
        let status = child.report.ended().await;
        assert_eq!(world.status_text(&id), status.0.to_string());
    }
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_filter_is_in_force() {
    const GETCWD: u64 = 79;
    let mut world = World::new();
    let mut launch = World::launch(&["/bin/payload", "cwd"]);
    launch.seccomp = Some(deny(GETCWD));
    assert_eq!(world.run(launch).await.status, WaitStatus(1 << 8), "getcwd was refused");
}

#[tokio::test]
async fn the_payload_gets_its_three_streams_and_nothing_else() {
    let mut world = World::new();
    let outcome = world.run(World::shell("ls /proc/self/fd; ls /proc/$$/fd; true")).await;
    // The first listing has the descriptor that lists; the shell itself has three.
    assert_eq!(outcome.output, "0\n1\n2\n3\n0\n1\n2\n");
}

#[tokio::test]
async fn the_payload_starts_with_no_signal_blocked_or_ignored() {
    let mut world = World::new();
    let launch = World::launch(&["grep", "-E", "Sig(Blk|Ign|Cgt)", "/proc/self/status"]);
    let nothing = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    let output = world.run(launch).await.output;
    assert!(output.starts_with(nothing), "{output}");
}

#[tokio::test]
async fn nobody_in_the_container_looks_into_the_init() {
    let mut world = World::new();
    let script = "for f in /proc/1/fd/* /proc/1/environ; do cat $f && echo read; done; \
                  ls /proc/1/root /proc/1/cwd && echo listed; echo done";
    let mut launch = World::shell(script);
    launch.capabilities = Some(crate::model::CapabilitySets {
        bounding: 0x0000_0000_a804_25fb,
        effective: 0x0000_0000_a804_25fb,
        ambient: 0,
    });
    let output = world.run(launch).await.output;
    assert!(!output.contains("read") && !output.contains("listed"), "{output}");
    assert!(output.matches("Permission denied").count() >= 6, "{output}");
    assert!(output.ends_with("done\n"), "{output}");
}

#[tokio::test]
async fn the_init_keeps_three_descriptors_and_little_memory() {
    const PSS_MAX_KIB: u64 = 64;
    let mut world = World::new();
    let request = world.request(World::launch(&["/bin/payload", "pause"]));
    let status_file = request.status_file.clone();
    let mut child = world.launcher.fork(request).expect("forked");
    child.control.release().expect("released");
    child.report.started().await.expect("started");
    let proc = std::path::PathBuf::from(format!("/proc/{}", child.init.pid));
    let mut kept: Vec<String> = std::fs::read_dir(proc.join("fd"))
        .expect("we may look")
        .map(|entry| std::fs::read_link(entry.expect("read").path()).expect("read"))
        .map(|path| path.display().to_string().split(':').next().unwrap_or_default().to_owned())
        .collect();
    kept.sort();
    assert_eq!(kept, [status_file.to_str().expect("text"), "anon_inode", "socket"]);
    let environment = std::fs::read(proc.join("environ")).expect("read");
    assert!(environment.is_empty(), "nothing of the embedder's");
    let rollup = std::fs::read_to_string(proc.join("smaps_rollup")).expect("read");
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("there");
    let pss: u64 = pss.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(pss <= PSS_MAX_KIB, "{pss} KiB");
    child.control.signal(9).expect("killed");
    assert_eq!(child.report.ended().await, WaitStatus::KILLED);
}
