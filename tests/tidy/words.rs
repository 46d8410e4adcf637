//! Words that code must not contain, and words that must stand beside others.

use crate::source::{Source, Word, report, sources, words};

/// Every word of code that `wanted` accepts, as `file:line: word`.
fn find(sources: &[Source], wanted: impl Fn(&Source, usize, Word<'_>) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        for (index, line) in source.lines.iter().enumerate() {
            for word in words(&line.code) {
                if wanted(source, index, word) {
                    findings.push(format!("{}: `{}`", source.at(index), word.text));
                }
            }
        }
    }
    findings
}

fn is_call(word: Word<'_>) -> bool {
    word.after.starts_with('(') && !word.before.ends_with("fn")
}

#[test]
fn nothing_is_unwrapped() {
    let findings = find(&sources(), |_, _, word| {
        word.text == "unwrap" && is_call(word) && word.before.ends_with('.')
    });
    report(&findings, "`expect(\"why this cannot fail\")`, or return the error");
}

#[test]
fn what_is_removed_is_removed_without_entering_mounts() {
    let findings = find(&sources(), |source, index, word| {
        let ours = source.path.starts_with("src/") && !source.lines[index].test;
        ours && word.text == "remove_dir_all" && !source.path.contains("root_tests")
    });
    report(&findings, "`linux::fs::remove_path`: std empties what is mounted somewhere below");
}

#[test]
fn tests_do_not_sleep() {
    let findings = find(&sources(), |source, index, word| {
        let waits = matches!(word.text, "sleep" | "sleep_ms" | "sleep_until") && is_call(word);
        // A method sleeps on a clock, which is virtual in tests; a function sleeps in real time.
        let on_a_clock = word.before.ends_with('.');
        let blocking = word.before.ends_with("thread::");
        waits && (blocking || (source.lines[index].test && !on_a_clock))
    });
    report(
        &findings,
        "wait for the event itself: a pidfd, a pipe, a message; or turn the virtual clock",
    );
}

#[test]
fn tests_are_neither_ignored_nor_expected_to_panic_nor_retried() {
    let findings = find(&sources(), |_, _, word| {
        let attribute = word.before.ends_with("#[");
        (attribute && matches!(word.text, "ignore" | "should_panic"))
            || matches!(word.text, "retry_test" | "flaky")
    });
    report(
        &findings,
        "mend the test; a panic is asserted with `catch_unwind` where it must be seen",
    );
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    let mut findings = Vec::new();
    for source in sources() {
        for (index, line) in source.lines.iter().enumerate() {
            let code = line.code.trim_start();
            let allowed = code.starts_with("#[allow(") || code.starts_with("#![allow(");
            let expected = code.starts_with("#[expect(") || code.starts_with("#![expect(");
            let end = (index + 6).min(source.lines.len());
            let attribute: String =
                source.lines[index..end].iter().map(|l| l.code.as_str()).collect();
            let closed = attribute.find(")]").map_or(attribute.as_str(), |end| &attribute[..end]);
            if allowed || (expected && !closed.contains("reason")) {
                findings.push(format!("{}: {code}", source.at(index)));
            }
        }
    }
    report(&findings, "`#[expect(lint, reason = \"…\")]` on the smallest item");
}

#[test]
fn every_todo_names_its_issue() {
    let mut findings = Vec::new();
    // Put together, so that this file does not find itself.
    let markers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for source in sources() {
        for (index, line) in source.lines.iter().enumerate() {
            let marked = words(&line.comment).iter().any(|word| markers.contains(&word.text));
            if marked && !names_an_issue(&line.comment) {
                findings.push(format!("{}: {}", source.at(index), line.comment.trim()));
            }
        }
    }
    report(&findings, "open an issue and write its number: `(#12)`; or do it");
}

fn names_an_issue(comment: &str) -> bool {
    comment
        .match_indices('#')
        .any(|(at, _)| comment[at + 1..].chars().next().is_some_and(|c| c.is_ascii_digit()))
}

/// The one module that hosts actors, and the bench that measures it against the host alone.
fn names_the_host(path: &str) -> bool {
    ["actors/src/host.rs", "actors/benches/messages/bare.rs"].contains(&path)
}

/// The module of the feature for embedders that are programs of the host's, and what shows and tests it.
fn serves_the_host(path: &str) -> bool {
    [
        "actors/src/recipients.rs",
        "examples/actix_agent.rs",
        "tests/root/recipients.rs",
        // A house with an actix of its own, and us as its guest.
        "tests/root/guest_program/house.rs",
    ]
    .contains(&path)
}

#[test]
fn messages_are_sent_past_the_gate_in_one_file_only() {
    let findings =
        find(&sources(), |source, _, word| word.text == "do_send" && !names_the_host(&source.path));
    report(
        &findings,
        "use a handle's `dispatch` or `notify`: `do_send` ignores the mailbox's bound",
    );
}

#[test]
fn actix_is_named_in_one_module() {
    let findings = find(&sources(), |source, _, word| {
        let names = word.text.starts_with("actix") && !word.before.ends_with("fn");
        names && !names_the_host(&source.path) && !serves_the_host(&source.path)
    });
    report(&findings, "go through the runtime's own types, so that the host stays replaceable");
}

#[test]
fn errors_have_variants_with_facts() {
    let mut findings = Vec::new();
    for source in sources() {
        for (index, line) in source.shipped() {
            let code = line.code.replace(' ', "");
            let catch_all = code.contains("Other(String)");
            let bare = code.contains("#[from]io::Error") || code.contains("#[from]std::io::Error");
            if catch_all || bare {
                findings.push(format!("{}: {}", source.at(index), line.code.trim()));
            }
        }
    }
    report(&findings, "a variant per cause, with the path or object as a field and `#[source]`");
}

/// Where `unsafe` may stand.
const UNSAFE_ROOMS: &[&str] = &["src/linux/", "src/launcher/init/"];

#[test]
fn unsafe_stands_in_its_rooms_and_says_why_it_is_sound() {
    let mut findings = Vec::new();
    for source in sources() {
        for (index, line) in source.lines.iter().enumerate() {
            let block = words(&line.code).iter().any(|word| word.text == "unsafe" && opens(*word));
            if !block {
                continue;
            }
            if !UNSAFE_ROOMS.iter().any(|room| source.path.starts_with(room)) {
                findings.push(format!("{}: unsafe outside its rooms", source.at(index)));
            } else if !has_safety_comment(&source, index) {
                findings.push(format!("{}: unsafe without `// SAFETY:`", source.at(index)));
            }
        }
    }
    report(&findings, "move the call to src/linux/; list each invariant and why it holds");
}

/// A block or an implementation. Declarations such as `unsafe fn` are judged by the compiler's own
/// lint, which asks for unsafe blocks inside; attributes go with what they stand on.
fn opens(word: Word<'_>) -> bool {
    let after = word.after.trim_start();
    after.starts_with('{') || after.starts_with("impl")
}

fn has_safety_comment(source: &Source, index: usize) -> bool {
    let near = source.lines[..=index].iter().rev();
    // The comment stands above the statement, which may begin some lines before the block.
    near.take(12).any(|line| line.comment.contains("SAFETY:"))
}
