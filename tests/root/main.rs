//! Tests that need root and a real kernel: one program, one file per capability.
//!
//! `cargo test --features root-tests --test root`. They fail where the host lacks what they need.
//! Each test has its `World` and ends with `assert_clean`; `docs/testing.md` says how to add one.

#[path = "../support/mod.rs"]
#[macro_use]
#[expect(dead_code, reason = "helpers stand ready for the files that come")]
mod support;

mod alone;
mod bad_input;
mod bulk;
mod devices;
mod embedded;
mod ends;
mod guest;
mod guest_program;
mod hostname;
mod images;
mod interface;
mod kept;
mod layout;
mod leak_check;
mod lifecycle;
mod limits;
mod main_job;
mod manners;
mod mesos;
mod odd;
mod others;
mod posix;
mod pre_exec;
mod pull;
#[cfg(feature = "actix")]
mod recipients;
mod refusals;
mod run;
mod start;
mod store;
mod strange;
mod unmask;
mod volumes;
mod warts;
