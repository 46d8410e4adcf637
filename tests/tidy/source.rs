//! Reads the tree: files, and for Rust what is code, comment or literal on each line.

use std::path::{Path, PathBuf};

/// One line of a Rust file.
#[derive(Debug, Default, Clone)]
pub(crate) struct Line {
    /// The code, with the insides of literals removed.
    pub(crate) code: String,
    /// The text of comments on the line, doc comments included.
    pub(crate) comment: String,
    /// The line as it is.
    pub(crate) text: String,
    /// Inside an item under `#[cfg(test)]` or the like, or in a file of tests.
    pub(crate) test: bool,
}

/// A Rust file.
#[derive(Debug)]
pub(crate) struct Source {
    /// Relative to the root of the repository, with `/`.
    pub(crate) path: String,
    /// Its lines; line 1 is at index 0.
    pub(crate) lines: Vec<Line>,
}

impl Source {
    /// `path:line` of the line at `index`.
    pub(crate) fn at(&self, index: usize) -> String {
        format!("{}:{}", self.path, index + 1)
    }

    /// The last part of the path.
    pub(crate) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().expect("a split yields at least one part")
    }

    /// Lines that are not tests, with their index.
    pub(crate) fn shipped(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| !line.test)
    }
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let compiled_in = env!("CARGO_MANIFEST_DIR").to_owned();
    std::env::var("CARGO_MANIFEST_DIR").unwrap_or(compiled_in).into()
}

