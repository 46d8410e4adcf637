//! The launcher's actor: merges, opens the streams, forks; kills and forgets. One on each lane.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use longshore_actors::{Cx, Handler, Process, Reply};

use super::child;
use super::messages::{Control, Forget, Fork, Forked, Kill, Report};
use super::plan::{self, MergeContext, Root};
use super::{AnyLauncher, Child, ChildControl, ChildReport, ForkRequest, StartFailure};
use crate::error::{Classified, Stage, failure};
use crate::io::{self, Owner};
use crate::limits;
use crate::model::{AgentInfo, Failure, WaitStatus};

/// One lane's way to start and to end processes.
pub(crate) struct Launcher {
    launcher: Arc<AnyLauncher>,
    /// Where the sandbox appears in a container with its own root.
    sandbox_directory: PathBuf,
    /// What executors are told.
    agent: Arc<AgentInfo>,
}

impl Launcher {
    pub(crate) fn new(
        launcher: Arc<AnyLauncher>,
        sandbox_directory: PathBuf,
        agent: Arc<AgentInfo>,
    ) -> Self {
        Self { launcher, sandbox_directory, agent }
    }

    fn fork(&self, fork: Fork) -> Result<Forked, Failure> {
        let config = &*fork.config;
        let rootfs = fork.provisioned.as_ref().map(|provisioned| &provisioned.rootfs);
        let root = Root::of(&config.shape, rootfs);
        let context = MergeContext {
            config,
            root,
            sandbox_directory: &self.sandbox_directory,
            agent: &self.agent,
        };
        let launch = plan::merge(fork.contributions, context).map_err(forking)?;
        // The payload's user is known when the image has been looked into: `hand_over` below.
        let own = io::own_user();
        let stdio = io::open_streams(config, own).map_err(forking)?;
        let request = ForkRequest {
            container_id: config.container_id.clone(),
            launch,
            rootfs: rootfs.filter(|_| root == Root::Own).cloned(),
            task_root: match root {
                Root::Task(path) => Some(path.to_owned()),
                Root::Own | Root::Host => None,
            },
            stdio,
            status_file: fork.status_file,
            lifetime: fork.lifetime,
        };
        let child = self.launcher.fork(request).map_err(forking)?;
        let owner = Owner::from(child.owner);
        if owner != own {
            io::hand_over(config, owner).map_err(forking)?;
        }
        Ok(forked(child))
    }
}

fn forking<E: Classified>(error: E) -> Failure {
    failure(Stage::Fork, &error)
}

fn forked(child: Child) -> Forked {
    let Child { init, argv, owner, control, report } = child;
    Forked { init, argv, owner, control: Arc::new(control), report: Box::new(report) }
}

impl Control for ChildControl {
    fn release(&self) -> Result<(), Failure> {
        Self::release(self).map_err(|error| failure(Stage::Start, &error))
    }

    fn signal(&self, signal: i32) -> Result<(), Failure> {
        Self::signal(self, signal).map_err(|error| failure(Stage::Run, &error))
    }
}

impl Report for ChildReport {
    fn started(&mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + '_>> {
        Box::pin(async { Self::started(self).await.map_err(|error| not_started(&error)) })
    }

    fn ended(&mut self) -> Pin<Box<dyn Future<Output = WaitStatus> + '_>> {
        Box::pin(Self::ended(self))
    }
}

/// What the init could not do; a program that is missing or no program is the caller's to mend.
fn not_started(error: &StartFailure) -> Failure {
    Failure {
        stage: if error.exec { Stage::Exec } else { Stage::Start },
        kind: error.kind(),
        errno: error.errno(),
        message: error.to_string(),
    }
}

impl Process for Launcher {}

impl Handler<Fork> for Launcher {
    fn handle(&mut self, message: Fork, _: &mut Cx<Self>) -> Reply<Result<Forked, Failure>> {
        Reply::Now(self.fork(message))
    }
}

impl Handler<Kill> for Launcher {
    /// On a thread of its own: waiting for a process that will not die must hold up nobody else. Most
    /// containers end by themselves, and leave nothing to wait for.
    fn handle(
        &mut self,
        message: Kill,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<Option<WaitStatus>, Failure>> {
        let Kill { container_id, init, status_file } = message;
        let lived = status_file.is_some() && init.is_some_and(child::lives);
        // When all are gone: an end of the payload's own may come in the last moment.
        let status = move || {
            let own = status_file.as_deref().and_then(child::read_status);
            own.or(lived.then_some(WaitStatus::KILLED))
        };
        if self.launcher.is_gone(&container_id, init) {
            return Reply::Now(Ok(status()));
        }
        let launcher = Arc::clone(&self.launcher);
        Reply::Later(cx.blocking("kill", "kill", move |_| {
            let killed = launcher.kill(&container_id, init, limits::KILL);
            killed.map(|()| status()).map_err(|error| failure(Stage::Destroy, &error))
        }))
    }
}

impl Handler<Forget> for Launcher {
    fn handle(&mut self, message: Forget, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let forgotten = self.launcher.forget(&message.container_id);
        Reply::Now(forgotten.map_err(|error| failure(Stage::Destroy, &error)))
    }
}
