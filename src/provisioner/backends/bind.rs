//! `bind`: an image of one layer, shown read-only where it is. Nothing is copied and nothing can be
//! written; mount points of the container must exist in the image.
//!
//! Kernel: bind mounts; a detached one with open_tree(2), Linux 5.2, and mount_setattr(2), 5.12.
//! Undo: unmount (if on the host).

use std::path::Path;
use std::sync::Arc;

use super::{Assembled, Assembly, Backend, BackendError, Exposure, make};
use crate::linux::{self, overlay};
use crate::model::Rootfs;

/// See the module.
#[derive(Debug)]
pub(super) struct Bind;

const NAME: &str = "bind";

impl Backend for Bind {
    fn name(&self) -> &'static str {
        NAME
    }

    fn automatic(&self) -> bool {
        false
    }

    fn supported(&self, _directory: &Path) -> Result<(), BackendError> {
        match nix::unistd::geteuid().is_root() {
            true => Ok(()),
            false => {
                let reason = "it needs root".to_owned();
                Err(BackendError::Unsupported { backend: NAME, reason })
            }
        }
    }

    /// A private one is a copy of a mount, and goes with its last user.
    fn keeps(&self, exposure: Exposure) -> bool {
        exposure == Exposure::Host
    }

    fn provision(&self, assembly: &Assembly<'_>) -> Result<Assembled, BackendError> {
        let [layer] = assembly.layers else {
            let reason = format!("it takes one layer, the image has {}", assembly.layers.len());
            return Err(BackendError::Image { backend: NAME, reason });
        };
        let target = assembly.rootfs();
        let rootfs = match assembly.exposure {
            Exposure::Host => {
                make(&target)?;
                mount(layer, &target)
                    .and_then(|()| overlay::share_one_way(&target))
                    .map_err(BackendError::kernel(&target))?;
                Rootfs::Directory(target)
            }
            Exposure::Private => {
                let detached = linux::mount::copy_read_only(layer);
                Rootfs::Detached(Arc::new(detached.map_err(BackendError::kernel(layer))?))
            }
        };
        Ok(Assembled { rootfs, ephemeral: Vec::new(), read_only: true })
    }

    fn destroy(&self, directory: &Path, id: &str) -> Result<(), BackendError> {
        super::unmount(&super::rootfs(directory, id))
    }
}

fn mount(layer: &Path, target: &Path) -> Result<(), crate::linux::Error> {
    overlay::bind_at(layer, target)?;
    overlay::remount_read_only(target)
}
