//! Layers as hostile and as awkward as tars allow. Root: owners, devices and `trusted.*` attributes.

pub(in crate::provisioner) mod harness;
mod random;

use harness::{Image, Tar};

use super::LayerError;

#[test]
fn a_file_through_a_link_of_the_layer_stays_in_the_layer() {
    let outside = tempfile::tempdir().expect("temporary directory");
    let escape = outside.path().to_str().expect("ASCII").to_owned();
    let mut tar = Tar::default();
    tar.symlink("out", &escape).symlink("up", "../../../../../../../..").dir("etc", 0o755);
    tar.file("out/planted", "x").file("up/etc/planted", "y").file("up/../up/tmp/z", "z");
    let image = Image::of([tar]);
    assert_eq!(std::fs::read_dir(outside.path()).expect("listed").count(), 0);
    // The links are followed, with the layer as their root.
    let inside = format!("{}/planted", escape.trim_start_matches('/'));
    assert!(image.has(&inside), "{:#?}", image.overlay());
    assert!(image.has("etc/planted") && image.has("tmp/z"));
}

#[test]
fn names_and_links_that_leave_the_layer_are_refused() {
    let mut name = Tar::default();
    name.file("../evil", "x");
    let mut link = Tar::default();
    link.hardlink("passwd", "../../etc/passwd");
    let mut hides = Tar::default();
    hides.file("a/.wh...", "");
    for tar in [name, link, hides] {
        assert!(matches!(Image::try_of([tar]), Err(LayerError::Name { .. })));
    }
}

#[test]
fn a_hard_link_resolves_in_the_layer_and_never_on_the_host() {
    let mut tar = Tar::default();
    tar.hardlink("shadow", "/etc/shadow");
    let refused = Image::try_of([tar]);
    assert!(matches!(refused, Err(LayerError::MissingTarget { .. })), "{refused:?}");
    let mut through = Tar::default();
    through.symlink("etc", "/etc").hardlink("mine", "etc/hostname");
    let refused = Image::try_of([through]);
    assert!(matches!(refused, Err(LayerError::Name { .. })), "a loop in the layer: {refused:?}");
}

#[test]
fn a_hard_link_may_come_before_its_target_or_name_a_lower_layers_file() {
    let mut lower = Tar::default();
    lower.entry("d/low", b'0').mode(0o4755).uid(7).data(b"low").end();
    let mut upper = Tar::default();
    upper.hardlink("early", "late").file("late", "content").hardlink("d/again", "d/low");
    let image = Image::of([lower, upper]);
    let listing = image.assert_same();
    for line in [
        "early f 0644 0 0 content link=early",
        "late f 0644 0 0 content link=early",
        "d/low f 4755 7 0 low link=d/again",
        "d/again f 4755 7 0 low link=d/again",
    ] {
        assert!(listing.contains(&line.to_owned()), "{line}\n{listing:#?}");
    }
}

#[test]
fn a_link_to_a_link_is_another_name_of_the_link() {
    let mut tar = Tar::default();
    tar.symlink("a", "/nowhere").hardlink("b", "a");
    let listing = Image::of([tar]).assert_same();
    assert_eq!(listing, ["a l /nowhere link=a", "b l /nowhere link=a"]);
}

#[test]
fn a_whiteout_hides_lower_layers_only_wherever_it_stands() {
    let mut lower = Tar::default();
    lower.dir("d", 0o700).file("d/old", "1").file("d/both", "1").file("f", "1");
    let entries = |tar: &mut Tar| {
        tar.file("d/both", "2").file("d/new", "2");
    };
    let markers = |tar: &mut Tar| {
        tar.file("d/.wh.both", "").file("d/.wh.old", "").file(".wh.f", "").file(".wh.no", "");
    };
    let (mut first, mut last) = (Tar::default(), Tar::default());
    markers(&mut first);
    entries(&mut first);
    entries(&mut last);
    markers(&mut last);
    for upper in [first, last] {
        let listing = Image::of([lower.clone(), upper]).assert_same();
        // The upper layer has no entry for `d`: it keeps the lower one's mode.
        assert_eq!(listing, ["d d 0700 0 0", "d/both f 0644 0 0 2", "d/new f 0644 0 0 2"]);
    }
}

