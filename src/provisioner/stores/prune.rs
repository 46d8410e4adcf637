//! What the store has, and making it less.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::StoreError;
use super::cache::{Cache, Lock, names};
use super::image_store::pins;
use super::table::Row;
use crate::model::Digest;

/// One image of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImageRow {
    /// Normalised.
    pub reference: String,
    /// Of the manifest for this platform.
    pub digest: Digest,
    /// Bytes of the files of all layers; layers that images share count in each.
    pub size: u64,
    /// Layers.
    pub layers: usize,
    /// When it was built, as the image says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// What a prune has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Pruned {
    /// Names.
    pub images: usize,
    /// Layers that no image needs any more.
    pub layers: usize,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Cache {
    pub(super) fn list(&self) -> Result<Vec<ImageRow>, StoreError> {
        let row = |row: Row| ImageRow {
            reference: row.reference,
            digest: row.manifest,
            size: row.layers.iter().map(|layer| layer.bytes).sum(),
            layers: row.layers.len(),
            created: row.created,
        };
        let mut rows: Vec<ImageRow> = self.table()?.images.into_iter().map(row).collect();
        rows.sort_by(|a, b| a.reference.cmp(&b.reference));
        Ok(rows)
    }

    /// Keeps the images named in `keep` and whatever a lease names. Blocks: deletes.
    pub(super) fn prune(&self, keep: &[String]) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        {
            let guard = self.lock(Lock::Exclusive)?;
            let mut table = self.table()?;
            let mut needed = self.leased()?;
            let before = table.images.len();
            // In use means: everything it needs is held. A layer that is shared holds no image.
            table.images.retain(|row| {
                keep.contains(&row.reference) || pins(row).iter().all(|pin| needed.contains(pin))
            });
            pruned.images = before - table.images.len();
            needed.extend(table.images.iter().flat_map(pins));
            // The table first: what it names is there at any time.
            if pruned.images > 0 {
                self.replace_table(&guard, &table)?;
            }
            self.discard_others("layers", &needed, |digest| {
                pruned.layers += 1;
                pruned.bytes += self.layer_bytes(digest).ok().flatten().unwrap_or(0);
            })?;
            self.discard_others("blobs", &needed, |_| {})?;
        }
        self.empty_trash()?;
        self.remove_dead_locks()?;
        Ok(pruned)
    }

    fn discard_others(
        &self,
        part: &str,
        needed: &HashSet<Digest>,
        mut discarded: impl FnMut(&Digest),
    ) -> Result<(), StoreError> {
        for algorithm in ["sha256", "sha512"] {
            let directory = self.root().join(part).join(algorithm);
            for name in names(&directory)? {
                let digest = format!("{algorithm}:{}", name.to_string_lossy()).parse::<Digest>();
                match digest {
                    Ok(digest) if needed.contains(&digest) => continue,
                    Ok(digest) => discarded(&digest),
                    // Nothing of ours has such a name.
                    Err(_) => {}
                }
                self.discard(&directory.join(Path::new(&name)))?;
            }
        }
        Ok(())
    }
}
