//! Containers that were left running: what ends while nobody looks, and what the next start finds.

use std::fs;
use std::io::Write as _;

use longshore::Containers;
use longshore::error::ErrorKind;
use longshore::events::{EventKind, Notice, Since};
use longshore::model::{Cause, Output};

use crate::embedded::{block_on, config, furnish, spec, start, within};
use crate::support::World;
use crate::support::cli::DEADLINE;
use crate::support::process::Process;

#[test]
fn what_ended_while_nobody_looked_is_on_record_with_its_own_end_until_it_is_removed() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let (stdin, mut input) = std::io::pipe().expect("a pipe");
        let spec = spec(&world, "kept", "read line; echo got $line; exit 5");
        let spec = spec.stdin(Output::fd(stdin)).label("task", "42").data(b"opaque".to_vec());
        let job = node.launch(spec).expect("free");
        let init = Process::find(within(job.running()).await.expect("it runs")).expect("it lives");
        let mut events = node.subscribe(Since::Now);
        let seen = Since::after(&events.next().await.expect("a snapshot"));
        node.shutdown(Containers::Keep).await.expect("in order");
        drop((job, node));
        input.write_all(b"you\n").expect("the payload reads it");
        assert!(init.ends_within(DEADLINE), "it ends by itself");
        let sandbox = world.work_dir().join("containers/kept");
        for _start in 0..2 {
            let node = start(&world, config(&world)).await.expect("it starts");
            let mut events = node.subscribe(seen.clone());
            let mut told = None;
            while let Some(notice) = events.try_next() {
                match notice {
                    Notice::Snapshot(snapshot) => told = snapshot.containers.first().cloned(),
                    Notice::Event(event) => assert_eq!(event.kind, EventKind::Terminated),
                    _ => {}
                }
            }
            let told = told.expect("what was missed is told");
            assert_eq!((told.state, told.labels["task"].as_str()), (None, "42"));
            assert_eq!(told.data, b"opaque");
            let job = node.job(told.container_id.clone());
            let end = within(job.wait()).await.expect("on record");
            assert_eq!(end.cause(), Cause::Exited { code: 5 }, "{end:?}");
            let output = fs::read_to_string(sandbox.join("stdout")).expect("it is kept");
            assert_eq!(output, "got you\n");
            let again = node.launch(crate::embedded::spec(&world, "kept", "exit 0"));
            assert_eq!(again.expect_err("not acknowledged").kind(), ErrorKind::Conflict);
            node.shutdown(Containers::Keep).await.expect("in order");
        }
        let node = start(&world, config(&world)).await.expect("it starts");
        let id = "kept".parse().expect("valid");
        node.remove(&id).await.expect("it has ended");
        assert!(!fs::exists(&sandbox).expect("readable"), "it goes with the record");
        assert_eq!(node.containers().len(), 0);
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}

#[test]
fn what_still_runs_is_ended_by_the_next_start_and_leaves_its_record_and_its_output() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let job = node.launch(spec(&world, "kept", "echo word; exec sleep 1000")).expect("free");
        let init = Process::find(within(job.running()).await.expect("it runs")).expect("it lives");
        node.shutdown(Containers::Keep).await.expect("in order");
        drop((job, node));
        let node = start(&world, config(&world)).await.expect("it starts");
        assert!(init.ends_within(DEADLINE), "it was ended");
        let ended = node.containers();
        let end = within(node.job(ended[0].container_id.clone()).destroy()).await;
        let end = end.expect("on record");
        assert_eq!(end.cause(), Cause::Signaled { signal: 9 }, "{end:?}");
        assert!(end.usage.cpu_ns.is_some_and(|used| used > 0), "{end:?}");
        let stdout = world.work_dir().join("containers/kept/stdout");
        assert_eq!(fs::read_to_string(stdout).expect("it is kept"), "word\n");
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}
