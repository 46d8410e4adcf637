//! The containerizer: who exists. It routes by id and holds no state of any container.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use longshore_actors::{AnyPid, Cx, Exit, Handler, Pid, Process, Promise, Reply, Spawn};

use super::messages::{Acknowledge, Bury, Close, Find, Launch};
use super::recorder::messages::{Discard, Sandbox};
use super::recovery::{Left, Orphan, Remains};
use super::rooms::{Lane, Rooms};
use super::supervisor::actor::{Assignment, Origin, Supervisor};
use super::supervisor::state::{Cause, Ending, Why};
use crate::events::{EventHub, WallTime};
use crate::limits;
use crate::model::{ContainerConfig, ContainerId, Failure};

/// One actor for all containers of this process.
pub(crate) struct Containerizer {
    rooms: Arc<Rooms>,
    /// With the number of containers that live there.
    lanes: Vec<(Lane, usize)>,
    /// Tells apart those who had the same id one after the other.
    spawned: u64,
    events: EventHub,
    living: BTreeMap<ContainerId, Living>,
    /// Whom each supervisor has and on which lane, by the number of the actor: an end costs no more
    /// where many live.
    supervised: HashMap<u64, (ContainerId, usize)>,
    /// Containers whose supervisor broke and is being replaced, with those who look for it.
    rescuing: BTreeMap<ContainerId, Vec<Promise<Option<Pid<Supervisor>>>>>,
    /// Containers whose supervisor was found gone before its end was heard of here, with those who ask
    /// what comes after it.
    leaving: BTreeMap<ContainerId, Vec<Promise<Option<Pid<Supervisor>>>>>,
    /// Ended containers whose record is kept, the oldest first, with the time of their end.
    ended: VecDeque<(ContainerId, WallTime)>,
    closed: bool,
}

struct Living {
    pid: Pid<Supervisor>,
    config: Arc<ContainerConfig>,
    remains: Remains,
}

impl Containerizer {
    /// `ended` are those whose records an earlier agent has left, with the time of their end, the
    /// oldest first.
    pub(crate) fn new(
        rooms: Arc<Rooms>,
        lanes: Vec<Lane>,
        events: EventHub,
        ended: Vec<(ContainerId, i64)>,
    ) -> Self {
        Self {
            rooms,
            lanes: lanes.into_iter().map(|lane| (lane, 0)).collect(),
            spawned: 0,
            events,
            living: BTreeMap::new(),
            supervised: HashMap::new(),
            rescuing: BTreeMap::new(),
            leaving: BTreeMap::new(),
            ended: ended.into_iter().map(|(id, ns)| (id, WallTime::from_unix_ns(ns))).collect(),
            closed: false,
        }
    }

    /// On the lane that has served it so far, if one has: there its undoing queues behind its doing.
    fn supervise(
        &mut self,
        cx: &Cx<Self>,
        config: Arc<ContainerConfig>,
        origin: Origin,
        remains: Remains,
        lane: Option<usize>,
    ) {
        let id = config.container_id.clone();
        let index = lane.unwrap_or_else(|| self.choose_lane(cx));
        let lane = self.lanes[index].0.clone();
        self.spawned += 1;
        let (rooms, assigned) = (Arc::clone(&self.rooms), Arc::clone(&config));
        let place = lane.place.clone();
        let spawn = Spawn::new(format!("supervisor {id} #{}", self.spawned), move || {
            Supervisor::new(Assignment { config: assigned, rooms, lane, origin })
        });
        let spawn = spawn.capacity(limits::MAILBOX).place(place);
        match cx.runtime().spawn(spawn) {
            Ok(pid) => {
                cx.watch(&pid.any());
                for waiter in self.leaving.remove(&id).into_iter().flatten() {
                    waiter.set(Some(pid.clone()));
                }
                self.lanes[index].1 += 1;
                self.supervised.insert(pid.any().id(), (id.clone(), index));
                self.living.insert(id, Living { pid, config, remains });
            }
            Err(error) => {
                // Only a runtime that shuts down refuses a free name.
                tracing::error!(container = %id, %error, "no supervisor");
                self.rooms.reserved.remove(&id);
            }
        }
    }

    /// Of those that do not hang the one with the fewest containers, of equals the first: whoever
    /// launches one container after the other finds the caches of its lane warm.
    fn choose_lane(&self, cx: &Cx<Self>) -> usize {
        let now = cx.now();
        let mut lanes: Vec<usize> = (0..self.lanes.len()).collect();
        lanes.sort_by_key(|index| self.lanes[*index].1);
        let awake = lanes.iter().find(|index| !self.lanes[**index].0.hangs(now));
        *awake.unwrap_or(&lanes[0])
    }

    /// Records are dropped when they are old *and* many.
    fn age_records(&mut self) {
        let old = |ended: &WallTime| {
            let age = std::time::SystemTime::from(WallTime::now())
                .duration_since((*ended).into())
                .unwrap_or(Duration::ZERO);
            age >= limits::RECORD_AGE_MIN
        };
        while self.ended.len() > limits::RECORDS_KEPT_MIN {
            match self.ended.front() {
                Some((_, ended)) if old(ended) => {}
                Some(_) | None => return,
            }
            if let Some((container_id, _)) = self.ended.pop_front() {
                let discard = Discard { container_id, sandbox: Sandbox::Keep };
                drop(self.rooms.discard.notify(discard));
            }
        }
    }

