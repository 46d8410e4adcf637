//! What the tests of several isolators share, and tests of the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{DEFAULT_FOR_IMAGES, DEFAULT_WITHOUT_IMAGE, Host, TABLE};
use crate::linux::cgroups::Cgroups;
use crate::model::{
    CommandInfo, ContainerConfig, ContainerId, ImageConfig, LaunchContext, Output, Provisioned,
    PullPolicy, Resources, Rootfs, Shape,
};
use crate::paths::Paths;

/// A configuration that asks for nothing.
pub(super) fn config(image: Option<&str>) -> ContainerConfig {
    ContainerConfig {
        container_id: ContainerId::new("a").expect("valid"),
        command: CommandInfo::default(),
        image: image.map(|text| text.parse().expect("valid")),
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
        agent_environment: BTreeMap::new(),
        labels: BTreeMap::new(),
        data: Vec::new(),
        sandbox: PathBuf::from("/sandbox"),
    }
}

/// An image in this directory.
pub(super) fn provisioned(rootfs: &str) -> Provisioned {
    Provisioned {
        reference: "test".to_owned(),
        digest: None,
        config: ImageConfig::default(),
        rootfs: Rootfs::Directory(rootfs.into()),
        backend: "copy",
        ephemeral: Vec::new(),
        read_only: false,
    }
}

pub(super) fn context(config: ContainerConfig, image: Option<Provisioned>) -> LaunchContext {
    LaunchContext {
        config: Arc::new(config),
        provisioned: image.map(Arc::new),
        runtime_directory: PathBuf::from("/run/longshore/containers/a"),
    }
}

/// This host, with a cgroup root that nobody makes.
pub(super) fn host(isolation: &[&str]) -> Host {
    let private = Path::new("/nowhere");
    Host {
        paths: Paths::new("/work", "/run/longshore"),
        cgroups: Arc::new(Cgroups::detect("longshore-test", private).expect("mountinfo is read")),
        isolation: isolation.iter().map(|name| (*name).to_owned()).collect(),
        sandbox_directory: PathBuf::from("/mnt/mesos/sandbox"),
    }
}

#[test]
fn every_name_of_the_defaults_is_in_the_table_once() {
    for name in DEFAULT_FOR_IMAGES.iter().chain(DEFAULT_WITHOUT_IMAGE) {
        assert_eq!(TABLE.iter().filter(|entry| entry.name == *name).count(), 1, "{name}");
    }
}

#[test]
fn isolators_are_made_in_table_order() {
    let host = host(&["linux/nnp", "posix/rlimits", "filesystem/posix"]);
    let isolators = super::create(&host, &[], crate::limits::ISOLATOR_CREATE).expect("made");
    let names: Vec<&str> = isolators.iter().map(|made| made.isolator.name()).collect();
    assert_eq!(names, ["filesystem/posix", "posix/rlimits", "linux/nnp"]);
    assert!(!isolators[0].isolator.nesting() && isolators[1].isolator.nesting());
}

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory of this project");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn every_feature_that_an_error_names_has_its_row() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = std::fs::read_to_string(project.join("docs/kernel-features.md")).expect("readable");
    let mut named = 0;
    for file in files(&project.join("src")) {
        let text = std::fs::read_to_string(&file).expect("source is text");
        let features = text.lines().filter_map(|line| line.trim().strip_prefix("feature: \""));
        for feature in features.filter_map(|rest| rest.split('"').next()) {
            named += 1;
            let row = format!("\n| {feature} |");
            assert!(rows.contains(&row), "{}: no row {feature:?}", file.display());
        }
    }
    assert!(named >= 5, "the isolators alone name five, found {named}");
}
