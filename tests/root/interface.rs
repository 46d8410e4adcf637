//! The interface as a program uses it: streams of its own, guards, no runtime, the image store.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use longshore::error::ErrorKind;
use longshore::events::{EventKind, Notice, Since, Subscription};
use longshore::messages::{self, Launch};
use longshore::model::{Bytes, Cause, Output, PullPolicy, Resources};
use longshore::{Containerizer, Containers, Stop};
use serde_json::json;

use crate::embedded::{Scene, code, config, embedded, furnish, root_of, spec, start, within};
use crate::support::World;
use crate::{alone, embedded as scenes, layout};

/// What comes out of a pipe until its end, without holding up this thread's futures.
async fn read_to_the_end(mut reader: impl std::io::Read + Send + 'static) -> String {
    let reading = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    within(reading).await.expect("no panic").expect("it can be read")
}

#[test]
fn a_pipe_is_stdin_and_another_is_stdout_of_a_payload() {
    embedded(async |scene| {
        let (stdin, mut input) = std::io::pipe().expect("a pipe");
        let (output, stdout) = std::io::pipe().expect("a pipe");
        let line = "while read line; do echo got $line; done; echo over >&2; exit 3";
        let stdout = Output::fd(stdout);
        let streams = scene.spec("piped", line).stdin(Output::fd(stdin));
        let job = scene.node.launch(streams.stdout(stdout.clone()).stderr(stdout)).expect("free");
        input.write_all(b"one\ntwo\n").expect("the payload reads it");
        drop(input);
        assert_eq!(read_to_the_end(output).await, "got one\ngot two\nover\n");
        assert_eq!(within(job.wait()).await.expect("it ends").cause(), Cause::Exited { code: 3 });
    });
}

#[test]
fn a_socket_is_both_ends_and_the_caller_keeps_what_it_copied() {
    embedded(async |scene| {
        let (mut ours, theirs) = UnixStream::pair().expect("sockets");
        let copy = || Output::copy_of(&theirs).expect("a copy");
        let spec = scene.spec("socket", "read line; echo $line again");
        let job = scene.node.launch(spec.stdin(copy()).stdout(copy())).expect("free");
        ours.write_all(b"hello\n").expect("the payload reads it");
        assert_eq!(code(&within(job.wait()).await.expect("it ends")), 0);
        drop(theirs);
        assert_eq!(read_to_the_end(ours).await, "hello again\n");
    });
}

#[test]
fn a_descriptor_is_for_one_launch_and_goes_with_one_that_fails() {
    embedded(async |scene| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let first = scene.spec("first", "echo once").stdout(Output::fd(writer));
        let end = scene.run(first.clone()).await;
        assert_eq!(code(&end), 0);
        assert_eq!(read_to_the_end(reader).await, "once\n");
        let failure = scene.run(first).await.failure.expect("nothing is left to write to");
        assert_eq!(failure.kind, ErrorKind::InvalidRequest, "{failure:?}");
        assert!(failure.message.contains("stdout was given to another launch"), "{failure:?}");
        // Refused before it was ever opened: nobody keeps it.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let image = "rootfs:/no/such/directory";
        let spec = longshore::spec::ContainerSpec::image("failing", image).expect("well-formed");
        let end = scene.run(spec.command(["x"]).stdout(Output::fd(writer))).await;
        assert!(matches!(end.cause(), Cause::LaunchFailed(_)), "{end:?}");
        assert_eq!(read_to_the_end(reader).await, "");
    });
}

#[test]
fn output_goes_on_while_the_embedder_is_away() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    scenes::block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let (stdin, mut input) = std::io::pipe().expect("a pipe");
        let (mut output, stdout) = std::io::pipe().expect("a pipe");
        let spec = spec(&world, "kept", "while read line; do echo got $line; done");
        let spec = spec.stdin(Output::fd(stdin)).stdout(Output::fd(stdout));
        let job = node.launch(spec).expect("free");
        within(job.running()).await.expect("it runs");
        node.shutdown(Containers::Keep).await.expect("in order");
        drop((job, node));
        input.write_all(b"you\n").expect("the payload reads it");
        let mut answer = [0; 8];
        output.read_exact(&mut answer).expect("the payload answers");
        assert_eq!(&answer, b"got you\n");
        // The next start buries it; the pipe ends with its payload.
        let node = start(&world, config(&world)).await.expect("it starts");
        assert_eq!(read_to_the_end(output).await, "");
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}

