//! Rules that match messages and decide their fate.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Fate, Held};
use crate::eventual::{Eventual, Promise, promise};
use crate::lock;

/// A message on its way, as a rule sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// The name of the receiver.
    pub to: Arc<str>,
    /// The label of the message.
    pub label: &'static str,
    /// What the message concerns.
    pub subject: Option<Arc<str>>,
}

/// Which messages a rule is about; it starts with all.
#[derive(Clone, Debug, Default)]
pub struct Match {
    to: Option<String>,
    label: Option<String>,
    subject: Option<String>,
    nth: Option<u64>,
}

impl Match {
    /// All messages.
    pub fn any() -> Self {
        Self::default()
    }

    /// Those to actors of this name; `*` stands for any text, as in `supervisor/*`.
    pub fn to(mut self, name: impl Into<String>) -> Self {
        self.to = Some(name.into());
        self
    }

    /// Those with this label; `*` stands for any text.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Those that concern this; `*` stands for any text.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Only the `nth` of them, counted from 1.
    pub fn nth(mut self, nth: u64) -> Self {
        self.nth = Some(nth);
        self
    }

    fn covers(&self, seen: &Seen) -> bool {
        let fits = |pattern: &Option<String>, text: Option<&str>| match (pattern, text) {
            (None, _) => true,
            (Some(pattern), Some(text)) => like(pattern, text),
            (Some(_), None) => false,
        };
        fits(&self.to, Some(&seen.to))
            && fits(&self.label, Some(seen.label))
            && fits(&self.subject, seen.subject.as_deref())
    }
}

/// True when `text` is `pattern`, where each `*` stands for any text.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|text| {
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.into_iter().any(|at| like(rest, &text[at..]))
        }),
    }
}

/// A rule that was added.
#[derive(Clone)]
pub struct Rule {
    entry: Arc<Entry>,
    filter: Arc<Rules>,
}

impl Rule {
    /// How many messages it has matched and acted upon.
    pub fn hits(&self) -> u64 {
        lock(&self.entry.state).hits
    }

    /// Takes the rule away.
    pub fn remove(self) {
        let mut entries = lock(&self.filter.entries);
        entries.retain(|entry| !Arc::ptr_eq(entry, &self.entry));
        self.filter.installed.store(!entries.is_empty(), Ordering::Release);
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").field("hits", &self.hits()).finish_non_exhaustive()
    }
}

type Decide = Box<dyn Fn(&Seen) -> Fate + Send + Sync>;

struct Entry {
    matching: Match,
    decide: Decide,
    state: Mutex<EntryState>,
}

#[derive(Default)]
struct EntryState {
    matched: u64,
    hits: u64,
    observer: Option<Promise<Seen>>,
}

#[derive(Default)]
struct Rules {
    installed: AtomicBool,
    entries: Mutex<Vec<Arc<Entry>>>,
    /// By number of the receiver, what waits to change places.
    held: Mutex<BTreeMap<u64, Held>>,
}

/// The filter of a runtime. Where no rule is installed it costs one relaxed load a message.
#[derive(Clone, Default)]
pub struct Filter {
    rules: Arc<Rules>,
}

impl Filter {
    /// Gives every message that matches this fate.
    pub fn on(&self, matching: Match, fate: Fate) -> Rule {
        self.decide(matching, move |_| fate.clone())
    }

    /// Lets `decide` choose the fate of every message that matches.
    pub fn decide(
        &self,
        matching: Match,
        decide: impl Fn(&Seen) -> Fate + Send + Sync + 'static,
    ) -> Rule {
        self.add(matching, Box::new(decide), None)
    }

    /// Ends when a message that matches was sent. It is delivered.
    pub fn observe(&self, matching: Match) -> Eventual<Seen> {
        let (promise, eventual) = promise();
        self.add(matching, Box::new(|_| Fate::Deliver), Some(promise));
        eventual
    }

    /// Takes all rules away. What was held back is delivered when its time has passed.
    pub fn clear(&self) {
        let mut entries = lock(&self.rules.entries);
        entries.clear();
        self.rules.installed.store(false, Ordering::Release);
        drop(entries);
        let held = std::mem::take(&mut *lock(&self.rules.held));
        drop(held);
    }

    /// Keeps a message to actor `id` until the next one; false if one is kept already.
    pub(crate) fn hold(&self, id: u64, message: Held) -> bool {
        let mut held = lock(&self.rules.held);
        if held.get(&id).is_some_and(Held::is_there) {
            return false;
        }
        held.insert(id, message);
        true
    }

    /// A message to actor `id` has been sent: the one that changes places with it follows.
    pub(crate) fn let_go(&self, id: u64) {
        let held = lock(&self.rules.held).remove(&id);
        if let Some(held) = held {
            held.deliver();
        }
    }

    fn add(&self, matching: Match, decide: Decide, observer: Option<Promise<Seen>>) -> Rule {
        let state = Mutex::new(EntryState { observer, ..EntryState::default() });
        let entry = Arc::new(Entry { matching, decide, state });
        lock(&self.rules.entries).push(Arc::clone(&entry));
        self.rules.installed.store(true, Ordering::Release);
        Rule { entry, filter: Arc::clone(&self.rules) }
    }

    pub(crate) fn is_installed(&self) -> bool {
        self.rules.installed.load(Ordering::Relaxed)
    }

    /// The first rule that does not deliver decides; observers among the rules before it have seen the message.
    pub(crate) fn fate<'a>(
        &self,
        seen: impl FnOnce() -> (&'a Arc<str>, &'static str, &'a Option<Arc<str>>),
    ) -> Fate {
        if !self.is_installed() {
            return Fate::Deliver;
        }
        let (to, label, subject) = seen();
        let seen = Seen { to: Arc::clone(to), label, subject: subject.clone() };
        let entries = lock(&self.rules.entries).clone();
        let fates = entries.iter().filter_map(|entry| entry.apply(&seen));
        fates.into_iter().find(|fate| !matches!(fate, Fate::Deliver)).unwrap_or(Fate::Deliver)
    }
}

impl Entry {
    fn apply(&self, seen: &Seen) -> Option<Fate> {
        if !self.matching.covers(seen) {
            return None;
        }
        let mut state = lock(&self.state);
        state.matched += 1;
        if self.matching.nth.is_some_and(|nth| nth != state.matched) {
            return None;
        }
        state.hits += 1;
        let observer = state.observer.take();
        drop(state);
        if let Some(observer) = observer {
            observer.set(seen.clone());
        }
        Some((self.decide)(seen))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("rules", &lock(&self.rules.entries).len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(like("supervisor/*", "supervisor/a"));
        assert!(like("*", ""));
        assert!(like("a*c*e", "abcde"));
        assert!(!like("a*c", "abcd"));
        assert!(!like("a", "ab"));
    }
}