    /// The supervisor ended in order: nothing of the container is left but its record.
    fn ended(&mut self, id: ContainerId, remains: Remains) {
        // Whoever had a container buried of which nothing stays forgets it as well, in the same
        // breath: the id may have a new container by the time this end is noticed here.
        if remains == Remains::Record
            && self.events.container(&id).is_some_and(|container| container.state.is_none())
        {
            // Otherwise somebody was faster and has acknowledged it, or launched it again.
            self.ended.push_back((id, WallTime::now()));
            self.age_records();
        }
    }

    /// The supervisor broke: what it had done is undone from what it had written down.
    fn rescue(&mut self, cx: &mut Cx<Self>, living: Living, lane: usize, exit: &Exit) {
        let Living { config, remains, .. } = living;
        let id = config.container_id.clone();
        tracing::error!(container = %id, %exit, "the supervisor is lost; its container is destroyed");
        let (files, of) = (Arc::clone(&self.rooms.files), id.clone());
        let reading = cx.blocking("bulk", "read checkpoint", move |_| files.checkpoint(&of));
        self.rescuing.insert(id.clone(), Vec::new());
        cx.when("rescue", reading, move |containerizer: &mut Self, cx, read| {
            let found = read.ok().and_then(Result::ok).flatten();
            let left = Left::of(found, Ending::of(Cause::Wanted(Why::Lost)));
            let origin = Origin::Orphan(Box::new(left), None);
            containerizer.supervise(cx, config, origin, remains, Some(lane));
            for waiter in containerizer.rescuing.remove(&id).into_iter().flatten() {
                waiter.set(containerizer.living.get(&id).map(|living| living.pid.clone()));
            }
        });
    }
}

impl Process for Containerizer {
    fn exited(&mut self, cx: &mut Cx<Self>, who: &AnyPid, why: &Exit) {
        let Some((id, lane)) = self.supervised.remove(&who.id()) else { return };
        self.lanes[lane].1 -= 1;
        // The id may have its next supervisor by now.
        let theirs = self.living.get(&id).is_some_and(|living| living.pid.any() == *who);
        let Some(living) = theirs.then(|| self.living.remove(&id)).flatten() else { return };
        let waiting = self.leaving.remove(&id).unwrap_or_default();
        match why {
            Exit::Normal => self.ended(id, living.remains),
            Exit::Failed(_) | Exit::Panicked(_) | Exit::Killed(_) if self.closed => {}
            Exit::Failed(_) | Exit::Panicked(_) | Exit::Killed(_) => {
                self.rescue(cx, living, lane, why);
                self.rescuing.entry(id).or_default().extend(waiting);
                return;
            }
        }
        for waiter in waiting {
            waiter.set(None);
        }
    }
}

impl Handler<Launch> for Containerizer {
    fn handle(&mut self, Launch { config }: Launch, cx: &mut Cx<Self>) -> Reply<()> {
        if self.closed {
            // Nothing of it exists; whoever waits for it learns that it is not known.
            self.rooms.reserved.remove(&config.container_id);
        } else {
            self.supervise(cx, config, Origin::Launch, Remains::Record, None);
        }
        Reply::Now(())
    }
}

impl Handler<Find> for Containerizer {
    fn handle(&mut self, find: Find, _: &mut Cx<Self>) -> Reply<Option<Pid<Supervisor>>> {
        if let Some(waiting) = self.rescuing.get_mut(&find.container_id) {
            let (promise, reply) = Reply::promised();
            waiting.push(promise);
            return reply;
        }
        let found = self.living.get(&find.container_id).map(|living| living.pid.clone());
        if found.as_ref().is_some_and(|pid| find.gone == Some(pid.any())) {
            // The supervisor lives on another thread: that it is gone is heard of here a little later.
            let (promise, reply) = Reply::promised();
            self.leaving.entry(find.container_id).or_default().push(promise);
            return reply;
        }
        Reply::Now(found)
    }
}

impl Handler<Bury> for Containerizer {
    fn handle(
        &mut self,
        Bury { orphan, claim }: Bury,
        cx: &mut Cx<Self>,
    ) -> Reply<super::supervisor::messages::Conclusion> {
        let Orphan { config, left, remains } = orphan;
        self.rooms.reserved.insert(config.container_id.clone(), claim);
        let (promise, reply) = Reply::promised();
        let origin = Origin::Orphan(Box::new(left), Some(promise));
        self.supervise(cx, config, origin, remains, None);
        reply
    }
}

impl Handler<Close> for Containerizer {
    fn handle(&mut self, _: Close, _: &mut Cx<Self>) -> Reply<Vec<ContainerId>> {
        self.closed = true;
        Reply::Now(self.living.keys().chain(self.rescuing.keys()).cloned().collect())
    }
}

impl Handler<Acknowledge> for Containerizer {
    fn handle(&mut self, message: Acknowledge, _: &mut Cx<Self>) -> Reply<Result<(), Failure>> {
        let Acknowledge { container_id, sandbox } = message;
        self.ended.retain(|(id, _)| *id != container_id);
        let discard = Discard { container_id, sandbox };
        Reply::Later(self.rooms.discard.dispatch(discard, limits::UNPROVISION))
    }
}
