//! Longshore: an embeddable containerizer for Rust schedulers.
//!
//! A program that starts containers makes one [`Containerizer`], launches [`spec::ContainerSpec`]s,
//! observes [`events`], and gets images, root file systems, isolation, supervision and the truth
//! about every end, with no daemon beside it.
//!
//! ```no_run
//! use longshore::model::Bytes;
//! use longshore::spec::ContainerSpec;
//! use longshore::{Containerizer, Containers, Stop};
//!
//! # async fn agent() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Containerizer::builder("/var/lib/ci", "/run/ci").start().await?;
//! let spec = ContainerSpec::image("job-42", "alpine:3.20")?
//!     .command(["make", "test"])
//!     .memory(Bytes::mib(512))
//!     .label("task", "42");
//! let job = node.launch(spec)?;
//! job.running().await?;
//! let end = job.stop(Stop::from_image()).await?;
//! println!("{:?}", end.termination);
//! node.remove(job.id()).await?;
//! node.shutdown(Containers::Destroy).await?;
//! # Ok(())
//! # }
//! ```
//!
//! It runs on threads of its own; its futures may be awaited on any executor, and dropping one strands
//! nothing. Images, limits and namespaces need root; without it commands run on the host's file system.
//!
//! # Layout
//!
//! In reading order: [`Containerizer`], [`Job`] and [`Guard`] (`handle.rs`), [`messages`], [`spec`], [`config`], [`model`] (the
//! data that everything shares), [`events`], [`error`], [`limits`], [`paths`]. Behind them the rooms:
//! [`provisioner`], [`isolators`], [`launcher`], and, private, `containerizer`, `fetcher`, `io`,
//! `checkpoint`; at the bottom [`linux`]. `start.rs` joins them. `docs/architecture.md` is the tour.

mod checkpoint;
pub mod config;
mod containerizer;
pub mod error;
pub mod events;
mod fetcher;
mod handle;
#[cfg(feature = "registry")]
pub mod http;
mod io;
pub mod isolators;
pub mod launcher;
pub mod limits;
pub mod linux;
pub mod messages;
pub mod model;
pub mod paths;
pub mod provisioner;
pub mod spec;
mod start;

pub use containerizer::{NotLocked, RunLock};
#[cfg(feature = "actix")]
pub use handle::Delivery;
pub use handle::{Builder, Containerizer, Containers, Guard, Job, Stop, block_on};
/// Types of actix, for embedders that are actix programs.
#[cfg(feature = "actix")]
pub use longshore_actors::recipients::{ActixMessage, Recipient};
pub use start::open_store;

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}

/// The programs of the manual compile.
#[cfg(doctest)]
#[doc = include_str!("../docs/embedding.md")]
pub mod embedding {}
