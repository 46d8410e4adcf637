use std::collections::BTreeSet;

use proptest::prelude::{
    Just, Strategy as Generator, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::Effect::{Finish as Over, Forget, Start, Stop};
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A plan with its world: who lives, and what was done in which order.
struct World {
    plan: Plan,
    now: Instant,
    /// Starting or up.
    living: BTreeSet<Key>,
    stopping: BTreeSet<Key>,
    holds: Vec<Hold>,
    finished: Option<Finish>,
    done: Vec<Effect>,
}

impl World {
    fn new(strategy: Strategy, children: &[Restart], restarts: usize) -> Self {
        let mut plan = Plan::new(strategy);
        plan.intensity = Intensity::new(restarts, 10 * SECOND);
        for restart in children {
            plan.declare(*restart);
        }
        let mut world = Self {
            plan,
            now: Instant::now(),
            living: BTreeSet::new(),
            stopping: BTreeSet::new(),
            holds: Vec::new(),
            finished: None,
            done: Vec::new(),
        };
        world.advance();
        world
    }

    fn advance(&mut self) {
        for effect in self.plan.advance() {
            self.done.push(effect);
            match effect {
                Effect::Start(key) => {
                    assert!(self.finished.is_none(), "a start after the end");
                    assert!(!self.stopping.contains(&key), "started before it was down");
                    assert!(self.living.insert(key), "started twice");
                }
                Effect::Stop(key) => {
                    assert!(self.living.remove(&key), "stopped what does not live");
                    self.stopping.insert(key);
                }
                Effect::Hold(hold, _) => self.holds.push(hold),
                Effect::Forget(key) => {
                    assert!(!self.living.contains(&key) && !self.stopping.contains(&key));
                }
                Effect::Finish(finish) => {
                    assert!(self.living.is_empty() && self.stopping.is_empty());
                    assert!(self.finished.is_none_or(|before| before == finish));
                    self.finished = Some(finish);
                }
            }
        }
    }

    fn started(&mut self, key: Key) {
        self.plan.started(key, self.now);
        self.advance();
    }

    fn ended(&mut self, key: Key, how: How) {
        self.living.remove(&key);
        self.stopping.remove(&key);
        self.plan.ended(key, how, self.now);
        self.advance();
    }

    fn all_up(&mut self, count: Key) {
        (1..=count).for_each(|key| self.started(key));
        self.done.clear();
    }

    fn take(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.done)
    }
}

#[test]
fn each_starts_when_the_one_before_is_up() {
    let mut world = World::new(Strategy::OneForOne, &[Restart::Always; 3], 1);
    assert_eq!(world.take(), [Start(1)]);
    world.started(1);
    assert_eq!(world.take(), [Start(2)]);
    world.started(2);
    assert_eq!(world.take(), [Start(3)]);
}

#[test]
fn one_for_one_restarts_nobody_else() {
    let mut world = World::new(Strategy::OneForOne, &[Restart::Always; 3], 1);
    world.all_up(3);
    world.ended(2, How::Badly);
    assert_eq!(world.take(), [Start(2)]);
}

#[test]
fn rest_for_one_stops_those_after_it_in_reverse_and_starts_all_in_order() {
    let mut world = World::new(Strategy::RestForOne, &[Restart::Always; 4], 1);
    world.all_up(4);
    world.ended(2, How::Badly);
    assert_eq!(world.take(), [Stop(4)]);
    world.ended(4, How::Normally);
    assert_eq!(world.take(), [Stop(3)]);
    world.ended(3, How::Normally);
    assert_eq!(world.take(), [Start(2)]);
    world.started(2);
    world.started(3);
    assert_eq!(world.take(), [Start(3), Start(4)]);
}

#[test]
fn all_are_stopped_and_one_that_is_never_restarted_is_forgotten() {
    let children = [Restart::Always, Restart::Never, Restart::OnFailure];
    let mut world = World::new(Strategy::All, &children, 1);
    world.all_up(3);
    world.ended(3, How::Badly);
    world.ended(2, How::Badly);
    world.ended(1, How::Normally);
    assert_eq!(world.take(), [Stop(2), Forget(2), Stop(1), Start(1)]);
    world.started(1);
    assert_eq!(world.take(), [Start(3)]);
}

#[test]
fn the_window_slides() {
    let mut world = World::new(Strategy::OneForOne, &[Restart::Always], 2);
    world.all_up(1);
    for _ in 0..10 {
        world.ended(1, How::Badly);
        world.started(1);
        world.now += 5 * SECOND;
    }
    assert_eq!(world.finished, None);
    world.ended(1, How::Badly);
    world.ended(1, How::Badly);
    assert_eq!(world.finished, Some(Finish::GaveUp));
}

#[test]
fn giving_up_stops_the_rest_in_reverse() {
    let mut world = World::new(Strategy::OneForOne, &[Restart::Always; 3], 0);
    world.all_up(3);
    world.ended(1, How::Normally);
    assert_eq!(world.take(), [Forget(1), Stop(3)]);
    world.ended(3, How::Normally);
    assert_eq!(world.take(), [Forget(3), Stop(2)]);
    world.ended(2, How::Normally);
    assert_eq!(world.take(), [Forget(2), Over(Finish::GaveUp)]);
}

