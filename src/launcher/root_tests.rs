//! Containers on the real kernel, started by the launcher alone.

mod ends;
mod world;

use world::World;
