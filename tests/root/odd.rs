//! Requests, payloads and images that nobody in his senses would have, and shutdowns in between.

use std::os::unix::fs::symlink;
use std::time::Duration;

use longshore::error::{ErrorKind, Stage};
use longshore::events::{EventKind, Notice, Since};
use longshore::model::Bytes;
use longshore::{Containers, Stop};

use crate::embedded::{
    block_on, code, config, embedded, embedded_with, furnish, root_of, spec, start, within,
};
use crate::support::World;

#[test]
fn what_a_payload_leaves_behind_goes_with_it_also_without_a_namespace_for_processes() {
    for isolation in [
        &["filesystem/linux", "docker/runtime"][..],
        &["filesystem/linux", "docker/runtime", "cgroups/mem", "cgroups/pids"],
        &["filesystem/linux", "docker/runtime", "namespaces/pid"],
    ] {
        let set = isolation.iter().map(|name| (*name).to_owned()).collect();
        embedded_with(
            |config| config.isolation = Some(set),
            async |scene| {
                let line = "for n in 1 2 3; do (trap '' TERM HUP; sleep 1000; sleep 1000) & done; \
                            exit 3";
                let end = scene.run(scene.spec("parent", line)).await;
                assert_eq!(code(&end), 3, "{isolation:?}: {end:?}");
                assert_eq!(scene.left(), [""; 0], "{isolation:?}");
                let line = format!("echo up > $DOOR; {line}").replace("exit 3", "sleep 1000");
                let (job, _door, _) = scene.up(scene.spec("parent", &line)).await;
                within(job.destroy()).await.expect("destroyed");
                assert_eq!(scene.left(), [""; 0], "{isolation:?}");
            },
        );
    }
}

#[test]
fn a_payload_that_forks_without_end_or_has_stopped_itself_can_be_destroyed() {
    embedded(async |scene| {
        // A shell that cannot fork any more ends; this one stays.
        let line = "trap 'exec sleep 1000' EXIT; echo up > $DOOR; while :; do sleep 1000 & done";
        let (job, _door, _) = scene.up(scene.spec("bomb", line).pids(200)).await;
        within(job.destroy()).await.expect("destroyed");
        // The stop's signal may come before it has stopped itself.
        let line = "trap '' TERM; echo up > $DOOR; kill -STOP $$";
        let (job, _door, _) = scene.up(scene.spec("frozen", line)).await;
        let stop = Stop::from_image().grace(Duration::from_millis(100));
        let end = within(job.stop(stop)).await.expect("stopped");
        assert_eq!(code(&end), 137);
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn what_no_container_can_be_is_refused_before_anything_is_made() {
    embedded(async |scene| {
        let spec = || scene.spec("refused", "exit 0");
        for spec in [
            spec().memory(Bytes(0)),
            spec().memory(Bytes(4096)),
            spec().cpus(0.0),
            spec().cpus(-1.0),
            spec().cpus(f64::NAN),
            spec().cpus(f64::INFINITY),
            spec().pids(0),
            spec().env("A=B", "x"),
            spec().env("A", "x\0y"),
            spec().command(["/bin/true\0"]),
            spec().user("a\0b"),
            spec().working_directory("relative"),
            spec().capability_add("CAP_NO_SUCH"),
            spec().stop_signal(0),
            spec().stop_signal(65),
            spec().data(vec![0; 65_537]),
        ] {
            let asked = format!("{spec:.200?}");
            let kind = match scene.node.launch(spec) {
                Err(error) => error.kind(),
                Ok(job) => {
                    let end = within(job.wait()).await.expect("launched");
                    scene.node.remove(job.id()).await.expect("it has ended");
                    end.failure.unwrap_or_else(|| panic!("it ran: {asked}")).kind
                }
            };
            assert_eq!(kind, ErrorKind::InvalidRequest, "{asked}");
            assert_eq!(scene.left(), [""; 0]);
        }
        let end = scene.run(spec().env("LONG", "x".repeat(3 << 20))).await;
        let failure = end.failure.expect("the kernel takes 128 KiB a string");
        assert_eq!((failure.stage, failure.errno.as_deref()), (Stage::Exec, Some("E2BIG")));
    });
}

#[test]
fn links_in_an_image_lead_nowhere_but_into_the_image() {
    embedded(async |scene| {
        let root = root_of(&scene.world);
        let outside = scene.world.path().join("outside");
        std::fs::create_dir(&outside).expect("the world can be written");
        symlink("/../../../../tmp", root.join("mnt")).expect("a link");
        symlink(&outside, root.join("work")).expect("a link");
        std::fs::remove_dir(root.join("proc")).expect("it is empty");
        symlink("/etc/../tmp", root.join("proc")).expect("a link");
        let line = "ls -d /tmp/mesos/sandbox; ls -d /tmp/self > /dev/null && echo linked";
        let end = scene.end(scene.spec("linked", line).working_directory("/work/here")).await;
        // Whatever it came to: nothing outside was touched.
        assert_eq!(std::fs::read_dir(&outside).expect("ours").count(), 0, "{end:?}");
        assert!(!std::fs::exists(root.join("tmp/mesos")).expect("ours"), "{end:?}");
    });
}

#[test]
fn every_container_has_its_events_once_and_in_order() {
    embedded(async |scene| {
        let mut events = scene.node.subscribe(Since::Now);
        let ends = (0..24).map(async |number| {
            scene.end(scene.spec(&format!("told-{number}"), "exit 0").label("n", "1")).await
        });
        within(futures_util::future::join_all(ends)).await;
        let (mut last, mut heard) = (None, std::collections::BTreeMap::<_, Vec<_>>::new());
        while let Some(notice) = events.try_next() {
            let Notice::Event(event) = notice else { continue };
            assert!(last.is_none_or(|last| event.seq == last + 1), "{last:?} {event:?}");
            last = Some(event.seq);
            heard.entry(event.container_id.clone()).or_default().push(event.kind);
        }
        use EventKind::{
            Destroying, Fetching, Forking, Isolating, Preparing, Provisioning, Running, Starting,
            Terminated,
        };
        assert_eq!(heard.len(), 24);
        for (id, kinds) in heard {
            let life = [Provisioning, Preparing, Forking, Isolating, Fetching, Starting, Running];
            let expected: Vec<_> = life.into_iter().chain([Destroying, Terminated]).collect();
            assert_eq!(kinds, expected, "{id}");
        }
    });
}

#[test]
fn a_shutdown_while_others_launch_leaves_nothing() {
    for round in 0..6 {
        let world = World::new();
        furnish(&world);
        block_on(async {
            let node = start(&world, config(&world)).await.expect("it starts");
            let launcher = node.clone();
            let specs: Vec<_> = (0..200)
                .map(|number| spec(&world, &format!("late-{number}"), "exec sleep 1000"))
                .collect();
            let thread = std::thread::spawn(move || {
                let mut launched = 0;
                for spec in specs {
                    match launcher.launch(spec) {
                        Ok(_job) => launched += 1,
                        Err(_closed) => break,
                    }
                    std::thread::yield_now();
                }
                launched
            });
            for _ in 0..round * 50 {
                tokio::task::yield_now().await;
            }
            within(node.shutdown(Containers::Destroy)).await.expect("in order");
            let _launched: i32 = thread.join().expect("no panic");
        });
        world.assert_clean();
    }
}
