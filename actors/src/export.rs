//! What a runtime knows of itself, as text: for a scraper, and for everybody else.
//!
//! [`Runtime::prometheus`] and [`Runtime::json`] are plain functions to be mounted wherever the embedder serves such
//! things. They read what lies beside the actors, so they answer while any thread is stuck.

mod json;
mod prometheus;

use std::time::{Duration, Instant};

use crate::runtime::Runtime;

impl Runtime {
    /// Everything that is counted, in the text format of Prometheus, version 0.0.4.
    ///
    /// What is counted of one actor has its name as a label, and goes with it. Histograms are those of the actors
    /// of one kind that live.
    pub fn prometheus(&self) -> String {
        prometheus::render(self)
    }

    /// The tree of actors with what is counted of each, what is pending, who waits for whom and the lanes, as a JSON
    /// object. Times are in seconds; ages are those at the moment of the call.
    pub fn json(&self) -> String {
        json::render(self)
    }
}

/// How long ago that was.
fn age(now: Instant, since: Instant) -> Duration {
    now.saturating_duration_since(since)
}
