//! A host that exists in memory: what is provisioned, prepared and forked is a set of words, and an init
//! is two promises.
//!
//! Each call of it can be refused, do half of its work, or do it all and answer that it failed: the next
//! one, where a test says so, or any by the dice of a seed. What must never happen whoever fails is
//! noted: [`Host::wrong`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longshore_actors::{Eventual, Outcome, Promise, Random, promise};

use crate::checkpoint::ContainerV1;
use crate::error::{ErrorKind, Stage};
use crate::launcher::InitPid;
use crate::launcher::messages::{Control, Forked, Report};
use crate::model::{ContainerId, Failure, Limitation, Record, WaitStatus};

/// What a call of the host may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing is done.
    Refused,
    /// Half of it is done, and an error told.
    Half,
    /// All of it is done, and an error told.
    Unheard,
}

/// Lets calls get into trouble by chance. What a call meets hangs on the seed, its name, its container and
/// how many of these there were before, so that it stays with its call when a schedule is shrunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dice {
    pub(super) seed: u64,
    pub(super) chance: f64,
}

/// What the host holds and knows.
#[derive(Debug, Default)]
pub(super) struct HostState {
    /// As words: `rootfs a`, `isolated a`.
    held: BTreeSet<String>,
    /// By pid. Those that are gone stay, for what is asked about them.
    inits: BTreeMap<i32, FakeInit>,
    /// Calls that fail, each as often as it is listed: `fork`.
    failing: Vec<&'static str>,
    dice: Option<Dice>,
    /// Status of a payload that ends as soon as it is released.
    exits_at_once: Option<i32>,
    /// Status of a payload that ended while nobody looked.
    left: Option<i32>,
    signals: Vec<i32>,
    calls: BTreeMap<String, u64>,
    limits: BTreeMap<ContainerId, Promise<Limitation>>,
    wrong: Vec<String>,
    /// What a simulated recorder has written.
    pub(super) directories: BTreeSet<ContainerId>,
    pub(super) checkpoints: BTreeMap<ContainerId, ContainerV1>,
    pub(super) records: BTreeMap<ContainerId, Record>,
    /// Isolators that have cleaned up, with the container: none may prepare it any more.
    pub(super) cleaned: BTreeSet<(&'static str, ContainerId)>,
}

#[derive(Debug)]
struct FakeInit {
    id: ContainerId,
    lives: bool,
    released: bool,
    release: Option<Promise<Result<(), Failure>>>,
    end: Option<Promise<WaitStatus>>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Host(Arc<Mutex<HostState>>);

impl Host {
    pub(super) fn lock(&self) -> MutexGuard<'_, HostState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the next call of this name fail.
    pub(super) fn fail_next(&self, call: &'static str) {
        self.lock().failing.push(call);
    }

    /// From now on; `None`: nothing goes wrong any more.
    pub(super) fn roll(&self, dice: Option<Dice>) {
        self.lock().dice = dice;
    }

