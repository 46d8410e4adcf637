//! Digests of what comes in pieces.

use sha2::{Digest as _, Sha256, Sha512};

use crate::model::Digest;

/// Computes a digest by the algorithm of an expected one.
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// By the algorithm of `digest`.
    pub(crate) fn like(digest: &Digest) -> Self {
        match digest.algorithm() {
            "sha512" => Self::Sha512(Sha512::new()),
            _ => Self::Sha256(Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_sha256(&hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_sha512(&hasher.finalize()),
        }
    }
}

/// Whether `bytes` have this digest.
pub(crate) fn matches(digest: &Digest, bytes: &[u8]) -> bool {
    let mut hasher = Hasher::like(digest);
    hasher.update(bytes);
    hasher.finish() == *digest
}

/// The chain ids of layers with these diff ids, bottom first.
///
/// Source: OCI image-spec, "Layer ChainID". A chain id is sha256 whatever the diff ids are.
pub(crate) fn chain(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        chain.push(match chain.last() {
            None => diff_id.clone(),
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chain
}
