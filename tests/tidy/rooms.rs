//! The path says the room, the file name says the rights.

use crate::source::{Source, read, report, sources, words};

/// What a file may be, as its path says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `model/`, `state.rs`, `plan.rs`, `recovery.rs`: decides, touches nothing.
    Pure,
    /// `linux/`: the kernel, and nothing above it.
    Linux,
    /// `launcher/init/`: the child's own program.
    Init,
    /// `launcher/build.rs`.
    Build,
    /// `actor.rs` and the folder beside it, `messages.rs`, `rooms.rs`, `handle.rs`, `events.rs`:
    /// between rooms.
    Shell,
    /// `mod.rs`, `lib.rs`: what a room offers.
    Door,
    /// `start.rs`: makes all rooms and joins them; knows everybody, decides nothing.
    Wiring,
    /// Everything else in `src/`.
    Plain,
    /// The actor runtime.
    Runtime,
}

fn kind(path: &str) -> Option<Kind> {
    if path.starts_with("actors/src/") {
        return Some(Kind::Runtime);
    }
    let inside = path.strip_prefix("src/")?;
    let name = inside.rsplit('/').next()?;
    Some(match inside {
        _ if inside == "launcher/build.rs" => Kind::Build,
        _ if inside.starts_with("launcher/init/") => Kind::Init,
        _ if inside.starts_with("linux/") => Kind::Linux,
        _ if inside.starts_with("model/") => Kind::Pure,
        _ if matches!(name, "state.rs" | "plan.rs" | "recovery.rs") => Kind::Pure,
        _ if inside.contains("/state/") => Kind::Pure,
        _ if matches!(name, "actor.rs" | "messages.rs" | "handle.rs" | "events.rs") => Kind::Shell,
        _ if inside.starts_with("handle/") => Kind::Shell,
        // The parts of a shell that outgrew its file, and the handles of other rooms.
        _ if inside.contains("/actor/") || name == "rooms.rs" => Kind::Shell,
        _ if inside == "start.rs" || inside.starts_with("start/") => Kind::Wiring,
        _ if matches!(name, "mod.rs" | "lib.rs") => Kind::Door,
        _ => Kind::Plain,
    })
}

/// Crates that every file may name.
const EVERYWHERE: &[&str] = &["std", "core", "alloc", "thiserror"];

/// Crates that a trade brings along: who may name them, as the beginning of the path.
const TRADES: &[(&str, &[&str])] = &[
    ("actix", &["actors/"]),
    ("bincode", &["src/checkpoint"]),
    ("clap", &["src/main.rs", "src/cli/"]),
    ("clap_complete", &["src/main.rs", "src/cli/"]),
    ("toml", &["src/cli/"]),
    ("indicatif", &["src/main.rs", "src/cli/"]),
    ("anstream", &["src/main.rs", "src/cli/"]),
    ("tracing_subscriber", &["src/main.rs", "src/cli/"]),
    ("reqwest", &["src/http", "src/provisioner/stores/", "src/fetcher/"]),
    ("rustls", &["src/http"]),
    ("rustls_native_certs", &["src/http"]),
    ("tar", &["src/provisioner/", "src/fetcher/"]),
    ("flate2", &["src/provisioner/", "src/fetcher/"]),
    ("zstd", &["src/provisioner/", "src/fetcher/"]),
    ("base64", &["src/events/", "src/provisioner/stores/"]),
];

/// Crates of the kind, `None` for all but those of other trades.
fn allowed(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Pure => Some(&["serde", "serde_json", "oci_spec", "sha2"]),
        Kind::Linux => Some(&["nix", "rustix"]),
        Kind::Init | Kind::Build => Some(&[]),
        Kind::Shell | Kind::Door | Kind::Wiring | Kind::Plain | Kind::Runtime => None,
    }
}

/// Crates that a kind must not name although it may name others.
fn forbidden(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Wiring | Kind::Shell => &["nix", "rustix"],
        // A door offers the room's actors to others: their handles are named in it.
        Kind::Door | Kind::Pure | Kind::Linux | Kind::Init | Kind::Build => &[],
        Kind::Plain => &["longshore_actors", "actix"],
        Kind::Runtime => &["longshore"],
    }
}

/// Files that may name a crate which their kind may not, and why.
const CRATE_EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "src/containerizer/recorder/actor.rs",
    "nix",
    "the symbolic name of an error number of std's file calls; no system call",
)];

/// The dependencies of both packages, as Rust names them.
fn dependencies() -> Vec<String> {
    let mut names = vec!["std".to_owned(), "core".into(), "alloc".into(), "longshore".into()];
    for manifest in ["Cargo.toml", "actors/Cargo.toml"] {
        let mut inside = false;
        for line in read(manifest).lines() {
            if line.starts_with('[') {
                inside = line.ends_with("dependencies]");
            } else if inside && let Some((name, _)) = line.split_once('=') {
                names.push(name.trim().replace('-', "_"));
            }
        }
    }
    names.sort();
    names.dedup();
    names
}

/// Crates that shipped code of `source` names, with the line.
fn named_crates(source: &Source, known: &[String]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in source.shipped() {
        for word in words(&line.code) {
            let at_start_of_path = !word.before.ends_with("::") && !word.before.ends_with('.');
            let path = word.after.starts_with("::");
            let import = matches!(word.before.trim_start(), "use" | "pub use" | "extern crate");
            let is_crate = known.iter().any(|name| name == word.text);
            if is_crate && at_start_of_path && (path || import) {
                found.push((index, word.text.to_owned()));
            }
        }
    }
    found
}

