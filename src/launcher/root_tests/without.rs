//! The same on a kernel that lacks a call, or behind a filter that hides it.

use nix::libc;

use super::{World, identity, tree};
use crate::linux::without::{Answer, answering};
use crate::model::WaitStatus;

/// Runs everything that the call matters to, on a thread that does not have it. The spawner is that
/// thread's child, so it and its inits do not have it either.
fn all_is_well_without(calls: &'static [libc::c_long]) {
    for answer in [Answer::Missing, Answer::Refused] {
        all_is_well_where(answer, calls);
    }
}

fn all_is_well_where(answer: Answer, calls: &'static [libc::c_long]) {
    let test = move || {
        answering(answer, calls).expect("root may hide calls from itself");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut world = World::new();
            let outcome = world.run(World::shell("ls /proc/self/fd; exit 7")).await;
            assert_eq!((outcome.started, outcome.status), (Ok(()), WaitStatus(7 << 8)));
            assert_eq!(outcome.output, "0\n1\n2\n3\n");
            world.assert_joined_its_cgroup().await;
            tree::links_stay_inside(World::new()).await;
            tree::magic_links_are_refused(World::new()).await;
            identity::the_hosts_users_are_unknown(World::new());
        });
    };
    let joined = std::thread::spawn(test).join();
    if let Err(panic) = joined {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn without_openat2() {
    all_is_well_without(&[libc::SYS_openat2]);
}

#[test]
fn without_clone3() {
    all_is_well_without(&[libc::SYS_clone3]);
}

#[test]
fn without_close_range() {
    all_is_well_without(&[libc::SYS_close_range]);
}

#[test]
fn without_any_of_them() {
    all_is_well_without(&[libc::SYS_openat2, libc::SYS_clone3, libc::SYS_close_range]);
}