#[test]
fn an_opaque_marker_empties_the_directory_wherever_it_stands() {
    let mut lower = Tar::default();
    lower.dir("d", 0o711).file("d/old", "1").dir("d/sub", 0o755).file("d/sub/x", "1");
    let marker = |tar: &mut Tar| {
        tar.file("d/.wh..wh..opq", "");
    };
    let entries = |tar: &mut Tar| {
        tar.file("d/sub/y", "2");
    };
    let (mut first, mut last) = (Tar::default(), Tar::default());
    marker(&mut first);
    entries(&mut first);
    entries(&mut last);
    marker(&mut last);
    for upper in [first, last] {
        let listing = Image::of([lower.clone(), upper]).assert_same();
        assert_eq!(listing, ["d d 0711 0 0", "d/sub d 0755 0 0", "d/sub/y f 0644 0 0 2"]);
    }
}

#[test]
fn an_opaque_root_hides_everything_below() {
    let mut lower = Tar::default();
    lower.file("old", "1").dir("d", 0o711).file("d/x", "1");
    let mut upper = Tar::default();
    upper.file(".wh..wh..opq", "").file("d/y", "2");
    let listing = Image::of([lower, upper]).assert_same();
    assert_eq!(listing, ["d d 0711 0 0", "d/y f 0644 0 0 2"]);
}

#[test]
fn a_directory_hidden_and_made_again_is_a_new_one() {
    let mut lower = Tar::default();
    lower.dir("d", 0o700).file("d/old", "1").dir("d/sub", 0o700).file("d/sub/old", "1");
    let mut middle = Tar::default();
    middle.file(".wh.d", "").file("d/sub/new", "2");
    let mut upper = Tar::default();
    upper.file("d/sub/top", "3");
    let listing = Image::of([lower, middle, upper]).assert_same();
    let expected =
        ["d d 0755 0 0", "d/sub d 0755 0 0", "d/sub/new f 0644 0 0 2", "d/sub/top f 0644 0 0 3"];
    assert_eq!(listing, expected);
}

#[test]
fn bookkeeping_of_aufs_is_dropped_but_its_pseudo_links_count() {
    let mut tar = Tar::default();
    tar.dir(".wh..wh.plnk", 0o700).file(".wh..wh.plnk/12.34", "linked");
    tar.file(".wh..wh.aufs", "").dir(".wh..wh.orph", 0o700).file(".wh..wh.orph/x", "");
    tar.hardlink("a", ".wh..wh.plnk/12.34").hardlink("b", ".wh..wh.plnk/12.34");
    let listing = Image::of([tar]).assert_same();
    assert_eq!(listing, ["a f 0644 0 0 linked link=a", "b f 0644 0 0 linked link=a"]);
}

#[test]
fn the_last_of_several_entries_of_one_name_wins_whatever_its_kind() {
    let mut lower = Tar::default();
    lower.dir("x", 0o755).file("x/low", "1");
    let mut upper = Tar::default();
    upper.file("x", "file").dir("x", 0o700).file("x/in", "2");
    upper.dir("y", 0o755).file("y/gone", "1").symlink("y", "x").file("z", "1").file("z", "22");
    upper.file("w", "1").file("w/child", "2");
    let listing = Image::of([lower, upper]).assert_same();
    let expected = [
        "w d 0755 0 0",
        "w/child f 0644 0 0 2",
        "x d 0700 0 0",
        "x/in f 0644 0 0 2",
        "y l x",
        "z f 0644 0 0 22",
    ];
    assert_eq!(listing, expected);
}

#[test]
fn a_child_before_its_directory_does_not_lose_the_directorys_mode_and_time() {
    let mut tar = Tar::default();
    tar.file("d/e/f", "1");
    tar.entry("d/e", b'5').mode(0o1777).uid(5).gid(6).mtime(1_000_000).end();
    tar.entry("d", b'5').mode(0o750).mtime(2_000_000).end();
    let image = Image::of([tar]);
    let listing = image.assert_same();
    assert_eq!(listing[..2], ["d d 0750 0 0", "d/e d 1777 5 6"]);
    assert_eq!(image.mtime("d/e"), (1_000_000, 0));
    assert_eq!(image.mtime("d"), (2_000_000, 0));
}

#[test]
fn the_root_of_the_image_has_the_mode_that_some_layer_gave_it() {
    let (mut lower, mut upper) = (Tar::default(), Tar::default());
    lower.entry("./", b'5').mode(0o700).uid(3).end();
    upper.file("./a", "1");
    let image = Image::of([lower, upper]);
    assert_eq!(image.root_mode(), (0o700, 3));
}

