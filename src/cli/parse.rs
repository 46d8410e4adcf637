//! Values of flags: text in, data out. Pure.

use std::time::Duration;

use longshore::model::{PullPolicy, Rlimit, RlimitKind, Uri, Volume, parse_signal};

/// `NAME=VALUE`; the value may be empty and may contain `=`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE".to_owned()),
    }
}

/// `SRC:DST[:ro|rw]`.
pub(crate) fn volume(text: &str) -> Result<Volume, String> {
    let expected = || "write SRC:DST or SRC:DST:ro".to_owned();
    let (path, read_only) = match text.rsplit_once(':') {
        Some((path, "ro")) => (path, true),
        Some((path, "rw")) => (path, false),
        Some(_) | None => (text, false),
    };
    let (source, target) = path.split_once(':').ok_or_else(expected)?;
    if source.is_empty() || target.is_empty() || target.contains(':') {
        return Err(expected());
    }
    let volume = Volume::new(source, target);
    Ok(if read_only { volume.read_only() } else { volume })
}

/// `URI[,executable][,extract=false][,output=NAME]`; archives are unpacked unless told otherwise.
pub(crate) fn uri(text: &str) -> Result<Uri, String> {
    let mut uri = Uri::new(text);
    // From the right, as long as the words are ours: a comma may belong to the URI.
    while let Some((rest, option)) = uri.value.rsplit_once(',') {
        match option.split_once('=') {
            None if option == "executable" => uri.executable = true,
            Some(("extract", "true")) => uri.extract = true,
            Some(("extract", "false")) => uri.extract = false,
            Some(("output", name)) => uri.output_file = Some(name.to_owned()),
            None | Some(_) => break,
        }
        uri.value = rest.to_owned();
    }
    match uri.value.is_empty() {
        true => Err("the uri is empty".to_owned()),
        false => Ok(uri),
    }
}

/// Kinds by their names of setrlimit(2).
const RLIMITS: [(&str, RlimitKind); 16] = [
    ("as", RlimitKind::As),
    ("core", RlimitKind::Core),
    ("cpu", RlimitKind::Cpu),
    ("data", RlimitKind::Data),
    ("fsize", RlimitKind::Fsize),
    ("locks", RlimitKind::Locks),
    ("memlock", RlimitKind::Memlock),
    ("msgqueue", RlimitKind::Msgqueue),
    ("nice", RlimitKind::Nice),
    ("nofile", RlimitKind::Nofile),
    ("nproc", RlimitKind::Nproc),
    ("rss", RlimitKind::Rss),
    ("rtprio", RlimitKind::Rtprio),
    ("rttime", RlimitKind::Rttime),
    ("sigpending", RlimitKind::Sigpending),
    ("stack", RlimitKind::Stack),
];

/// `NAME=SOFT[:HARD]`, each a number or `unlimited`; the name with or without `RLIMIT_`.
pub(crate) fn rlimit(text: &str) -> Result<Rlimit, String> {
    let (name, limits) =
        text.split_once('=').ok_or_else(|| "write NAME=SOFT or NAME=SOFT:HARD".to_owned())?;
    let lower = name.to_ascii_lowercase();
    let known = lower.strip_prefix("rlimit_").unwrap_or(&lower);
    let kind = RLIMITS.iter().find(|(name, _)| *name == known).map(|(_, kind)| *kind);
    let kind = kind.ok_or_else(|| {
        let names: Vec<&str> = RLIMITS.iter().map(|(name, _)| *name).collect();
        format!("{name:?} is not one of {}", names.join(", "))
    })?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    Ok(Rlimit::new(kind, rlimit_number(soft)?).hard(rlimit_number(hard)?))
}

fn rlimit_number(text: &str) -> Result<Option<u64>, String> {
    match text {
        "unlimited" | "-1" => Ok(None),
        _ => text
            .parse()
            .map(Some)
            .map_err(|_| format!("{text:?} is neither a number nor unlimited")),
    }
}

/// `1h 30m`, `10s`, `250ms`; a bare number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "write a time such as 90s, 5m or 1h".to_owned())
}

/// `SIGTERM`, `TERM` or `15`.
pub(crate) fn signal(text: &str) -> Result<i32, String> {
    parse_signal(text).ok_or_else(|| "no such signal; write SIGTERM, TERM or 15".to_owned())
}

/// A positive number of CPUs.
pub(crate) fn cpus(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|cpus: &f64| cpus.is_finite() && *cpus > 0.0)
        .ok_or_else(|| "write a number of CPUs above 0, such as 1.5".to_owned())
}

/// When to ask the registry.
pub(crate) fn pull_policy(text: &str) -> Result<PullPolicy, String> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        _ => Err("write always, missing or never".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_ends_its_name_at_the_first_equals_sign() {
        assert_eq!(pair("A=b=c"), Ok(("A".to_owned(), "b=c".to_owned())));
        assert_eq!(pair("A="), Ok(("A".to_owned(), String::new())));
        assert!(pair("A").is_err() && pair("=b").is_err());
    }

    #[test]
    fn a_volume_has_a_source_a_target_and_perhaps_a_mode() {
        let read = |text| volume(text).map(|v| (v.source, v.target, v.read_only));
        assert_eq!(read("/a:/b"), Ok(("/a".into(), "/b".into(), false)));
        assert_eq!(read("/a:/b:ro"), Ok(("/a".into(), "/b".into(), true)));
        assert_eq!(read("/a:b:rw"), Ok(("/a".into(), "b".into(), false)));
        for bad in ["/a", ":/b", "/a:", "/a:/b:rx", "/a:ro"] {
            assert!(volume(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_options_of_a_uri_stand_behind_it() {
        let plain = uri("http://x/a,b").expect("valid");
        assert_eq!((plain.value.as_str(), plain.extract), ("http://x/a,b", true));
        let full = uri("/a,b,executable,extract=false,output=c").expect("valid");
        assert_eq!(full.value, "/a,b");
        assert!(full.executable && !full.extract);
        assert_eq!(full.output_file.as_deref(), Some("c"));
        assert!(uri("").is_err() && uri(",executable").is_err());
    }

    #[test]
    fn an_rlimit_has_one_number_or_two() {
        let read = |text| rlimit(text).map(|r| (r.kind, r.soft, r.hard));
        assert_eq!(read("nofile=10"), Ok((RlimitKind::Nofile, Some(10), Some(10))));
        assert_eq!(read("RLIMIT_CORE=0:unlimited"), Ok((RlimitKind::Core, Some(0), None)));
        for bad in ["nofile", "nofile=", "nofile=x", "files=1", "nofile=1:2:3"] {
            assert!(rlimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_written_with_its_unit_or_in_seconds() {
        assert_eq!(duration("2"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1mins"), Ok(Duration::from_secs(60)));
        assert!(duration("soon").is_err() && duration("").is_err() && duration("-1s").is_err());
    }

    #[test]
    fn cpus_are_a_positive_number() {
        assert_eq!(cpus("1.5"), Ok(1.5));
        for bad in ["0", "-1", "nan", "inf", "many"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }
}
