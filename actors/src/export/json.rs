//! The JSON object, without a library: five kinds of values need none.

use std::fmt;
use std::time::{Duration, Instant};

use super::age;
use crate::control::ActorStatus;
use crate::lanes::LaneStatus;
use crate::meter::{Durations, Totals};
use crate::runtime::{Pending, Runtime};
use crate::supervise::{ChildState, ChildStatus};
use crate::tree::Branch;
use crate::waits::Wait;

pub(super) fn render(runtime: &Runtime) -> String {
    let now = runtime.clock().now();
    let pending = runtime.pending();
    let object = Json::Object(vec![
        ("totals", totals(&runtime.totals())),
        ("crossings", Json::count(runtime.crossings())),
        ("actors", list(&runtime.tree(), |actor| branch(actor, now))),
        ("pending", list(&pending, |ask| pending_ask(ask, now))),
        ("waits", list(&runtime.waits(), |edge| wait(edge, now))),
        ("lanes", list(&runtime.lanes(), |status| lane(status, now))),
    ]);
    object.to_string()
}

/// A value.
enum Json {
    Null,
    Number(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(&'static str, Self)>),
}

impl Json {
    fn count(n: impl Into<u128>) -> Self {
        Self::Number(n.into().to_string())
    }

    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn seconds(duration: Duration) -> Self {
        Self::Number(duration.as_secs_f64().to_string())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Number(number) => f.write_str(number),
            Self::Text(text) => write_text(f, text),
            Self::List(values) => {
                f.write_str("[")?;
                for (n, value) in values.iter().enumerate() {
                    let comma = if n > 0 { "," } else { "" };
                    write!(f, "{comma}{value}")?;
                }
                f.write_str("]")
            }
            Self::Object(fields) => {
                f.write_str("{")?;
                for (n, (name, value)) in fields.iter().enumerate() {
                    let comma = if n > 0 { "," } else { "" };
                    write!(f, "{comma}\"{name}\":{value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Json) -> Json {
    Json::List(items.iter().map(one).collect())
}

fn totals(totals: &Totals) -> Json {
    Json::Object(vec![
        ("spawned", Json::count(totals.spawned)),
        ("restarted", Json::count(totals.restarted)),
        ("ended", Json::count(totals.ended)),
        ("failed", Json::count(totals.failed)),
        ("panicked", Json::count(totals.panicked)),
        ("killed", Json::count(totals.killed)),
    ])
}

fn branch(branch: &Branch, now: Instant) -> Json {
    let mut fields = vec![("name", Json::text(&*branch.name))];
    fields.extend(branch.actor.iter().flat_map(|status| actor(status, now)));
    fields.extend(branch.child.iter().flat_map(child));
    fields.push(("children", list(&branch.children, |child| self::branch(child, now))));
    Json::Object(fields)
}

fn actor(status: &ActorStatus, now: Instant) -> Vec<(&'static str, Json)> {
    let (group, index) = status.arbiter;
    let current = status.current.map_or(Json::Null, |turn| {
        let fields = vec![
            ("label", Json::text(turn.label)),
            ("for_seconds", Json::seconds(age(now, turn.since))),
        ];
        Json::Object(fields)
    });
    vec![
        ("kind", Json::text(status.kind)),
        ("arbiter", Json::text(format!("{group}/{index}"))),
        ("age_seconds", Json::seconds(age(now, status.since))),
        ("depth", Json::count(status.depth as u64)),
        ("high_water", Json::count(status.high_water as u64)),
        ("capacity", Json::count(status.capacity as u64)),
        ("handled", Json::count(status.handled)),
        ("refused", Json::count(status.refused)),
        ("current", current),
        ("turns", durations(&status.turns)),
        ("waits", durations(&status.waits)),
    ]
}

fn child(child: &ChildStatus) -> Vec<(&'static str, Json)> {
    let state = match child.state {
        ChildState::Waiting => "waiting",
        ChildState::Starting => "starting",
        ChildState::Running => "running",
        ChildState::Stopping => "stopping",
    };
    let last = child.last_exit.as_ref().map_or(Json::Null, |exit| Json::text(exit.to_string()));
    let restarts = Json::count(child.restarts);
    vec![("state", Json::text(state)), ("restarts", restarts), ("last_exit", last)]
}

fn durations(durations: &Durations) -> Json {
    Json::Object(vec![
        ("count", Json::count(durations.count)),
        ("sum_seconds", Json::seconds(durations.sum)),
        ("max_seconds", Json::seconds(durations.max)),
        ("classes", list(&durations.classes, |class| Json::count(*class))),
    ])
}

fn pending_ask(ask: &Pending, now: Instant) -> Json {
    Json::Object(vec![
        ("to", Json::text(&*ask.to)),
        ("label", Json::text(ask.label)),
        ("subject", ask.subject.as_deref().map_or(Json::Null, Json::text)),
        ("for_seconds", Json::seconds(age(now, ask.since))),
        ("deadline_seconds", Json::seconds(ask.deadline)),
    ])
}

fn wait(wait: &Wait, now: Instant) -> Json {
    Json::Object(vec![
        ("from", Json::text(&*wait.from)),
        ("to", Json::text(&*wait.to)),
        ("label", Json::text(wait.label)),
        ("for_seconds", Json::seconds(age(now, wait.since))),
    ])
}

fn lane(lane: &LaneStatus, now: Instant) -> Json {
    let running = list(&lane.running, |(label, since)| {
        let seconds = Json::seconds(age(now, *since));
        Json::Object(vec![("label", Json::text(*label)), ("for_seconds", seconds)])
    });
    Json::Object(vec![
        ("name", Json::text(lane.name)),
        ("threads", Json::count(lane.threads_max as u64)),
        ("waiting", Json::count(lane.waiting as u64)),
        ("running", running),
    ])
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn texts_are_escaped() {
        let text = Json::text("a \"b\"\\\n\u{7f}é").to_string();
        assert_eq!(text, "\"a \\\"b\\\"\\\\\\u000a\\u007fé\"");
    }
}
