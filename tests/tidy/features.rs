//! What each set of features builds: counted by cargo, and told by `docs/features.md`.

use std::collections::BTreeSet;
use std::process::Command;

use crate::source::{read, report, root};

/// What nobody gets who did not ask for it: HTTP and TLS, and the command line.
const REGISTRY: &[&str] =
    &["reqwest", "hyper", "http", "rustls", "ring", "rustls-native-certs", "url", "tower"];
const CLI: &[&str] = &["clap", "clap_complete", "indicatif", "anstream", "toml", "humantime"];

type Words = &'static [&'static str];

/// A set of features, the flags that choose it, and the crates that must not be in it.
const SETS: &[(&str, Words, &[Words])] = &[
    ("core", &["--no-default-features"], &[REGISTRY, CLI]),
    ("registry", &["--no-default-features", "--features", "registry"], &[CLI]),
    ("cli", &["--no-default-features", "--features", "cli"], &[REGISTRY]),
    ("actix", &["--no-default-features", "--features", "actix"], &[REGISTRY, CLI]),
    ("default", &[], &[]),
];

/// Names and versions of the crates that a build compiles, on the platform that is tested.
fn crates(flags: &[&str]) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"]);
    tree.args(["--target", "x86_64-unknown-linux-gnu"]).args(flags).current_dir(root());
    let tree = tree.output().expect("cargo can be run");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).expect("names of crates are text");
    let named = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    text.lines().map(named).collect()
}

/// The second cell of the row of this set, in the last table that has one.
fn documented(page: &str, set: &str) -> Option<usize> {
    let row = page.lines().rfind(|line| line.starts_with(&format!("| `{set}` |")))?;
    row.split('|').nth(2)?.trim().parse().ok()
}

#[test]
fn a_feature_set_builds_as_many_crates_as_its_document_says() {
    let page = read("docs/features.md");
    let mut findings = Vec::new();
    for (set, flags, absent) in SETS {
        let crates = crates(flags);
        if documented(&page, set) != Some(crates.len()) {
            findings.push(format!("{set} builds {} crates", crates.len()));
        }
        let names = crates.iter().filter_map(|line| line.split(' ').next());
        let strangers = names.filter(|name| absent.iter().any(|list| list.contains(name)));
        findings.extend(strangers.map(|name| format!("{set} builds {name}")));
    }
    report(
        &findings,
        "make what a set does not need optional; or, if it is worth it, write the new number into \
         docs/features.md and its reason into Cargo.toml",
    );
}
