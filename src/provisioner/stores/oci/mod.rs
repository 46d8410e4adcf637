//! OCI image layouts: a directory, or a tar of one.
//!
//! Source: OCI image-spec, "Image Layout".

mod blobs;
mod layout;

pub(crate) use blobs::{Blobs, Range};
pub(crate) use layout::{LayoutSource, choose};
