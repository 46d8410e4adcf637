//! Every bound and deadline, with its unit and its reason.

use std::time::Duration;

/// Bytes of one level of a container id: 255 is the longest file name, less room for suffixes.
pub const CONTAINER_ID_LENGTH_MAX: usize = 242;

/// Levels of nesting; the kernel nests PID namespaces to 32 (pid_namespaces(7)).
pub const NESTING_DEPTH_MAX: usize = 32;

/// Opaque bytes of the caller per container; they are in every snapshot and checkpoint.
pub const CALLER_DATA_MAX: usize = 64 << 10;

/// Labels of a container, keys and values together, in bytes; for the same reason.
pub const LABELS_BYTES_MAX: usize = 64 << 10;

/// Bytes of a hostname: the kernel's `__NEW_UTS_LEN`, HOST_NAME_MAX of sethostname(2).
pub const HOSTNAME_LENGTH_MAX: usize = 64;

/// Bytes of the path of a Unix socket: `sun_path` of unix(7) has 108, with the NUL.
pub const SOCKET_PATH_MAX: usize = 107;

/// Bytes of an id of Mesos: it is part of a path.
pub const MESOS_ID_LENGTH_MAX: usize = 255;

/// The lowest memory limit: below it the kernel cannot even start a program.
pub const MEMORY_LIMIT_MIN: u64 = 4 << 20;

/// CPUs of a container; the kernel counts the microseconds of a quota in 44 bits (`MAX_BW`), which is
/// 1.7 times as many.
pub const CPUS_MAX: f64 = 100_000_000.0;

/// Processes of a container's payload; no host has more than one more (`PID_MAX_LIMIT`), and `pids.max`,
/// where the init is counted too, takes no more.
pub const PIDS_MAX: u64 = (4 << 20) - 1;

/// A manifest or index; registries refuse larger ones too (distribution-spec, 4 MiB).
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;

/// An image configuration; histories of a thousand steps fit.
pub const IMAGE_CONFIG_BYTES_MAX: u64 = 8 << 20;

/// Layers of an image; overlayfs stacks 500 (`OVL_MAX_STACK`).
pub const LAYERS_MAX: usize = 500;

/// Entries of one layer; a monorepo's `node_modules` has some hundred thousand.
pub const LAYER_ENTRIES_MAX: u64 = 10_000_000;

/// Unpacked bytes of one layer.
pub const LAYER_BYTES_MAX: u64 = 128 << 30;

/// Unpacked over compressed bytes, past the first [`LAYER_RATIO_FREE_BYTES`]; gzip reaches 1030.
pub const LAYER_RATIO_MAX: u64 = 1100;

/// Unpacked bytes before the ratio is looked at.
pub const LAYER_RATIO_FREE_BYTES: u64 = 64 << 20;

/// Bytes of one extension header of a tar (pax records, long names); capabilities, ACLs and names of
/// 4 KiB fit many times.
pub const TAR_EXTENSION_BYTES_MAX: u64 = 1 << 20;

/// Ranges of data in one sparse file; 16 bytes of memory each.
pub const SPARSE_RANGES_MAX: usize = 256 << 10;

/// Members of an archive of an image (`docker save`, OCI); their places are kept in memory.
pub const ARCHIVE_MEMBERS_MAX: usize = 100_000;

/// Paths of directories that a layer uses without having them, in bytes; kept in memory until the
/// layers below are known.
pub const LAYER_IMPLICIT_BYTES_MAX: usize = 8 << 20;

/// Blobs of one image in flight; more would not be faster and take memory.
pub const BLOBS_IN_FLIGHT: usize = 3;

/// A registry that sends nothing for this long is stalled.
pub const FETCH_STALL: Duration = Duration::from_secs(60);

/// Connecting to a registry.
pub const CONNECT: Duration = Duration::from_secs(15);

/// Attempts at one request or blob, the first included.
pub const FETCH_ATTEMPTS: u32 = 5;

/// Provisioning, the pull included.
pub const PROVISION: Duration = Duration::from_secs(3600);

/// Making one isolator of the embedder's when a containerizer starts.
pub const ISOLATOR_CREATE: Duration = Duration::from_secs(60);

/// The prepare chain of all isolators.
pub const PREPARE: Duration = Duration::from_secs(60);

/// Starting the init.
pub const FORK: Duration = Duration::from_secs(30);

