//! The lifecycle as an observer sees it: real actors, real recorder, a fake host.

mod fakes;
mod faults;
mod host;
mod lifecycle;
mod lives;
mod memory;
mod simulated;
mod world;
