//! Tars byte by byte, images of them, and what backends show of these.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::linux::fs;
use crate::model::Rootfs;
use crate::provisioner::backends::{self, Assembled, Assembly, Exposure};
use crate::provisioner::layer::{LayerError, unpack};

/// A tar under construction.
#[derive(Debug, Clone, Default)]
pub(in crate::provisioner) struct Tar {
    bytes: Vec<u8>,
}

/// One entry under construction.
pub(in crate::provisioner) struct Entry<'a> {
    tar: &'a mut Tar,
    header: tar::Header,
    data: Vec<u8>,
    claim: Option<u64>,
}

fn set(field: &mut [u8], bytes: &[u8]) {
    let length = bytes.len().min(field.len());
    field[..length].copy_from_slice(&bytes[..length]);
}

impl Tar {
    pub(in crate::provisioner) fn entry(&mut self, name: &str, kind: u8) -> Entry<'_> {
        let mut header = tar::Header::new_gnu();
        set(&mut header.as_old_mut().name, name.as_bytes());
        header.as_old_mut().linkflag = [kind];
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        Entry { tar: self, header, data: Vec::new(), claim: None }
    }

    pub(in crate::provisioner) fn dir(&mut self, name: &str, mode: u32) -> &mut Self {
        self.entry(name, b'5').mode(mode).end()
    }

    pub(in crate::provisioner) fn file(&mut self, name: &str, data: &str) -> &mut Self {
        self.entry(name, b'0').data(data.as_bytes()).end()
    }

    pub(in crate::provisioner) fn symlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(name, b'2').link(target).end()
    }

    pub(in crate::provisioner) fn hardlink(&mut self, name: &str, target: &str) -> &mut Self {
        self.entry(name, b'1').link(target).end()
    }

    pub(in crate::provisioner) fn pax(&mut self, records: &[(&str, &[u8])]) -> &mut Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = key.len() + value.len() + 3;
            // The length counts its own digits.
            let mut length = body + body.to_string().len();
            if length.to_string().len() > body.to_string().len() {
                length += 1;
            }
            data.extend(format!("{length} {key}=").as_bytes());
            data.extend(*value);
            data.push(b'\n');
        }
        self.entry("pax", b'x').data(&data).end()
    }

    pub(in crate::provisioner) fn gnu_long(&mut self, name: &str) -> &mut Self {
        self.entry("././@LongLink", b'L').data(format!("{name}\0").as_bytes()).end()
    }

    /// A sparse file in GNU's old format: four ranges in the header, the rest in a block behind.
    pub(in crate::provisioner) fn old_sparse(
        &mut self,
        name: &str,
        size: u64,
        ranges: &[(u64, u64)],
        data: &[u8],
    ) {
        let mut entry = self.entry(name, b'S');
        let gnu = entry.header.as_gnu_mut().expect("made as GNU");
        let octal = |value: u64| format!("{value:011o}\0").into_bytes();
        gnu.realsize.copy_from_slice(&octal(size));
        for (field, (offset, length)) in gnu.sparse.iter_mut().zip(ranges) {
            field.offset.copy_from_slice(&octal(*offset));
            field.numbytes.copy_from_slice(&octal(*length));
        }
        gnu.isextended = [u8::from(ranges.len() > 4)];
        entry.header.set_size(data.len() as u64);
        entry.header.set_cksum();
        let header = entry.header.clone();
        self.bytes.extend(header.as_bytes());
        if ranges.len() > 4 {
            let mut block = [0; 512];
            for (n, (offset, length)) in ranges[4..].iter().enumerate() {
                set(&mut block[n * 24..], &octal(*offset));
                set(&mut block[n * 24 + 12..], &octal(*length));
            }
            self.bytes.extend(block);
        }
        self.pad(data);
    }

    fn pad(&mut self, data: &[u8]) {
        self.bytes.extend(data);
        let length = self.bytes.len().next_multiple_of(512);
        self.bytes.resize(length, 0);
    }

    pub(in crate::provisioner) fn finished(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }
}

impl<'a> Entry<'a> {
    pub(in crate::provisioner) fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    pub(in crate::provisioner) fn uid(mut self, uid: u64) -> Self {
        self.header.set_uid(uid);
        self
    }

