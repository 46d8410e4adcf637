//! Containers on the real kernel, started by the launcher alone.

mod ends;
mod fresh;
mod guest;
mod identity;
mod lifetime;
mod pre_exec;
mod tree;
mod without;
mod world;

use world::World;
