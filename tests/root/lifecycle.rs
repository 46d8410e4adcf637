//! How containers end, whatever they are doing: by themselves, by request, before they ever ran.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use longshore::error::{ErrorKind, Stage};
use longshore::events::EventKind;
use longshore::model::{End, Failure, Uri, Volume};
use longshore::spec::ContainerSpec;
use longshore::{Job, Stop};

use crate::embedded::{Door, code, embedded, root_of, within, write};
use crate::layout;

const TERM: i32 = 15;
const USR1: i32 = 10;
const CONT: i32 = 18;

#[test]
fn an_exit_code_and_a_signal_are_the_payloads_own() {
    embedded(async |scene| {
        for (line, expected, signal) in [
            ("exit 0", 0, None),
            ("exit 3", 3, None),
            ("exit 255", 255, None),
            ("kill -KILL $$", 137, Some(9)),
            ("kill -TERM $$", 143, Some(15)),
            ("kill -SEGV $$", 139, Some(11)),
        ] {
            let end = scene.run(scene.spec("ends", line)).await;
            let termination = end.termination.expect("it ran");
            assert_eq!((termination.exit_code, termination.signal), (expected, signal), "{line}");
            assert!(!termination.stopped && !termination.timed_out && end.failure.is_none());
            assert_eq!(scene.left(), [""; 0]);
        }
    });
}

/// What it failed of; fails if it ran.
fn failure(end: &End) -> &Failure {
    assert_eq!(end.termination, None, "{end:?}");
    end.failure.as_ref().expect("it did not run")
}

#[test]
fn a_program_that_cannot_be_executed_is_a_failure_of_exec_with_its_errno() {
    embedded(async |scene| {
        let bin = root_of(&scene.world).join("bin");
        write(&bin.join("plain"), "#!/bin/sh\nexit 0\n", 0o644);
        write(&bin.join("homeless"), "#!/no/interpreter\n", 0o755);
        write(&bin.join("text"), "neither a script nor a program\n", 0o755);
        for (program, errno) in [
            ("/no/such", "ENOENT"),
            ("nosuch", "ENOENT"),
            ("/etc", "EACCES"),
            ("/bin/plain", "EACCES"),
            ("/bin/homeless", "ENOENT"),
            ("/bin/text", "ENOEXEC"),
            ("/etc/passwd/x", "ENOTDIR"),
        ] {
            let end = scene.run(scene.spec("never", "").command([program])).await;
            let failure = failure(&end);
            let told = (failure.stage, failure.kind, failure.errno.as_deref());
            let expected = (Stage::Exec, ErrorKind::InvalidRequest, Some(errno));
            assert_eq!(told, expected, "{program}: {failure:?}");
            assert!(failure.message.contains(program), "{failure:?}");
            assert_eq!(scene.left(), [""; 0], "{program}");
        }
    });
}

#[test]
fn what_the_host_or_the_image_does_not_have_is_named_and_leaves_nothing() {
    embedded(async |scene| {
        let missing = format!("rootfs:{}/no/such", scene.world.path().display());
        let elsewhere = ContainerSpec::image("never", &missing).expect("both are valid");
        let spec = || scene.spec("never", "exit 0");
        let uri = |value: &str| Uri::new(value).packed();
        for (spec, stage, word) in [
            (spec().user("ghost"), Stage::Fork, "ghost"),
            (spec().user("user:ghosts"), Stage::Fork, "ghosts"),
            (spec().working_directory("/etc/passwd"), Stage::Start, "/etc/passwd"),
            (elsewhere.shell("exit 0"), Stage::Provision, "/no/such"),
            (spec().uri(uri("/no/such/file")), Stage::Fetch, "/no/such/file"),
        ] {
            let asked = format!("{spec:?}");
            let end = scene.run(spec).await;
            let failure = failure(&end);
            assert_eq!(failure.stage, stage, "{asked}: {failure:?}");
            assert!(failure.message.contains(word), "{failure:?}");
            assert!(!failure.message.contains('\n'), "{failure:?}");
            assert_eq!(scene.left(), [""; 0], "{asked}");
        }
    });
}