    pub(in crate::provisioner) fn gid(mut self, gid: u64) -> Self {
        self.header.set_gid(gid);
        self
    }

    pub(in crate::provisioner) fn mtime(mut self, mtime: u64) -> Self {
        self.header.set_mtime(mtime);
        self
    }

    pub(in crate::provisioner) fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }

    /// Claims a size that its data does not have.
    pub(in crate::provisioner) fn claim(mut self, size: u64) -> Self {
        self.claim = Some(size);
        self
    }

    pub(in crate::provisioner) fn device(mut self, major: u32, minor: u32) -> Self {
        self.header.set_device_major(major).expect("GNU has devices");
        self.header.set_device_minor(minor).expect("GNU has devices");
        self
    }

    pub(in crate::provisioner) fn link(mut self, target: &str) -> Self {
        set(&mut self.header.as_old_mut().linkname, target.as_bytes());
        self
    }

    pub(in crate::provisioner) fn end(mut self) -> &'a mut Tar {
        self.header.set_size(self.claim.unwrap_or(self.data.len() as u64));
        self.header.set_cksum();
        self.tar.bytes.extend(self.header.as_bytes());
        self.tar.pad(&self.data);
        self.tar
    }
}

/// Layers on disk.
#[derive(Debug)]
pub(super) struct Image {
    directory: TempDir,
    /// Bottom first.
    layers: Vec<PathBuf>,
}

impl Image {
    pub(super) fn of<const N: usize>(tars: [Tar; N]) -> Self {
        Self::try_of(tars).expect("unpacks")
    }

    pub(super) fn try_of<const N: usize>(tars: [Tar; N]) -> Result<Self, LayerError> {
        let tars: Vec<Vec<u8>> = tars.iter().map(Tar::finished).collect();
        Self::try_of_layers(&tars)
    }

    pub(super) fn try_of_bytes(tar: &[u8]) -> Result<Self, LayerError> {
        Self::try_of_layers(&[tar.to_vec()])
    }

    /// All are unpacked before the first is finished, as a pull does it.
    pub(super) fn try_of_layers(tars: &[Vec<u8>]) -> Result<Self, LayerError> {
        let directory = tempfile::tempdir().expect("temporary directory");
        let into = |n: usize| directory.path().join(format!("layer-{n}"));
        let unpacked = tars.iter().enumerate().map(|(n, tar)| unpack(&tar[..], &into(n)));
        let unpacked = unpacked.collect::<Result<Vec<_>, _>>()?;
        let mut layers: Vec<PathBuf> = Vec::new();
        for (n, layer) in unpacked.into_iter().enumerate() {
            let below: Vec<PathBuf> = layers.iter().rev().cloned().collect();
            layer.finish(&below)?;
            layers.push(into(n).join("fs"));
        }
        Ok(Self { directory, layers })
    }

    fn assemble(&self, backend: &str) -> Assembled {
        let directory = self.directory.path().join(backend);
        std::fs::create_dir_all(&directory).expect("made");
        let exposure = Exposure::Private;
        let layers = &self.layers;
        let assembly = Assembly { layers, directory: &directory, id: "t", exposure };
        let backend = backends::find(backend).expect("known");
        backend.destroy(&directory, "t").expect("nothing is left of an earlier look");
        backend.provision(&assembly).expect("provisioned")
    }

    pub(super) fn overlay(&self) -> Vec<String> {
        look(&self.assemble("overlay"), listing)
    }

    /// The listing, which both backends agree on.
    pub(super) fn assert_same(&self) -> Vec<String> {
        let overlay = self.overlay();
        let copy = look(&self.assemble("copy"), listing);
        assert_eq!(overlay, copy, "overlay and copy differ");
        overlay
    }

    pub(super) fn scan(&self, backend: &str, scan: impl FnOnce(&Path) -> String) -> String {
        look(&self.assemble(backend), scan)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        look(&self.assemble("overlay"), |root| root.join(path).symlink_metadata().is_ok())
    }

