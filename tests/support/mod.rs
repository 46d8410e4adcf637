//! What tests share: worlds, the leak check, a registry, images, the command line.
//!
//! Beside the modules lie three folders with programs of their own, each with its README: `floor/`
//! (the least that a container costs), `vm/` (a guest with pure cgroup v2) and `images/` (realistic
//! images made from Debian packages).

#[macro_use]
pub(crate) mod host;
pub(crate) mod cli;
pub(crate) mod images;
pub(crate) mod leaks;
pub(crate) mod process;
pub(crate) mod registry;
pub(crate) mod world;

pub(crate) use cli::{Ended, finish, start};
pub(crate) use registry::Registry;
pub(crate) use world::World;
