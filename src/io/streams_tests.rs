use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::model::{CommandInfo, ContainerId, PullPolicy, Resources, Shape};

fn me() -> Owner {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Owner { uid: uid.as_raw(), gid: gid.as_raw() }
}

fn config(sandbox: &TempDir) -> ContainerConfig {
    ContainerConfig {
        container_id: ContainerId::new("c").expect("valid"),
        command: CommandInfo::default(),
        image: None,
        pull: PullPolicy::default(),
        working_directory: None,
        hostname: None,
        unmasked: false,
        resources: Resources::default(),
        rlimits: Vec::new(),
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        volumes: Vec::new(),
        stdin: Output::Null,
        stdout: Output::Sandbox,
        stderr: Output::Sandbox,
        stop_signal: None,
        timeout: None,
        shape: Shape::default(),
        agent_environment: Default::default(),
        labels: Default::default(),
        data: Vec::new(),
        sandbox: sandbox.path().to_owned(),
    }
}

fn sandbox() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn say(stream: OwnedFd, text: &str) {
    File::from(stream).write_all(text.as_bytes()).expect("written");
}

#[test]
fn output_goes_to_the_sandbox_and_is_appended() {
    let sandbox = sandbox();
    for text in ["one\n", "two\n"] {
        let streams = open_streams(&config(&sandbox), me()).expect("opened");
        say(streams.stdout, text);
        say(streams.stderr, "error\n");
    }
    let stdout = sandbox.path().join("stdout");
    assert_eq!(fs::read_to_string(&stdout).expect("there"), "one\ntwo\n");
    let stderr = fs::read_to_string(sandbox.path().join("stderr")).expect("there");
    assert_eq!(stderr, "error\nerror\n");
    let mode = fs::metadata(&stdout).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
}

#[test]
fn stdin_is_empty_unless_asked_otherwise() {
    let sandbox = sandbox();
    for input in [Output::Null, Output::Sandbox] {
        let config = ContainerConfig { stdin: input, ..config(&sandbox) };
        let mut text = String::new();
        let streams = open_streams(&config, me()).expect("opened");
        File::from(streams.stdin).read_to_string(&mut text).expect("read");
        assert_eq!(text, "");
    }
    let path = sandbox.path().join("input");
    fs::write(&path, "hello").expect("written");
    let config = ContainerConfig { stdin: Output::File(path), ..config(&sandbox) };
    let mut text = String::new();
    let streams = open_streams(&config, me()).expect("opened");
    File::from(streams.stdin).read_to_string(&mut text).expect("read");
    assert_eq!(text, "hello");
}

#[test]
fn what_was_planted_in_the_sandbox_is_refused() {
    let sandbox = sandbox();
    let victim = sandbox.path().join("victim");
    let stdout = sandbox.path().join("stdout");
    let plants: [&dyn Fn(); 4] = [
        &|| symlink(&victim, &stdout).expect("planted"),
        &|| fs::hard_link(&victim, &stdout).expect("planted"),
        &|| fs::create_dir(&stdout).expect("planted"),
        &|| nix::unistd::mkfifo(&stdout, nix::sys::stat::Mode::S_IRWXU).expect("planted"),
    ];
    for plant in plants {
        fs::write(&victim, "untouched").expect("written");
        plant();
        let error = open_streams(&config(&sandbox), me()).expect_err("refused");
        assert!(error.to_string().starts_with("open stdout of the container: "), "{error}");
        assert_eq!(fs::read_to_string(&victim).expect("there"), "untouched");
        fs::remove_file(&stdout).or_else(|_| fs::remove_dir(&stdout)).expect("removed");
    }
}

