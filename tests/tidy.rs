//! The rules of `docs/style.md` that a machine can check, one test each.
//!
//! A finding prints `file:line`, what was found and what to do about it. Where a rule must yield, the
//! exception stands in a table beside the rule, with its reason; an exception that is no longer
//! needed fails as well.
//!
//! Sources are read by a small lexer (`source.rs`) that tells code, comments and literals apart; no
//! rule needs more of the language than that. `CARGO_MANIFEST_DIR=DIR` checks another checkout.

#[path = "tidy/features.rs"]
mod features;
#[path = "tidy/project.rs"]
mod project;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/seams.rs"]
mod seams;
#[path = "tidy/shape.rs"]
mod shape;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;