#[test]
fn the_one_who_hears_of_the_end_may_use_the_id_again_at_once() {
    embedded(async |scene| {
        let mut events = scene.events();
        for round in 0..20 {
            let spec = scene.spec("again", &format!("exit {round}"));
            let job = scene.node.launch(spec).expect("the id is free");
            let event = events.until(job.id(), EventKind::Terminated).await;
            assert_eq!(event.termination.as_ref().map(|end| end.exit_code), Some(round));
            // Not by `wait`: the event alone must be enough.
            scene.node.remove(job.id()).await.expect("it has ended");
        }
    });
}

const STUBBORN: &str = "trap '' TERM; echo up > $DOOR; while :; do read x < /doors/never; done";

#[test]
fn a_stop_lets_the_payload_have_the_last_word_and_a_stubborn_one_is_killed() {
    embedded(async |scene| {
        let line = "trap 'exit 7' USR1; echo up > $DOOR; while :; do sleep 1 & wait; done";
        let (job, _door, _) = scene.up(scene.spec("polite", line).stop_signal(USR1)).await;
        let stop = Stop::from_image().grace(Duration::from_secs(100));
        let termination = within(job.stop(stop)).await.expect("it stops").termination;
        let termination = termination.expect("it ran");
        assert_eq!((termination.exit_code, termination.stopped), (7, true));

        let (job, _door, _) = scene.up(scene.spec("stubborn", STUBBORN)).await;
        let stop = Stop::signal(TERM).grace(Duration::from_millis(200));
        let termination = within(job.stop(stop)).await.expect("it stops").termination;
        let termination = termination.expect("it ran");
        assert_eq!((termination.signal, termination.stopped), (Some(9), true));
    });
}

#[test]
fn an_image_says_who_runs_what_where_and_how_it_is_stopped() {
    embedded(async |scene| {
        let (root, to) = (root_of(&scene.world), scene.world.path().join("layout"));
        let line = "trap 'exit 21' USR1; id -un; pwd; echo $GREETING; echo up > $DOOR; \
                    while :; do sleep 1 & wait; done";
        let config = serde_json::json!({
            "User": "user", "WorkingDir": "/made/by/us", "StopSignal": "SIGUSR1",
            "Env": ["GREETING=hello", "PATH=/bin"],
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": [line],
        });
        layout::write(&root, &config, &to);
        let reference = format!("oci:{}:latest", to.display());
        let volume = Volume::new(scene.world.path().join("doors"), "/doors");
        let spec = ContainerSpec::image("imaged", &reference).expect("both are valid");
        let spec = spec.volume(volume).env("DOOR", "/doors/imaged");
        let (job, _door, _) = scene.up(spec).await;
        let status = job.status().expect("it runs");
        assert_eq!(status.argv, ["/bin/sh", "-c", line]);
        assert!(status.image.as_ref().is_some_and(|image| image.digest.is_some()), "{status:?}");
        let stop = Stop::from_image().grace(Duration::from_secs(100));
        let end = within(job.stop(stop)).await.expect("it stops");
        assert_eq!(code(&end), 21, "{end:?}");
        assert_eq!(scene.stdout("imaged"), "user\n/made/by/us\nhello\n");
    });
}

#[test]
fn a_container_that_takes_too_long_is_timed_out_and_a_signal_reaches_the_payload() {
    embedded(async |scene| {
        let spec = scene.spec("slow", "exec sleep 1000").timeout(Duration::from_millis(200));
        let termination = scene.end(spec).await.termination.expect("it ran");
        assert_eq!((termination.signal, termination.timed_out), (Some(TERM), true));
        assert!(!termination.stopped);

        let line = "trap 'exit 9' USR1; echo up > $DOOR; while :; do sleep 1 & wait; done";
        let (job, _door, _) = scene.up(scene.spec("told", line)).await;
        for none in [-1, 0, 65, 999] {
            let error = job.kill(none).await.expect_err("no signal");
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
            let error = job.stop(Stop::signal(none)).await.expect_err("no signal");
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        }
        job.kill(USR1).await.expect("it runs");
        let termination = within(job.wait()).await.expect("it ran").termination.expect("it ran");
        assert_eq!((termination.exit_code, termination.stopped), (9, false));
        let error = job.kill(USR1).await.expect_err("it has ended");
        assert_eq!(error.kind(), ErrorKind::Conflict);
    });
}