#[test]
fn a_link_in_the_sandbox_is_a_conflict_and_a_bad_file_is_the_callers() {
    let sandbox = sandbox();
    symlink("/etc/passwd", sandbox.path().join("stderr")).expect("planted");
    let error = open_streams(&config(&sandbox), me()).expect_err("refused");
    assert_eq!((error.kind(), error.errno().as_deref()), (ErrorKind::Conflict, Some("ELOOP")));
    let stdout = Output::File("/no/such/directory/file".into());
    let error = open_streams(&ContainerConfig { stdout, ..config(&sandbox) }, me());
    assert_eq!(error.expect_err("refused").kind(), ErrorKind::InvalidRequest);
}

#[test]
fn a_named_file_is_appended_to_and_null_swallows() {
    let sandbox = sandbox();
    let path = sandbox.path().join("log");
    fs::write(&path, "before\n").expect("written");
    let config = ContainerConfig {
        stdout: Output::File(path.clone()),
        stderr: Output::Null,
        ..config(&sandbox)
    };
    let streams = open_streams(&config, me()).expect("opened");
    say(streams.stdout, "after\n");
    say(streams.stderr, "nowhere\n");
    assert_eq!(fs::read_to_string(path).expect("there"), "before\nafter\n");
    let names = fs::read_dir(sandbox.path()).expect("listed").count();
    assert_eq!(names, 1, "no stream made a file that nobody asked for");
}

#[test]
fn inherited_streams_are_those_of_this_process() {
    let sandbox = sandbox();
    let config = ContainerConfig {
        stdin: Output::Inherit,
        stdout: Output::Inherit,
        stderr: Output::Inherit,
        ..config(&sandbox)
    };
    let streams = open_streams(&config, me()).expect("opened");
    let inode = |fd: std::os::fd::BorrowedFd<'_>| {
        let file = File::from(fd.try_clone_to_owned().expect("duplicated"));
        let stat = file.metadata().expect("stat");
        (stat.dev(), stat.ino())
    };
    assert_eq!(inode(streams.stdin.as_fd()), inode(std::io::stdin().as_fd()));
    assert_eq!(inode(streams.stdout.as_fd()), inode(std::io::stdout().as_fd()));
    assert_eq!(inode(streams.stderr.as_fd()), inode(std::io::stderr().as_fd()));
}

#[test]
fn every_stream_is_close_on_exec_and_blocking() {
    let sandbox = sandbox();
    let file = Output::File(sandbox.path().join("log"));
    for stdout in [Output::Null, Output::Sandbox, file, Output::Inherit] {
        let config = ContainerConfig { stdout, ..config(&sandbox) };
        let streams = open_streams(&config, me()).expect("opened");
        for stream in [&streams.stdin, &streams.stdout, &streams.stderr] {
            let flags = rustix::io::fcntl_getfd(stream).expect("flags");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        let status = rustix::fs::fcntl_getfl(&streams.stderr).expect("flags");
        assert!(!status.contains(rustix::fs::OFlags::NONBLOCK));
    }
}

#[cfg(feature = "root-tests")]
#[test]
fn files_in_the_sandbox_belong_to_the_containers_user() {
    let sandbox = sandbox();
    let owner = Owner { uid: 12_345, gid: 54_321 };
    for _ in 0..2 {
        open_streams(&config(&sandbox), owner).expect("opened");
        for name in ["stdout", "stderr"] {
            let stat = fs::metadata(sandbox.path().join(name)).expect("there");
            assert_eq!((stat.uid(), stat.gid()), (12_345, 54_321));
        }
    }
}

#[test]
fn a_descriptor_is_handed_on_once_and_nothing_of_it_is_kept() {
    let sandbox = sandbox();
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let stdout = Output::fd(writer);
    let config = ContainerConfig { stderr: stdout.clone(), stdout, ..config(&sandbox) };
    let streams = open_streams(&config, me()).expect("opened");
    say(streams.stdout, "out\n");
    say(streams.stderr, "err\n");
    let mut text = String::new();
    // Ends, though the configuration is still there.
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "out\nerr\n");
    let error = open_streams(&config, me()).expect_err("taken");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    assert_eq!(error.to_string(), "the descriptor for stdout was given to another launch");
}
