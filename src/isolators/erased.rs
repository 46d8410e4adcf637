//! Isolators as objects: what each remembers becomes bytes, for the shell and the checkpoint.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{Host, InitPid, Isolator, IsolatorError, TABLE, Watch};
use crate::error::{Classified, ErrorKind};
use crate::model::{ContainerId, LaunchContext, LaunchInfo, Limitation, Resources, Usage};

/// An isolator whose container state is opaque: bytes that mean something to it only.
///
/// The calls are those of [`Isolator`], with its contract.
pub trait DynIsolator: Send + Sync {
    /// As the operator writes it.
    fn name(&self) -> &'static str;

    /// Takes part in nested containers.
    fn nesting(&self) -> bool;

    /// [`Isolator::PREPARES_ONLY`].
    fn prepares_only(&self) -> bool;

    /// [`Isolator::prepare`]; the bytes are handed to every later call.
    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, Vec<u8>), IsolatorError>;

    /// [`Isolator::isolate`]; answers with what is remembered now.
    fn isolate(
        &self,
        id: &ContainerId,
        container: &[u8],
        init: InitPid,
    ) -> Result<Vec<u8>, IsolatorError>;

    /// [`Isolator::watch`].
    fn watch(&self, id: &ContainerId, container: &[u8]) -> Result<Option<Watch>, IsolatorError>;

    /// [`Isolator::last`].
    fn last(
        &self,
        id: &ContainerId,
        container: &[u8],
    ) -> Result<(Usage, Option<Limitation>), IsolatorError>;

    /// [`Isolator::update`]; answers with what is remembered now.
    fn update(
        &self,
        id: &ContainerId,
        container: &[u8],
        resources: &Resources,
    ) -> Result<Vec<u8>, IsolatorError>;

    /// [`Isolator::usage`].
    fn usage(&self, id: &ContainerId, container: &[u8]) -> Result<Usage, IsolatorError>;

    /// [`Isolator::cleanup`]. Bytes that cannot be read are as good as none: the id must do.
    fn cleanup(&self, id: &ContainerId, container: Option<&[u8]>) -> Result<(), IsolatorError>;
}

impl<I: Isolator> DynIsolator for I {
    fn name(&self) -> &'static str {
        I::NAME
    }

    fn nesting(&self) -> bool {
        I::NESTING
    }

    fn prepares_only(&self) -> bool {
        I::PREPARES_ONLY
    }

    fn prepare(
        &self,
        id: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, Vec<u8>), IsolatorError> {
        let (info, container) = Isolator::prepare(self, id, context)?;
        Ok((info, encode::<I>(&container)?))
    }

    fn isolate(
        &self,
        id: &ContainerId,
        container: &[u8],
        init: InitPid,
    ) -> Result<Vec<u8>, IsolatorError> {
        let mut container = decode::<I>(container)?;
        Isolator::isolate(self, id, &mut container, init)?;
        encode::<I>(&container)
    }

    fn watch(&self, id: &ContainerId, container: &[u8]) -> Result<Option<Watch>, IsolatorError> {
        Ok(Isolator::watch(self, id, &decode::<I>(container)?))
    }

    fn last(
        &self,
        id: &ContainerId,
        container: &[u8],
    ) -> Result<(Usage, Option<Limitation>), IsolatorError> {
        Isolator::last(self, id, &decode::<I>(container)?)
    }

    fn update(
        &self,
        id: &ContainerId,
        container: &[u8],
        resources: &Resources,
    ) -> Result<Vec<u8>, IsolatorError> {
        let mut container = decode::<I>(container)?;
        Isolator::update(self, id, &mut container, resources)?;
        encode::<I>(&container)
    }

    fn usage(&self, id: &ContainerId, container: &[u8]) -> Result<Usage, IsolatorError> {
        Isolator::usage(self, id, &decode::<I>(container)?)
    }

    fn cleanup(&self, id: &ContainerId, container: Option<&[u8]>) -> Result<(), IsolatorError> {
        let container = container.and_then(|bytes| decode::<I>(bytes).ok());
        Isolator::cleanup(self, id, container.as_ref())
    }
}

impl std::fmt::Debug for dyn DynIsolator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

// JSON: the bytes are small, and a field that a later version adds can have a default.
fn encode<I: Isolator>(container: &I::Container) -> Result<Vec<u8>, IsolatorError> {
    serde_json::to_vec(container).map_err(|error| forgotten::<I>(&error))
}

