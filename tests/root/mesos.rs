//! Mesos' shapes of containers: an executor's, a command executor's, the wrong one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use longshore::config::{Backend, Config};
use longshore::error::{ErrorKind, Stage};
use longshore::events::{EventKind, Notice, Since};
use longshore::model::{
    CommandInfo, ContainerId, ContainerType, ExecutorInfo, Secret, TaskInfo, Uri,
};
use longshore::spec::ContainerSpec;

use crate::embedded::{Scene, code, embedded, embedded_with, image, root_of, within, write};
use crate::support::images::Images;
use crate::support::{Ended, World, finish};

const SANDBOX: &str = "/mnt/mesos/sandbox";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn executor() -> ExecutorInfo {
    let mut executor = ExecutorInfo::default();
    executor.framework_id = "fw-1".into();
    executor.executor_id = "ex-1".into();
    executor.agent_id = "S0".into();
    executor
}

fn task(command: CommandInfo) -> TaskInfo {
    TaskInfo::new("task-1", command)
}

/// An agent that has everything to tell.
fn talkative(config: &mut Config) {
    let variables = [("SITE", "north"), ("MESOS_FRAMEWORK_ID", "forged")];
    config.agent.executor_environment_variables =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    config.agent.pid = Some("slave(1)@10.0.0.1:5051".to_owned());
    config.agent.endpoint = Some("10.0.0.1:5051".to_owned());
    config.agent.libprocess_ip = Some([10, 0, 0, 1].into());
    // One that is there, and is no library; and so is told of.
    config.agent.native_library = Some("/etc/passwd".into());
}

