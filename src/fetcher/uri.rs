//! What a URI asks for. Pure.

use std::path::{Component, Path, PathBuf};

use super::FetchError;
use crate::model::Uri;

/// Names in the sandbox that belong to the streams of the payload.
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file of this host.
    Local(PathBuf),
    /// `http:` or `https:`, the whole text.
    Http(String),
}

/// How the bytes are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

/// What is done with the file when it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    Keep,
    /// It is made executable.
    Execute,
    /// It is a tar, unpacked into the sandbox; the archive stays.
    Unpack(Compression),
    /// One compressed file, unpacked beside itself under this path.
    Inflate(PathBuf),
}

/// One URI, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// For messages: no user, password or query.
    pub(super) shown: String,
    pub(super) source: Source,
    /// Below the sandbox; plain names only.
    pub(super) target: PathBuf,
    pub(super) then: Then,
}

/// Refuses what no fetch could do, so that a launch with it fails at once.
pub(crate) fn validate(uris: &[Uri]) -> Result<(), FetchError> {
    uris.iter().try_for_each(|uri| understand(uri).map(|_| ()))
}

/// What `uri` asks for.
pub(super) fn understand(uri: &Uri) -> Result<Item, FetchError> {
    let text = uri.value.trim_start();
    let shown = shown(text);
    let invalid = |reason| FetchError::Invalid { uri: shown.clone(), reason };
    if text.contains(['\\', '\'', '\0']) || text.chars().any(char::is_control) {
        return Err(invalid("it has a backslash, a quote or a control character"));
    }
    let (source, path) = locate(text).map_err(|refusal| match refusal {
        Refusal::Invalid(reason) => invalid(reason),
        Refusal::Unsupported(reason) => FetchError::Unsupported { uri: shown.clone(), reason },
    })?;
    let target = match &uri.output_file {
        Some(name) => output_file(name),
        None => last_component(path),
    };
    let target = target.map_err(invalid)?;
    if STREAMS.iter().any(|name| target == Path::new(name)) {
        return Err(invalid("its file would replace a stream of the container"));
    }
    let then = match (uri.executable, uri.extract) {
        (true, _) => Then::Execute,
        (false, true) => archive(&target)
            .map_err(|reason| FetchError::Unsupported { uri: shown.clone(), reason })?,
        (false, false) => Then::Keep,
    };
    Ok(Item { shown, source, target, then })
}

enum Refusal {
    Invalid(&'static str),
    Unsupported(&'static str),
}

/// The source, and the path whose last component names the file.
fn locate(text: &str) -> Result<(Source, &str), Refusal> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return match text.strip_prefix("file:").unwrap_or(text) {
            path if path.starts_with('/') => Ok((Source::Local(path.into()), path)),
            _ => Err(Refusal::Invalid("it is neither an absolute path nor an URL")),
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "file" => {
            let path = rest.strip_prefix("localhost").unwrap_or(rest);
            match path.starts_with('/') {
                true => Ok((Source::Local(path.into()), path)),
                false => Err(Refusal::Invalid("the path of a file URL is absolute")),
            }
        }
        "http" | "https" => {
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            match rest.split_once('/') {
                Some((host, path)) if !host.is_empty() && !path.is_empty() => {
                    Ok((Source::Http(text.to_owned()), path))
                }
                Some(_) | None => Err(Refusal::Invalid("it has no host or no path")),
            }
        }
        _ => Err(Refusal::Unsupported("only file, http and https are understood")),
    }
}

fn last_component(path: &str) -> Result<PathBuf, &'static str> {
    match path.rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => Err("its path ends in no file name"),
        name => Ok(PathBuf::from(name)),
    }
}

/// The kernel confines it as well; here it is refused before anything happened.
fn output_file(name: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    match plain && !name.is_empty() && !name.ends_with('/') && !name.contains('\0') {
        // Collecting drops what means nothing: doubled slashes, `.` in the middle.
        true => Ok(path.components().collect()),
        false => Err("output_file is not a path within the sandbox"),
    }
}

/// Suffixes of archives that others unpack. A command that expects the content must not start
/// without it.
const REFUSED: [&str; 6] = [".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".zip", ".tar.lzma"];

fn archive(target: &Path) -> Result<Then, &'static str> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
    if ends(&REFUSED) {
        return Err("this kind of archive is not unpacked; tar, gzip and zstd are");
    }
    Ok(match () {
        () if ends(&[".tar"]) => Then::Unpack(Compression::None),
        () if ends(&[".tar.gz", ".tgz"]) => Then::Unpack(Compression::Gzip),
        () if ends(&[".tar.zst", ".tzst"]) => Then::Unpack(Compression::Zstd),
        () => match name.strip_suffix(".gz") {
            Some(bare) if !bare.is_empty() => Then::Inflate(target.with_file_name(bare)),
            Some(_) | None => Then::Keep,
        },
    })
}