#[test]
fn an_id_is_free_when_its_sandbox_is_gone_whoever_removes_it() {
    embedded(async |scene| {
        let (node, sandbox) = (&scene.node, scene.world.work_dir().join("containers/again"));
        let first = scene.end(scene.spec("again", "echo first")).await;
        assert_eq!(code(&first), 0);
        let id = "again".parse().expect("valid");
        node.acknowledge(&id).await.expect("it has ended");
        let error = node.launch(scene.spec("again", "echo second")).expect_err("its files");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        let (text, path) = (error.to_string(), sandbox.display().to_string());
        assert!(text.contains(&path) && !text.contains('\n'), "{text}");
        assert_eq!(scene.stdout("again"), "first\n");
        // Not known any more, and still there to be removed; then there is nothing.
        node.remove(&id).await.expect("the sandbox is there");
        assert!(!std::fs::exists(&sandbox).expect("readable"));
        let error = node.remove(&id).await.expect_err("nothing is left");
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(
            scene.output(scene.spec("again", "echo second; ls $MESOS_SANDBOX")).await,
            "second\nstderr\nstdout\n"
        );
        // Somebody else's, who lives.
        let (job, _door, _) = scene.up(scene.spec("living", "echo up > $DOOR; sleep 1000")).await;
        let mut other = config(&scene.world);
        other.launcher = Some(longshore::config::Launcher::Posix);
        let beside = longshore::Containerizer::builder(
            scene.world.work_dir(),
            scene.world.path().join("other-run"),
        );
        let beside = beside.config(other).start().await.expect("another runtime directory");
        let error = within(beside.remove(job.id())).await.expect_err("in use");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        beside.shutdown(Containers::Destroy).await.expect("in order");
        within(job.destroy()).await.expect("destroyed");
    });
}

/// Waits on this thread, which has no runtime.
fn until(events: &mut Subscription, kind: EventKind) {
    loop {
        match longshore::block_on(events.next()).expect("the containerizer lives") {
            Notice::Event(event) if event.kind == kind => return,
            _ => {}
        }
    }
}

#[test]
fn a_guard_destroys_also_when_every_runtime_and_every_handle_is_gone() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    let (guard, mut events) = scenes::block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let events = node.subscribe(Since::Now);
        let job = node.launch(spec(&world, "guarded", "exec sleep 1000")).expect("free");
        within(job.running()).await.expect("it runs");
        (job.guard(), events)
    });
    // The guard is all that is left of the containerizer here.
    drop(guard);
    until(&mut events, EventKind::Terminated);
    while longshore::block_on(events.next()).is_some() {}
    scenes::block_on(async {
        let node = start(&world, config(&world)).await.expect("nobody has the directory");
        let ended = node.job("guarded".parse().expect("valid")).wait().await.expect("on record");
        assert_eq!(ended.cause(), Cause::Stopped);
        node.shutdown(Containers::Destroy).await.expect("in order");
    });
    world.assert_clean();
}