#[test]
fn a_wait_doubles_and_begins_anew_after_a_long_life() {
    let mut world = World::new(Strategy::OneForOne, &[Restart::Always], 100);
    world.plan.backoff = Backoff::doubling(SECOND, 3 * SECOND);
    world.all_up(1);
    let mut fail = |after: Duration| {
        world.now += after;
        world.ended(1, How::Badly);
        let effects = world.take();
        let [Effect::Hold(hold, delay)] = effects[..] else { panic!("{effects:?}") };
        world.plan.hold_over(hold);
        world.advance();
        assert_eq!(world.take(), [Start(1)]);
        world.started(1);
        delay.as_secs()
    };
    assert_eq!([fail(SECOND), fail(SECOND), fail(SECOND), fail(SECOND)], [1, 2, 3, 3]);
    assert_eq!([fail(10 * SECOND), fail(SECOND)], [1, 2]);
}

#[test]
fn the_wait_of_a_group_is_over_before_any_of_it_starts() {
    let mut world = World::new(Strategy::All, &[Restart::Always; 2], 1);
    world.plan.backoff = Backoff::doubling(SECOND, SECOND);
    world.all_up(2);
    world.ended(2, How::Badly);
    world.ended(1, How::Normally);
    let hold = world.holds[0];
    assert_eq!(world.take(), [Effect::Hold(hold, SECOND), Stop(1)]);
    world.plan.hold_over(hold);
    world.advance();
    assert_eq!(world.take(), [Start(1)]);
}

#[derive(Clone, Copy, Debug)]
enum Input {
    Started(usize),
    Ended(usize, bool),
    HoldOver(usize),
    Stop(Key),
    Add,
    Close,
}

fn input() -> impl Generator<Value = Input> {
    prop_oneof![
        8 => (0..8_usize).prop_map(Input::Started),
        8 => ((0..8_usize), any::<bool>()).prop_map(|(n, well)| Input::Ended(n, well)),
        4 => (0..4_usize).prop_map(Input::HoldOver),
        1 => (1..9_u64).prop_map(Input::Stop),
        1 => Just(Input::Add),
        1 => Just(Input::Close),
    ]
}

fn strategy() -> impl Generator<Value = Strategy> {
    prop::sample::select(vec![Strategy::OneForOne, Strategy::RestForOne, Strategy::All])
}

fn children() -> impl Generator<Value = Vec<Restart>> {
    let restart = prop::sample::select(vec![Restart::Always, Restart::OnFailure, Restart::Never]);
    prop::collection::vec(restart, 0..5)
}

fn pick(keys: &BTreeSet<Key>, n: usize) -> Option<Key> {
    keys.iter().copied().nth(n.checked_rem(keys.len())?)
}

impl World {
    fn give(&mut self, input: Input) {
        let here: BTreeSet<Key> = self.living.union(&self.stopping).copied().collect();
        match input {
            Input::Started(n) => pick(&here, n).into_iter().for_each(|key| self.started(key)),
            Input::Ended(n, well) => {
                let how = if well { How::Normally } else { How::Badly };
                pick(&here, n).into_iter().for_each(|key| self.ended(key, how));
            }
            Input::HoldOver(n) if n < self.holds.len() => {
                let hold = self.holds.swap_remove(n);
                self.plan.hold_over(hold);
            }
            Input::HoldOver(_) => {}
            Input::Stop(key) => self.plan.stop(key),
            Input::Add if self.plan.is_open() => {
                self.plan.add_dynamic(Restart::Always);
            }
            Input::Add => {}
            Input::Close => self.plan.close(Finish::Stopped),
        }
        self.advance();
    }

    /// Answers everything that is outstanding, for as long as something is.
    fn come_to_rest(&mut self) {
        while let Some(hold) = self.holds.pop() {
            self.plan.hold_over(hold);
            self.advance();
        }
        for _ in 0..100 {
            let (living, stopping) = (self.living.clone(), self.stopping.clone());
            stopping.into_iter().for_each(|key| self.ended(key, How::Normally));
            living.into_iter().for_each(|key| self.started(key));
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_nobody_is_started_twice_and_in_the_end_all_are_up_or_gone(
        strategy in strategy(),
        children in children(),
        inputs in prop::collection::vec(input(), 0..40),
    ) {
        let mut world = World::new(strategy, &children, 5);
        world.plan.backoff = Backoff::doubling(SECOND, 4 * SECOND);
        // The world asserts at every effect.
        inputs.into_iter().for_each(|input| world.give(input));
        world.come_to_rest();
        let up = |child: &Child| matches!(child.phase, Phase::Up { .. });
        prop_assert!(world.plan.children.values().all(up));
        prop_assert_eq!(world.plan.children.len(), world.living.len());
        prop_assert_eq!(world.finished, world.plan.closing);
        world.give(Input::Close);
        let mut order = Vec::new();
        while let Some(key) = world.stopping.first().copied() {
            prop_assert_eq!(world.stopping.len(), 1, "one at a time");
            order.push(key);
            world.ended(key, How::Normally);
        }
        prop_assert!(order.is_sorted_by(|a, b| a > b), "the last one first");
        prop_assert!(world.finished.is_some());
    }
}
