//! Archives, and what they must not do.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::*;

/// Writes a header as it is: `tar`'s own checks would refuse what these tests need.
fn entry(kind: EntryType, name: &str, link: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    let fields = header.as_gnu_mut().expect("a GNU header");
    fields.name[..name.len()].copy_from_slice(name.as_bytes());
    fields.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name, "", 0o644, content)
}

fn link(name: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Symlink, name, target, 0o777, b"")
}

fn hard(name: &str, target: &str) -> Vec<u8> {
    entry(EntryType::Link, name, target, 0o644, b"")
}

fn directory(name: &str) -> Vec<u8> {
    entry(EntryType::Directory, name, "", 0o750, b"")
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

async fn unpack(world: &World, entries: &[Vec<u8>]) -> Result<(), FetchError> {
    world.fetch(&[world.source("x.tar", &tar(entries))]).await
}

#[tokio::test]
async fn each_kind_of_archive_is_unpacked_and_stays() {
    let content = tar(&[directory("./"), directory("./d"), file("./d/f", b"content")]);
    let zstd = zstd::encode_all(content.as_slice(), 1).expect("memory");
    for (name, bytes) in [
        ("x.tar", content.clone()),
        ("x.tar.gz", gzip(&content)),
        ("x.tgz", gzip(&content)),
        ("x.tar.zst", zstd),
    ] {
        let world = World::new();
        world.fetch(&[world.source(name, &bytes)]).await.expect(name);
        assert_eq!(world.read("d/f"), "content", "{name}");
        assert_eq!(world.mode("d"), 0o750);
        assert_eq!(world.names(), ["d", name]);
    }
}

#[tokio::test]
async fn a_gzipped_file_is_unpacked_beside_itself() {
    let world = World::new();
    let source = world.source("x", &gzip(b"content"));
    let output_file = Some("d/x.txt.gz".to_owned());
    world.fetch(&[Uri { output_file, ..source }]).await.expect("fetched");
    assert_eq!(world.read("d/x.txt"), "content");
    assert!(world.sandbox().join("d/x.txt.gz").is_file());
}

#[tokio::test]
async fn nothing_is_unpacked_that_nobody_asked_for() {
    let world = World::new();
    let archive = world.source("x.tar", &tar(&[file("f", b"")]));
    let plain = Uri { extract: false, output_file: Some("1".into()), ..archive.clone() };
    let program = Uri { executable: true, ..archive };
    world.fetch(&[plain, program]).await.expect("fetched");
    assert_eq!(world.names(), ["1", "x.tar"]);
    assert_eq!(world.mode("x.tar"), 0o755);
}

#[tokio::test]
async fn links_modes_and_times_are_the_archives() {
    let world = World::new();
    let program = entry(EntryType::Regular, "bin/p", "", 0o4755, b"p");
    unpack(&world, &[program, link("bin/l", "/etc/passwd"), hard("h", "bin/p")])
        .await
        .expect("fetched");
    assert_eq!(world.mode("bin/p"), 0o755, "setuid does not come along");
    let target = fs::read_link(world.sandbox().join("bin/l")).expect("a link");
    assert_eq!(target, Path::new("/etc/passwd"));
    let metadata = fs::metadata(world.sandbox().join("h")).expect("there");
    assert_eq!((metadata.nlink(), metadata.mtime()), (2, 1_000_000_000));
}

#[tokio::test]
async fn entries_replace_what_was_there() {
    let world = World::new();
    let entries = [
        file("a", b"1"),
        link("a", "b"),
        file("a", b"2"),
        hard("b", "a"),
        file("b", b"3"),
        hard("b", "b"),
    ];
    unpack(&world, &entries).await.expect("fetched");
    assert_eq!((world.read("a"), world.read("b")), ("2".to_owned(), "3".to_owned()));
}

#[tokio::test]
async fn no_entry_leaves_the_sandbox() {
    for (entries, reason) in [
        (vec![file("../out", b"x")], "leaves the sandbox"),
        (vec![file("/tmp/longshore-out", b"x")], "leaves the sandbox"),
        (vec![file("a/../../out", b"x")], "leaves the sandbox"),
        (vec![link("l", ".."), file("l/out", b"x")], "through a link"),
        (vec![link("l", "/tmp"), directory("l/longshore-out")], "through a link"),
        (vec![hard("h", "../victim")], "leaves the sandbox"),
        (vec![link("l", ".."), hard("h", "l/victim")], "through a link"),
        (vec![file("f", b""), file("f/x", b"")], "through a link or a file"),
        (vec![file("stdout", b"x")], "a stream of the container"),
        (vec![link("./stderr", "/etc/passwd")], "a stream of the container"),
        (vec![entry(EntryType::Char, "null", "", 0o666, b"")], "neither file"),
        (vec![entry(EntryType::Fifo, "pipe", "", 0o666, b"")], "neither file"),
        (vec![hard("h", "no/such")], "ENOENT"),
        (vec![directory("d"), file("d", b"")], "EISDIR"),
        (vec![file(".", b"x")], "is the sandbox itself"),
    ] {
        let world = World::new();
        fs::write(world.directory.path().join("victim"), "untouched").expect("written");
        let error = unpack(&world, &entries).await.expect_err(reason);
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
        let beside: Vec<_> = fs::read_dir(world.directory.path()).expect("listed").collect();
        assert_eq!(beside.len(), 3, "sandbox, archive and victim: {reason}");
    }
    assert!(!Path::new("/tmp/longshore-out").is_file());
}

#[tokio::test]
async fn a_link_at_the_end_of_a_path_is_replaced_and_not_written_through() {
    let world = World::new();
    let victim = world.directory.path().join("victim");
    fs::write(&victim, "untouched").expect("written");
    unpack(&world, &[link("l", "../victim"), file("l", b"new")]).await.expect("fetched");
    assert_eq!(world.read("l"), "new");
    assert_eq!(fs::read_to_string(&victim).expect("there"), "untouched");
}

#[tokio::test]
async fn damaged_archives_are_errors_that_name_the_uri() {
    let whole = gzip(&tar(&[file("f", &[7; 5000])]));
    let mut long = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    let name = format!("{}/f", "n".repeat(300));
    long.append_data(&mut header, name, &b"x"[..]).expect("memory");
    for (name, bytes) in [
        ("x.tgz", whole[..whole.len() / 2].to_vec()),
        ("x.tgz", b"no gzip at all".to_vec()),
        ("x.tar", vec![1; 2000]),
        ("x.tar.zst", vec![1; 2000]),
        ("x.gz", vec![1; 2000]),
        ("x.tar", long.into_inner().expect("memory")),
    ] {
        let world = World::new();
        let error = world.fetch(&[world.source(name, &bytes)]).await.expect_err(name);
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{error}");
    }
}

#[tokio::test]
async fn a_bomb_ends_at_the_limit() {
    let world = World::new();
    let archive = gzip(&tar(&[file("a", &[0; 300_000]), file("b", &[0; 300_000])]));
    let config = || FetcherConfig { bytes_max: 500_000, ..config() };
    let error = world.fetch_with(&[world.source("x.tgz", &archive)], config()).await;
    assert_eq!(error.expect_err("too large").kind(), ErrorKind::Exhausted);
    let error = world.fetch_with(&[world.source("x.gz", &gzip(&[0; 600_000]))], config()).await;
    assert_eq!(error.expect_err("too large").kind(), ErrorKind::Exhausted);
    let config = FetcherConfig { entries_max: 1, ..config() };
    let error = world.fetch_with(&[world.source("x.tgz", &archive)], config).await;
    assert!(error.expect_err("too many").to_string().contains("more than 1 entries"));
}

#[test]
fn a_dropped_fetch_unpacks_nothing_more() {
    let world = World::new();
    let entries: Vec<_> = (0..20_000).map(|n| file(&format!("f{n}"), b"content")).collect();
    let source = world.source("x.tar", &tar(&entries));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let names = runtime.block_on(async {
        let uris = [source];
        let mut fetch = Box::pin(world.fetch(&uris));
        while world.names().len() < 10 {
            let turn = std::time::Duration::from_millis(1);
            let turn = tokio::time::timeout(turn, &mut fetch).await;
            assert!(turn.is_err(), "twenty thousand files take longer");
        }
        drop(fetch);
        world.names()
    });
    // Waits for the writer's thread to end.
    drop(runtime);
    assert_eq!(world.names().len(), names.len());
    assert!(names.len() < entries.len(), "it was in the middle");
}
