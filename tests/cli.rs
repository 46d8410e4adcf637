//! The command line as any user meets it: help, usage errors, exit codes, the store without root.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The program, with nothing of our environment that it would read.
fn longshore() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    let ours =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGSHORE"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command
}

fn output(arguments: &[&str]) -> Output {
    longshore().args(arguments).output().expect("the program can be started")
}

/// Fails unless the program ended with `code`; stdout and stderr.
#[track_caller]
fn ended(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it writes UTF-8");
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    (stdout, stderr)
}

/// Fails unless the arguments are refused with 125, nothing on stdout, and one line with `words`.
#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    let (stdout, stderr) = ended(&output(arguments), 125);
    assert_eq!(stdout, "", "{arguments:?}");
    assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("longshore: configure: "), "{arguments:?}: {stderr}");
    for word in words {
        assert!(stderr.contains(word), "{arguments:?}: no {word:?} in {stderr}");
    }
}

#[test]
fn bad_usage_is_125_and_one_line_that_says_what_is_wrong() {
    refused(&[], &["--help"]);
    refused(&["no-such-command"], &["no-such-command"]);
    refused(&["run", "--no-such-flag"], &["--no-such-flag", "longshore run --help"]);
    refused(&["run"], &["nothing to run"]);
    refused(&["run", "--image", ""], &["names nothing"]);
    refused(&["run", "--image", "a", "--docker-image", "b"], &["--docker-image"]);
    refused(&["run", "--image", "a", "--memory", "1T"], &["--memory", "1T"]);
    refused(&["run", "--image", "a", "--memory", "1M"], &["memory", "4194304"]);
    refused(&["run", "--image", "a", "--cpus", "0"], &["--cpus"]);
    refused(&["run", "--image", "a", "--pids", "0"], &["pids"]);
    refused(&["run", "--image", "a", "--name", "a/b"], &["a/b"]);
    refused(&["run", "--image", "a", "--env", "x"], &["NAME=VALUE"]);
    refused(&["run", "--image", "a", "--stop-signal", "SIGNONE"], &["SIGNONE"]);
    refused(&["run", "--image", "a", "--timeout", "soon"], &["--timeout"]);
    refused(&["run", "--image", "a", "--volume", "a:/b"], &["not absolute"]);
    refused(&["run", "--image", "a", "--workdir", "b"], &["not absolute"]);
    refused(&["provision", "a"], &["<DIR>", "longshore provision --help"]);
    refused(&["completions", "no-such-shell"], &["no-such-shell"]);
}

#[test]
fn words_that_contradict_each_other_are_refused() {
    refused(&["run", "--image", "a", "--shell", "true"], &["--command"]);
    refused(&["run", "--image", "a", "--command", "b", "--", "c"], &["--shell false"]);
    refused(&["run", "--image", "a", "--command", "b", "--entrypoint", "c"], &["--entrypoint"]);
    let isolated = |isolation| ["run", "--image", "a", "--isolation", isolation];
    refused(&isolated("namespaces/pid"), &["filesystem/linux"]);
    refused(&isolated("no/such"), &["no/such"]);
    refused(&isolated("cgroups/mem,cgroups/mem"), &["twice"]);
    refused(&isolated("posix/cpu"), &["image provider docker"]);
    refused(
        &["run", "--image-providers", "docker", "--isolation", "filesystem/linux", "--image", "a"],
        &["docker/runtime"],
    );
    refused(&["run", "--image", "a", "--launcher", "chroot"], &["linux"]);
    refused(&["run", "--image", "a", "--rootfs-mount", "shared"], &["private, host"]);
    refused(&["images", "--docker-registry", "ftp://x"], &["ftp://x"]);
    refused(&["images", "--cgroups-root", "a/b"], &["a/b"]);
}

#[test]
fn commands_and_flags_that_have_not_come_are_neither_shown_nor_accepted() {
    let (help, _) = ended(&output(&["--help"]), 0);
    let (run, _) = ended(&output(&["run", "--help"]), 0);
    for command in ["agent", "execute", "ps", "inspect", "exec", "attach", "isolators"] {
        refused(&[command], &[command]);
        assert!(!help.lines().any(|line| line.trim().starts_with(command)), "{command}");
    }
    for flag in ["--tty", "--interactive", "--network", "--dry-run", "--appc-image"] {
        refused(&["run", flag], &[flag]);
        assert!(!run.contains(flag), "{flag}");
    }
}

