//! What cannot be done is refused in one line, with 125, and leaves nothing.

use std::fs;

use crate::support::images::Images;
use crate::support::registry::{Access, PASSWORD, USER};
use crate::support::{Ended, Registry, World, finish};

/// Runs an image that cannot be run; returns the one line.
#[track_caller]
fn refused(ended: &Ended, words: &[&str]) {
    ended.assert_code(125);
    assert_eq!(ended.stdout, "");
    let line = ended.one_error_line();
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
}

fn run_image(world: &World, image: &str) -> Ended {
    finish(world.longshore("run").args(["--image", image, "--command", "true"]))
}

#[test]
fn a_registry_that_wants_a_password() {
    require!(root, overlayfs);
    let world = World::new();
    let registry = Registry::start_with(Access::Basic);
    registry.push(&Images::with(&["busybox"]), &["library/busybox:latest"]);
    let image = registry.reference("library/busybox");
    refused(&run_image(&world, &image), &["library/busybox"]);

    // Credentials as docker(1) keeps them.
    let config = world.path().join("docker");
    fs::create_dir(&config).expect("our own directory");
    let word = base64(&format!("{USER}:{PASSWORD}"));
    let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{word}\"}}}}}}", registry.address());
    fs::write(config.join("config.json"), text).expect("our own directory");
    let mut run = world.longshore("run");
    run.args(["--image", &image, "--command", "echo let in"]).env("DOCKER_CONFIG", &config);
    let ended = finish(&mut run);
    ended.assert_code(0);
    assert_eq!(ended.stdout, "let in\n");
    world.assert_clean();
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn what_no_host_could_give_is_refused_before_anything_is_made() {
    require!(root);
    let world = World::new();
    let image = Images::busybox();
    let digest = format!("{image}@sha256:{}", "a".repeat(64));
    let cases: &[(&[&str], &str)] = &[
        (&["--image", &image, "--cpus", "1e300"], "cpus must be more than 0 and at most"),
        (&["--image", &image, "--pids", "99999999999"], "pids must be at most 4194303"),
        (&["--image", &image, "--cap-add", "FOO"], "there is no capability"),
        (&["--image", "UPPER/Case"], "upper-case"),
        (&["--image", "a@sha256:zz"], "digest"),
        (&["--image", "appc:x"], "appc images are not supported"),
        (&["--image", &digest], "not a digest"),
    ];
    for (arguments, words) in cases {
        let mut run = world.longshore("run");
        let ended = finish(run.args(*arguments).args(["--command", "true"]));
        ended.assert_code(125);
        let said = ended.stderr.lines().find(|line| line.contains(words));
        assert!(said.is_some(), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("provision"), "{arguments:?}: {}", ended.stderr);
    }
    world.assert_clean();
}

#[test]
fn a_store_that_is_not_there_is_empty_and_is_not_made() {
    require!(root);
    let world = World::new();
    let nowhere = world.path().join("nope/x");
    let run = |words: &[&str]| {
        let ended = finish(world.program().args(words).arg("--work-dir").arg(&nowhere));
        ended.assert_code(0);
        ended.stdout
    };
    assert_eq!(run(&["images", "--format", "json"]), "[]\n");
    assert_eq!(run(&["images"]).lines().count(), 1, "the header");
    assert!(run(&["prune"]).starts_with("removed 0 images, 0 layers"));
    assert!(!fs::exists(world.path().join("nope")).expect("looked"));
    world.assert_clean();
}

#[test]
fn an_image_whose_users_cannot_be_read_runs_as_root_or_a_number() {
    require!(root, overlayfs);
    let world = World::new();
    crate::embedded::furnish(&world);
    let image = crate::embedded::image(&world);
    let etc = crate::embedded::root_of(&world).join("etc");
    let run = |user: &str| {
        let mut run = world.longshore("run");
        finish(run.args([
            "--image",
            &image,
            "--user",
            user,
            "--command",
            "grep ^Uid /proc/self/status",
        ]))
    };
    for kind in ["a FIFO", "a directory", "nothing"] {
        let passwd = etc.join("passwd");
        match kind {
            "a FIFO" => {
                fs::remove_file(&passwd).expect("it is there");
                let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
                rustix::fs::mknodat(rustix::fs::CWD, &passwd, fifo, mode, 0).expect("made");
            }
            "a directory" => {
                fs::remove_file(&passwd).expect("it is there");
                fs::create_dir(&passwd).expect("made");
            }
            _ => fs::remove_dir(&passwd).expect("it is there"),
        }
        for (user, uid) in [("root", "Uid:\t0\t"), ("1234", "Uid:\t1234\t")] {
            let ended = run(user);
            ended.assert_code(0);
            assert!(ended.stdout.starts_with(uid), "{kind}: {}", ended.stdout);
        }
        refused(&run("user"), &["user \"user\" cannot be looked up: /etc/passwd"]);
    }
    world.assert_clean();
}

#[test]
fn contradictions_and_unknown_words_on_the_command_line() {
    require!(root);
    let world = World::new();
    let image = Images::busybox();
    let cases: &[&[&str]] = &[
        &["--no-such-flag"],
        &["--image", &image, "--shell", "true"],
        &["--image", &image, "--command", "true", "--shell", "false", "--memory", "1M"],
        &["--image", &image, "--command", "true", "--", "more"],
        &["--image", &image, "--command", "true", "--name", "no/slash"],
        &["--image", &image, "--command", "true", "--user", "nobody-knows"],
        &["--image", &image, "--command", "true", "--workdir", "/no/such/directory"],
        &["--image", &image, "--command", "true", "--image-provisioner-backend", "nonsense"],
        &["--image-providers", "docker", "--isolation", "filesystem/linux", "--image", &image],
    ];
    for arguments in cases {
        let ended = finish(world.longshore("run").args(*arguments));
        assert_eq!(ended.code(), 125, "{arguments:?}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(!ended.stderr.is_empty(), "{arguments:?} are refused without a word");
    }
    world.assert_clean();
}