#[test]
fn a_stop_by_the_one_who_has_heard_the_payload_is_graceful() {
    embedded(async |scene| {
        let line = "trap 'exit 7' TERM; echo up > $DOOR; while :; do sleep 1 & wait; done";
        for _ in 0..10 {
            let spec = scene.spec("heard", line);
            let mut door = Door::open(&scene.world, spec.id());
            let job = scene.node.launch(spec).expect("the id is free");
            // Not by `running`: what the payload says can be faster than the word that it runs.
            door.line().await;
            let end = within(job.stop(Stop::from_image())).await.expect("it stops");
            assert_eq!(code(&end), 7);
            scene.node.remove(job.id()).await.expect("it has ended");
        }
    });
}

/// A server that takes connections and never says a word.
fn silent_server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

fn fetching(scene: &crate::embedded::Scene, id: &str, value: String) -> ContainerSpec {
    let uri = Uri::new(value).packed().output_file("x");
    scene.spec(id, "exit 0").uri(uri)
}

#[test]
fn a_destroy_ends_a_container_whatever_it_is_doing() {
    embedded(async |scene| {
        let (_listener, address) = silent_server();
        let pulling = |id: &str| {
            let reference = format!("docker://{address}/a/b:c");
            ContainerSpec::image(id, &reference).expect("both are valid").shell("exit 0")
        };
        let sleeping = |id: &str| scene.spec(id, "exec sleep 1000");
        let mut events = scene.events();
        let kinds = [
            EventKind::Provisioning,
            EventKind::Preparing,
            EventKind::Forking,
            EventKind::Isolating,
            EventKind::Fetching,
            EventKind::Starting,
            EventKind::Running,
        ];
        for (number, kind) in kinds.into_iter().enumerate() {
            let id = format!("state-{number}");
            let spec = match kind {
                EventKind::Provisioning => pulling(&id),
                EventKind::Fetching => fetching(scene, &id, format!("http://{address}/x")),
                _ => sleeping(&id),
            };
            let job = scene.node.launch(spec).expect("the id is free");
            events.until(job.id(), kind).await;
            let (one, other) = tokio::join!(within(job.destroy()), within(job.destroy()));
            let (one, other) = (one.expect("destroyed"), other.expect("joined"));
            assert_eq!(one, other, "{kind:?}");
            assert_eq!(scene.left(), [""; 0], "{kind:?}");
            // A third one answers with the record; after that, nobody knows it.
            assert_eq!(within(job.destroy()).await.expect("its record"), one);
            scene.node.remove(job.id()).await.expect("it has ended");
            let error = within(job.destroy()).await.expect_err("forgotten");
            assert_eq!(error.kind(), ErrorKind::NotFound);
        }
    });
}

#[test]
fn a_destroy_at_once_after_the_launch_leaves_nothing() {
    embedded(async |scene| {
        for round in 0..30 {
            let job = scene.node.launch(scene.spec("brief", "exec sleep 1000")).expect("free");
            // Lets it come a little further each time.
            for _ in 0..round * 20 {
                tokio::task::yield_now().await;
            }
            within(job.destroy()).await.expect("destroyed");
            assert_eq!(scene.left(), [""; 0], "{round}");
            scene.node.remove(job.id()).await.expect("it has ended");
        }
    });
}

#[test]
fn a_fetch_from_a_pipe_that_nobody_writes_to_is_refused() {
    embedded(async |scene| {
        let path = scene.world.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)
            .expect("the world can be written");
        let spec = fetching(scene, "fifo", path.display().to_string());
        let job = scene.node.launch(spec).expect("the id is free");
        // A pipe is no file to be fetched: it is refused, not waited for.
        let end = within(job.wait()).await.expect("it ends");
        assert_eq!(failure(&end).stage, Stage::Fetch, "{end:?}");
    });
}

