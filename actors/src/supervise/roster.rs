//! The children of one supervisor, to be read and ended without asking it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::plan::Key;
use super::{ChildState, ChildStatus};
use crate::lock;
use crate::outcome::Exit;
use crate::pid::AnyPid;

/// Written by the supervisor, read by anybody.
#[derive(Default)]
pub(crate) struct Roster {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In the order of their declaration.
    children: BTreeMap<Key, ChildStatus>,
    /// The supervisor has ended.
    ended: bool,
}

impl Roster {
    pub(super) fn add(&self, key: Key, name: Arc<str>) {
        let status = ChildStatus {
            name,
            state: ChildState::Waiting,
            pid: None,
            restarts: 0,
            last_exit: None,
        };
        lock(&self.state).children.insert(key, status);
    }

    pub(super) fn remove(&self, key: Key) {
        let removed = lock(&self.state).children.remove(&key);
        drop(removed);
    }

    pub(super) fn set_state(&self, key: Key, state: ChildState) {
        if let Some(child) = lock(&self.state).children.get_mut(&key) {
            child.state = state;
        }
    }

    /// An incarnation was spawned. The supervisor may have been ended, from outside, in the middle of the turn
    /// that spawned it: then nobody else would ever end this child.
    pub(super) fn enter(&self, key: Key, pid: &AnyPid) {
        let mut state = lock(&self.state);
        if let Some(child) = state.children.get_mut(&key) {
            child.state = ChildState::Starting;
            child.pid = Some(pid.clone());
        }
        let ended = state.ended;
        drop(state);
        if ended {
            kill(pid);
        }
    }

    /// An incarnation is gone.
    pub(super) fn leave(&self, key: Key, exit: Option<Exit>) {
        if let Some(child) = lock(&self.state).children.get_mut(&key) {
            child.state = ChildState::Waiting;
            child.pid = None;
            child.last_exit = exit.or(child.last_exit.take());
        }
    }

    pub(super) fn set_restarts(&self, key: Key, restarts: u64) {
        if let Some(child) = lock(&self.state).children.get_mut(&key) {
            child.restarts = restarts;
        }
    }

    pub(crate) fn children(&self) -> Vec<ChildStatus> {
        lock(&self.state).children.values().cloned().collect()
    }

    /// The supervisor has ended: so do its children, the last one first.
    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        let children = std::mem::take(&mut state.children);
        drop(state);
        children.into_values().rev().filter_map(|child| child.pid).for_each(|pid| kill(&pid));
    }
}

fn kill(pid: &AnyPid) {
    drop(pid.kill("its supervisor has ended"));
}