#[test]
fn each_kind_of_file_names_the_crates_of_its_trade_only() {
    let known = dependencies();
    let mut findings = Vec::new();
    for source in sources() {
        let Some(kind) = kind(&source.path) else { continue };
        for (index, name) in named_crates(&source, &known) {
            let name = name.as_str();
            let excepted = CRATE_EXCEPTIONS
                .iter()
                .any(|(path, krate, _)| *path == source.path && *krate == name);
            if !may_name(kind, &source.path, name) && !excepted {
                findings.push(format!("{}: {kind:?} files do not name `{name}`", source.at(index)));
            }
        }
    }
    report(&findings, "move the code to the room whose trade it is (docs/style.md, \"Rooms\")");
}

fn may_name(kind: Kind, path: &str, name: &str) -> bool {
    if kind == Kind::Init {
        return name == "core";
    }
    if EVERYWHERE.contains(&name) {
        return true;
    }
    if let Some((_, places)) = TRADES.iter().find(|(krate, _)| *krate == name) {
        return places.iter().any(|place| path.starts_with(place));
    }
    match allowed(kind) {
        Some(list) => list.contains(&name),
        None => !forbidden(kind).contains(&name),
    }
}

/// Parts of std that do something, which pure files therefore leave alone.
const IMPURE: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "std::env",
    "std::os::unix::net",
    "std::sync::mpsc",
    "Instant::now",
    "SystemTime::now",
];

#[test]
fn pure_files_touch_neither_disk_nor_clock_nor_threads() {
    let mut findings = Vec::new();
    for source in sources() {
        if kind(&source.path) != Some(Kind::Pure) {
            continue;
        }
        for (index, line) in source.shipped() {
            for part in IMPURE.iter().filter(|part| line.code.contains(**part)) {
                findings.push(format!("{}: {part}", source.at(index)));
            }
        }
    }
    report(&findings, "take what was read as an input; let the shell or the room read it");
}

/// Modules of the crate that a kind may use; `None`: see [`the_arrows_between_rooms_hold`].
fn modules_of(kind: Kind) -> Option<&'static [&'static str]> {
    match kind {
        Kind::Linux => Some(&["linux", "error"]),
        Kind::Pure | Kind::Init | Kind::Build | Kind::Shell => None,
        Kind::Door | Kind::Wiring | Kind::Plain | Kind::Runtime => None,
    }
}

const ROOMS: &[&str] =
    &["containerizer", "provisioner", "isolators", "launcher", "fetcher", "io", "api", "cli"];

/// Uses of another room beyond the arrows, as file and module, and why.
const ARROW_EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// `crate::a::b` paths of shipped code, as the parts after `crate`.
fn internal_paths(source: &Source) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (index, line) in source.shipped() {
        for word in words(&line.code).into_iter().filter(|word| word.text == "crate") {
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            let end = word.after.find(|c| !is_part(c)).unwrap_or(word.after.len());
            let parts = word.after[..end].split("::").filter(|part| !part.is_empty());
            let parts: Vec<String> = parts.map(str::to_owned).collect();
            if !parts.is_empty() && word.after.starts_with("::") {
                found.push((index, parts));
            }
        }
    }
    found
}

#[test]
fn the_arrows_between_rooms_hold() {
    let mut findings = Vec::new();
    for source in sources() {
        let Some(kind) = kind(&source.path) else { continue };
        for (index, parts) in internal_paths(&source) {
            let module = parts[0].as_str();
            let excepted = ARROW_EXCEPTIONS
                .iter()
                .any(|(path, to, _)| source.path.starts_with(path) && *to == module);
            if !arrow(kind, &source.path, &parts) && !excepted {
                let path = parts.join("::");
                findings.push(format!("{}: {kind:?} file uses crate::{path}", source.at(index)));
            }
        }
    }
    report(&findings, "pass a message, or use what the other room's mod.rs offers as plain data");
}

fn arrow(kind: Kind, path: &str, parts: &[String]) -> bool {
    let module = parts[0].as_str();
    if let Some(list) = modules_of(kind) {
        return list.contains(&module);
    }
    let own = path.strip_prefix("src/").and_then(|inside| inside.split('/').next());
    match kind {
        Kind::Shell if module == "linux" => false,
        Kind::Pure if matches!(module, "linux" | "paths" | "config") => false,
        // What a door says is public; what lies behind it is not. Types are upper case.
        Kind::Plain | Kind::Pure if ROOMS.contains(&module) && own != Some(module) => {
            parts.get(1).is_none_or(|part| part.starts_with(char::is_uppercase))
        }
        _ => true,
    }
}

/// Words of the domain, which the actor runtime does not know.
const DOMAIN: &[&str] =
    &["containerizer", "rootfs", "cgroup", "isolator", "sandbox", "provisioner"];

#[test]
fn the_actor_runtime_knows_nothing_of_containers() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("actors/")) {
        for (index, line) in source.lines.iter().enumerate() {
            for word in words(&line.code) {
                let lower = word.text.to_lowercase();
                if DOMAIN.iter().any(|term| lower.contains(term)) {
                    findings.push(format!("{}: `{}`", source.at(index), word.text));
                }
            }
        }
    }
    report(&findings, "name it for what it does in the runtime, or move it to src/");
}