fn decode<I: Isolator>(bytes: &[u8]) -> Result<I::Container, IsolatorError> {
    serde_json::from_slice(bytes).map_err(|error| forgotten::<I>(&error))
}

fn forgotten<I: Isolator>(error: &serde_json::Error) -> IsolatorError {
    IsolatorError::Forgotten { isolator: I::NAME, reason: error.to_string() }
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As the operator writes it.
    pub(crate) name: &'static str,
    create: fn(&Host) -> Result<Arc<dyn DynIsolator>, IsolatorError>,
}

type Create = dyn Fn(&Host) -> Result<Arc<dyn DynIsolator>, IsolatorError> + Send + Sync;

/// An isolator of the embedder's: what the table has for a built-in one.
#[derive(Clone)]
pub(crate) struct Registered {
    /// As the operator writes it.
    pub(crate) name: &'static str,
    create: Arc<Create>,
}

impl Registered {
    /// Made once per start by `create`.
    pub(crate) fn new<I: Isolator>(
        create: impl Fn(&Host) -> Result<I, IsolatorError> + Send + Sync + 'static,
    ) -> Self {
        let create = move |host: &Host| -> Result<Arc<dyn DynIsolator>, IsolatorError> {
            Ok(Arc::new(create(host)?))
        };
        Self { name: I::NAME, create: Arc::new(create) }
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// An isolator, and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) isolator: Arc<dyn DynIsolator>,
    pub(crate) whose: Whose,
}

/// Who wrote an isolator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Ours: known to end, and to keep its thread.
    BuiltIn,
    /// The embedder's: it may panic or hang, and nobody else may notice.
    Embedders,
}

pub(super) const fn entry<I: Isolator>() -> Entry {
    Entry { name: I::NAME, create: construct::<I> }
}

fn construct<I: Isolator>(host: &Host) -> Result<Arc<dyn DynIsolator>, IsolatorError> {
    Ok(Arc::new(I::create(host)?))
}

/// Makes the isolators that `host.isolation` names: those of the table in table order, then the
/// embedder's in the order in which they are named.
///
/// Blocks, for each of the embedder's at most `patience`: they are made on threads where they can hang
/// and panic alone.
///
/// Errors: the first isolator that this host cannot give. Names that nobody has are
/// [`super::select`]'s to refuse.
pub(crate) fn create(
    host: &Host,
    registered: &[Registered],
    patience: Duration,
) -> Result<Vec<Made>, NotCreated> {
    let built_in =
        TABLE.iter().filter(|entry| host.isolation.iter().any(|name| name == entry.name));
    let built_in = built_in.map(|entry| {
        let refused = |error| NotCreated::Refused { isolator: entry.name, error };
        let isolator = (entry.create)(host).map_err(refused)?;
        Ok(Made { isolator, whose: Whose::BuiltIn })
    });
    let named = |name: &String| registered.iter().find(|isolator| isolator.name == name);
    let embedders = host.isolation.iter().filter_map(named).map(|isolator| {
        Ok(Made { isolator: create_apart(isolator, host, patience)?, whose: Whose::Embedders })
    });
    built_in.chain(embedders).collect()
}

/// Why an isolator is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCreated {
    /// It says so itself.
    #[error("{isolator}: {error}")]
    Refused {
        /// Which.
        isolator: &'static str,
        /// In its own words.
        #[source]
        error: IsolatorError,
    },
    /// A mistake of the embedder's.
    #[error("{isolator}: create panicked: {message}")]
    Panicked {
        /// Which.
        isolator: &'static str,
        /// What it panicked with.
        message: String,
    },
    /// Its thread is given up; what it makes in the end is dropped.
    #[error("{isolator}: create did not come back within {after:?}")]
    Hangs {
        /// Which.
        isolator: &'static str,
        /// The deadline.
        after: Duration,
    },
    /// A limit of processes, as a rule.
    #[error("{isolator}: start a thread: {error}")]
    NoThread {
        /// Which.
        isolator: &'static str,
        /// The host's answer.
        #[source]
        error: io::Error,
    },
}

impl Classified for NotCreated {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { error, .. } => error.kind(),
            Self::Panicked { .. } => ErrorKind::Internal,
            Self::Hangs { .. } | Self::NoThread { .. } => ErrorKind::Host,
        }
    }

    fn errno(&self) -> Option<String> {
        match self {
            Self::Refused { error, .. } => error.errno(),
            Self::Panicked { .. } | Self::Hangs { .. } | Self::NoThread { .. } => None,
        }
    }
}

