//! Plain data that the rooms share. No I/O, no clock, no threads.
//!
//! What is here is not what we write to disk: `checkpoint.rs` owns the frozen forms.

mod command;
mod config;
mod container_id;
mod digest;
mod executor;
mod image;
mod launch_info;
mod resources;
mod signal;
mod state;
mod stream;
mod termination;

pub use command::{CommandInfo, Uri};
pub use config::{ContainerConfig, LaunchContext, PullPolicy, Volume};
pub use container_id::{ContainerId, InvalidContainerId};
pub use digest::{Digest, InvalidDigest};
pub use executor::{AgentInfo, ContainerType, ExecutorInfo, Secret, Shape, TaskInfo, TaskLaunch};
pub use image::{ImageConfig, ImageReference, Provisioned, Rootfs};
pub use launch_info::{
    Capability, CapabilitySets, Command, DeviceNode, FileOperation, LaunchInfo, Mount, MountFlags,
    MountSource, Namespace, PreExecCommand, Rlimit, RlimitKind, User,
};
pub use resources::{Bytes, Resources, Usage};
pub(crate) use signal::SIGNAL_MAX;
pub use signal::{parse_signal, signal_name};
pub use state::State;
pub use stream::{Output, StreamFd};
pub use termination::{
    Cause, End, Failure, Limitation, LimitedResource, Record, Termination, WaitStatus,
};
