//! The public messages: what a [`Containerizer`] can be asked, as values, on one page.
//!
//! Each is what the method of the same name does, with its errors; [`Containerizer::ask`] takes any of
//! them. With the feature `actix` each is a message of actix too, and `Containerizer::recipient` gives
//! a recipient of it. A shutdown is no message: it ends who would answer.
//!
//! ```no_run
//! use longshore::messages::{Destroy, Launch};
//! use longshore::spec::ContainerSpec;
//!
//! # async fn example(node: longshore::Containerizer) -> Result<(), Box<dyn std::error::Error>> {
//! let job = node.ask(Launch { spec: ContainerSpec::image("a", "alpine")? }).await?;
//! let end = node.ask(Destroy { container_id: job.id().clone() }).await?;
//! println!("{:?}", end.cause());
//! # Ok(())
//! # }
//! ```

use std::future::Future;
use std::sync::Arc;

use longshore_actors::{Exit, Lost, Refusal};

use crate::error::{Error, ErrorKind, Stage, one_line};
use crate::events::ContainerSnapshot;
use crate::handle::{Containerizer, Job};
use crate::model::{ContainerId, End, Failure, PullPolicy, Resources};
use crate::provisioner::stores::{ImageRow, Pruned, StoredImage};
use crate::spec::ContainerSpec;

/// Something that a [`Containerizer`] can be asked.
pub trait Request: Send + 'static {
    /// What it answers, if it does not fail.
    type Reply: Send + 'static;

    /// Asks `node`. Dropping the future withdraws nothing.
    fn perform(
        self,
        node: &Containerizer,
    ) -> impl Future<Output = Result<Self::Reply, Error>> + Send;
}

/// Implements [`Request`] by a method of the handle.
macro_rules! request {
    ($message:ident -> $reply:ty, |$this:ident, $node:ident| $body:expr) => {
        impl Request for $message {
            type Reply = $reply;

            async fn perform(self, $node: &Containerizer) -> Result<$reply, Error> {
                let $this = self;
                $body
            }
        }

        #[cfg(feature = "actix")]
        impl longshore_actors::recipients::ActixMessage for $message {
            type Result = Result<$reply, Error>;
        }
    };
}

/// [`Containerizer::launch`]: answers as soon as the launch has begun.
#[derive(Debug, Clone)]
pub struct Launch {
    /// What the container is to be.
    pub spec: ContainerSpec,
}

request!(Launch -> Job, |this, node| node.launch(this.spec));

/// [`Job::running`]: answers when the payload runs, with the pid of the container's init.
#[derive(Debug, Clone)]
pub struct Running {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Running -> i32, |this, node| node.job(this.container_id).running().await);

/// [`Job::wait`]: answers when the container has ended or is stuck.
#[derive(Debug, Clone)]
pub struct Wait {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Wait -> End, |this, node| node.job(this.container_id).wait().await);

/// [`Job::stop`]: answers when the container has ended.
#[derive(Debug, Clone)]
pub struct Stop {
    /// Which container.
    pub container_id: ContainerId,
    /// By which signal, and with how much grace.
    pub how: crate::Stop,
}

request!(Stop -> End, |this, node| node.job(this.container_id).stop(this.how).await);

/// [`Job::destroy`]: answers when nothing of the container is left. May be repeated.
#[derive(Debug, Clone)]
pub struct Destroy {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Destroy -> End, |this, node| node.job(this.container_id).destroy().await);

/// [`Job::kill`]: sends a signal to the payload.
#[derive(Debug, Clone)]
pub struct Kill {
    /// Which container.
    pub container_id: ContainerId,
    /// signal(7), 1–64.
    pub signal: i32,
}

request!(Kill -> (), |this, node| node.job(this.container_id).kill(this.signal).await);

/// [`Job::update`]: sets new limits.
#[derive(Debug, Clone)]
pub struct Update {
    /// Which container.
    pub container_id: ContainerId,
    /// The limits, not differences; what is absent stays as it is.
    pub resources: Resources,
}

request!(Update -> (), |this, node| node.job(this.container_id).update(this.resources).await);

/// [`Job::usage`]: what the container uses now, or has used in all.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Usage -> crate::model::Usage, |this, node| node.job(this.container_id).usage().await);

/// [`Job::status`]: the container as published last.
#[derive(Debug, Clone)]
pub struct Status {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Status -> Arc<ContainerSnapshot>, |this, node| node.job(this.container_id).status());

/// [`Containerizer::containers`]: all of them.
#[derive(Debug, Clone)]
pub struct Containers;

request!(Containers -> Vec<Arc<ContainerSnapshot>>, |_this, node| Ok(node.containers()));

/// [`Containerizer::acknowledge`]: forgets an ended container.
#[derive(Debug, Clone)]
pub struct Acknowledge {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Acknowledge -> (), |this, node| node.acknowledge(&this.container_id).await);

/// [`Containerizer::remove`]: forgets an ended container and removes its sandbox.
#[derive(Debug, Clone)]
pub struct Remove {
    /// Which container.
    pub container_id: ContainerId,
}

request!(Remove -> (), |this, node| node.remove(&this.container_id).await);