/// What the talkative agent and the executor above come to, but for where the sandbox is.
fn told(sandbox: &Path, seen_at: &str) -> BTreeMap<String, String> {
    let sandbox = sandbox.to_str().expect("text");
    let variables = [
        ("LIBPROCESS_IP", "10.0.0.1"),
        ("LIBPROCESS_PORT", "0"),
        ("MESOS_AGENT_ENDPOINT", "10.0.0.1:5051"),
        ("MESOS_CHECKPOINT", "1"),
        ("MESOS_DIRECTORY", sandbox),
        ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "tok.en"),
        ("MESOS_EXECUTOR_ID", "ex-1"),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "1500ms"),
        ("MESOS_FRAMEWORK_ID", "fw-1"),
        ("MESOS_HTTP_COMMAND_EXECUTOR", "0"),
        ("MESOS_NATIVE_JAVA_LIBRARY", "/etc/passwd"),
        ("MESOS_NATIVE_LIBRARY", "/etc/passwd"),
        ("MESOS_RECOVERY_TIMEOUT", "15mins"),
        ("MESOS_SANDBOX", seen_at),
        ("MESOS_SLAVE_ID", "S0"),
        ("MESOS_SLAVE_PID", "slave(1)@10.0.0.1:5051"),
        ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs"),
        ("OWN", "caller"),
        ("PATH", PATH),
        ("SITE", "north"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The lines of env(1); a name that is there twice fails the test.
fn environment(lines: &str) -> BTreeMap<String, String> {
    let pairs: Vec<(String, String)> = lines
        .lines()
        .map(|line| line.split_once('=').expect("NAME=VALUE"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let map: BTreeMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(map.len(), pairs.len(), "{lines}");
    map
}

fn sandbox(scene: &Scene, id: &str) -> PathBuf {
    scene.world.work_dir().join("containers").join(id)
}

fn in_image(scene: &Scene, id: &str) -> ContainerSpec {
    ContainerSpec::image(id, &image(&scene.world)).expect("valid")
}

fn on_host(id: &str) -> ContainerSpec {
    ContainerSpec::host(id).expect("valid")
}

#[test]
fn an_executor_is_told_all_that_mesos_tells_and_nothing_of_the_agents_own() {
    embedded_with(talkative, async |scene| {
        let mut own = executor();
        own.checkpoint = true;
        own.shutdown_grace_period = Some(Duration::from_millis(1500));
        own.authentication_token = Some(Secret::new("tok.en"));
        let spec =
            |spec: ContainerSpec| spec.executor(own.clone()).env("OWN", "caller").command(["env"]);
        let seen = scene.output(spec(on_host("on-host"))).await;
        let at = sandbox(scene, "on-host");
        assert_eq!(environment(&seen), told(&at, at.to_str().expect("text")));

        let seen = scene.output(spec(in_image(scene, "in-image"))).await;
        let mut expected = told(&sandbox(scene, "in-image"), SANDBOX);
        expected.insert("HOME".to_owned(), "/root".to_owned());
        assert_eq!(environment(&seen), expected);
    });
}

#[test]
fn an_executor_begins_in_its_sandbox_as_whom_it_was_asked_to() {
    embedded(async |scene| {
        let line = "pwd; id -u; id -g; echo x > $MESOS_SANDBOX/written && cat written";
        let executor = |spec: ContainerSpec| spec.executor(executor()).user("1000:1000");
        let seen = scene.output(executor(in_image(scene, "a")).shell(line)).await;
        assert_eq!(seen, format!("{SANDBOX}\n1000\n1000\nx\n"));
        let seen = scene.output(executor(on_host("b")).shell(line)).await;
        assert_eq!(seen, format!("{}\n1000\n1000\nx\n", sandbox(scene, "b").display()));
        // A container of nobody's begins elsewhere, and everybody where he is told to.
        let seen = scene.output(in_image(scene, "c").shell("pwd")).await;
        assert_eq!(seen, "/\n");
        for spec in [executor(in_image(scene, "d")), in_image(scene, "e"), on_host("f")] {
            let seen = scene.output(spec.working_directory("/etc").shell("pwd")).await;
            assert_eq!(seen, "/etc\n");
        }
    });
}

#[test]
fn an_executor_in_an_image_finds_the_agents_socket() {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let socket = directory.path().join("agent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let set = |config: &mut Config| config.agent.domain_socket = Some(socket.clone());
    embedded_with(set, async |scene| {
        let line = "test -S $MESOS_DOMAIN_SOCKET && echo $MESOS_DOMAIN_SOCKET";
        for spec in [in_image(scene, "in-image"), on_host("on-host")] {
            let seen = scene.output(spec.executor(executor()).shell(line)).await;
            assert_eq!(seen.trim(), socket.to_str().expect("text"));
        }
        let line = format!("test ! -e {} && test -z $MESOS_DOMAIN_SOCKET", socket.display());
        let end = scene.run(in_image(scene, "nobodys").shell(line)).await;
        assert_eq!(code(&end), 0, "a container on its own is shown nothing");
    });
}

/// What a command executor does with its task's root file system: say what it got, change the root,
/// and run something there.
const COMMAND_EXECUTOR: &str = r#"#!/bin/sh
for word; do
    echo "argument $word"
    case $word in --rootfs=*) root=${word#--rootfs=};; esac
done
echo "cwd $(pwd)"
echo "uid $(id -u)"
env | grep -v '^_=\|^PWD=\|^SHLVL=\|^OLDPWD=' | sort | sed 's/^/env /'
test -n "$root" || exit 0
echo "host $(cat "$0.marker")"
echo "pid $(ls /proc | grep -c '^[0-9]')"
chroot "$root" /bin/sh -c '
    echo "task $(cat /etc/marker)"
    test -c /dev/null && test -r /proc/self/stat && echo "task complete"
    (: >> /proc/sys/kernel/domainname) 2>/dev/null || echo "task confined"
    cat /mnt/mesos/sandbox/fetched
    echo "of the task" > /mnt/mesos/sandbox/from-task
    echo "data $(cat /data/file)"
'
cat from-task
"#;

/// Installs the executor, and a marker beside it that only the host has.
fn install(world: &World) -> String {
    let path = world.path().join("command-executor");
    write(&path, COMMAND_EXECUTOR, 0o755);
    write(&path.with_extension("marker"), "of the host", 0o644);
    path.to_str().expect("text").to_owned()
}

/// The words after `what`, one for each line that begins with it.
fn said<'a>(output: &'a str, what: &str) -> Vec<&'a str> {
    let lines = output.lines().filter_map(|line| line.strip_prefix(what));
    lines.map(|rest| rest.trim_start()).collect()
}

#[test]
fn a_command_executor_works_on_the_host_and_its_task_in_the_image() {
    embedded_with(talkative, async |scene| {
        let program = install(&scene.world);
        write(&root_of(&scene.world).join("etc/marker"), "of the image", 0o644);
        let data = scene.world.path().join("data");
        std::fs::create_dir(&data).expect("ours");
        write(&data.join("file"), "of a volume", 0o644);
        write(&data.join("uri"), "fetched for the task\n", 0o644);
        let uri = Uri::new(data.join("uri").display().to_string()).packed().output_file("fetched");
        let mut command = CommandInfo::program(["/bin/true"]);
        command.environment.insert("OWN".to_owned(), "task".to_owned());
        command.user = Some("user".to_owned());
        command.uris.push(uri);
        let spec = in_image(scene, "a")
            .command([program.as_str(), "--own=1"])
            .env("OWN", "executor")
            .working_directory("/tmp")
            .volume(longshore::model::Volume::new(data, "/data").read_only())
            .command_task(executor(), task(command));
        let seen = scene.output(spec).await;
        let arguments = said(&seen, "argument");
        let rootfs = arguments.last().and_then(|word| word.strip_prefix("--rootfs="));
        let rootfs = Path::new(rootfs.expect("the last word"));
        assert!(rootfs.starts_with(scene.world.work_dir().join("provisioner/containers/a")));
        assert_eq!(
            arguments[..3],
            ["--own=1", "--sandbox_directory=/mnt/mesos/sandbox", "--user=user"]
        );
        assert_eq!(arguments[3], "--working_directory=/tmp");
        assert!(arguments[4].starts_with(r#"--bounding_capabilities={"capabilities":["CHOWN","#));
        assert!(arguments[5].starts_with(r#"--effective_capabilities={"capabilities":["CHOWN","#));
        assert_eq!(arguments.len(), 7, "{arguments:?}");

        assert_eq!(said(&seen, "cwd"), [sandbox(scene, "a").to_str().expect("text")]);
        assert_eq!(said(&seen, "uid"), ["0"], "it has a root to change");
        assert_eq!(said(&seen, "host"), ["of the host"]);
        let env = environment(&said(&seen, "env").join("\n"));
        assert_eq!(env["OWN"], "task");
        assert_eq!(env["MESOS_SANDBOX"], SANDBOX);
        assert_eq!(env["MESOS_EXECUTOR_ID"], "ex-1");
        assert_eq!(said(&seen, "task"), ["of the image", "complete", "confined"]);
        assert_eq!(said(&seen, "data"), ["of a volume"]);
        assert!(seen.ends_with("of the task\n"), "the sandbox is one on both sides: {seen}");
        assert!(seen.contains("fetched for the task\n"), "{seen}");
        let few: usize = said(&seen, "pid")[0].parse().expect("a number");
        assert!(few < 10, "the executor sees its own processes: {few}");
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn a_task_has_its_root_whatever_makes_it() {
    for backend in [Backend::Overlay, Backend::Copy, Backend::Bind] {
        let set = |config: &mut Config| config.image_provisioner_backend = Some(backend);
        embedded_with(set, async |scene| {
            let program = install(&scene.world);
            let root = root_of(&scene.world);
            write(&root.join("etc/marker"), "of the image", 0o644);
            // Where nothing can be made, it must be there.
            std::fs::create_dir_all(root.join(&SANDBOX[1..])).expect("ours");
            let command = CommandInfo::program(["x"]);
            let spec = in_image(scene, "a").command([program.as_str()]);
            let job = scene.node.launch(spec.command_task(executor(), task(command)));
            within(job.expect("valid").wait()).await.expect("it ran");
            let seen = scene.stdout("a");
            let complete = ["of the image", "complete", "confined"];
            assert_eq!(said(&seen, "task"), complete, "{backend} {seen}");
            assert!(seen.ends_with("of the task\n"), "{backend} {seen}");
            let marks = std::fs::read_dir(root.join(&SANDBOX[1..])).expect("readable").count();
            assert_eq!(marks, 0, "{backend}: what it wrote is in its sandbox");
            let id = ContainerId::new("a").expect("valid");
            scene.node.remove(&id).await.expect("it has ended");
        });
    }
}

#[test]
fn the_status_of_a_command_executor_shows_its_tasks_root_as_the_task_sees_it() {
    embedded(async |scene| {
        let command = CommandInfo::program(["x"]);
        let spec = in_image(scene, "a").command(["sh", "-c", "sleep 1000", "sh"]);
        let job = scene.node.launch(spec.command_task(executor(), task(command))).expect("valid");
        within(job.running()).await.expect("it runs");
        let rootfs = job.status().expect("known").rootfs.clone().expect("it has one");
        let passwd = std::fs::read_to_string(rootfs.join("etc/passwd")).expect("the image's");
        assert!(passwd.contains("user:x:1000"), "{passwd}");
        assert!(rootfs.join("proc/version").is_file(), "with what is mounted in it");
        within(job.destroy()).await.expect("destroyed");
        scene.node.remove(job.id()).await.expect("it has ended");
    });
}

#[test]
fn what_the_image_says_is_told_to_the_command_executor() {
    embedded(async |scene| {
        let program = install(&scene.world);
        let image = |id: &str| ContainerSpec::image(id, &Images::busybox()).expect("valid");
        let spec = |id: &str, command| {
            image(id).command([program.as_str()]).command_task(executor(), task(command))
        };
        let mut arguments = CommandInfo::default();
        arguments.arguments = vec!["-c".into(), "x".into()];
        for (id, command, told) in [
            (
                "cmd",
                CommandInfo::default(),
                Some(r#"--task_command={"arguments":["sh"],"shell":false,"value":"sh"}"#),
            ),
            (
                "arguments",
                arguments,
                Some(r#"--task_command={"arguments":["sh","-c","x"],"shell":false,"value":"sh"}"#),
            ),
            // Its own, which the executor has from whoever sent the task.
            ("own", CommandInfo::program(["/bin/true"]), None),
        ] {
            // The image has none of the files that the rest of the script reads.
            let end = scene.end(spec(id, command)).await;
            assert!(end.termination.is_some(), "{end:?}");
            let seen = scene.stdout(id);
            let arguments = said(&seen, "argument");
            let commands: Vec<_> =
                arguments.iter().filter(|word| word.starts_with("--task_command")).collect();
            assert_eq!(commands, told.iter().collect::<Vec<_>>(), "{id}");
            let variables = format!(
                r#"--task_environment={{"variables":[{{"name":"PATH","type":"VALUE","value":"{PATH}"}}]}}"#
            );
            assert!(arguments.contains(&variables.as_str()), "{arguments:?}");
            let id = ContainerId::new(id).expect("valid");
            scene.node.remove(&id).await.expect("it has ended");
        }
        // Nothing to run for the task is found out before anything is started.
        let mut nothing = CommandInfo::default();
        nothing.shell = true;
        let error = scene.node.launch(spec("nothing", nothing)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    });
}

#[test]
fn a_command_executor_without_an_image_is_told_nothing_it_does_not_need() {
    embedded(async |scene| {
        let program = install(&scene.world);
        let mut command = CommandInfo::default();
        command.user = Some("1234:56".to_owned());
        let spec = on_host("a").command([program.as_str(), "--own"]).user("root");
        let spec = spec.working_directory("/etc");
        let seen = scene.output(spec.command_task(executor(), task(command))).await;
        assert_eq!(said(&seen, "argument"), ["--own"]);
        assert_eq!(said(&seen, "uid"), ["1234"], "the task's user");
        let at = sandbox(scene, "a");
        let at = at.to_str().expect("text");
        assert_eq!(said(&seen, "cwd"), [at]);
        let env = environment(&said(&seen, "env").join("\n"));
        assert_eq!((env["MESOS_SANDBOX"].as_str(), env["MESOS_DIRECTORY"].as_str()), (at, at));
    });
}

#[test]
fn no_link_of_a_tasks_image_leads_to_the_host() {
    embedded(async |scene| {
        let program = install(&scene.world);
        let outside = scene.world.path().join("outside");
        std::fs::create_dir(&outside).expect("ours");
        let root = root_of(&scene.world);
        // The same path exists in the image: there the links lead, and nowhere else.
        let inside = root.join(outside.strip_prefix("/").expect("absolute"));
        std::fs::create_dir_all(&inside).expect("ours");
        std::fs::remove_dir(root.join("dev")).expect("ours");
        std::os::unix::fs::symlink(&outside, root.join("dev")).expect("a link");
        std::os::unix::fs::symlink(&outside, root.join("mnt")).expect("a link");
        let command = CommandInfo::program(["x"]);
        let spec = in_image(scene, "a").command([program.as_str()]);
        let end = scene.run(spec.command_task(executor(), task(command))).await;
        assert!(end.termination.is_some(), "it ran: {end:?}");
        let made = std::fs::read_dir(&outside).expect("readable").count();
        assert_eq!(made, 0, "nothing is made on the host");
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn a_task_whose_user_the_image_has_not_is_refused_before_its_executor_runs() {
    embedded(async |scene| {
        let program = install(&scene.world);
        let mut command = CommandInfo::program(["x"]);
        command.user = Some("nobody-here".into());
        let spec = in_image(scene, "a").command([program.as_str()]);
        let end = scene.run(spec.command_task(executor(), task(command))).await;
        let failure = end.failure.expect("it never ran");
        assert_eq!((failure.stage, failure.kind), (Stage::Fork, ErrorKind::InvalidRequest));
        assert!(failure.message.contains("nobody-here"), "{failure:?}");
        assert_eq!(scene.left(), [""; 0]);
    });
}

#[test]
fn a_container_of_another_type_is_unsupported_and_nothing_is_done() {
    embedded(async |scene| {
        let mut events = scene.node.subscribe(Since::Now);
        let wrong = || in_image(scene, "a").shell("exit 0").container_type(ContainerType::Docker);
        let error = scene.node.launch(wrong()).expect_err("refused");
        assert_eq!((error.kind(), error.stage()), (ErrorKind::Unsupported, Stage::Configure));
        assert_eq!(error.container_id().map(ToString::to_string).as_deref(), Some("a"));
        assert!(scene.node.containers().is_empty());
        assert_eq!(scene.left(), [""; 0]);
        // The id is as free as before; and once it is taken, that comes first.
        let job = scene.node.launch(in_image(scene, "a").shell("exit 4")).expect("free");
        let error = scene.node.launch(wrong()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(code(&within(job.wait()).await.expect("it ran")), 4);
        let error = scene.node.launch(wrong()).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Conflict, "not acknowledged");
        let first = loop {
            if let Notice::Event(event) = within(events.next()).await.expect("it lives") {
                break event;
            }
        };
        assert_eq!(first.kind, EventKind::Provisioning, "the refused one has no event");
        scene.node.remove(job.id()).await.expect("it has ended");
    });
}

/// Runs busybox with these flags.
fn run(world: &World, flags: &[&str]) -> Ended {
    finish(world.longshore("run").args(["--image", &Images::busybox()]).args(flags))
}

#[test]
fn a_run_gives_the_executors_variables_to_its_container_below_all_others() {
    require!(root, overlayfs);
    let world = World::new();
    let flag = "--executor-environment-variables";
    let json = r#"{"A": "agent", "B": "agent", "PATH": "/nowhere"}"#;
    let file = world.path().join("variables.json");
    write(&file, json, 0o644);
    let line = "echo $A $B; echo $PATH";
    for given in [json.to_owned(), file.display().to_string(), format!("file://{}", file.display())]
    {
        let ended = run(&world, &[flag, &given, "--env", "B=caller", "--command", line]);
        ended.assert_code(0);
        assert_eq!(ended.stdout, format!("agent caller\n{PATH}\n"), "the image has a PATH");
    }
    let mut by_environment = world.longshore("run");
    by_environment.env("LONGSHORE_EXECUTOR_ENVIRONMENT_VARIABLES", r#"{"A": "environment"}"#);
    let ended = finish(by_environment.args(["--command", "echo $A"]));
    assert_eq!(ended.stdout, "environment\n", "also without an image");
    world.assert_clean();
}
