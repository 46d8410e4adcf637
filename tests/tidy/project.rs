//! The repository as a whole.

use crate::source::{files, read, report, root};

/// What a visitor sees first.
const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "actors",
    "docs",
    "examples",
    "src",
    "tests",
];

#[test]
fn the_top_level_is_short() {
    let mut findings = Vec::new();
    for entry in std::fs::read_dir(root()).expect("the checkout can be read") {
        let name = entry.expect("its entries can be read").file_name();
        let name = name.to_str().expect("names in the checkout are UTF-8");
        if !name.starts_with('.') && name != "target" && !TOP_LEVEL.contains(&name) {
            findings.push(name.to_owned());
        }
    }
    report(&findings, "tool configuration goes to dotfiles, everything else into its folder");
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let mut findings = Vec::new();
    for manifest in ["Cargo.toml", "actors/Cargo.toml"] {
        let text = read(manifest);
        let mut in_dependencies = false;
        let mut explained = false;
        for (index, line) in text.lines().enumerate() {
            match line.trim() {
                "" => explained = false,
                header if header.starts_with('[') => {
                    in_dependencies = header.ends_with("dependencies]");
                    explained = false;
                }
                comment if comment.starts_with('#') => explained = true,
                _ if in_dependencies && !explained => {
                    findings.push(format!("{manifest}:{}: {line}", index + 1));
                }
                // One comment may stand over a block of lines.
                _ => {}
            }
        }
    }
    report(&findings, "write the reason above the dependency, or do without it");
}

/// Marks of a machine on which the project was written, put together so that none stands here.
const MACHINES: &[&str] = &[
    concat!("/wo", "rk/shared"),
    concat!("/wo", "rk/main"),
    concat!("../sha", "red"),
    concat!("/tmp/", "wt/"),
    concat!("/tmp/", "tools"),
    concat!("/ho", "me/"),
];

#[test]
fn the_project_stands_alone() {
    let mut findings = Vec::new();
    for path in texts() {
        for (index, line) in read(&path).lines().enumerate() {
            for mark in MACHINES.iter().filter(|mark| line.contains(**mark)) {
                findings.push(format!("{path}:{}: {mark}", index + 1));
            }
        }
    }
    report(&findings, "say it here, or link to a document of this repository");
}

/// Every text file of the project, dotfiles included.
fn texts() -> Vec<String> {
    let known = [".rs", ".md", ".toml", ".sh", ".py", ".c", ".txt", ".json", ".golden"];
    let mut found = files("");
    found.retain(|path| {
        // In a linked worktree `.git` is a file that names the machine.
        if path == ".git" {
            return false;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        known.iter().any(|end| name.ends_with(end)) || !name.trim_start_matches('.').contains('.')
    });
    found
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut findings = Vec::new();
    for path in texts().into_iter().filter(|path| path.ends_with(".md")) {
        let directory = root().join(&path);
        let directory = directory.parent().expect("a file has a directory");
        for (index, line) in read(&path).lines().enumerate() {
            for target in link_targets(line) {
                let file = target.split('#').next().unwrap_or(target);
                let outside = file.contains("://") || file.starts_with("mailto:");
                let there = file.is_empty() || std::fs::metadata(directory.join(file)).is_ok();
                if !outside && !there {
                    findings.push(format!("{path}:{}: {target}", index + 1));
                }
            }
        }
    }
    report(&findings, "correct the link, or write the document");
}

/// What `](…)` holds.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

#[test]
fn tests_named_in_the_specification_exist() {
    let sources = crate::source::sources();
    let exists = |name: &str| {
        let declaration = format!("fn {name}(");
        sources.iter().any(|s| s.lines.iter().any(|line| line.code.contains(&declaration)))
    };
    let mut findings = Vec::new();
    for path in ["docs/specification.md", "docs/warts.md"] {
        let text = read(path);
        for (index, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("| ")) {
            findings.extend(
                tests_named(line)
                    .filter(|name| !exists(name))
                    .map(|name| format!("{path}:{}: no test {name}", index + 1)),
            );
        }
    }
    report(&findings, "correct the name, or say \"not yet tested\"");
}

/// Names of tests are sentences, so they have underscores, and stand in the last column.
fn tests_named(row: &str) -> impl Iterator<Item = &str> {
    let held_by = row.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    held_by.split('`').skip(1).step_by(2).filter(|name| is_test_name(name))
}

#[test]
fn every_wart_is_shown_to_be_gone_or_has_its_place_in_the_plan() {
    let path = "docs/warts.md";
    let text = read(path);
    let rows = text.lines().enumerate().filter(|(_, line)| {
        let number = line.strip_prefix("| ").and_then(|rest| rest.split(' ').next());
        number.is_some_and(|number| number.parse::<u32>().is_ok())
    });
    let mut findings = Vec::new();
    for (index, row) in rows {
        let plans: Vec<&str> = row.split("planned").skip(1).collect();
        if plans.is_empty() && tests_named(row).next().is_none() {
            findings.push(format!("{path}:{}: neither a test nor a plan", index + 1));
        }
        if !plans.iter().all(|plan| is_plan(plan)) {
            findings.push(format!("{path}:{}: a plan without the number of an issue", index + 1));
        }
    }
    let example = "`planned (issue 6): disk quotas`, or `planned: no issue yet`";
    report(
        &findings,
        &format!("name the test that shows it gone, or what will remove it: {example}"),
    );
}

/// What stands behind the word `planned`.
fn is_plan(text: &str) -> bool {
    let issue = text.strip_prefix(" (issue ").and_then(|rest| rest.split_once("): "));
    issue.is_some_and(|(number, _)| number.parse::<u32>().is_ok())
        || text.starts_with(": no issue yet")
}

#[test]
fn a_plan_has_the_number_of_its_issue() {
    assert!(is_plan(" (issue 6): disk quotas |") && is_plan(": no issue yet (GPUs)"));
    assert!(!is_plan(": disk quotas") && !is_plan(" (issue ): x") && !is_plan(" (issue 6)"));
}

fn is_test_name(name: &str) -> bool {
    name.contains('_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// A reference in code is as good as a link.
#[test]
fn documents_mentioned_in_code_exist() {
    let mut findings = Vec::new();
    for path in texts().into_iter().filter(|path| !path.ends_with(".lock")) {
        for (index, line) in read(&path).lines().enumerate() {
            for document in mentioned(line) {
                if std::fs::metadata(root().join(document)).is_err() {
                    findings.push(format!("{path}:{}: {document}", index + 1));
                }
            }
        }
    }
    report(&findings, "write the document, or correct its name");
}

/// Documents of ours that a line names by their path.
fn mentioned(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices("docs/").filter_map(|(at, _)| {
        // A path that merely ends in docs/ belongs to somebody else.
        let before = line[..at].chars().last();
        if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_')) {
            return None;
        }
        let rest = &line[at..];
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
        let end = rest.find(|c| !plain(c)).unwrap_or(rest.len());
        let name = rest[..end].trim_end_matches('.');
        name.ends_with(".md").then_some(name)
    })
}
