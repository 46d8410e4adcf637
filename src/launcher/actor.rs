//! The launcher's actor: merges, opens the streams, forks; kills and forgets. One on each lane.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use longshore_actors::{Cx, Handler, Process, Reply};

use super::messages::{Control, Forget, Fork, Forked, Kill, Report};
use super::plan::{self, MergeContext};
use super::{ForkRequest, LinuxLauncher};
use crate::error::{Classified, ErrorKind, Stage, failure};
use crate::io;
use crate::model::{Failure, WaitStatus};

/// One lane's way to start and to end processes.
pub(crate) struct Launcher {
    linux: Arc<LinuxLauncher>,
    /// Where the sandbox appears in a container with its own root.
    sandbox_directory: PathBuf,
}

impl Launcher {
    pub(crate) fn new(linux: Arc<LinuxLauncher>, sandbox_directory: PathBuf) -> Self {
        Self { linux, sandbox_directory }
    }
}