#[test]
fn many_waits_hear_the_same_end() {
    embedded(async |scene| {
        for round in 0..5 {
            let line = "echo up > $DOOR; read x < $DOOR.go; exit 4";
            let go = scene.world.path().join("doors/many.go");
            let _of_the_last_round = std::fs::remove_file(&go);
            let mode = rustix::fs::Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(rustix::fs::CWD, &go, rustix::fs::FileType::Fifo, mode, 0)
                .expect("the world can be written");
            let (job, _door, _) = scene.up(scene.spec("many", line)).await;
            let waits: Vec<_> = (0..64)
                .map(|_| {
                    let job = job.clone();
                    tokio::spawn(async move { job.wait().await })
                })
                .collect();
            std::fs::write(&go, "go\n").expect("the payload reads it");
            // Others come when it is ending.
            let late = futures_util::future::join_all((0..200).map(|_| job.wait()));
            for end in within(late).await {
                assert_eq!(code(&end.expect("it is known")), 4, "{round}");
            }
            for wait in waits {
                let end = wait.await.expect("no panic").expect("it is known");
                assert_eq!(code(&end), 4, "{round}");
            }
            scene.node.remove(job.id()).await.expect("it has ended");
        }
    });
}

/// Polls `future` that many times at most, each time when it asks for it, and drops it.
async fn poll_times<T>(future: impl Future<Output = T>, times: usize) {
    let mut future = pin!(future);
    let mut polled = 0;
    let polling = std::future::poll_fn(|cx| {
        polled += 1;
        match future.as_mut().poll(cx) {
            Poll::Pending if polled < times => Poll::Pending,
            Poll::Pending | Poll::Ready(_) => Poll::Ready(()),
        }
    });
    // One that waits for the end of its container does not ask again.
    let _abandoned = tokio::time::timeout(Duration::from_millis(100), polling).await;
}

#[test]
fn dropping_any_future_strands_nothing() {
    embedded(async |scene| {
        let sleeping = || scene.spec("dropped", "exec sleep 1000");
        type Asks = [(&'static str, fn(&Job) -> std::pin::Pin<Box<dyn Future<Output = ()>>>); 6];
        fn ask<F: Future + 'static>(future: F) -> std::pin::Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async move { drop(future.await) })
        }
        let asks: Asks = [
            ("running", |job| {
                ask({
                    let job = job.clone();
                    async move { job.running().await }
                })
            }),
            ("wait", |job| {
                ask({
                    let job = job.clone();
                    async move { job.wait().await }
                })
            }),
            ("usage", |job| {
                ask({
                    let job = job.clone();
                    async move { job.usage().await }
                })
            }),
            ("kill", |job| {
                ask({
                    let job = job.clone();
                    async move { job.kill(CONT).await }
                })
            }),
            ("stop", |job| {
                let stop = Stop::from_image().grace(Duration::ZERO);
                ask({
                    let job = job.clone();
                    async move { job.stop(stop).await }
                })
            }),
            ("destroy", |job| {
                ask({
                    let job = job.clone();
                    async move { job.destroy().await }
                })
            }),
        ];
        for (name, ask) in asks {
            for times in 1..=3 {
                let job = scene.node.launch(sleeping()).expect("the id is free");
                if times > 1 {
                    within(job.running()).await.expect("it runs");
                }
                poll_times(ask(&job), times).await;
                within(job.destroy()).await.expect(name);
                assert_eq!(scene.left(), [""; 0], "{name}, {times} polls");
                poll_times(scene.node.remove(job.id()), times).await;
                // The one that was dropped may have done it, or not.
                let _either = scene.node.remove(job.id()).await;
                assert!(job.status().is_err(), "{name}, {times} polls");
            }
        }
    });
}

#[test]
fn the_sandbox_and_the_streams_belong_to_the_payloads_user() {
    use std::os::unix::fs::MetadataExt as _;
    embedded(async |scene| {
        let line = "cd /mnt/mesos/sandbox && echo mine > file && echo $MESOS_SANDBOX; id -u; id -G";
        let spec = scene.spec("owned", line).user("user");
        let end = scene.end(spec).await;
        assert_eq!(code(&end), 0, "{end:?}");
        assert_eq!(scene.stdout("owned"), "/mnt/mesos/sandbox\n1000\n1000 1001\n");
        let sandbox = scene.world.work_dir().join("containers/owned");
        for name in ["", "file", "stdout", "stderr"] {
            let found = std::fs::metadata(sandbox.join(name)).expect("it is there");
            assert_eq!((found.uid(), found.gid()), (1000, 1000), "{name:?}");
        }
        let mode = std::fs::metadata(&sandbox).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o002, 0, "others may not write: {mode:o}");
    });
}
