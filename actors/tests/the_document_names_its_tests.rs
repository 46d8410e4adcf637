//! Every test that `docs/runtime.md` names exists, and every guarantee names one.

use std::path::{Path, PathBuf};

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file of a group of tests, which stands in one of the folders.
fn file_of(tests: &Path, name: &str) -> PathBuf {
    let folders = ["guarantees", "simulations"];
    let files = folders.map(|folder| tests.join(folder).join(name).with_extension("rs"));
    let there = files.iter().find(|file| std::fs::metadata(file).is_ok());
    there.unwrap_or(&files[0]).clone()
}

#[test]
fn every_named_test_exists() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let document = read(&tests.join("../../docs/runtime.md"));
    let mut named = 0;
    for name in document.split('`').skip(1).step_by(2) {
        if let Some((file, test)) = name.split_once("::") {
            if !file.contains(char::is_uppercase) && test != "test" {
                let source = read(&file_of(&tests, file));
                assert!(source.contains(&format!("fn {test}(")), "no such test: {name}");
                named += 1;
            }
        } else if name.ends_with(".rs") {
            assert!(read(&tests.join(name)).contains("#[test]"), "no test in {name}");
            named += 1;
        }
    }
    assert!(named >= 30, "only {named}");
}

#[test]
fn every_guarantee_names_a_test() {
    let document = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/runtime.md"));
    let mut numbers = std::collections::BTreeSet::new();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        let number = line.split_once(". ").and_then(|(number, _)| number.parse::<u32>().ok());
        let Some(number) = number else { continue };
        assert!(numbers.insert(number), "there are two guarantees {number}");
        let mut text = line.to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(' ')) {
            text += more;
        }
        assert!(text.contains("::") || text.contains(".rs`"), "guarantee {number} names no test");
    }
    assert!(numbers.len() >= 30, "only {numbers:?}");
}