/// [`Containerizer::pull`]: brings an image into the store.
#[derive(Debug, Clone)]
pub struct Pull {
    /// As users write it: `alpine:3.20`, `oci:/images/app`.
    pub reference: String,
    /// When to ask the registry.
    pub policy: PullPolicy,
}

request!(Pull -> StoredImage, |this, node| node.pull(&this.reference, this.policy).await);

/// [`Containerizer::images`]: what the store has.
#[derive(Debug, Clone)]
pub struct Images;

request!(Images -> Vec<ImageRow>, |_this, node| node.images().await);

/// [`Containerizer::prune`]: removes images that nobody uses.
#[derive(Debug, Clone)]
pub struct PruneImages {
    /// References of images to keep all the same.
    pub keep: Vec<String>,
}

request!(PruneImages -> Pruned, |this, node| node.prune(this.keep).await);

/// Lifecycle events as messages: `Containerizer::deliver`.
#[cfg(feature = "actix")]
impl longshore_actors::recipients::ActixMessage for crate::events::Notice {
    type Result = ();
}

/// Why there is no answer, in words that an embedder can do something with.
pub(crate) fn reason(lost: &Lost) -> String {
    match lost {
        Lost::Deadline { after, .. } => format!("no answer within {after:?}"),
        Lost::Refused(refused) => match refused.why {
            Refusal::Full { capacity } => format!("more than {capacity} requests wait"),
            Refusal::Draining | Refusal::Gone => "it is shut down".to_owned(),
        },
        Lost::Gone { exit, .. } => match exit {
            Exit::Normal | Exit::Killed(_) => "it is shut down, or was given up".to_owned(),
            Exit::Failed(fault) => format!("broken: {fault}"),
            Exit::Panicked(text) => format!("broken: panicked: {text}"),
        },
        Lost::Failed { fault, .. } => fault.to_string(),
        Lost::Discarded { cause, .. } => match cause {
            longshore_actors::Cause::Shutdown => "withdrawn: it is shut down".to_owned(),
            cause => cause.to_string(),
        },
    }
}

/// A message without an answer, as a failure of `stage`; the text names who was asked what.
pub(crate) fn unanswered(stage: Stage, lost: &Lost) -> Failure {
    let kind = match lost {
        Lost::Deadline { .. } => ErrorKind::Host,
        Lost::Refused(refused) => match refused.why {
            Refusal::Full { .. } => ErrorKind::Exhausted,
            Refusal::Draining | Refusal::Gone => ErrorKind::Conflict,
        },
        // It was shut down while it was asked.
        Lost::Gone { exit: Exit::Normal | Exit::Killed(_), .. } => ErrorKind::Conflict,
        Lost::Gone { .. } | Lost::Failed { .. } => ErrorKind::Internal,
        Lost::Discarded { .. } => ErrorKind::Discarded,
    };
    let asked = match lost {
        Lost::Deadline { address, .. } => Some(address),
        Lost::Refused(refused) => Some(&refused.address),
        Lost::Gone { address, .. }
        | Lost::Failed { address, .. }
        | Lost::Discarded { address, .. } => address.as_ref(),
    };
    let asked = asked.map_or_else(String::new, |address| format!("{address}: "));
    let message = one_line(&format!("{asked}{}", reason(lost)));
    Failure { stage, kind, errno: None, message }
}

/// The answer, or why there is none.
pub(crate) fn flatten<T>(
    stage: Stage,
    answer: Result<Result<T, Failure>, Lost>,
) -> Result<T, Failure> {
    answer.unwrap_or_else(|lost| Err(unanswered(stage, &lost)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use longshore_actors::{Address, Cause, Fault, Refused};

    use super::*;

    fn all() -> Vec<Lost> {
        let address = Address { to: "containerizer".into(), label: "Find" };
        let at = || Some(address.clone());
        let refusals = [Refusal::Full { capacity: 9 }, Refusal::Draining, Refusal::Gone];
        let refused = refusals.map(|why| Lost::Refused(Refused { address: address.clone(), why }));
        let exits = [
            Exit::Normal,
            Exit::Failed(Fault::new("no memory")),
            Exit::Panicked("out of range".to_owned()),
            Exit::Killed("arbiter lost"),
        ];
        let gone = exits.map(|exit| Lost::Gone { address: at(), exit });
        let after = Duration::from_secs(10);
        let mut all = vec![
            Lost::Deadline { address: address.clone(), after },
            Lost::Failed { address: at(), fault: Fault::new("no thread") },
            Lost::Discarded { address: at(), cause: Cause::Asked("it is being destroyed") },
            Lost::Discarded { address: at(), cause: Cause::Shutdown },
        ];
        all.extend(refused);
        all.extend(gone);
        all
    }

    #[test]
    fn no_word_of_the_machinery_reaches_a_caller() {
        for lost in all() {
            let failure = unanswered(Stage::Run, &lost);
            for text in [reason(&lost), failure.message] {
                for word in ["actor", "mailbox", "arbiter", "runtime", "drain", "lane"] {
                    assert!(!text.contains(word), "{text:?} has the word {word:?}");
                }
                assert!(!text.is_empty());
            }
        }
    }
}
