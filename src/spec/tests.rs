use std::path::Path;

use super::*;
use crate::limits;
use crate::model::RlimitKind;

fn spec() -> ContainerSpec {
    ContainerSpec::image("a", "alpine").expect("valid")
}

fn image(reference: &str) -> ContainerSpec {
    ContainerSpec::image("a", reference).expect("only the launch looks closer")
}

fn host() -> ContainerSpec {
    ContainerSpec::host("a").expect("valid")
}

fn rlimit(soft: Option<u64>, hard: Option<u64>) -> Rlimit {
    Rlimit { kind: RlimitKind::Nofile, soft, hard }
}

fn volume(source: &str, target: &str) -> Volume {
    Volume { source: source.into(), target: target.into(), read_only: false }
}

fn uri(value: &str, output_file: Option<&str>) -> Uri {
    let output_file = output_file.map(str::to_owned);
    Uri { value: value.to_owned(), executable: false, extract: false, output_file }
}

#[test]
fn a_command_is_the_whole_argv() {
    let config = spec().command(["make", "test"]).into_config("/s".into()).expect("valid");
    assert_eq!(config.command.value.as_deref(), Some("make"));
    assert_eq!(config.command.arguments, ["make", "test"]);
    assert_eq!(config.sandbox, Path::new("/s"));
}

#[test]
fn the_largest_numbers_and_every_spelling_of_a_capability_are_taken() {
    let spec = spec().cpus(limits::CPUS_MAX).pids(limits::PIDS_MAX);
    let spec = spec.capability_add("net_admin").capability_add("CAP_KILL").capability_drop("all");
    assert_eq!(spec.validate(), Ok(()));
}

#[test]
fn a_reference_that_no_store_can_have_is_refused_with_its_reason() {
    let refused = |text: &str| ContainerSpec::image("a", text).expect_err("refused").to_string();
    assert!(refused("appc:x").contains("appc images are not supported"));
    assert!(refused("").contains("names nothing"));
}

#[test]
fn what_no_launch_could_honour_is_refused() {
    let refused = [
        (host(), "nothing to run"),
        (host().arguments(["x"]), "nothing to run"),
        (spec().command([""]), "command is empty"),
        (spec().command(["a\0b"]), "NUL"),
        (spec().command(["a", "b\0"]), "NUL"),
        (spec().entrypoint(["b\0"]), "NUL"),
        (spec().env("", "x"), "is not a name"),
        (spec().env("A=B", "x"), "is not a name"),
        (spec().env("A", "x\0"), "NUL"),
        (spec().user(""), "user is empty"),
        (spec().cpus(0.0), "cpus"),
        (spec().cpus(f64::NAN), "cpus"),
        (spec().cpus(f64::INFINITY), "cpus"),
        (spec().memory(Bytes(limits::MEMORY_LIMIT_MIN - 1)), "memory"),
        (spec().cpus(1e300), "at most 100000000, not 1e300"),
        (spec().pids(0), "pids"),
        (spec().pids(99_999_999_999), "pids must be at most 4194303, not 99999999999"),
        (spec().pids(limits::PIDS_MAX + 1), "pids must be at most 4194303, not 4194304"),
        (spec().capability_add("FOO"), "no capability \"FOO\""),
        (spec().capability_drop("CAP_"), "no capability \"CAP_\""),
        (image("UPPER/Case"), "\"UPPER/Case\": the repository has upper-case letters"),
        (image("a@sha256:zz"), "\"a@sha256:zz\": the digest is neither"),
        (spec().rlimit(rlimit(None, Some(1))), "soft limit above"),
        (spec().rlimit(rlimit(Some(1), None)).rlimit(rlimit(Some(1), None)), "twice"),
        (spec().volume(volume("x", "/y")), "not absolute"),
        (spec().volume(volume("/x", "")), "empty"),
        (spec().volume(volume("/x", "/../y")), "'..'"),
        (spec().working_directory("x"), "not absolute"),
        (spec().hostname(""), "hostname"),
        (spec().hostname("a b"), "hostname"),
        (spec().hostname("a\0"), "hostname"),
        (spec().hostname("-a"), "hostname"),
        (spec().hostname("a..b"), "hostname"),
        (spec().hostname("a."), "hostname"),
        (spec().hostname("ä"), "hostname"),
        (spec().hostname("a".repeat(65)), "hostname"),
        (spec().stdout(Output::File("x".into())), "not absolute"),
        (spec().stop_signal(0), "signal 0"),
        (spec().stop_signal(65), "signal 65"),
        (spec().timeout(Duration::ZERO), "timeout"),
        (spec().uri(uri("", None)), "uri is empty"),
        (spec().uri(uri("/x", Some("../y"))), "'..'"),
        (spec().uri(uri("/x", Some("/y"))), "/y"),
        (spec().data(vec![0; limits::CALLER_DATA_MAX + 1]), "data have"),
        (spec().label("x", "y".repeat(limits::LABELS_BYTES_MAX)), "labels have"),
    ];
    for (spec, word) in refused {
        let error = spec.validate().expect_err(word);
        assert!(error.to_string().contains(word), "{error} does not tell {word:?}");
    }
}

#[test]
fn what_is_at_the_limit_is_accepted() {
    let spec = spec()
        .memory(Bytes(limits::MEMORY_LIMIT_MIN))
        .data(vec![0; limits::CALLER_DATA_MAX])
        .label("", "y".repeat(limits::LABELS_BYTES_MAX))
        .rlimit(rlimit(Some(1), None))
        .volume(volume("/x", "relative/to/sandbox"))
        .uri(uri("/x", Some("deep/name")))
        .stop_signal(64)
        .hostname(format!("web-1.job_7.{}", "x".repeat(52)))
        .pids(1)
        .cpus(0.01);
    assert_eq!(spec.validate(), Ok(()));
}

#[test]
fn a_shell_without_a_line_is_refused() {
    let command = CommandInfo { shell: true, ..CommandInfo::default() };
    assert_eq!(spec().command_info(command).validate(), Err(InvalidSpec::NoShellLine));
}

#[test]
fn what_no_isolator_gives_is_refused() {
    let posix = ["posix/cpu".to_owned(), "posix/mem".to_owned()];
    let run = || host().command(["true"]);
    let refused = [
        (run().cpus(1.0), "cgroups/cpu"),
        (run().memory(Bytes::mib(8)), "cgroups/mem"),
        (run().pids(1), "cgroups/pids"),
        (run().rlimit(rlimit(None, None)), "posix/rlimits"),
        (run().capability_drop("ALL"), "linux/capabilities"),
        (run().volume(volume("/x", "/y")), "filesystem/linux"),
        (run().hostname("box"), "filesystem/linux"),
        (spec(), "filesystem/linux"),
    ];
    for (spec, isolator) in refused {
        let error = require_isolators(&spec.config, &posix).expect_err(isolator);
        assert!(error.to_string().contains(isolator), "{error}");
        assert_eq!(require_isolators(&spec.config, &[isolator.to_owned()]), Ok(()));
    }
    assert_eq!(require_isolators(&run().config, &posix), Ok(()));
}
