//! The fetcher's actor: each container's URIs in order, containers side by side.

use longshore_actors::{Cx, Handler, Process, Promise, Reply};

use super::messages::Fetch;
use crate::error::{ErrorKind, Stage, failure};
use crate::model::Failure;

/// One actor for all containers; it waits for networks and blocks nobody.
pub(crate) struct Fetcher;

impl Process for Fetcher {}

impl Handler<Fetch> for Fetcher {
    fn handle(&mut self, message: Fetch, cx: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let (promise, reply): (Promise<Result<(), Failure>>, _) = Reply::promised();
        let discarded = promise.discarded();
        let fetching = async move {
            let config = &message.config;
            let fetching =
                super::fetch(&config.command.uris, &config.sandbox, message.owner.into());
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