/// Every file below `directory`, relative to the root, sorted; build output left out.
pub(crate) fn files(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(path) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&path) else { continue };
        for entry in entries {
            let entry = entry.expect("a directory of the checkout can be read");
            let kind = entry.file_type().expect("kinds of files can be read");
            let name = entry.file_name();
            if kind.is_dir() && name != "target" && name != ".git" && name != "__pycache__" {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(relative(&entry.path()));
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("walked from the root");
    inside.to_str().expect("names in the checkout are UTF-8").to_owned()
}

/// The text of a file of the checkout.
pub(crate) fn read(path: &str) -> String {
    let bytes = std::fs::read(root().join(path)).expect("a listed file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Every Rust file of the project.
pub(crate) fn sources() -> Vec<Source> {
    ["src", "actors", "tests", "examples"]
        .iter()
        .flat_map(|directory| files(directory))
        .filter(|path| path.ends_with(".rs"))
        .map(|path| {
            let lines = lex(&read(&path));
            let mut source = Source { path, lines };
            mark_tests(&mut source);
            source
        })
        .collect()
}

/// Fails with all findings and what to do, unless there are none.
pub(crate) fn report(findings: &[String], remedy: &str) {
    let list = findings.join("\n  ");
    assert!(findings.is_empty(), "\n  {list}\n\nWhat to do: {remedy}\n");
}

/// What the lexer is inside of.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Text,
    RawText { hashes: usize },
}

/// Splits `text` into lines of code and comment.
pub(crate) fn lex(text: &str) -> Vec<Line> {
    let characters: Vec<char> = text.chars().collect();
    let mut lines: Vec<Line> = Vec::new();
    let mut line = Line::default();
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < characters.len() {
        if characters[at] == '\n' {
            lines.push(std::mem::take(&mut line));
            if inside == Inside::LineComment {
                inside = Inside::Code;
            }
            at += 1;
            continue;
        }
        let step = match inside {
            Inside::Code => code(&characters, at, &mut line, &mut inside),
            Inside::LineComment => comment(&characters, at, &mut line),
            Inside::BlockComment { .. } => block(&characters, at, &mut line, &mut inside),
            Inside::Text | Inside::RawText { .. } => {
                literal(&characters, at, &mut line, &mut inside)
            }
        };
        at += step;
    }
    lines.push(line);
    for (line, text) in lines.iter_mut().zip(text.split('\n')) {
        line.text = text.to_owned();
    }
    lines
}

fn starts(characters: &[char], at: usize, what: &str) -> bool {
    what.chars().enumerate().all(|(offset, c)| characters.get(at + offset) == Some(&c))
}

/// Takes what stands at `at` in code; returns how many characters that was.
fn code(characters: &[char], at: usize, line: &mut Line, inside: &mut Inside) -> usize {
    if starts(characters, at, "//") {
        *inside = Inside::LineComment;
        return 2;
    }
    if starts(characters, at, "/*") {
        *inside = Inside::BlockComment { depth: 1 };
        return 2;
    }
    let previous = line.code.chars().last();
    let word_before = previous.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if let Some((length, hashes)) = raw_opening(characters, at, word_before) {
        *inside = Inside::RawText { hashes };
        line.code.push('"');
        return length;
    }
    match characters[at] {
        '"' => {
            *inside = Inside::Text;
            line.code.push('"');
            1
        }
        '\'' => character(characters, at, line),
        other => {
            line.code.push(other);
            1
        }
    }
}

/// Length of `r"`, `r#"`, `br##"` … at `at`, and the number of hashes.
fn raw_opening(characters: &[char], at: usize, word_before: bool) -> Option<(usize, usize)> {
    if word_before {
        return None;
    }
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| starts(characters, at, prefix))?;
    let after = at + prefix.len();
    let hashes = characters[after..].iter().take_while(|c| **c == '#').count();
    (characters.get(after + hashes) == Some(&'"')).then_some((prefix.len() + hashes + 1, hashes))
}

/// A character literal, or the tick of a lifetime.
fn character(characters: &[char], at: usize, line: &mut Line) -> usize {
    line.code.push('\'');
    if characters.get(at + 1) == Some(&'\\') {
        let end = characters[at + 3..].iter().position(|c| *c == '\'');
        line.code.push('\'');
        return end.map_or(2, |end| end + 4);
    }
    if characters.get(at + 2) == Some(&'\'') {
        line.code.push('\'');
        return 3;
    }
    1
}

fn comment(characters: &[char], at: usize, line: &mut Line) -> usize {
    line.comment.push(characters[at]);
    1
}

fn block(characters: &[char], at: usize, line: &mut Line, inside: &mut Inside) -> usize {
    let Inside::BlockComment { depth } = *inside else { unreachable!("called in a comment") };
    if starts(characters, at, "*/") {
        *inside = if depth == 1 { Inside::Code } else { Inside::BlockComment { depth: depth - 1 } };
        return 2;
    }
    if starts(characters, at, "/*") {
        *inside = Inside::BlockComment { depth: depth + 1 };
        return 2;
    }
    comment(characters, at, line)
}

fn literal(characters: &[char], at: usize, line: &mut Line, inside: &mut Inside) -> usize {
    match *inside {
        // An escaped newline is left for the caller, which counts lines.
        Inside::Text if characters[at] == '\\' => {
            if characters.get(at + 1) == Some(&'\n') {
                1
            } else {
                2
            }
        }
        Inside::RawText { hashes } if characters[at] == '"' => {
            if starts(characters, at + 1, &"#".repeat(hashes)) {
                *inside = Inside::Code;
                line.code.push('"');
                return 1 + hashes;
            }
            1
        }
        Inside::Text if characters[at] == '"' => {
            *inside = Inside::Code;
            line.code.push('"');
            1
        }
        _ => 1,
    }
}

/// Marks the lines of tests: whole files below `tests/`, and items under a `test` condition.
fn mark_tests(source: &mut Source) {
    let whole = source.path.split('/').any(|part| part == "tests" || part == "testing")
        || matches!(source.file_name(), "tests.rs" | "root_tests.rs" | "testing.rs");
    if whole {
        source.lines.iter_mut().for_each(|line| line.test = true);
        return;
    }
    let conditions: Vec<usize> = (0..source.lines.len())
        .filter(|index| is_test_condition(&source.lines[*index].code))
        .collect();
    for start in conditions {
        let end = item_end(&source.lines, start);
        source.lines[start..=end].iter_mut().for_each(|line| line.test = true);
    }
}

fn is_test_condition(code: &str) -> bool {
    let code = code.trim_start();
    ["#[cfg(test)", "#[cfg(all(test", "#[cfg(any(test", "#[test]"]
        .iter()
        .any(|c| code.starts_with(c))
}

/// The line on which the item that begins at `start` ends: its closing brace, or its semicolon.
pub(crate) fn item_end(lines: &[Line], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut brackets = 0_usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for c in line.code.chars() {
            match c {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets = brackets.saturating_sub(1),
                '{' => depth += 1,
                '}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return index;
                    }
                }
                ';' if depth == 0 && brackets == 0 => return index,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

/// Words of a line of code, with the character that stands before and the text that follows each.
pub(crate) fn words(code: &str) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let mut begin = None;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (index, c) in code.char_indices().chain([(code.len(), ' ')]) {
        match (begin, is_word(c)) {
            (None, true) => begin = Some(index),
            (Some(start), false) => {
                let before = code[..start].trim_end();
                found.push(Word { text: &code[start..index], before, after: &code[index..] });
                begin = None;
            }
            _ => {}
        }
    }
    found
}

/// A word and its surroundings on the line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word<'a> {
    /// The word.
    pub(crate) text: &'a str,
    /// What stands before it, without trailing blanks.
    pub(crate) before: &'a str,
    /// What follows it.
    pub(crate) after: &'a str,
}

#[test]
fn the_lexer_tells_code_comments_and_literals_apart() {
    let lines = lex(
        "let a = \"x // no\"; // yes\nlet b = r#\"\"unwrap\"#; /* c\nd */ let c = '\"';\nfn f<'a>() {}",
    );
    assert_eq!(lines[0].code, "let a = \"\"; ");
    assert_eq!(lines[0].comment, " yes");
    assert_eq!(lines[1].code, "let b = \"\"; ");
    assert_eq!(lines[2].comment, "d ");
    assert_eq!(lines[2].code, " let c = '';");
    assert_eq!(lines[3].code, "fn f<'a>() {}");
}