#[test]
fn a_guard_that_is_disarmed_does_nothing_and_one_of_a_launch_ends_it() {
    embedded(async |scene| {
        let (job, _door, _) = scene.up(scene.spec("kept", "echo up > $DOOR; exec sleep 99")).await;
        let job = job.guard().disarm();
        assert!(job.status().expect("it is there").pid.is_some());
        let mut events = scene.events();
        // At once, while it is being launched.
        drop(scene.node.launch(scene.spec("brief", "exec sleep 99")).expect("free").guard());
        events.until(&"brief".parse().expect("valid"), EventKind::Terminated).await;
        assert!(within(job.running()).await.is_ok(), "the other one still runs");
        within(job.destroy()).await.expect("destroyed");
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn a_program_without_a_runtime_does_everything() {
    require!(root, overlayfs);
    assert!(tokio::runtime::Handle::try_current().is_err(), "or this test shows nothing");
    let world = World::new();
    furnish(&world);
    let wait = |future| longshore::block_on(future);
    let builder = Containerizer::builder(world.work_dir(), world.runtime_dir());
    let node = longshore::block_on(builder.config(config(&world)).start()).expect("it starts");
    let mut events = node.subscribe(Since::Now);
    let job =
        node.launch(spec(&world, "a", "trap 'exit 4' USR1; while :; do :; done")).expect("free");
    longshore::block_on(job.running()).expect("it runs");
    assert!(longshore::block_on(job.usage()).expect("it runs").memory.is_some());
    let resources = Resources::default().memory(Bytes::mib(64));
    longshore::block_on(job.update(resources)).expect("it runs");
    until(&mut events, EventKind::Running);
    longshore::block_on(job.stop(Stop::signal(9))).expect("it ends");
    let end = wait(job.wait()).expect("on record");
    assert_eq!(end.cause(), Cause::Stopped);
    longshore::block_on(node.acknowledge(job.id())).expect("it has ended");
    store(&world, &node);
    longshore::block_on(node.shutdown(Containers::Destroy)).expect("in order");
    drop((job, events, node));
    world.assert_clean();
}

/// Pulls, lists and prunes, with no runtime either.
fn store(world: &World, node: &Containerizer) {
    let layout = world.path().join("layout");
    let config = json!({ "Cmd": ["true"] });
    layout::write(&root_of(world), &config, &layout);
    let reference = format!("oci:{}:latest", layout.display());
    let (told, telling) = std::sync::mpsc::channel();
    let progress = move |progress| drop(told.send(progress));
    let policy = PullPolicy::Missing;
    let pulled = longshore::block_on(node.pull_with_progress(&reference, policy, progress));
    let pulled = pulled.expect("it is there");
    let last = telling.iter().last().expect("it was told");
    assert_eq!(last.bytes, last.total);
    assert!(longshore::block_on(node.pull(&reference, PullPolicy::Never)).is_ok(), "it stays");
    let images = longshore::block_on(node.images()).expect("listed");
    assert_eq!((images.len(), Some(&images[0].digest)), (1, pulled.digest.as_ref()));
    drop(pulled);
    let kept = longshore::block_on(node.prune([reference.as_str()])).expect("pruned");
    assert_eq!(kept.images, 0);
    assert_eq!(longshore::block_on(node.prune([""; 0])).expect("pruned").images, 1);
    let gone = longshore::block_on(node.pull(&reference, PullPolicy::Never)).expect_err("pruned");
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    let error = longshore::block_on(node.pull("", policy)).expect_err("names nothing");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
}

#[test]
fn every_request_is_a_value_too() {
    embedded(async |scene| {
        let node = &scene.node;
        let spec = scene.spec("asked", "exec sleep 1000");
        let job = within(node.ask(Launch { spec })).await.expect("free");
        let id = || job.id().clone();
        let pid = within(node.ask(messages::Running { container_id: id() })).await.expect("runs");
        let status = node.ask(messages::Status { container_id: id() }).await.expect("known");
        assert_eq!(status.pid, Some(pid));
        assert_eq!(node.ask(messages::Containers).await.expect("listed").len(), 1);
        let usage = node.ask(messages::Usage { container_id: id() }).await.expect("runs");
        assert!(usage.cpu_ns.is_some());
        let resources = Resources::default().pids(50);
        let update = messages::Update { container_id: id(), resources };
        node.ask(update).await.expect("runs");
        node.ask(messages::Kill { container_id: id(), signal: 9 }).await.expect("runs");
        let end = within(node.ask(messages::Wait { container_id: id() })).await.expect("ends");
        assert_eq!(end.cause(), Cause::Signaled { signal: 9 });
        let stop = messages::Stop { container_id: id(), how: Stop::from_image() };
        assert_eq!(within(node.ask(stop)).await.expect("on record"), end);
        let destroy = messages::Destroy { container_id: id() };
        assert_eq!(within(node.ask(destroy)).await.expect("on record"), end);
        node.ask(messages::Remove { container_id: id() }).await.expect("ended");
        let error = node.ask(messages::Acknowledge { container_id: id() }).await;
        assert_eq!(error.expect_err("removed").kind(), ErrorKind::NotFound);
        assert_eq!(node.ask(messages::Images).await.expect("listed").len(), 0);
        let keep = Vec::new();
        assert_eq!(node.ask(messages::PruneImages { keep }).await.expect("pruned").images, 0);
        let pull = messages::Pull {
            reference: crate::embedded::image(&scene.world),
            policy: PullPolicy::Missing,
        };
        assert!(node.ask(pull).await.expect("it is a directory").digest.is_none());
    });
}

#[test]
fn requests_that_are_dropped_at_once_or_half_way_strand_nothing() {
    embedded(async |scene| {
        let reference = crate::embedded::image(&scene.world);
        let node = &scene.node;
        for _ in 0..10 {
            // Polled once, as `now_or_never` does it, or not at all.
            drop(node.pull(&reference, PullPolicy::Always));
            let _once = node.pull(&reference, PullPolicy::Always).now_or_never();
            drop(node.images());
            let _once = node.images().now_or_never();
            let _once = node.prune([""; 0]).now_or_never();
            let _once = node.ask(messages::Images).now_or_never();
            let _once = scene.node.subscribe(Since::Now).next().now_or_never();
            let _never = node.ask(Launch { spec: scene.spec("never", "true") });
        }
        assert!(node.containers().is_empty(), "what is not polled does nothing");
        let asked = node.ask(Launch { spec: scene.spec("asked", "exec sleep 1000") });
        let job = asked.now_or_never().expect("a launch begins at once").expect("free");
        for _ in 0..10 {
            let container_id = job.id().clone();
            let _once = node.ask(messages::Wait { container_id }).now_or_never();
        }
        let mut stream = std::pin::pin!(node.subscribe(Since::Acknowledged).take(1));
        assert!(matches!(stream.next().await, Some(Notice::Snapshot(_))), "it is a stream, too");
        within(job.destroy()).await.expect("destroyed");
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn what_was_polled_once_is_done_though_nobody_waits_for_it() {
    embedded(async |scene| {
        let line = "trap 'exit 3' TERM; echo up > $DOOR; while :; do sleep 0.01; done";
        for round in 0..5 {
            let (job, _door, _) = scene.up(scene.spec(&format!("stop{round}"), line)).await;
            let _once = job.stop(Stop::from_image()).now_or_never();
            assert_eq!(code(&within(job.wait()).await.expect("it ends")), 3);
            let _once = scene.node.remove(job.id()).now_or_never();
            let (job, _door, _) = scene.up(scene.spec(&format!("kill{round}"), line)).await;
            let _once = job.kill(9).now_or_never();
            let end = within(job.wait()).await.expect("it ends");
            assert_eq!(end.cause(), Cause::Signaled { signal: 9 });
            let (job, _door, _) = scene.up(scene.spec(&format!("destroy{round}"), line)).await;
            let _once = job.destroy().now_or_never();
            let end = within(job.wait()).await.expect("it ends");
            assert_eq!(end.cause(), Cause::Stopped);
        }
    });
}

#[test]
fn a_caller_who_panics_at_the_progress_of_a_pull_harms_nobody() {
    embedded(async |scene| {
        let reference = crate::support::images::Images::busybox();
        let always = PullPolicy::Always;
        let called = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let note = std::sync::Arc::clone(&called);
        let pull = scene.node.pull_with_progress(&reference, always, move |_| {
            note.store(true, std::sync::atomic::Ordering::Relaxed);
            panic!("mine")
        });
        within(pull).await.expect("it is pulled all the same");
        assert!(called.load(std::sync::atomic::Ordering::Relaxed), "it was told of the pull");
        within(scene.node.pull(&reference, always)).await.expect("and again");
    });
}

#[test]
fn a_container_that_is_kept_is_not_said_to_have_ended() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    scenes::block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let job = node.launch(spec(&world, "kept", "exec sleep 1000")).expect("launched");
        within(job.running()).await.expect("it runs");
        let (wait, stop) = (job.wait(), job.stop(Stop::signal(64).grace(Duration::from_secs(900))));
        let shutdown = node.shutdown(Containers::Keep);
        let (wait, stop, kept) = tokio::join!(wait, stop, shutdown);
        kept.expect("in order");
        assert_eq!(wait.expect_err("it lives").kind(), ErrorKind::Conflict);
        assert_eq!(stop.expect_err("it lives").kind(), ErrorKind::Conflict);
        let error = within(node.shutdown(Containers::Destroy)).await.expect_err("too late");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        // The next start buries what its agent has left.
        drop((job, node));
        let next = start(&world, config(&world)).await.expect("the directory is free");
        next.shutdown(Containers::Destroy).await.expect("in order");
        drop(next);
        world.assert_clean();
    });
}

#[test]
fn after_a_shutdown_everything_says_so_and_the_directory_is_free() {
    require!(root, overlayfs);
    let world = World::new();
    furnish(&world);
    scenes::block_on(async {
        let node = start(&world, config(&world)).await.expect("it starts");
        let scene = Scene { world, node };
        let end = scene.end(scene.spec("ended", "exit 1")).await;
        scene.node.shutdown(Containers::Destroy).await.expect("in order");
        let Scene { world, node } = scene;
        let reference = crate::embedded::image(&world);
        let ended = node.job("ended".parse().expect("valid"));
        let errors = [
            node.launch(spec(&world, "late", "true")).expect_err("shut down"),
            within(node.acknowledge(ended.id())).await.expect_err("shut down"),
            within(node.pull(&reference, PullPolicy::Missing)).await.expect_err("shut down"),
            within(node.images()).await.expect_err("shut down"),
        ];
        // What has ended is on record all the same.
        assert_eq!(within(ended.wait()).await.expect("on record"), end);
        assert_eq!(within(ended.destroy()).await.expect("on record"), end);
        assert_eq!(within(ended.usage()).await.expect("on record"), end.usage);
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            for word in ["actor", "mailbox", "arbiter", "actix", "drain", "runtime"] {
                assert!(!error.to_string().contains(word), "{error}");
            }
        }
        // The old handles are still there.
        let next = start(&world, config(&world)).await.expect("the directory is free");
        let known = next.job(ended.id().clone()).wait().await.expect("on record");
        assert_eq!(known, end);
        next.shutdown(Containers::Destroy).await.expect("in order");
        drop((node, next, ended));
        world.assert_clean();
    });
}

#[test]
fn a_grace_is_waited_for_and_no_longer() {
    embedded(async |scene| {
        let line = "trap '' TERM; echo up > $DOOR; while :; do sleep 1000; done";
        let (job, _door, _) = scene.up(scene.spec("stubborn", line)).await;
        let stop = Stop::signal(15).grace(Duration::from_millis(50));
        let end = within(job.stop(stop)).await.expect("it ends");
        assert_eq!(end.cause(), Cause::Stopped);
    });
}

/// Threads that a containerizer has, by name and number.
#[test]
fn the_threads_are_those_of_the_manual() {
    alone::alone("interface::the_threads_are_those_of_the_manual", || {
        embedded(async |scene| {
            assert_eq!(code(&scene.run(scene.spec("a", "true")).await), 0);
            let manual = include_str!("../../docs/embedding.md");
            let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
            for task in tasks {
                let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                let name = name.trim().trim_end_matches(|c: char| c.is_ascii_digit());
                let ours = !name.starts_with("root-") && !name.contains("interface::");
                assert!(!ours || manual.contains(&format!("`{name}")), "{name:?} is not told");
            }
        });
    });
}