/// The URI without what may be secret.
fn shown(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    if scheme.eq_ignore_ascii_case("file") {
        return text.to_owned();
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').map_or((rest, None), |(a, p)| (a, Some(p)));
    let host = authority.rsplit('@').next().unwrap_or_default();
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(value: &str) -> Uri {
        Uri { value: value.to_owned(), executable: false, extract: true, output_file: None }
    }

    #[test]
    fn targets_are_the_last_component_without_the_query() {
        for (value, target) in [
            ("/a/b.txt", "b.txt"),
            ("  /a/b.txt", "b.txt"),
            ("file:///a/b", "b"),
            ("file:/a/b", "b"),
            ("FILE://localhost/a/b", "b"),
            ("file:///a/b?c#d", "b?c#d"),
            ("http://h/x.jar?token=1/2", "x.jar"),
            ("https://u:p@h:8443/a/x.jar#top", "x.jar"),
        ] {
            let item = understand(&uri(value)).expect(value);
            assert_eq!(item.target, Path::new(target), "{value}");
        }
    }

    #[test]
    fn bad_uris_are_refused_by_name() {
        for (value, reason) in [
            ("", "neither an absolute path"),
            ("relative/path", "neither an absolute path"),
            ("file://relative", "path of a file URL"),
            ("file://host/x", "path of a file URL"),
            ("http://h", "no host or no path"),
            ("http://h/", "no host or no path"),
            ("http:///x", "no host or no path"),
            ("http://h?x=/y", "no host or no path"),
            ("http://h/a/", "ends in no file name"),
            ("http://h/a/..", "ends in no file name"),
            ("/", "ends in no file name"),
            ("/a/.", "ends in no file name"),
            ("/it's", "a quote"),
            ("/a\\b", "a backslash"),
            ("/a\nb", "a control character"),
            ("/a\0b", "a control character"),
            ("hdfs://h/x", "only file, http and https"),
            ("ftp://h/x", "only file, http and https"),
            ("/a/stdout", "a stream of the container"),
            ("http://h/x.zip", "is not unpacked"),
            ("http://h/x.tar.xz", "is not unpacked"),
        ] {
            let error = understand(&uri(value)).expect_err(value).to_string();
            assert!(error.contains(reason) && error.starts_with("uri "), "{value:?}: {error}");
        }
    }

    #[test]
    fn an_output_file_stays_within_the_sandbox() {
        let with = |name: &str| {
            let output_file = Some(name.to_owned());
            understand(&Uri { output_file, ..uri("/a/b") }).map(|item| item.target)
        };
        for bad in ["", "/etc/passwd", "..", "../x", "a/../../x", "a/", ".", "stderr", "a\0"] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
        assert_eq!(with("a//b/./c").expect("inside"), Path::new("a/b/c"));
        assert_eq!(with("a/stdout").expect("no stream"), Path::new("a/stdout"));
    }

    #[test]
    fn the_suffix_says_what_to_unpack_and_executable_wins() {
        for (value, then) in [
            ("/x.tar", Then::Unpack(Compression::None)),
            ("/x.tgz", Then::Unpack(Compression::Gzip)),
            ("/x.tar.gz", Then::Unpack(Compression::Gzip)),
            ("http://h/x.tar.zst?a=b.zip", Then::Unpack(Compression::Zstd)),
            ("/x.txt.gz", Then::Inflate("x.txt".into())),
            ("/.gz", Then::Keep),
            ("/x.jar", Then::Keep),
        ] {
            assert_eq!(understand(&uri(value)).expect(value).then, then, "{value}");
        }
        let run = Uri { executable: true, ..uri("/x.zip") };
        assert_eq!(understand(&run).expect("not unpacked").then, Then::Execute);
        let keep = Uri { extract: false, ..uri("/x.zip") };
        assert_eq!(understand(&keep).expect("not unpacked").then, Then::Keep);
    }

    #[test]
    fn secrets_of_an_url_are_not_shown() {
        let item = understand(&uri("https://me:secret@h/x?signature=secret#secret"));
        assert_eq!(item.expect("valid").shown, "https://h/x");
        let error = understand(&uri("https://me:secret@h?secret")).expect_err("no path");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
