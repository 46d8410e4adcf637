//! The fetcher on real directories, and against a scripted server.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::error::{Classified, ErrorKind};
use crate::linux::stream::Owner;
use crate::model::Uri;

mod archives;
#[cfg(feature = "registry")]
mod remote;

/// A sandbox, and a place for sources beside it.
struct World {
    directory: TempDir,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("sandbox")).expect("made");
        Self { directory }
    }

    fn sandbox(&self) -> PathBuf {
        self.directory.path().join("sandbox")
    }

    /// A source file of this name.
    fn source(&self, name: &str, content: &[u8]) -> Uri {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("written");
        uri(path.to_str().expect("utf-8"))
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.sandbox().join(name)).unwrap_or_else(|error| format!("{error}"))
    }

    fn mode(&self, name: &str) -> u32 {
        let metadata = fs::metadata(self.sandbox().join(name)).expect("there");
        metadata.permissions().mode() & 0o7777
    }

    /// The names in the sandbox, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.sandbox()).expect("listed");
        let name = |e: std::io::Result<fs::DirEntry>| e.expect("listed").file_name();
        let mut names: Vec<_> = entries.map(|e| name(e).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    async fn fetch(&self, uris: &[Uri]) -> Result<(), FetchError> {
        self.fetch_with(uris, config()).await
    }

    async fn fetch_with(&self, uris: &[Uri], config: FetcherConfig) -> Result<(), FetchError> {
        Fetcher::new(config).fetch(uris, &self.sandbox(), me()).await
    }
}

fn config() -> FetcherConfig {
    FetcherConfig {
        #[cfg(feature = "registry")]
        http: crate::http::HttpConfig { proxy: crate::http::Proxy::None, ..Default::default() },
        #[cfg(feature = "registry")]
        attempts: 3,
        #[cfg(feature = "registry")]
        backoff: std::time::Duration::from_millis(1),
        ..FetcherConfig::default()
    }
}

fn me() -> Owner {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    Owner { uid: uid.as_raw(), gid: gid.as_raw() }
}

fn uri(value: &str) -> Uri {
    Uri { value: value.to_owned(), executable: false, extract: true, output_file: None }
}

#[tokio::test]
async fn local_files_arrive_under_their_name() {
    let world = World::new();
    let plain = world.source("a.txt", b"alpha");
    let file = world.source("b.sh", b"#!/bin/sh");
    let file = Uri { value: format!("file://{}", file.value), executable: true, ..file };
    world.fetch(&[plain, file]).await.expect("fetched");
    assert_eq!(world.read("a.txt"), "alpha");
    assert_eq!(world.mode("a.txt"), 0o644);
    assert_eq!(world.mode("b.sh"), 0o755);
    assert_eq!(world.names(), ["a.txt", "b.sh"]);
}

#[tokio::test]
async fn an_output_file_gets_its_directories() {
    let world = World::new();
    let source = world.source("a", b"alpha");
    let output_file = Some("deep/er/name".to_owned());
    world.fetch(&[Uri { output_file, ..source }]).await.expect("fetched");
    assert_eq!(world.read("deep/er/name"), "alpha");
    assert_eq!(world.mode("deep/er"), 0o755);
}

#[tokio::test]
async fn a_later_uri_overwrites_an_earlier_one() {
    let world = World::new();
    let named = |source| Uri { output_file: Some("x".to_owned()), ..source };
    let uris = [named(world.source("1", b"first")), named(world.source("2", b"second"))];
    world.fetch(&uris).await.expect("fetched");
    assert_eq!(world.read("x"), "second");
    assert_eq!(world.names(), ["x"]);
}

#[tokio::test]
async fn one_bad_uri_fails_all_before_anything_is_fetched() {
    let world = World::new();
    let uris = [world.source("a", b"alpha"), uri("ftp://h/x")];
    let error = world.fetch(&uris).await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(world.names(), [""; 0]);
    assert!(validate(&uris).is_err());
    assert!(validate(&uris[..1]).is_ok());
}

#[tokio::test]
async fn what_is_no_readable_file_is_named_with_the_cause() {
    let world = World::new();
    let fifo = world.directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("made");
    for (path, errno) in [("/no/such", "ENOENT"), ("/tmp", "EISDIR"), ("/dev/zero", "EINVAL")] {
        let error = world.fetch(&[uri(path)]).await.expect_err("no file");
        assert_eq!(
            (error.kind(), error.errno().as_deref()),
            (ErrorKind::InvalidRequest, Some(errno))
        );
        assert!(error.to_string().contains(path), "{error}");
    }
    let error = world.fetch(&[uri(fifo.to_str().expect("utf-8"))]).await.expect_err("no file");
    assert_eq!(error.errno().as_deref(), Some("EINVAL"));
}