    pub(super) fn assert_copy_has(&self, path: &str) {
        let made = self.assemble("copy");
        assert!(look(&made, |root| exists_deep(root, path)), "the copy has it");
        let directory = self.directory.path().join("copy");
        let backend = backends::find("copy").expect("known");
        backend.destroy(&directory, "t").expect("destroyed");
        assert_eq!(std::fs::read_dir(directory.join("rootfses")).expect("listed").count(), 0);
    }

    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        let layer = fs::Directory::open(&self.layers[0]).expect("opened");
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = layer.descend(Path::new(parent)).expect("found");
        let mut bytes = Vec::new();
        let mut file = parent.read(name.as_ref()).expect("opened");
        std::io::Read::read_to_end(&mut file, &mut bytes).expect("read");
        bytes
    }

    pub(super) fn blocks(&self, path: &str) -> u64 {
        self.layers[0].join(path).symlink_metadata().expect("there").blocks()
    }

    pub(super) fn mtime(&self, path: &str) -> (i64, i64) {
        let metadata = self.layers[0].join(path).symlink_metadata().expect("there");
        (metadata.mtime(), metadata.mtime_nsec())
    }

    /// Mode and owner of the root, as both backends show it.
    pub(super) fn root_mode(&self) -> (u32, u32) {
        let of = |root: &Path| {
            let metadata = root.metadata().expect("there");
            (metadata.mode() & 0o7777, metadata.uid())
        };
        let overlay = look(&self.assemble("overlay"), of);
        assert_eq!(overlay, look(&self.assemble("copy"), of));
        overlay
    }
}

fn exists_deep(root: &Path, path: &str) -> bool {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let root = fs::Directory::open(root).expect("opened");
    let parent = root.descend(Path::new(parent)).expect("found");
    parent.stat(name.as_ref()).expect("looked").is_some()
}

fn look<T>(made: &Assembled, view: impl FnOnce(&Path) -> T) -> T {
    match &made.rootfs {
        Rootfs::Directory(path) => view(path),
        Rootfs::Detached(mount) => {
            view(Path::new(&format!("/proc/self/fd/{}/", mount.as_raw_fd())))
        }
    }
}

/// `path kind mode uid gid content link=first xattr=bytes`, a line each, sorted by path.
fn listing(root: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(root.join(&directory)).expect("listed") {
            let entry = entry.expect("listed");
            let path = directory.join(entry.file_name());
            // A name that cannot be looked at would be a whiteout that hides nothing.
            if root.join(&path).symlink_metadata().expect("each name is there").is_dir() {
                todo.push(path.clone());
            }
            paths.push(path);
        }
    }
    paths.sort();
    let mut first = HashMap::new();
    paths.iter().map(|path| line(root, path, &mut first)).collect()
}

fn line(root: &Path, path: &Path, first: &mut HashMap<u64, PathBuf>) -> String {
    let whole = root.join(path);
    let metadata = whole.symlink_metadata().expect("there");
    let (kind, mode) = (metadata.file_type(), metadata.mode() & 0o7777);
    let owner = format!("{mode:04o} {} {}", metadata.uid(), metadata.gid());
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let mut line = match () {
        () if kind.is_dir() => format!("{} d {owner}", path.display()),
        () if kind.is_symlink() => {
            let target = std::fs::read_link(&whole).expect("a link");
            format!("{} l {}", path.display(), target.display())
        }
        () if kind.is_fifo() => format!("{} p {owner}", path.display()),
        () if kind.is_char_device() => format!("{} c {owner} {major}:{minor}", path.display()),
        () if kind.is_block_device() => format!("{} b {owner} {major}:{minor}", path.display()),
        () => {
            let content = std::fs::read(&whole).expect("a file");
            format!("{} f {owner} {}", path.display(), String::from_utf8_lossy(&content))
        }
    };
    if !kind.is_dir() && metadata.nlink() > 1 {
        let first = first.entry(metadata.ino()).or_insert_with(|| path.to_owned());
        line = format!("{line} link={}", first.display());
    }
    if kind.is_file() {
        let file = std::fs::File::open(&whole).expect("a file");
        let mut names = fs::list_xattrs(&file).expect("listed");
        names.sort();
        for name in names.iter().filter(|name| !name.starts_with("trusted.")) {
            let value = fs::get_xattr(&file, name).expect("read").unwrap_or_default();
            line = format!("{line} {name}={}", value.len());
        }
    }
    line
}
