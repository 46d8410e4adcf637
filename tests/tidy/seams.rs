//! The three seams at which things are added: isolators, backends, image types.

use crate::source::{Source, report, sources};

/// Files of `isolators/` that are not one isolator.
const NOT_ISOLATORS: &[(&str, &str)] = &[
    ("mod.rs", "the door"),
    ("actor.rs", "the shell of all"),
    ("messages.rs", "what the shell accepts"),
    ("table.rs", "the ordered table"),
    ("root_tests.rs", "tests"),
    ("tests.rs", "tests"),
];

/// The files of isolators, with the operator's name that the path spells.
fn isolators(sources: &[Source]) -> Vec<(&Source, String)> {
    let mut found = Vec::new();
    for source in sources {
        let Some(inside) = source.path.strip_prefix("src/isolators/") else { continue };
        let name = source.file_name();
        let other = NOT_ISOLATORS.iter().any(|(file, _)| *file == name);
        if !other && inside.contains('/') && declares_name(source) {
            found.push((source, inside.trim_end_matches(".rs").to_owned()));
        }
    }
    found
}

fn declares_name(source: &Source) -> bool {
    source.shipped().any(|(_, line)| line.code.contains("const NAME:"))
}

#[test]
fn an_isolators_file_is_named_as_the_operator_names_it() {
    let sources = sources();
    let mut findings = Vec::new();
    for (source, expected) in isolators(&sources) {
        let wanted = format!("const NAME: &'static str = \"{expected}\";");
        let names: Vec<&str> = source
            .shipped()
            .filter(|(_, line)| line.code.contains("const NAME:"))
            .map(|(_, line)| line.text.trim())
            .collect();
        if names != [wanted.as_str()] {
            findings.push(format!("{}: {names:?}, not {wanted}", source.path));
        }
    }
    report(&findings, "move the file or correct NAME, so that one leads to the other");
}

#[test]
fn an_isolators_page_names_the_kernel_feature_and_the_undo() {
    let sources = sources();
    let mut findings = Vec::new();
    for (source, name) in isolators(&sources) {
        let page: Vec<&str> = source
            .lines
            .iter()
            .map(|line| line.text.as_str())
            .take_while(|text| text.starts_with("//!"))
            .collect();
        let page = page.join("\n");
        for word in ["Kernel:", "Undo:"] {
            if !page.contains(word) {
                findings
                    .push(format!("{}: no `{word}` in the module's documentation", source.path));
            }
        }
        if !page.starts_with(&format!("//! `{name}`")) {
            findings.push(format!("{}:1: does not begin with `{name}`", source.path));
        }
    }
    report(
        &findings,
        "begin with \"//! `name`: what the container gets by it.\", then the two lines",
    );
}

/// `TABLE`s, the folder whose files they list, and files there that are no entry.
const TABLES: &[(&str, &str)] =
    &[("src/isolators/", "isolators"), ("src/provisioner/backends/", "backends")];

#[test]
fn what_is_added_stands_in_its_table() {
    let sources = sources();
    let mut findings = Vec::new();
    for (source, name) in isolators(&sources) {
        let module = name.replace('/', "::");
        if !tables(&sources, TABLES[0].0).any(|table| table.contains(&module)) {
            findings.push(format!("{}: {module} is in no table of src/isolators", source.path));
        }
    }
    report(&findings, "add its line to the table, where the order of preparing wants it");
}

/// The text of the files in `folder` itself (not below it) that declare a `TABLE`.
fn tables<'a>(sources: &'a [Source], folder: &'a str) -> impl Iterator<Item = String> + 'a {
    sources
        .iter()
        .filter(move |source| {
            source.path.strip_prefix(folder).is_some_and(|rest| !rest.contains('/'))
        })
        .filter(|source| source.lines.iter().any(|line| line.code.contains("TABLE")))
        .map(|source| {
            let code: Vec<&str> = source.lines.iter().map(|line| line.code.as_str()).collect();
            code.join(" ")
        })
}
