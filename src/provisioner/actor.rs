//! The provisioner's actors: one for images, which waits for networks, and one on each lane, which
//! makes root file systems and may block.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use longshore_actors::{Cx, Discarder, Handle, Handler, Message, Process, Promise, Reply};

use super::assemble::Target;
use super::backends::Exposure;
use super::messages::{ProgressSink, Provision, Unprovision};
use super::stores::{ImageStore, StoreError, StoredImage};
use super::{ProvisionError, Provisioner};
use crate::error::{ErrorKind, Stage, failure};
use crate::events::LayerProgress;
use crate::limits;
use crate::messages::flatten;
use crate::model::{ContainerId, Failure, ImageReference, Provisioned, PullPolicy};

/// Asks for an image; a discard withdraws the asker, and the pull stops with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct GetImage {
    pub(crate) reference: ImageReference,
    pub(crate) pull: PullPolicy,
    pub(crate) progress: Option<ProgressSink>,
}

impl Message for GetImage {
    type Reply = Result<StoredImage, Failure>;

    fn subject(&self) -> Option<Arc<str>> {
        Some(self.reference.to_string().into())
    }
}

/// The image stores.
pub(crate) struct Images {
    store: ImageStore,
}

impl Images {
    pub(crate) fn new(store: ImageStore) -> Self {
        Self { store }
    }
}

impl Process for Images {}

impl Handler<GetImage> for Images {
    fn handle(
        &mut self,
        message: GetImage,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<StoredImage, Failure>> {
        let (promise, reply): (Promise<Result<StoredImage, Failure>>, _) = Reply::promised();
        let (store, discarded) = (self.store.clone(), promise.discarded());
        let progress = message.progress.map(|sink| {
            let told: super::stores::ProgressFn = Arc::new(move |p: &super::stores::Progress| {
                let (layer, bytes, total) = (p.layer.clone(), p.bytes, p.total);
                // The caller's code: a panic of it is no reason for the pull to end.
                let tell = || sink.0(LayerProgress { layer, bytes, total });
                if catch_unwind(AssertUnwindSafe(tell)).is_err() {
                    tracing::warn!("whoever is told of a pull has panicked");
                }
            });
            told
        });
        let getting = async move {
            let getting = store.get(&message.reference, message.pull, progress);
            tokio::select! {
                biased;
                got = getting => Some(got),
                // Dropping the future withdraws us from the pull.
                _ = discarded => None,
            }
        };
        cx.run("pull", getting, move |_: &mut Self, _, got: Option<Result<_, StoreError>>| {
            promise.set(match got {
                Some(got) => got.map_err(|error| failure(Stage::Provision, &error)),
                None => Err(withdrawn()),
            });
        });
        reply
    }
}

fn withdrawn() -> Failure {
    Failure {
        stage: Stage::Provision,
        kind: ErrorKind::Discarded,
        errno: None,
        message: "the pull was withdrawn".to_owned(),
    }
}

/// Makes and removes root file systems on one lane.
pub(crate) struct ProvisionerActor {
    provisioner: Arc<Provisioner>,
    exposure: Exposure,
    images: Handle<GetImage>,
    /// Images on their way, by container.
    pulling: BTreeMap<ContainerId, Discarder>,
    /// Containers for which something is being made.
    assembling: BTreeSet<ContainerId>,
    /// What was begun here for each container, so that nobody has to look for it.
    targets: BTreeMap<ContainerId, Vec<Target>>,
}

impl ProvisionerActor {
    pub(crate) fn new(
        provisioner: Arc<Provisioner>,
        exposure: Exposure,
        images: Handle<GetImage>,
    ) -> Self {
        Self {
            provisioner,
            exposure,
            images,
            pulling: BTreeMap::new(),
            assembling: BTreeSet::new(),
            targets: BTreeMap::new(),
        }
    }

