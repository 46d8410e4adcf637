//! What earlier owners have left on the directories: containers, records, and how far their events
//! were numbered.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;

use super::{make, unusable};
use crate::checkpoint::{self, ContainerV1, RecordV1};
use crate::containerizer::RunLock;
use crate::containerizer::messages::Bury;
use crate::containerizer::recovery::{self, Checkpoints, Found, Looker, Orphan, Remains};
use crate::error::Error;
use crate::events::{ContainerSnapshot, Start, WallTime};
use crate::limits;
use crate::linux;
use crate::model::{ContainerId, Record};
use crate::paths::Paths;

/// What is to be buried, with what keeps others from its id meanwhile.
pub(super) struct Grave {
    pub(super) bury: Bury,
    /// Of a container of which nothing stays, until all of it is gone.
    pub(super) lock: Option<RunLock>,
}

/// Containers that dead owners left on the runtime directory, each with its lock or its claim: held
/// until it is buried, so that nobody launches another one of its id in between.
///
/// Takes from `records` those of containers of which more is there than that.
pub(super) fn find_graves(
    paths: &Paths,
    looker: Looker,
    records: &mut Vec<Record>,
) -> Result<Vec<Grave>, Error> {
    let mut locks = BTreeMap::new();
    let found = find_left(paths, &mut locks)?;
    let orphans = recovery::orphans(found, looker, &|id| paths.sandbox(id));
    let grave = |mut orphan: Orphan| {
        let lock = locks.remove(&orphan.config.container_id)?;
        if orphan.remains == Remains::Nothing {
            return Some(Grave { bury: Bury { orphan, claim: None }, lock: Some(lock) });
        }
        let its = |record: &mut Record| record.container_id == orphan.config.container_id;
        orphan.left.recorded = records.extract_if(.., its).next();
        Some(Grave { bury: Bury { orphan, claim: lock.into_claim() }, lock: None })
    };
    Ok(orphans.into_iter().filter_map(grave).collect())
}

/// What has the name of a container, and the locks that could be had.
fn find_left(
    paths: &Paths,
    locks: &mut BTreeMap<ContainerId, RunLock>,
) -> Result<Vec<Found>, Error> {
    let entries = fs::read_dir(paths.containers());
    let entries = entries.map_err(|error| unusable(&paths.containers(), &error))?;
    let mut found = Vec::new();
    let directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    for entry in entries.flatten().filter(directory) {
        // What is no container's directory is nobody's, and stays.
        let name = entry.file_name().into_string().ok();
        let named = name.and_then(|name| ContainerId::new(name).ok());
        let Some(container_id) = named else { continue };
        let lock = RunLock::claim(paths, &container_id);
        // Its owner, or whoever buried it, may have finished before we had the lock.
        if !fs::exists(paths.container(&container_id)).unwrap_or(false) {
            continue;
        }
        let read = checkpoint::read_all::<ContainerV1>(&paths.checkpoint(&container_id));
        let checkpoints = match read {
            Ok(all) if all.is_empty() => Checkpoints::Absent,
            Ok(all) => Checkpoints::Read(all),
            Err(error) => {
                tracing::warn!(%error, container = %container_id, "destroyed by its id alone");
                Checkpoints::Unreadable
            }
        };
        let run_lock_held = lock.is_none();
        locks.extend(lock.map(|lock| (container_id.clone(), lock)));
        found.push(Found { container_id, checkpoints, run_lock_held });
    }
    Ok(found)
}

/// Records of ended containers; one that cannot be read is told of and left where it is.
pub(super) fn read_records(paths: &Paths) -> Result<Vec<Record>, Error> {
    make(&paths.records())?;
    let entries = fs::read_dir(paths.records());
    let entries = entries.map_err(|error| unusable(&paths.records(), &error))?;
    let mut records: Vec<Record> = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        match checkpoint::read::<RecordV1>(&path).map(|read| read.map(RecordV1::thaw)) {
            Ok(Some(Ok(record))) => records.push(record),
            Ok(Some(Err(error))) => tracing::warn!(path = %path.display(), %error, "no record"),
            Err(error) => tracing::warn!(%error, "no record"),
            Ok(None) => {}
        }
    }
    records.sort_by_key(|record| record.ended_ns);
    Ok(records)
}

