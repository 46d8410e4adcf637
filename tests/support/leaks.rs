//! What a world has left on the host: mounts, cgroups, processes, namespaces, descriptors, files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{self, Process};

/// How long what is already doomed may take to be gone: orphans are reaped by another process.
const SETTLE: Duration = Duration::from_secs(10);

/// By what a world's things are recognised.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    /// Everything of the world on disk lies below it.
    pub(crate) directory: PathBuf,
    /// Name of its cgroup in every hierarchy; also in the environment of its programs.
    pub(crate) name: String,
}

impl Marks {
    fn in_text(&self, text: &[u8]) -> bool {
        let directory = self.directory.to_str().expect("test directories are UTF-8");
        [directory, self.name.as_str()].iter().any(|mark| contains(text, mark.as_bytes()))
    }
}

fn contains(text: &[u8], mark: &[u8]) -> bool {
    text.windows(mark.len()).any(|window| window == mark)
}

/// Mount points in our mount namespace that belong to the world; the last mounted first.
pub(crate) fn mounts(marks: &Marks) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let ours = table.lines().filter(|line| marks.in_text(line.as_bytes()));
    ours.filter_map(|line| line.split(' ').nth(4)).map(unescape).rev().collect()
}

/// mountinfo writes blanks as `\040`; test directories have nothing else to escape.
fn unescape(field: &str) -> PathBuf {
    field.replace("\\040", " ").into()
}

/// The world's cgroups in every mounted hierarchy, the deepest first.
pub(crate) fn cgroups(marks: &Marks) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mut found = Vec::new();
    for line in table.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        if tail.starts_with("cgroup ") || tail.starts_with("cgroup2 ") {
            let mount_point = head.split(' ').nth(4).map(unescape).expect("proc(5): field 5");
            below(&mount_point, &mut |path| {
                if marks.in_text(path.as_os_str().as_encoded_bytes()) {
                    found.push(path.to_owned());
                }
            });
        }
    }
    found.sort();
    found.dedup();
    found.reverse();
    found
}

/// Calls `visit` with every directory below `directory`; what vanishes meanwhile is left out.
fn below(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            below(&entry.path(), visit);
        }
    }
}

/// Processes that belong to the world by cgroup, mounts, paths, arguments or environment.
pub(crate) fn processes(marks: &Marks) -> Vec<i32> {
    let me = std::process::id() as i32;
    process::all()
        .into_iter()
        .filter(|pid| *pid != me && *pid != 1 && belongs(*pid, marks))
        .collect()
}

fn belongs(pid: i32, marks: &Marks) -> bool {
    let path = |file: &str| format!("/proc/{pid}/{file}");
    let marked = |file: &str| fs::read(path(file)).is_ok_and(|text| marks.in_text(&text));
    let links = ["cwd", "root", "exe"];
    let inside = links.iter().any(|link| {
        fs::read_link(path(link)).is_ok_and(|target| target.starts_with(&marks.directory))
    });
    // Only the root counts: copies of our other mounts are in the namespaces of strangers too.
    let root = fs::read_to_string(path("mountinfo")).is_ok_and(|table| {
        let roots = table.lines().filter(|line| line.split(' ').nth(4) == Some("/"));
        roots.into_iter().any(|line| marks.in_text(line.as_bytes()))
    });
    inside || root || ["cgroup", "cmdline", "environ"].iter().any(|file| marked(file))
}

/// Our own descriptors that refer to something of the world.
pub(crate) fn descriptors(marks: &Marks) -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?)))
        .filter(|(_, target)| marks.in_text(target.as_os_str().as_encoded_bytes()))
        .map(|(number, target)| format!("{} -> {}", number.display(), target.display()))
        .collect()
}

/// Files below the runtime and work directory that no finished container leaves.
///
/// Stay: the image store, sandboxes, records of ended containers, locks and the boot id. Empty
/// directories are skeleton, except those of a container.
pub(crate) fn files(work_dir: &Path, runtime_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in [
        work_dir.join("provisioner/containers"),
        runtime_dir.join("containers"),
        runtime_dir.join("run"),
        runtime_dir.join("cgroups"),
    ] {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path()));
    }
    below(&work_dir.join("store"), &mut |path| {
        let parent = path.parent().and_then(Path::file_name).unwrap_or_default();
        if parent == "staging" || parent == "tmp" {
            found.push(path.to_owned());
        }
    });
    found
}

/// Waits for those of `pids` that are about to end, and describes the ones that stay.
pub(crate) fn survivors(pids: &[i32]) -> Vec<String> {
    let me = std::process::id() as i32;
    pids.iter()
        .filter_map(|pid| Process::find(*pid))
        .filter(|process| !process.ends_within(SETTLE))
        .chain(pids.iter().filter_map(|pid| zombie_of(me, *pid)))
        .map(|process| process::describe(process.pid))
        .collect()
}

/// A child of ours that has ended and that nobody has waited for.
fn zombie_of(me: i32, pid: i32) -> Option<Process> {
    (process::parent_and_state(pid)? == (me, 'Z')).then(|| Process::find(pid)).flatten()
}

/// Descriptors of ours that keep a namespace or a file system alive, whosever they are.
pub(crate) fn held_namespaces() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    let kinds = ["mnt:[", "pid:[", "ipc:[", "net:[", "uts:[", "user:[", "cgroup:["];
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| {
            let namespace = kinds.iter().any(|kind| target.starts_with(kind));
            namespace || target == "anon_inode:[fscontext]"
        })
        .collect()
}
