//! The lifecycle as an observer sees it: real actors, real recorder, a fake host; on threads, and in a
//! simulation under the schedules of many seeds.

pub(super) mod broken;
mod fakes;
mod faults;
mod host;
mod lifecycle;
mod lives;
mod memory;
mod simulated;
mod world;