/// The epoch of the runtime directory, and a number beyond all that earlier agents have given: each
/// start takes the next [`limits::EVENTS_OF_A_START`], so that none need be written down one by one.
pub(super) fn continue_numbering(paths: &Paths) -> Result<Start, Error> {
    let path = paths.numbering();
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unusable(&path, &error)),
    };
    // A text that nobody wrote like this begins a new epoch, which observers notice.
    let known = text.trim().split_once(' ').and_then(|(epoch, starts)| {
        Some((epoch.to_owned(), starts.parse::<u64>().ok().filter(|starts| *starts < 1 << 21)?))
    });
    let fresh = Start::fresh();
    let (epoch, starts) = known.unwrap_or_else(|| (fresh.epoch.to_string(), 0));
    let temporary = path.with_extension("new");
    linux::fs::open_private(OpenOptions::new().write(true).create(true).truncate(true), &temporary)
        .and_then(|mut file| writeln!(file, "{epoch} {}", starts + 1))
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|error| unusable(&path, &error))?;
    Ok(Start { epoch: epoch.into(), next_seq: starts * limits::EVENTS_OF_A_START + 1, ..fresh })
}

pub(super) fn ended_snapshot(record: Record) -> ContainerSnapshot {
    let ended = WallTime::from_unix_ns(record.ended_ns);
    let mut snapshot = ContainerSnapshot::new(record.container_id, ended);
    snapshot.state = None;
    snapshot.labels = record.labels;
    snapshot.data = record.data;
    snapshot.termination = record.end.termination;
    snapshot.failure = record.end.failure;
    snapshot.usage = Some(record.end.usage);
    snapshot
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::checkpoint::{ConfigV1, OwnerV1};
    use crate::spec::ContainerSpec;

    #[test]
    fn numbers_grow_over_restarts_and_a_strange_file_begins_a_new_epoch() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(directory.path().join("w"), directory.path());
        let first = continue_numbering(&paths).expect("writable");
        let second = continue_numbering(&paths).expect("writable");
        assert_eq!((first.next_seq, &first.epoch), (1, &second.epoch));
        assert_eq!(second.next_seq, limits::EVENTS_OF_A_START + 1);
        fs::write(paths.numbering(), "nonsense").expect("writable");
        let other = continue_numbering(&paths).expect("writable");
        assert_ne!(other.epoch, first.epoch);
    }

    fn checkpoint(paths: &Paths, id: &ContainerId, owner: OwnerV1) -> ContainerV1 {
        let spec = ContainerSpec::new(id.clone(), None).command(["true"]);
        let config = spec.into_config(paths.sandbox(id)).expect("valid");
        ContainerV1 {
            container_id: id.to_string(),
            created_ns: 1,
            owner,
            config: Arc::new(ConfigV1::from(&config)),
            state: "DESTROYING".into(),
            init: None,
            isolators: Arc::default(),
            image: None,
            stop_deadline_ns: None,
        }
    }

    #[test]
    fn of_an_agents_container_that_was_half_gone_the_record_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::new(directory.path().join("w"), directory.path().join("r"));
        let mut records = Vec::new();
        for (name, owner) in [("agents", OwnerV1::Agent), ("runs", OwnerV1::Run)] {
            let container_id: ContainerId = name.parse().expect("valid");
            fs::create_dir_all(paths.container(&container_id)).expect("writable");
            let left = checkpoint(&paths, &container_id, owner);
            checkpoint::write(&paths.checkpoint(&container_id), &left).expect("writable");
            let (labels, data, end) = Default::default();
            records.push(Record { container_id, ended_ns: 7, labels, data, end });
        }
        let graves = find_graves(&paths, Looker::Agent, &mut records).expect("readable");
        assert_eq!(graves.len(), 2);
        for Grave { bury: Bury { orphan, claim }, lock } in graves {
            let recorded = orphan.left.recorded.map(|record| record.ended_ns);
            let agents = orphan.remains == Remains::Record;
            assert_eq!(
                (recorded, claim.is_some(), lock.is_some()),
                match agents {
                    true => (Some(7), true, false),
                    false => (None, false, true),
                }
            );
        }
        // Told as ended when all of it is gone.
        assert_eq!(records.len(), 1);
        assert_eq!(fs::read_dir(paths.run_locks()).expect("made").count(), 0);
    }
}
