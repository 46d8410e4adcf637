//! ROOM: the command line. Translates words into calls of the library, and ends into exit codes.
//!
//! Uses the library as any other program would; decides nothing that an embedder would have to
//! decide again.

mod args;
mod event_log;
mod exit;
mod images;
mod parse;
mod program;
mod progress;
mod rootfs;
mod run;
mod settings;
mod signals;
mod what;

pub(crate) use program::main;