fn create_apart(
    registered: &Registered,
    host: &Host,
    patience: Duration,
) -> Result<Arc<dyn DynIsolator>, NotCreated> {
    let isolator = registered.name;
    let (create, host) = (Arc::clone(&registered.create), host.clone());
    let (answer, answered) = mpsc::channel();
    let create = move || {
        let created = catch_unwind(AssertUnwindSafe(|| create(&host)));
        // Too late, perhaps.
        let _ = answer.send(created);
    };
    let thread = std::thread::Builder::new().name("isolator-create".to_owned()).spawn(create);
    thread.map_err(|error| NotCreated::NoThread { isolator, error })?;
    match answered.recv_timeout(patience) {
        Ok(Ok(created)) => created.map_err(|error| NotCreated::Refused { isolator, error }),
        Ok(Err(panic)) => Err(NotCreated::Panicked { isolator, message: words(&*panic) }),
        Err(_) => Err(NotCreated::Hangs { isolator, after: patience }),
    }
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Makes the built-in isolators that `host.isolation` does not name, for what they have left of
/// containers whose owner had others: `cleanup` goes by the id alone.
///
/// One that this host cannot give is left out: it could have made nothing here.
pub(crate) fn create_others(host: &Host) -> Vec<Made> {
    let others = TABLE.iter().filter(|entry| host.isolation.iter().all(|name| name != entry.name));
    let made = others.filter_map(|entry| match (entry.create)(host) {
        Ok(isolator) => Some(Made { isolator, whose: Whose::BuiltIn }),
        Err(error) => {
            tracing::debug!(isolator = entry.name, %error, "has nothing to clean up");
            None
        }
    });
    made.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Counter;

    impl Isolator for Counter {
        const NAME: &'static str = "test/counter";
        type Container = u32;

        fn create(_: &Host) -> Result<Self, IsolatorError> {
            Ok(Self)
        }

        fn prepare(
            &self,
            _: &ContainerId,
            _: &LaunchContext,
        ) -> Result<(LaunchInfo, u32), IsolatorError> {
            Ok((LaunchInfo::default(), 1))
        }

        fn isolate(
            &self,
            _: &ContainerId,
            container: &mut u32,
            _: InitPid,
        ) -> Result<(), IsolatorError> {
            *container += 1;
            Ok(())
        }
    }

    #[test]
    fn one_that_cannot_be_made_is_named_whatever_it_does() {
        let host = crate::isolators::tests::host(&[Counter::NAME]);
        let make = |create: fn(&Host) -> Result<Counter, IsolatorError>, patience| {
            let registered = [Registered::new(create)];
            create_named(&host, &registered, patience)
        };
        let long = Duration::from_secs(100);
        let (kind, text) = make(|_| Err(IsolatorError::Invalid("no".to_owned())), long);
        assert_eq!((kind, text.as_str()), (ErrorKind::InvalidRequest, "test/counter: no"));
        let (kind, text) = make(|_| panic!("upside\ndown"), long);
        let told = "test/counter: create panicked: upside down";
        assert_eq!((kind, text.as_str()), (ErrorKind::Internal, told));
        let (kind, text) = make(
            |_| loop {
                std::thread::park();
            },
            Duration::from_millis(20),
        );
        let told = "test/counter: create did not come back within 20ms";
        assert_eq!((kind, text.as_str()), (ErrorKind::Host, told));
    }

    fn create_named(
        host: &Host,
        registered: &[Registered],
        patience: Duration,
    ) -> (ErrorKind, String) {
        let error = create(host, registered, patience).expect_err("it cannot be made");
        let failure = crate::error::failure(crate::error::Stage::Configure, &error);
        (failure.kind, failure.message)
    }

    #[test]
    fn what_an_isolator_remembers_survives_as_bytes() {
        let isolator: &dyn DynIsolator = &Counter;
        let id = ContainerId::new("a").expect("valid");
        let init = InitPid { pid: 1, start_time: 1 };
        let first = encode::<Counter>(&1).expect("encoded");
        let second = isolator.isolate(&id, &first, init).expect("isolated");
        assert_eq!(decode::<Counter>(&second).expect("decoded"), 2);
    }

    #[test]
    fn bytes_that_cannot_be_read_are_our_fault_and_do_not_hinder_a_cleanup() {
        let isolator: &dyn DynIsolator = &Counter;
        let id = ContainerId::new("a").expect("valid");
        let error = isolator.usage(&id, b"nonsense").expect_err("unreadable");
        assert!(error.to_string().contains("test/counter"), "{error}");
        isolator.cleanup(&id, Some(b"nonsense")).expect("the id is enough");
    }
}