    /// Makes the root file system, beside other containers' work: a copy takes its time.
    fn assemble(
        &mut self,
        cx: &mut Cx<Self>,
        (id, image, exposure): (ContainerId, StoredImage, Exposure),
        promise: Promise<Result<Provisioned, Failure>>,
    ) {
        let (provisioner, of) = (Arc::clone(&self.provisioner), id.clone());
        let target = Target::new(&image, exposure);
        self.targets.entry(id.clone()).or_default().push(target.clone());
        let assemble = move || {
            let assembled = provisioner.provision_as(&of, &image, &target);
            assembled.map_err(|error: ProvisionError| failure(Stage::Provision, &error))
        };
        // A mount is done at once, and a second thread would cost more than it does.
        if self.provisioner.backend() != "copy" {
            promise.set(assemble());
            return;
        }
        self.assembling.insert(id.clone());
        let assembling = cx.blocking("bulk", "assemble", move |_| assemble());
        cx.when("assemble", assembling, move |provisioner: &mut Self, _, assembled| {
            provisioner.assembling.remove(&id);
            promise.set(flatten(Stage::Provision, assembled));
        });
    }
}

impl Process for ProvisionerActor {}

impl Handler<Provision> for ProvisionerActor {
    fn handle(
        &mut self,
        message: Provision,
        cx: &mut Cx<Self>,
    ) -> Reply<Result<Provisioned, Failure>> {
        let Provision { container_id: id, reference, pull, exposure, progress } = message;
        let exposure = exposure.unwrap_or(self.exposure);
        // Most images are here: this thread may block, and asking another one would cost more. What is
        // wrong is found again there, and told.
        if let Ok(Some(image)) = self.provisioner.store().get_here(&reference, pull) {
            let (promise, reply) = Reply::promised();
            self.assemble(cx, (id, image, exposure), promise);
            return reply;
        }
        let get = GetImage { reference, pull, progress: Some(progress) };
        let getting = self.images.dispatch(get, limits::PROVISION);
        let discarder = getting.discarder();
        self.pulling.insert(id.clone(), getting.discarder());
        let (promise, reply): (Promise<Result<Provisioned, Failure>>, _) = Reply::promised();
        let discarded = promise.discarded();
        let waiting = async move {
            let mut getting = std::pin::pin!(getting.result());
            tokio::select! {
                biased;
                got = &mut getting => got,
                cause = discarded => {
                    discarder.discard(cause);
                    // It settles: with the image after all, or withdrawn.
                    getting.await
                }
            }
        };
        cx.run("provision", waiting, move |provisioner: &mut Self, cx, image| {
            // An unprovision has taken it away, perhaps when the image was there already: whoever asked
            // for it may be gone without having withdrawn anything.
            let unwanted = provisioner.pulling.remove(&id).is_none();
            match flatten(Stage::Provision, image) {
                _ if unwanted || promise.is_discarded() => drop(promise.set(Err(withdrawn()))),
                Err(failure) => drop(promise.set(Err(failure))),
                Ok(image) => provisioner.assemble(cx, (id, image, exposure), promise),
            }
        });
        reply
    }
}

impl Handler<Unprovision> for ProvisionerActor {
    fn handle(&mut self, message: Unprovision, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let id = message.container_id;
        // A provision whose deadline has passed may still wait for its image.
        if let Some(discarder) = self.pulling.remove(&id) {
            discarder.discard("the container is being removed");
        }
        if self.assembling.contains(&id) {
            let message = format!("the root file system of {id} is still being made");
            let kind = ErrorKind::Conflict;
            return Reply::Now(Err(Failure { stage: Stage::Destroy, kind, errno: None, message }));
        }
        // A second thread would cost more than such a removal. What fails is found again below, and told.
        let done = match self.targets.remove(&id) {
            Some(targets) => matches!(self.provisioner.destroy_untouched(&id, &targets), Ok(true)),
            None => self.provisioner.has_nothing(&id),
        };
        if done {
            return Reply::Now(Ok(()));
        }
        // What a payload has written can be large.
        let provisioner = Arc::clone(&self.provisioner);
        let destroy =
            move || provisioner.destroy(&id).map_err(|error| failure(Stage::Destroy, &error));
        Reply::Later(cx.blocking("bulk", "unprovision", move |_| destroy()))
    }
}
