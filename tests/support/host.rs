//! What a test needs of the host. A lane promised it, so its absence fails the test.

/// Fails unless the host has every feature named: `require!(root, overlayfs)`.
///
/// A feature is a function of this module.
macro_rules! require {
    ($($feature:ident),+ $(,)?) => {{
        let missing: Vec<String> = [$(
            $crate::support::host::$feature().map_err(|why| format!("{}: {why}", stringify!($feature)))
        ),+]
        .into_iter()
        .filter_map(Result::err)
        .collect();
        assert!(missing.is_empty(), "this lane promised what the host lacks: {missing:?}");
    }};
}

type Present = Result<(), String>;

/// Effective user 0 with CAP_SYS_ADMIN.
pub(crate) fn root() -> Present {
    let status = read("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("CapEff:")).unwrap_or_default();
    let effective = u64::from_str_radix(line.trim_start_matches("CapEff:").trim(), 16);
    let admin = effective.is_ok_and(|bits| bits & (1 << 21) != 0);
    let uid_0 = rustix::process::geteuid().is_root();
    if uid_0 && admin { Ok(()) } else { Err(format!("uid 0: {uid_0}, CAP_SYS_ADMIN: {admin}")) }
}

/// The kernel mounts overlay.
pub(crate) fn overlayfs() -> Present {
    let known = read("/proc/filesystems")?;
    let found = known.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    if found { Ok(()) } else { Err("not in /proc/filesystems".to_owned()) }
}

/// The memory controller is in a v1 hierarchy.
pub(crate) fn cgroup_v1() -> Present {
    match mounts_of("cgroup")?.iter().any(|options| options.split(',').any(|o| o == "memory")) {
        true => Ok(()),
        false => Err("no v1 hierarchy with the memory controller is mounted".to_owned()),
    }
}

/// The only hierarchy is the unified one, and it has the memory controller.
pub(crate) fn cgroup_v2() -> Present {
    if !mounts_of("cgroup")?.is_empty() {
        return Err("v1 hierarchies are mounted".to_owned());
    }
    let controllers = read("/sys/fs/cgroup/cgroup.controllers")?;
    match controllers.split_whitespace().any(|controller| controller == "memory") {
        true => Ok(()),
        false => Err(format!("controllers are {controllers:?}")),
    }
}

/// Some unified hierarchy is mounted, with or without controllers.
pub(crate) fn cgroup_v2_tree() -> Present {
    if mounts_of("cgroup2")?.is_empty() { Err("no cgroup2 is mounted".to_owned()) } else { Ok(()) }
}

/// Super block options of every mount of `kind`.
fn mounts_of(kind: &str) -> Result<Vec<String>, String> {
    let mounts = read("/proc/self/mountinfo")?;
    Ok(mounts
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .filter_map(|(_, tail)| {
            let mut fields = tail.split(' ');
            (fields.next() == Some(kind)).then(|| fields.nth(1).unwrap_or_default().to_owned())
        })
        .collect())
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
