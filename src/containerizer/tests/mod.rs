//! The lifecycle as an observer sees it: real actors, real recorder, a fake host.

mod faults;
mod lifecycle;
mod world;