#[test]
fn everything_a_tar_can_say_of_a_file_is_kept() {
    let mut tar = Tar::default();
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(200));
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tar.pax(&[
        ("path", long.as_bytes()),
        ("uid", b"3000000"),
        ("mtime", b"1234567890.000000042"),
        ("SCHILY.xattr.user.note", b"with = and \n"),
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
    ]);
    tar.entry("short", b'0').mode(0o6755).gid(9).data(b"x").end();
    tar.gnu_long(&format!("{}/gnu", "g".repeat(150))).file("cut", "y");
    tar.entry("fifo", b'6').mode(0o622).end();
    tar.entry("null", b'3').mode(0o666).device(1, 3).end();
    tar.entry("disk", b'4').mode(0o660).device(8, 1).end();
    let image = Image::of([tar]);
    let listing = image.assert_same();
    let has = |line: &str| assert!(listing.contains(&line.to_owned()), "{line}\n{listing:#?}");
    has(&format!("{long} f 6755 3000000 9 x security.capability=20 user.note=12"));
    has(&format!("{}/gnu f 0644 0 0 y", "g".repeat(150)));
    has("fifo p 0622 0 0");
    has("null c 0666 0 0 1:3");
    has("disk b 0660 0 0 8:1");
    assert_eq!(image.mtime(&long), (1_234_567_890, 42));
}

#[test]
fn an_overlay_whiteout_in_a_tar_is_a_whiteout() {
    let mut lower = Tar::default();
    lower.file("a", "1").file("b", "1");
    let mut upper = Tar::default();
    upper.entry("a", b'3').device(0, 0).end();
    assert_eq!(Image::of([lower, upper]).assert_same(), ["b f 0644 0 0 1"]);
}

#[test]
fn sparse_files_of_every_format_have_their_holes_and_their_data() {
    let mut tar = Tar::default();
    // GNU's old format, with an extension block.
    let ranges: Vec<(u64, u64)> = (0..6).map(|n| (n * 8192, 512)).collect();
    tar.old_sparse("old", 50_000, &ranges, &[b'o'; 6 * 512]);
    tar.pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"new"),
        ("GNU.sparse.realsize", b"20000"),
    ]);
    let mut data = b"1\n10000\n3\n".to_vec();
    data.resize(512, 0);
    data.extend(b"abc");
    tar.entry("GNUSparseFile.0/new", b'0').data(&data).end();
    tar.pax(&[("GNU.sparse.size", b"9000"), ("GNU.sparse.map", b"4096,2,8000,1")]);
    tar.entry("mapped", b'0').data(b"xyz").end();
    let image = Image::of([tar]);
    let read = |name: &str| image.read(name);
    let old = read("old");
    assert_eq!(old.len(), 50_000);
    assert!(
        (0..6).all(|n| old[n * 8192..n * 8192 + 512] == [b'o'; 512] && old[n * 8192 + 512] == 0)
    );
    let new = read("new");
    assert_eq!((new.len(), &new[10_000..10_003], new[9_999]), (20_000, &b"abc"[..], 0));
    let mapped = read("mapped");
    assert_eq!((mapped.len(), &mapped[4096..4098], mapped[8000]), (9000, &b"xy"[..], b'z'));
    assert!(image.blocks("new") < 30, "holes take no blocks");
}

#[test]
fn damaged_tars_are_refused() {
    let mut tar = Tar::default();
    tar.file("a", &"x".repeat(5000));
    let whole = tar.finished();
    for length in [100, 700, 3000] {
        let cut = Image::try_of_bytes(&whole[..length]);
        assert!(matches!(cut, Err(LayerError::Stream(..))), "{length}: {cut:?}");
    }
    let mut flipped = whole.clone();
    flipped[10] ^= 1;
    assert!(matches!(Image::try_of_bytes(&flipped), Err(LayerError::Stream(..))));
    let mut huge = Tar::default();
    huge.entry("././@LongLink", b'L').claim(1 << 40).end();
    assert!(matches!(Image::try_of([huge]), Err(LayerError::Stream(..))));
    let mut strange = Tar::default();
    strange.entry("volume", b'V').end();
    assert!(matches!(Image::try_of([strange]), Err(LayerError::Stream(..))));
}

#[test]
fn a_tree_deeper_than_descriptors_go_is_made_copied_and_removed() {
    let mut tar = Tar::default();
    let deep = "d/".repeat(1500);
    tar.pax(&[("path", format!("{deep}leaf").as_bytes())]).file("leaf", "x");
    let image = Image::of([tar]);
    assert_eq!(image.read(&format!("{deep}leaf")), b"x");
    image.assert_copy_has(&format!("{deep}leaf"));
}
