//! The image store, through the handle.

use std::future::Future;
use std::sync::Arc;

use super::Containerizer;
use crate::error::{Error, ErrorKind, Stage};
use crate::events::LayerProgress;
use crate::limits;
use crate::messages::flatten;
use crate::model::{ImageReference, PullPolicy};
use crate::provisioner::actor::GetImage;
use crate::provisioner::messages::ProgressSink;
use crate::provisioner::stores::{ImageRow, Pruned, StoreError, StoredImage};

/// Where `images` and `prune` run: not where containers are supervised.
const PLACE: &str = "images";

impl Containerizer {
    /// Brings an image into the store, as a launch would. It stays there at least as long as the value
    /// that this answers with. Callers who want the same image at the same time share one pull.
    ///
    /// `reference`: as users write it, `alpine:3.20`, `oci:/images/app`. Dropping the future withdraws
    /// nothing: the pull goes on.
    ///
    /// Errors: `InvalidRequest` (the reference), `NotFound`, `Remote`, `Exhausted`, `Host`.
    pub async fn pull(&self, reference: &str, policy: PullPolicy) -> Result<StoredImage, Error> {
        self.get(reference, policy, None).await
    }

    /// The same, telling how far each layer is: often, and on a thread that must not be blocked.
    ///
    /// Errors: as [`Self::pull`].
    pub async fn pull_with_progress(
        &self,
        reference: &str,
        policy: PullPolicy,
        progress: impl Fn(LayerProgress) + Send + Sync + 'static,
    ) -> Result<StoredImage, Error> {
        self.get(reference, policy, Some(ProgressSink(Arc::new(progress)))).await
    }

    async fn get(
        &self,
        reference: &str,
        pull: PullPolicy,
        progress: Option<ProgressSink>,
    ) -> Result<StoredImage, Error> {
        let get = GetImage { reference: parse(reference)?, pull, progress };
        let answer = self.inner.images.dispatch(get, limits::PROVISION).result().await;
        Ok(flatten(Stage::Provision, answer)?)
    }

    /// All images of the store, by name.
    ///
    /// Errors: `Host`.
    pub async fn images(&self) -> Result<Vec<ImageRow>, Error> {
        let store = self.inner.store.clone();
        self.with_store("images", async move { store.list().await }).await
    }

    /// Removes the images that no container and no pull uses, but those named in `keep`.
    ///
    /// Errors: `InvalidRequest` (a reference), `Host`.
    pub async fn prune<S: AsRef<str>>(
        &self,
        keep: impl IntoIterator<Item = S>,
    ) -> Result<Pruned, Error> {
        let keep = keep.into_iter().map(|reference| parse(reference.as_ref()));
        let keep = keep.collect::<Result<Vec<_>, _>>()?;
        let store = self.inner.store.clone();
        self.with_store("prune", async move { store.prune(&keep).await }).await
    }

    /// On a thread of ours: the store needs a runtime, and the caller need not have one.
    async fn with_store<T: Send + 'static>(
        &self,
        label: &'static str,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, Error> {
        let answer = self.inner.runtime.spawn_future(PLACE, label, work).result().await;
        let answer = answer.map(|done| done.map_err(|error| Error::wrap(Stage::Provision, error)));
        answer.unwrap_or_else(|lost| {
            Err(Error::from(crate::messages::unanswered(Stage::Provision, &lost)))
        })
    }
}

fn parse(reference: &str) -> Result<ImageReference, Error> {
    let parsed = reference.parse::<ImageReference>();
    parsed.map_err(|reason| Error::new(Stage::Configure, ErrorKind::InvalidRequest, reason))
}
