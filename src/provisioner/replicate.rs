//! Copies single inodes with everything that belongs to them.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use crate::linux;
use crate::linux::fs::{self, Attributes, Directory, Kind, Stat};

/// Copies `name` of `from`, which is no directory, to the new name `new` in `to`.
pub(crate) fn inode(
    from: &Directory,
    name: &OsStr,
    stat: &Stat,
    to: &Directory,
    new: &OsStr,
) -> Result<(), linux::Error> {
    let attributes = Attributes::of(stat);
    match Kind::of(stat) {
        Kind::Directory => to.mkdir(new),
        Kind::Symlink => {
            to.symlink(from.read_link(name)?.as_os_str(), new)?;
            to.set_attributes(new, Kind::Symlink, &attributes)
        }
        Kind::Node(node) => {
            to.node(new, node)?;
            to.set_attributes(new, Kind::Node(node), &attributes)
        }
        Kind::File => {
            let (source, target) = (from.read(name)?, to.create(new)?);
            fs::copy_content(&source, &target)?;
            // chown(2) takes capabilities away: attributes first, then the extended ones.
            fs::set_owner_and_mode(&target, &attributes)?;
            xattrs(&source, &target)?;
            fs::set_time(&target, attributes.mtime)
        }
    }
}

/// Copies the extended attributes that images carry; overlay's own are not among them.
pub(crate) fn xattrs(from: impl AsFd, to: impl AsFd) -> Result<(), linux::Error> {
    for name in fs::list_xattrs(&from)? {
        let carried = name == "security.capability"
            || name.starts_with("user.")
            || name.starts_with("system.posix_acl_");
        if !carried {
            continue;
        }
        if let Some(value) = fs::get_xattr(&from, &name)? {
            fs::set_xattr(&to, &name, &value)?;
        }
    }
    Ok(())
}
