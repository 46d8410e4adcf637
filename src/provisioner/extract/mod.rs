//! Writing a layer's tar into a directory, confined by the kernel.
//!
//! `tar_stream` reads entries, `tree` writes them, `marks` notes what can only be settled when the
//! layers below are known: whiteouts, times of directories, links to lower layers; `settle` does so.

mod marks;
mod settle;
mod tar_stream;
mod tree;

pub(crate) use settle::{Below, is_opaque};
pub(crate) use tar_stream::{TarError, TarStream};
pub(crate) use tree::Tree;
