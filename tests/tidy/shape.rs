//! Sizes.

use crate::source::{Line, Source, report, sources, words};

/// Lines of code in the body of a function.
const FUNCTION_LINES_MAX: usize = 70;

/// Lines of a file, of whatever kind.
const FILE_LINES_MAX: usize = 500;

/// Files that may be longer, and why.
const LONG_FILES: &[(&str, &str)] = &[];

/// Functions that may be longer, as `path` and name, and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// A function's name, where its body begins and ends (line indices), and its lines of code.
struct Function {
    name: String,
    line: usize,
    length: usize,
}

fn functions(source: &Source) -> Vec<Function> {
    let mut found = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        let words = words(&line.code);
        for pair in words.windows(2) {
            let named =
                pair[0].text == "fn" && pair[0].after.trim_start().starts_with(pair[1].text);
            if !named {
                continue;
            }
            if let Some(length) = body_length(&source.lines, index, pair[1].after.len()) {
                found.push(Function { name: pair[1].text.to_owned(), line: index, length });
            }
        }
    }
    found
}

/// Lines of code between the braces of the function whose name ends `rest` bytes before the end of
/// the line at `start`; `None` for a declaration without a body.
fn body_length(lines: &[Line], start: usize, rest: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    let mut opened_at = start;
    for (index, line) in lines.iter().enumerate().skip(start) {
        let from = if index == start { line.code.len() - rest } else { 0 };
        for c in line.code[from..].chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                ';' if depth == 0 && brackets == 0 => return None,
                '{' => {
                    if depth == 0 {
                        opened_at = index;
                    }
                    depth += 1;
                }
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        let body = &lines[(opened_at + 1).min(index)..index];
                        return Some(body.iter().filter(|l| !l.code.trim().is_empty()).count());
                    }
                }
                _ => {}
            }
        }
    }
    None
}

#[test]
fn functions_have_at_most_seventy_lines() {
    let mut findings = Vec::new();
    let mut used = Vec::new();
    for source in sources() {
        for function in functions(&source) {
            if function.length <= FUNCTION_LINES_MAX {
                continue;
            }
            let name = function.name.as_str();
            if LONG_FUNCTIONS.iter().any(|(path, f, _)| *path == source.path && *f == name) {
                used.push((source.path.clone(), function.name));
                continue;
            }
            let at = source.at(function.line);
            findings.push(format!("{at}: `{name}` has {} lines of code", function.length));
        }
    }
    for (path, name, _) in LONG_FUNCTIONS {
        if !used.iter().any(|(p, n)| p == path && n == name) {
            findings.push(format!("{path}: `{name}` no longer needs its exception"));
        }
    }
    report(&findings, "keep branches and state in the parent, move straight-line parts to helpers");
}

#[test]
fn files_have_at_most_five_hundred_lines() {
    let mut findings = Vec::new();
    let sources = sources();
    for source in &sources {
        let excepted = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        let lines = source.lines.len() - 1;
        match (lines > FILE_LINES_MAX, excepted) {
            (true, false) => findings.push(format!("{}: {lines} lines", source.path)),
            (false, true) => {
                findings.push(format!("{}: no longer needs its exception", source.path));
            }
            _ => {}
        }
    }
    for (path, _) in LONG_FILES {
        if !sources.iter().any(|source| source.path == *path) {
            findings.push(format!("{path}: is excepted and does not exist"));
        }
    }
    report(&findings, "split the file by concern, or move its tests to a `tests.rs` of their own");
}

#[test]
fn the_length_of_a_function_counts_code_only() {
    let text = "fn a(x: [u8; 2]) -> u8 {\n    // why\n\n    b();\n    0\n}\nfn c();\n";
    let source = Source { path: "x.rs".into(), lines: crate::source::lex(text) };
    let lengths: Vec<_> = functions(&source).into_iter().map(|f| (f.name, f.length)).collect();
    assert_eq!(lengths, [("a".to_owned(), 2)]);
}

#[test]
fn examples_fit_on_a_page_or_two() {
    let examples = sources().into_iter().filter(|source| source.path.starts_with("examples/"));
    let findings: Vec<String> = examples
        .filter(|source| source.lines.len() > 100)
        .map(|source| format!("{}: {} lines", source.path, source.lines.len()))
        .collect();
    report(&findings, "show one thing; what an example needs many lines for, the library lacks");
}

/// Where what programs give and read is defined, as the beginning of the path.
const GIVEN_AND_READ: &[&str] =
    &["src/model/", "src/events", "src/error.rs", "src/spec", "src/config"];

/// Types that need not grow, and why.
const COMPLETE: &[(&str, &str)] = &[
    ("Rootfs", "a directory or a mount: an isolator has to know which"),
    ("PreExecCommand", "given by isolators; has constructors"),
    ("Command", "execve(2) takes no more"),
    ("MountFlags", "given by isolators from its default"),
    ("Mount", "given by isolators; where, whence and how"),
    ("DeviceNode", "mknod(2) takes no more"),
    ("CapabilitySets", "capabilities(7) has no more that we set"),
    ("Start", "given by agents that bring their own numbering"),
    ("Update", "given by agents that bring their own numbering"),
    ("Moment", "two clocks"),
];

#[test]
fn what_programs_give_and_read_can_grow() {
    let mut findings = Vec::new();
    let mut excepted = std::collections::BTreeSet::new();
    let ours = |source: &Source| GIVEN_AND_READ.iter().any(|at| source.path.starts_with(at));
    for source in sources().into_iter().filter(ours) {
        for (index, line) in source.shipped() {
            let rest = line.code.strip_prefix("pub ").unwrap_or_default();
            let (kind, rest) = rest.split_once(' ').unwrap_or_default();
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            let open = match kind {
                "enum" => true,
                "struct" => has_public_field(&source.lines[index + 1..]) && rest.ends_with('{'),
                _ => false,
            };
            let marked = attributes(&source.lines[..index])
                .any(|line| line.code.starts_with("#[non_exhaustive]"));
            if open && !marked && !COMPLETE.iter().any(|(complete, _)| *complete == name) {
                findings.push(format!("{}: {name}", source.at(index)));
            }
            excepted.extend(Some(name).filter(|_| open && !marked));
        }
    }
    let idle = COMPLETE.iter().filter(|(name, _)| !excepted.contains(*name));
    findings.extend(idle.map(|(name, _)| format!("{name} is in the table for nothing")));
    report(&findings, "mark it `#[non_exhaustive]` and give it a constructor, or say why not");
}

/// Of a struct whose name stands on the line before.
fn has_public_field(lines: &[Line]) -> bool {
    let mut inside = lines.iter().take_while(|line| line.code != "}");
    inside.any(|line| line.code.starts_with("    pub "))
}

/// The lines of attributes and comments before an item, from its name upwards.
fn attributes(lines: &[Line]) -> impl Iterator<Item = &Line> {
    let blank = |line: &&Line| line.text.is_empty() || line.code == "}";
    lines.iter().rev().take_while(move |line| !blank(line))
}