/// Isolating, all isolators.
pub const ISOLATE: Duration = Duration::from_secs(60);

/// Fetching the URIs of one container.
pub const FETCH: Duration = Duration::from_secs(3600);

/// From the release of the init to the success of exec.
pub const START: Duration = Duration::from_secs(60);

/// Killing every process of a container; a process in uninterruptible sleep can delay it.
pub const KILL: Duration = Duration::from_secs(60);

/// Cleaning up one isolator.
pub const CLEANUP: Duration = Duration::from_secs(60);

/// Cleaning up all isolators of a container, one after the other.
pub const CLEANUP_ALL: Duration = Duration::from_secs(300);

/// For questions whose answer is the end of a container: there is no deadline to them.
pub const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Removing a root file system.
pub const UNPROVISION: Duration = Duration::from_secs(600);

/// A query or an update of a running container.
pub const QUERY: Duration = Duration::from_secs(10);

/// Reading the output of a payload to its end after its last process is gone.
pub const DRAIN_OUTPUT: Duration = Duration::from_secs(10);

/// Removing what a withdrawn pull has staged, when the whole containerizer shuts down.
pub const PULL_WITHDRAWN: Duration = Duration::from_secs(10);

/// Between the signal of a graceful stop and the destroy.
pub const STOP_GRACE: Duration = Duration::from_secs(10);

/// Shutting the whole containerizer down.
pub const SHUTDOWN: Duration = Duration::from_secs(120);

/// Records of ended containers are kept at least this long.
pub const RECORD_AGE_MIN: Duration = Duration::from_secs(600);

/// Records of ended containers that are always kept.
pub const RECORDS_KEPT_MIN: usize = 1000;

/// Events that one subscriber may be behind before it is told so and gets a snapshot.
pub const SUBSCRIBER_EVENTS: usize = 1024;

/// Events kept for those who resume from a sequence number.
pub const EVENTS_KEPT: usize = 4096;

/// Messages that wait for one actor.
pub const MAILBOX: usize = 1024;

/// Messages that wait for the recorder: it serves every container, and what it refuses nobody sees.
pub const RECORDER_MAILBOX: usize = 65_536;

/// Entries of a tree that is removed where it is met; what is more goes to a thread for such work.
pub const SMALL_TREE: usize = 64;

/// Threads for files that can be many: copies, removals.
pub const BULK_THREADS: usize = 4;

/// Threads that wait for processes to die; one in uninterruptible sleep holds one up.
pub const KILL_THREADS: usize = 8;

/// Threads for the calls of isolators that the embedder has brought; each that hangs holds one up.
pub const ISOLATOR_THREADS: usize = 8;

/// Redirects of one request; registries need two (storage, then a mirror of it).
pub const REDIRECTS_MAX: usize = 10;

/// Pause before the second attempt at a request; doubles with each one.
pub const FETCH_BACKOFF: Duration = Duration::from_millis(500);

/// The longest pause between two attempts, also where `Retry-After` asks for more.
pub const FETCH_BACKOFF_MAX: Duration = Duration::from_secs(30);

/// The answer of a token server; tokens with many scopes reach some kilobytes.
pub const TOKEN_BYTES_MAX: u64 = 256 << 10;

/// How long a token lives whose server does not say it (distribution `spec/auth/token.md`).
pub const TOKEN_AGE: Duration = Duration::from_secs(60);

/// A token this close to its end is not sent any more.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(5);

/// Arbiters that may block, each with the actors that serve a container. A hung one holds up the
/// containers on it, and no other.
pub const KERNEL_LANES: usize = 4;

/// The same where everything ends with one process and, as a rule, one container.
pub const KERNEL_LANES_OF_A_RUN: usize = 1;

/// A turn of an actor that may block; one that takes longer hangs, and new containers go elsewhere.
pub const TURN: Duration = Duration::from_secs(5);

/// Bytes of one fetched file, and of everything that its archive unpacks to.
pub const FETCHED_BYTES_MAX: u64 = 128 << 30;

/// Entries of one fetched archive.
pub const FETCHED_ENTRIES_MAX: u64 = 10_000_000;

/// Event numbers of one start of an agent; 2²¹ starts stay within the integers of JSON, 2⁵³.
pub const EVENTS_OF_A_START: u64 = 1 << 32;