#[test]
fn help_teaches_and_is_no_error() {
    let (help, stderr) = ended(&output(&["--help"]), 0);
    assert_eq!(stderr, "");
    for word in ["run", "pull", "images", "prune", "provision", "backends", "Examples:"] {
        assert!(help.contains(word), "{word}");
    }
    let (help, _) = ended(&output(&["run", "--help"]), 0);
    for word in ["What is executed:", "Exit code:", "Examples:", "--json-events", "--cap-drop"] {
        assert!(help.contains(word), "{word}");
    }
    let (version, _) = ended(&output(&["--version"]), 0);
    assert_eq!(version, format!("longshore {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn each_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (script, _) = ended(&output(&["completions", shell]), 0);
        assert!(script.contains("longshore") && script.contains("json-events"), "{shell}");
        assert!(!script.contains("json_events"), "the other spelling is not offered");
    }
}

/// Directories for a store of one test.
fn world() -> TempDir {
    tempfile::tempdir().expect("the directory for temporary files can be written")
}

/// A command on the store of `world`.
fn on(world: &Path, command: &str, more: &[&str]) -> Output {
    let mut longshore = longshore();
    longshore.arg(command).arg("--work-dir").arg(world.join("w"));
    longshore.arg("--runtime-dir").arg(world.join("r")).args(more);
    longshore.output().expect("the program can be started")
}

#[test]
fn an_empty_store_is_listed_and_pruned() {
    let world = world();
    let (table, _) = ended(&on(world.path(), "images", &[]), 0);
    assert!(table.starts_with("REFERENCE") && table.lines().count() == 1, "{table}");
    let (json, _) = ended(&on(world.path(), "images", &["--format", "json"]), 0);
    assert_eq!(json, "[]\n");
    let (line, _) = ended(&on(world.path(), "prune", &["--keep", "alpine"]), 0);
    assert!(line.starts_with("removed 0 images"), "{line}");
}

#[test]
fn an_image_that_is_not_there_is_4() {
    let world = world();
    let missing = format!("oci:{}", world.path().join("nowhere").display());
    let (stdout, stderr) = ended(&on(world.path(), "pull", &[&missing]), 4);
    assert_eq!(stdout, "");
    assert!(
        stderr.starts_with("longshore: provision: ") && stderr.lines().count() == 1,
        "{stderr}"
    );
    assert!(stderr.contains("nowhere"), "{stderr}");
}

#[test]
fn every_backend_is_listed_with_what_it_can_do_here() {
    let world = world();
    let (json, _) = ended(&on(world.path(), "backends", &["--format", "json"]), 0);
    let rows: Vec<Value> = serde_json::from_str(&json).expect("an array");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["overlay", "copy", "bind"]);
    for row in rows {
        let supported = row["supported"].as_bool().expect("a truth");
        assert_eq!(row.get("reason").is_none(), supported, "{row}");
    }
    let (table, _) = ended(&on(world.path(), "backends", &[]), 0);
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn settings_come_from_flag_environment_and_file_in_this_order() {
    let world = world();
    let file = world.path().join("longshore.toml");
    std::fs::write(&file, "rootfs_mount = 'from-file'\n").expect("our own directory");
    let refused_value = |flag: Option<&str>, variable: Option<&str>| {
        let mut command = longshore();
        command.arg("images").arg("--config").arg(&file);
        command.args(flag.map(|value| format!("--rootfs_mount={value}")));
        command.envs(variable.map(|value| ("LONGSHORE_ROOTFS_MOUNT", value)));
        ended(&command.output().expect("the program can be started"), 125).1
    };
    let line = refused_value(Some("from-flag"), Some("from-environment"));
    assert!(line.contains("from-flag"), "{line}");
    let line = refused_value(None, Some("from-environment"));
    assert!(line.contains("from-environment"), "{line}");
    let line = refused_value(None, None);
    assert!(line.contains("from-file"), "{line}");
}

#[test]
fn a_file_of_settings_that_cannot_be_read_is_named() {
    let world = world();
    let file = world.path().join("longshore.toml");
    let path = file.to_str().expect("ASCII");
    refused(&["images", "--config", path], &["longshore.toml"]);
    std::fs::write(&file, "work-dri = '/x'\n").expect("our own directory");
    refused(&["images", "--config", path], &["longshore.toml", "work-dri"]);
}
