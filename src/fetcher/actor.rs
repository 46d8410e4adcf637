//! The fetcher's actor: each container's URIs in order, containers side by side.

use std::sync::Arc;

use longshore_actors::{Cx, Handler, Process, Promise, Reply};

use super::messages::Fetch;
use super::{Fetcher, FetcherConfig};
use crate::error::{ErrorKind, Stage, failure};
use crate::io::Owner;
use crate::model::Failure;

/// One actor for all containers; it waits for networks and blocks nobody.
pub(crate) struct FetcherActor {
    fetcher: Arc<Fetcher>,
}

impl FetcherActor {
    pub(crate) fn new() -> Self {
        Self { fetcher: Arc::new(Fetcher::new(FetcherConfig::default())) }
    }
}

impl Process for FetcherActor {}

impl Handler<Fetch> for FetcherActor {
    fn handle(&mut self, message: Fetch, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let (promise, reply): (Promise<Result<(), Failure>>, _) = Reply::promised();
        let (fetcher, discarded) = (Arc::clone(&self.fetcher), promise.discarded());
        let fetching = async move {
            let (config, (uid, gid)) = (&message.config, message.owner);
            let owner = Owner { uid, gid };
            let fetching = fetcher.fetch(&config.command.uris, &config.sandbox, owner);
            tokio::select! {
                biased;
                fetched = fetching => fetched.map_err(|error| failure(Stage::Fetch, &error)),
                // Dropping the future stops it; nothing is written afterwards.
                _ = discarded => Err(withdrawn()),
            }
        };
        cx.run("fetch", fetching, move |_: &mut Self, _, fetched| {
            promise.set(fetched);
        });
        reply
    }
}

fn withdrawn() -> Failure {
    Failure {
        stage: Stage::Fetch,
        kind: ErrorKind::Discarded,
        errno: None,
        message: "the fetch was withdrawn".to_owned(),
    }
}
