//! The rooms around the containerizer, as actors over the fake host: they take what the real ones take,
//! in the same order, and do what takes time beside their turns where the real ones do.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_actors::{Clock, Cx, Handler, Message, Process, Promise, Reply};

use super::host::Host;
use crate::error::{ErrorKind, Stage};
use crate::events::LayerProgress;
use crate::fetcher::messages::Fetch;
use crate::isolators::messages::{
    Cleanup, Isolate, Isolated, Measure, Measured, Prepare, Prepared, Remembered, Update,
};
use crate::launcher::messages::{Forget, Fork, Forked, Kill};
use crate::model::{ContainerId, Digest, Failure, ImageConfig, Provisioned, Rootfs, Usage};
use crate::provisioner::messages::{ProgressSink, Provision, Unprovision};

/// What any fake room is: its host, and how many figures of a pull it tells.
#[derive(Debug)]
pub(super) struct Room {
    host: Host,
    figures: u64,
    /// Containers whose image is on its way; an unprovision withdraws it.
    pulling: BTreeSet<ContainerId>,
}

impl Room {
    pub(super) fn new(host: Host, figures: u64) -> Self {
        Self { host, figures, pulling: BTreeSet::new() }
    }

    /// Answers when the delay of the host's dice is over, or `withdrawn` if nobody waits any more.
    fn later<T: Send + 'static>(
        &mut self,
        cx: &mut Cx<Self>,
        (name, stage): (&'static str, Stage),
        id: &ContainerId,
        work: impl FnOnce(&Host) -> Result<T, Failure> + 'static,
    ) -> Reply<Result<T, Failure>> {
        let Some(delay) = self.host.delay(name, id) else { return Reply::Now(work(&self.host)) };
        let (promise, reply): (Promise<Result<T, Failure>>, _) = Reply::promised();
        self.pulling.insert(id.clone());
        let id = id.clone();
        let (over, discarded) = (cx.runtime().clock().after(delay), promise.discarded());
        let waiting = async move {
            tokio::select! {
                biased;
                _ = over => {}
                _ = discarded => {}
            }
        };
        cx.run(name, waiting, move |room: &mut Self, _, ()| {
            let kind = ErrorKind::Discarded;
            let message = format!("{name} was withdrawn");
            let withdrawn = !room.pulling.remove(&id) || promise.is_discarded();
            let answer = match withdrawn {
                true => Err(Failure { stage, kind, errno: None, message }),
                false => work(&room.host),
            };
            promise.set(answer);
        });
        reply
    }
}

impl Process for Room {}

fn provisioned() -> Provisioned {
    Provisioned {
        reference: "rootfs:/image".into(),
        digest: None,
        config: ImageConfig::default(),
        rootfs: Rootfs::Directory("/image".into()),
        backend: "fake",
        ephemeral: Vec::new(),
        read_only: false,
    }
}

impl Handler<Provision> for Room {
    fn handle(&mut self, m: Provision, cx: &mut Cx<Self>) -> Reply<<Provision as Message>::Reply> {
        let (call, id) = (("provision", Stage::Provision), m.container_id);
        let of = id.clone();
        let work = move |host: &Host| host.hold(call, &id, "rootfs").map(|()| provisioned());
        if self.figures == 0 {
            return self.later(cx, call, &of, work);
        }
        let (promise, reply) = Reply::promised();
        let telling = tell(cx.runtime().clock(), m.progress, self.figures);
        cx.run("pull", telling, move |room: &mut Self, _, ()| {
            promise.set(work(&room.host));
        });
        reply
    }
}

/// Some figures a second.
async fn tell(clock: Clock, sink: ProgressSink, total: u64) {
    for bytes in 1..=total {
        sink.0(LayerProgress { layer: Digest::of(b"layer"), bytes, total });
        if bytes % 100 == 0 {
            let _ = clock.after(Duration::from_secs(1)).await;
        }
    }
}

impl Handler<Unprovision> for Room {
    fn handle(&mut self, m: Unprovision, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        self.pulling.remove(&m.container_id);
        Reply::Now(self.host.let_go("unprovision", &m.container_id, "rootfs"))
    }
}

impl Handler<Prepare> for Room {
    fn handle(&mut self, m: Prepare, cx: &mut Cx<Self>) -> Reply<Result<Prepared, Failure>> {
        let (call, id) = (("prepare", Stage::Prepare), m.context.config.container_id.clone());
        let of = id.clone();
        self.later(cx, call, &of, move |host| {
            host.hold(call, &id, "isolated").map(|()| Prepared::default())
        })
    }
}

impl Handler<Isolate> for Room {
    fn handle(&mut self, m: Isolate, _: &mut Cx<Self>) -> Reply<Result<Isolated, Failure>> {
        let passed = self.host.pass("isolate", Stage::Isolate, &m.container_id);
        Reply::Now(passed.map(|()| Isolated { remembered: m.remembered, watches: Vec::new() }))
    }
}

impl Handler<Update> for Room {
    fn handle(&mut self, m: Update, _: &mut Cx<Self>) -> Reply<Result<Remembered, Failure>> {
        let passed = self.host.pass("update", Stage::Run, &m.container_id);
        Reply::Now(passed.map(|()| m.remembered))
    }
}

impl Handler<Measure> for Room {
    fn handle(&mut self, _: Measure, _: &mut Cx<Self>) -> Reply<Measured> {
        let usage = Usage { cpu_ns: Some(7), ..Usage::default() };
        Reply::Now(Measured { usage, limitation: None })
    }
}

impl Handler<Cleanup> for Room {
    fn handle(&mut self, m: Cleanup, _: &mut Cx<Self>) -> Reply<Result<(), Vec<Failure>>> {
        let cleaned = self.host.let_go("cleanup", &m.container_id, "isolated");
        Reply::Now(cleaned.map_err(|failure| vec![failure]))
    }
}

impl Handler<Fork> for Room {
    fn handle(&mut self, m: Fork, _: &mut Cx<Self>) -> Reply<Result<Forked, Failure>> {
        Reply::Now(self.host.fork(&m.config.container_id))
    }
}

impl Handler<Kill> for Room {
    /// On a thread of its own where the real launcher does so: if there is somebody to kill.
    fn handle(&mut self, m: Kill, cx: &mut Cx<Self>) -> Reply<<Kill as Message>::Reply> {
        let (host, id, listened) = (self.host.clone(), m.container_id, m.status_file.is_none());
        let lives = host.lock().holds("init", &id);
        match lives {
            false => Reply::Now(host.kill(&id, listened)),
            true => Reply::Later(cx.blocking("kill", "kill", move |_| host.kill(&id, listened))),
        }
    }
}

impl Handler<Forget> for Room {
    fn handle(&mut self, m: Forget, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        Reply::Now(self.host.forget(&m.container_id))
    }
}

impl Handler<Fetch> for Room {
    fn handle(&mut self, m: Fetch, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let id = m.config.container_id.clone();
        let of = id.clone();
        self.later(cx, ("fetch", Stage::Fetch), &of, move |host| {
            host.pass("fetch", Stage::Fetch, &id)
        })
    }
}