    /// What of the host is in use.
    pub(super) fn held(&self) -> Vec<String> {
        let state = self.lock();
        let living = state.inits.values().filter(|init| init.lives);
        let inits = living.map(|init| format!("init {}", init.id));
        state.held.iter().cloned().chain(inits).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What never may happen, and did.
    pub(super) fn wrong(&self) -> Vec<String> {
        self.lock().wrong.clone()
    }

    pub(super) fn signals(&self) -> Vec<i32> {
        self.lock().signals.clone()
    }

    pub(super) fn exit_at_once(&self, status: i32) {
        self.lock().exits_at_once = Some(status);
    }

    /// The payload of a container without an owner has ended.
    pub(super) fn leave_status(&self, status: i32) {
        self.lock().left = Some(status);
    }

    /// How often a call was made for any container.
    pub(super) fn calls(&self, call: &str) -> u64 {
        let state = self.lock();
        let of_call = |name: &&String| name.split(' ').next() == Some(call);
        state.calls.keys().filter(of_call).map(|name| state.calls[name]).sum()
    }

    /// Whether the init of this pid was ever released.
    pub(super) fn was_released(&self, pid: i32) -> bool {
        self.lock().inits.get(&pid).is_some_and(|init| init.released)
    }

    /// The payload of `id` ends.
    pub(super) fn exit(&self, id: &ContainerId, status: i32) {
        let ends: Vec<_> = {
            let mut state = self.lock();
            let of_id = state.inits.values_mut().filter(|init| init.id == *id && init.lives);
            of_id.filter_map(FakeInit::ends).collect()
        };
        for (release, end) in ends {
            drop(release);
            end.set(WaitStatus(status));
        }
    }

    /// A limit of `id` is reached; false if nobody watches it.
    pub(super) fn reach(&self, id: &ContainerId, limitation: Limitation) -> bool {
        let watched = self.lock().limits.remove(id);
        watched.is_some_and(|watched| watched.set(limitation))
    }

    /// Ends when a limit of `id` is reached.
    pub(super) fn limit(&self, id: &ContainerId) -> Eventual<Limitation> {
        let (promise, reached) = promise();
        self.lock().limits.insert(id.clone(), promise);
        reached
    }

    /// How long a call takes that waits for somebody else's machine.
    pub(super) fn delay(&self, name: &'static str, id: &ContainerId) -> Option<Duration> {
        let state = self.lock();
        let dice = state.dice?;
        let count = state.calls.get(&format!("{name} {id}")).copied().unwrap_or_default();
        let mut random = Random::named(dice.seed, &format!("delay of {name} {id} {count}"));
        random.chance(0.5).then(|| Duration::from_millis(random.below(20_000) as u64))
    }

    /// Does `half` and then `rest`, as far as its trouble lets it.
    pub(super) fn work(
        &self,
        (name, stage): (&'static str, Stage),
        id: &ContainerId,
        half: impl FnOnce(&mut HostState),
        rest: impl FnOnce(&mut HostState),
    ) -> Result<(), Failure> {
        let mut state = self.lock();
        let trouble = state.trouble(name, id);
        if trouble != Some(Trouble::Refused) {
            half(&mut state);
        }
        if matches!(trouble, None | Some(Trouble::Unheard)) {
            rest(&mut state);
        }
        trouble.map_or(Ok(()), |trouble| Err(trouble.failure(name, stage)))
    }

    /// A call that holds `what` of `id` afterwards; half of it is a part of that.
    pub(super) fn hold(
        &self,
        call: (&'static str, Stage),
        id: &ContainerId,
        what: &str,
    ) -> Result<(), Failure> {
        let half = |state: &mut HostState| state.put(format!("part of {what} {id}"));
        let rest = |state: &mut HostState| state.put(format!("{what} {id}"));
        self.work(call, id, half, rest)
    }

    /// Undoes [`Host::hold`], also by half.
    pub(super) fn let_go(
        &self,
        name: &'static str,
        id: &ContainerId,
        what: &str,
    ) -> Result<(), Failure> {
        let half = |state: &mut HostState| state.take(&format!("{what} {id}"));
        let rest = |state: &mut HostState| state.take(&format!("part of {what} {id}"));
        self.work((name, Stage::Destroy), id, half, rest)
    }

    /// A call that holds nothing.
    pub(super) fn pass(
        &self,
        name: &'static str,
        stage: Stage,
        id: &ContainerId,
    ) -> Result<(), Failure> {
        self.work((name, stage), id, |_| {}, |_| {})
    }

    /// Half of a fork is a group without a process.
    pub(super) fn fork(&self, id: &ContainerId) -> Result<Forked, Failure> {
        let ((release, released), (end, ended)) = (promise(), promise());
        let init = FakeInit {
            id: id.clone(),
            lives: true,
            released: false,
            release: Some(release),
            end: Some(end),
        };
        let mut pid = 0;
        let half = |state: &mut HostState| state.put(format!("group {id}"));
        let rest = |state: &mut HostState| {
            pid = 42 + i32::try_from(state.inits.len()).unwrap_or(i32::MAX);
            state.inits.insert(pid, init);
        };
        let forked = self.work(("fork", Stage::Fork), id, half, rest);
        let reins = Arc::new(Reins { host: self.clone(), pid, id: id.clone() });
        forked.map(|()| Forked {
            init: InitPid { pid, start_time: 1 },
            argv: vec!["payload".into()],
            owner: (0, 0),
            control: Arc::clone(&reins) as Arc<dyn Control>,
            report: Box::new(FakeReport {
                released: Some(released),
                ended: Some(ended),
                _reins: reins,
            }),
        })
    }

    /// Ends all processes of `id`; half of it is to end none. Answers as the launcher does where nobody
    /// has `listened` to the init.
    pub(super) fn kill(
        &self,
        id: &ContainerId,
        listened: bool,
    ) -> Result<Option<WaitStatus>, Failure> {
        let mut deadly = false;
        let killed = self.work(("kill", Stage::Destroy), id, |_| {}, |_| deadly = true);
        let mut status = None;
        if deadly && !listened {
            let mut state = self.lock();
            let alive = state.holds("init", id).then_some(WaitStatus::KILLED);
            status = state.left.take().map(WaitStatus).or(alive);
        }
        if deadly {
            self.exit(id, WaitStatus::KILLED.0);
        }
        killed.map(|()| status)
    }

    pub(super) fn forget(&self, id: &ContainerId) -> Result<(), Failure> {
        let rest = |state: &mut HostState| state.take(&format!("group {id}"));
        self.work(("forget", Stage::Destroy), id, |_| {}, rest)
    }
}

impl HostState {
    /// What the call that is made now meets.
    pub(super) fn trouble(&mut self, name: &'static str, id: &ContainerId) -> Option<Trouble> {
        let count = self.calls.entry(format!("{name} {id}")).or_default();
        *count += 1;
        if let Some(position) = self.failing.iter().position(|failing| *failing == name) {
            self.failing.remove(position);
            return Some(Trouble::Refused);
        }
        let Dice { seed, chance } = self.dice?;
        let mut random = Random::named(seed, &format!("{name} {id} {count}"));
        let all = [Trouble::Refused, Trouble::Half, Trouble::Unheard];
        random.chance(chance).then(|| all[random.below(all.len())])
    }

    fn put(&mut self, word: String) {
        self.held.insert(word);
    }

    fn take(&mut self, word: &str) {
        self.held.remove(word);
    }

    /// Notes what never may happen.
    pub(super) fn note_wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    /// Any word of `id` that begins with `what`, or an init that lives.
    pub(super) fn holds(&self, what: &str, id: &ContainerId) -> bool {
        match what {
            "init" => self.inits.values().any(|init| init.id == *id && init.lives),
            _ => self.held.contains(&format!("{what} {id}")),
        }
    }
}

impl Trouble {
    pub(super) fn failure(self, name: &str, stage: Stage) -> Failure {
        let message = match self {
            Self::Refused => format!("{name} was refused"),
            Self::Half => format!("{name} was done by half"),
            Self::Unheard => format!("{name} was done, and nobody knows"),
        };
        Failure { stage, kind: ErrorKind::Host, errno: None, message }
    }
}

type Ends = (Option<Promise<Result<(), Failure>>>, Promise<WaitStatus>);

impl FakeInit {
    fn ends(&mut self) -> Option<Ends> {
        self.lives = false;
        Some((self.release.take(), self.end.take()?))
    }
}

/// Both ends of an init. An init that was not released exits when nobody holds them any more.
struct Reins {
    host: Host,
    pid: i32,
    id: ContainerId,
}

impl Control for Reins {
    fn release(&self) -> Result<(), Failure> {
        let mut state = self.host.lock();
        let written = state.checkpoints.get(&self.id).and_then(|checkpoint| checkpoint.init);
        let simulated = state.directories.contains(&self.id);
        if simulated && written.map(|(pid, _)| pid) != Some(self.pid) {
            let what = format!("init {} of {} released before it was on disk", self.pid, self.id);
            state.note_wrong(what);
        }
        let trouble = state.trouble("start", &self.id);
        let Some(init) = state.inits.get_mut(&self.pid) else { return Ok(()) };
        let failure = trouble.map(|trouble| trouble.failure("start", Stage::Start));
        // Refused here, or by the init: what it could not do it reports, and exits.
        if let (Some(Trouble::Refused), Some(failure)) = (trouble, &failure) {
            return Err(failure.clone());
        }
        init.released = true;
        let release = init.release.take();
        let at_once = state.exits_at_once;
        drop(state);
        let at_once = if failure.is_some() { Some(1) } else { at_once };
        if let Some(release) = release {
            release.set(failure.map_or(Ok(()), Err));
        }
        if let Some(status) = at_once {
            self.host.exit(&self.id, status);
        }
        Ok(())
    }

    fn signal(&self, signal: i32) -> Result<(), Failure> {
        self.host.pass("signal", Stage::Run, &self.id)?;
        self.host.lock().signals.push(signal);
        Ok(())
    }
}

impl Drop for Reins {
    fn drop(&mut self) {
        let mut state = self.host.lock();
        let init = state.inits.get_mut(&self.pid);
        let ends = init.filter(|init| init.lives && !init.released).and_then(FakeInit::ends);
        drop(state);
        drop(ends);
    }
}

struct FakeReport {
    released: Option<Eventual<Result<(), Failure>>>,
    ended: Option<Eventual<WaitStatus>>,
    _reins: Arc<Reins>,
}

impl Report for FakeReport {
    fn started(&mut self) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + '_>> {
        Box::pin(async {
            let Some(released) = self.released.take() else { return Ok(()) };
            match released.await {
                Outcome::Ok(started) => started,
                Outcome::Failed(_) | Outcome::Discarded(_) | Outcome::Abandoned(_) => {
                    Err(Failure {
                        stage: Stage::Start,
                        kind: ErrorKind::Host,
                        errno: None,
                        message: "the init is gone".into(),
                    })
                }
            }
        })
    }

    fn ended(&mut self) -> Pin<Box<dyn Future<Output = WaitStatus> + '_>> {
        Box::pin(async {
            let Some(ended) = self.ended.take() else { return WaitStatus::KILLED };
            ended.await.into_result().unwrap_or(WaitStatus::KILLED)
        })
    }
}