#[tokio::test]
async fn a_planted_link_leads_nowhere() {
    let world = World::new();
    let outside = world.directory.path().join("outside");
    fs::create_dir(&outside).expect("made");
    fs::write(outside.join("file"), "untouched").expect("written");
    symlink(&outside, world.sandbox().join("way")).expect("planted");
    symlink(outside.join("file"), world.sandbox().join("a")).expect("planted");

    let through = Uri { output_file: Some("way/file".to_owned()), ..world.source("a", b"new") };
    let error = world.fetch(&[through]).await.expect_err("refused");
    assert_eq!(error.errno().as_deref(), Some("ENOTDIR"));
    // A link under the name itself is replaced, not followed.
    world.fetch(&[world.source("a", b"new")]).await.expect("fetched");
    assert_eq!(world.read("a"), "new");
    assert_eq!(fs::read_to_string(outside.join("file")).expect("there"), "untouched");
    assert_eq!(world.names(), ["a", "way"]);
}

#[tokio::test]
async fn a_file_over_the_limit_leaves_nothing() {
    let world = World::new();
    let source = world.source("a", &[0; 1000]);
    let config = FetcherConfig { bytes_max: 999, ..config() };
    let error = world.fetch_with(&[source], config).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert_eq!(world.names(), [""; 0]);
}

#[tokio::test]
async fn no_uris_need_no_sandbox() {
    let nowhere = Path::new("/no/such/sandbox");
    Fetcher::new(FetcherConfig::default()).fetch(&[], nowhere, me()).await.expect("nothing to do");
    let error =
        Fetcher::new(FetcherConfig::default()).fetch(&[uri("/etc/hostname")], nowhere, me()).await;
    assert_eq!(error.expect_err("no sandbox").errno().as_deref(), Some("ENOENT"));
}

#[cfg(feature = "root-tests")]
mod root {
    use std::os::unix::fs::{MetadataExt, chown};

    use super::*;

    const SOMEBODY: Owner = Owner { uid: 12_345, gid: 54_321 };

    async fn fetch(world: &World, uris: &[Uri]) -> Result<(), FetchError> {
        fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o755))
            .expect("set");
        Fetcher::new(config()).fetch(uris, &world.sandbox(), SOMEBODY).await
    }

    #[tokio::test]
    async fn what_is_fetched_belongs_to_the_containers_user() {
        let world = World::new();
        let source = Uri { output_file: Some("d/x".to_owned()), ..world.source("x", b"") };
        fetch(&world, &[source]).await.expect("fetched");
        for name in ["d", "d/x"] {
            let metadata = fs::metadata(world.sandbox().join(name)).expect("there");
            assert_eq!((metadata.uid(), metadata.gid()), (SOMEBODY.uid, SOMEBODY.gid), "{name}");
        }
    }

    #[tokio::test]
    async fn local_files_are_read_with_the_rights_of_the_containers_user() {
        let world = World::new();
        let source = world.source("secret", b"secret");
        // mode, owner, group, readable
        for (mode, uid, gid, readable) in [
            (0o600, 0, 0, false),
            (0o640, 0, 0, false),
            (0o640, 0, SOMEBODY.gid, true),
            (0o600, SOMEBODY.uid, 0, true),
            (0o044, SOMEBODY.uid, 0, false),
            (0o644, 0, 0, true),
        ] {
            chown(&source.value, Some(uid), Some(gid)).expect("root");
            fs::set_permissions(&source.value, fs::Permissions::from_mode(mode)).expect("root");
            let fetched = fetch(&world, std::slice::from_ref(&source)).await;
            assert_eq!(fetched.is_ok(), readable, "{mode:o} {uid} {gid}");
            if let Err(error) = fetched {
                assert_eq!(error.errno().as_deref(), Some("EACCES"), "{error}");
            }
        }
        // The thread with the other identity is gone: root reads as root again.
        assert!(fs::read(&source.value).is_ok());
    }

    #[tokio::test]
    async fn a_directory_closed_to_the_containers_user_hides_its_files() {
        let world = World::new();
        let closed = world.directory.path().join("closed");
        fs::create_dir(&closed).expect("made");
        let source = world.source("closed/x", b"secret");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("root");
        let error = fetch(&world, &[source]).await.expect_err("hidden");
        assert_eq!(error.errno().as_deref(), Some("EACCES"));
    }
}
