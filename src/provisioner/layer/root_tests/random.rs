//! Random layers against the independent model of the layer rules (`tests/support/images`).

use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::harness::{Image, Tar};

/// One step of a layer. Few names, so that they meet.
#[derive(Debug, Clone)]
enum Step {
    Directory(String, u32),
    File(String, String),
    Symlink(String),
    Whiteout(String),
    Opaque(String),
    /// A new file and a second name beside it.
    Linked(String),
}

fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4)
        .prop_map(|names| names.join("/"))
}

fn step() -> impl Strategy<Value = Step> {
    let mode = prop::sample::select(vec![0o755, 0o700, 0o1777, 0o2755]);
    prop_oneof![
        3 => (path(), mode).prop_map(|(path, mode)| Step::Directory(path, mode)),
        4 => (path(), "[a-z]{0,3}").prop_map(|(path, data)| Step::File(path, data)),
        1 => path().prop_map(Step::Symlink),
        2 => path().prop_map(Step::Whiteout),
        1 => path().prop_map(Step::Opaque),
        1 => path().prop_map(Step::Linked),
    ]
}

fn tar(steps: &[Step], layer: usize) -> Vec<u8> {
    let mut tar = Tar::default();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Directory(path, mode) => tar.dir(path, *mode),
            Step::File(path, data) => tar.file(path, data),
            // Never a parent: the model takes names lexically.
            Step::Symlink(path) => tar.symlink(&format!("{path}-link"), "a/b"),
            Step::Whiteout(path) => {
                let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
                tar.file(&format!("{parent}/.wh.{name}"), "")
            }
            Step::Opaque(path) => tar.file(&format!("{path}/.wh..wh..opq"), ""),
            Step::Linked(path) => {
                let name = format!("{path}-{layer}-{n}");
                tar.file(&name, "linked").hardlink(&format!("{name}-too"), &name)
            }
        };
    }
    tar.finished()
}

fn imgtool(arguments: &[&Path]) -> String {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/images/imgtool.py");
    let output = Command::new("python3").arg(tool).args(arguments).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("names are escaped")
}

fn expected(tars: &[Vec<u8>]) -> String {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut files = Vec::new();
    for (n, tar) in tars.iter().enumerate() {
        let path = directory.path().join(format!("{n}.tar"));
        std::fs::write(&path, tar).expect("written");
        files.push(path);
    }
    let mut arguments = vec![Path::new("flatten")];
    arguments.extend(files.iter().map(|file| file.as_path()));
    imgtool(&arguments)
}

/// The model forgets a directory that a whiteout hid after the layer had made it without naming it.
fn is_a_tree(listing: &str) -> bool {
    let directories: Vec<&str> =
        listing.lines().filter_map(|line| line.split_once(" d ").map(|(path, _)| path)).collect();
    listing.lines().all(|line| {
        let path = line.split(' ').next().unwrap_or_default();
        path.rsplit_once('/').is_none_or(|(parent, _)| directories.contains(&parent))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_layers_give_the_tree_of_the_model_by_every_backend(
        layers in proptest::collection::vec(proptest::collection::vec(step(), 1..9), 1..5)
    ) {
        check(&layers)?;
    }
}

/// Every backend gives the tree of the model.
fn check(layers: &[Vec<Step>]) -> Result<(), TestCaseError> {
    let tars: Vec<Vec<u8>> = layers.iter().enumerate().map(|(n, l)| tar(l, n)).collect();
    let expected = expected(&tars);
    prop_assume!(is_a_tree(&expected));
    let image = Image::try_of_layers(&tars).expect("unpacks");
    let scan = |root: &Path| imgtool(&[Path::new("scan"), root]);
    prop_assert_eq!(&image.scan("copy", scan), &expected, "copy");
    // The scan is another process: the mount gets a name of this one.
    let scan = |root: &Path| {
        let name = root.strip_prefix("/proc/self").expect("a descriptor");
        scan(&Path::new("/proc").join(std::process::id().to_string()).join(name))
    };
    prop_assert_eq!(&image.scan("overlay", scan), &expected, "overlay");
    Ok(())
}

#[test]
fn a_whiteout_in_an_opaque_directory_leaves_no_name() {
    let below = vec![Step::File("a/c".to_owned(), String::new())];
    let above = vec![Step::Whiteout("a/c".to_owned()), Step::Opaque("a".to_owned())];
    check(&[below, above]).expect("the same tree");
}

#[test]
fn a_whiteout_where_a_file_has_hidden_the_directory_before_leaves_no_name() {
    let below = vec![Step::Linked("a/c/a".to_owned())];
    let file = |path: &str| Step::File(path.to_owned(), String::new());
    for above in [
        vec![file("a"), Step::Whiteout("a/c".to_owned()), file("a/a")],
        vec![Step::Whiteout("a".to_owned()), Step::Whiteout("a/c".to_owned()), file("a/a")],
        vec![file("a"), file("a/a"), Step::Whiteout("a/c".to_owned())],
        vec![Step::Whiteout("a/c/a-0-0".to_owned()), Step::Whiteout("a/c".to_owned()), file("b")],
        vec![
            Step::Symlink("a".to_owned()),
            file("a"),
            Step::Whiteout("a/c/a".to_owned()),
            file("a/a"),
        ],
    ] {
        check(&[below.clone(), above]).expect("the same tree");
    }
}
