//! ROOM: the streams of a payload.
//!
//! Streams are files or descriptors of the caller, never a pipe that this process must read: output
//! keeps flowing while the agent is down. The sandbox logger appends to `stdout` and `stderr` in the
//! sandbox, without a bound. A second logger (rotating) and terminals come with programs of their
//! own that outlive the agent; there is no trait for them before there are two.

mod streams;

pub(crate) use crate::linux::stream::Owner;
pub(crate) use streams::{hand_over, open_streams, own_user};
