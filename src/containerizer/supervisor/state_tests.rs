//! Every state × input, drawn into `docs/lifecycle.md`, and the properties that must hold however
//! results, wishes and deaths are interleaved.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::error::ErrorKind;
use crate::model::LimitedResource;

const STEPS: [Step; 11] = [
    Step::Provision,
    Step::Prepare,
    Step::Fork,
    Step::Isolate,
    Step::Fetch,
    Step::Start,
    Step::Kill,
    Step::Collect,
    Step::Cleanup,
    Step::Unprovision,
    Step::Record,
];

fn failure(step: Step) -> Failure {
    Failure { stage: step.stage(), kind: ErrorKind::Host, errno: None, message: "refused".into() }
}

fn limit(resource: LimitedResource) -> Limitation {
    Limitation { resource, limit: Some(1), message: "too much".into() }
}

fn ending() -> Ending {
    Ending::of(Cause::Wanted(Why::Requested))
}

/// One of every state; wishes and steps are told apart where the table tells them apart.
fn states() -> Vec<(String, Lifecycle)> {
    let mut states = Vec::new();
    let wishes = [("", Wish::Run), (" (ending)", Wish::End(ending()))];
    for (suffix, wish) in wishes {
        for make in [
            Lifecycle::Provisioning,
            Lifecycle::Preparing,
            Lifecycle::Forking,
            Lifecycle::Isolating,
            Lifecycle::Fetching,
        ] {
            let state = make(wish.clone());
            states.push((format!("{}{suffix}", state.name()), state));
        }
    }
    states.push(("STARTING".into(), Lifecycle::Starting(None)));
    states.push(("STARTING (stopping)".into(), Lifecycle::Starting(Some(Why::Requested))));
    states.push(("RUNNING".into(), Lifecycle::Running(None)));
    states.push(("RUNNING (stopping)".into(), Lifecycle::Running(Some(Why::Requested))));
    for step in &STEPS[6..] {
        states.push((format!("DESTROYING ({step:?})"), Lifecycle::Destroying(*step, ending())));
        let stuck = Lifecycle::Stuck(*step, ending(), failure(*step));
        states.push((format!("STUCK ({step:?})"), stuck));
    }
    states.push(("ended".into(), Lifecycle::Ended(ending())));
    states
}

fn inputs() -> Vec<(String, Input)> {
    let mut inputs = Vec::new();
    for step in STEPS {
        inputs.push((format!("{step:?} done"), Input::Done(step)));
        inputs.push((format!("{step:?} failed"), Input::Failed(step, failure(step))));
    }
    inputs.push(("init exited".into(), Input::InitExited(WaitStatus(0))));
    inputs.push(("memory limited".into(), Input::Limited(limit(LimitedResource::Mem))));
    inputs.push(("disk limited".into(), Input::Limited(limit(LimitedResource::Disk))));
    inputs.push(("stop".into(), Input::Stop(Why::Requested)));
    inputs.push(("destroy".into(), Input::Destroy(Why::Requested)));
    inputs
}

fn describe(state: &Lifecycle) -> String {
    match state {
        Lifecycle::Provisioning(wish)
        | Lifecycle::Preparing(wish)
        | Lifecycle::Forking(wish)
        | Lifecycle::Isolating(wish)
        | Lifecycle::Fetching(wish) => match wish {
            Wish::Run => state.name().to_string(),
            Wish::End(_) => format!("{} (ending)", state.name()),
        },
        Lifecycle::Starting(None) | Lifecycle::Running(None) => state.name().to_string(),
        Lifecycle::Starting(Some(_)) | Lifecycle::Running(Some(_)) => {
            format!("{} (stopping)", state.name())
        }
        Lifecycle::Destroying(step, _) | Lifecycle::Stuck(step, ..) => {
            format!("{} ({step:?})", state.name())
        }
        Lifecycle::Ended(_) => "ended".into(),
    }
}

/// The table as Markdown: what changes nothing and does nothing is left out.
fn draw() -> String {
    let mut text = String::from("| state | input | next | effects |\n|---|---|---|---|\n");
    for (name, state) in states() {
        for (input_name, input) in inputs() {
            let Ok(next) = state.clone().step(input) else { continue };
            let to = describe(&next.state);
            if to == name && next.effects.is_empty() {
                continue;
            }
            let effects: Vec<String> = next.effects.iter().map(describe_effect).collect();
            writeln!(text, "| {name} | {input_name} | {to} | {} |", effects.join(", "))
                .expect("a String takes everything");
        }
    }
    text
}

fn describe_effect(effect: &Effect) -> String {
    match effect {
        Effect::Begin(step) => format!("begin {step:?}"),
        Effect::Discard(step) => format!("discard {step:?}"),
        Effect::SignalStop => "signal, the earlier deadline counts".into(),
        Effect::NoteLimit(_) => "note the limit".into(),
    }
}

#[test]
fn the_manual_shows_the_table_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/lifecycle.md");
    let page = std::fs::read_to_string(path).expect("docs/lifecycle.md is part of the project");
    let (begin, end) = ("<!-- table: begin -->\n", "<!-- table: end -->");
    let from = page.find(begin).expect("the page marks where the table begins") + begin.len();
    let to = page.find(end).expect("the page marks where the table ends");
    let drawn = draw();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let updated = format!("{}{drawn}{}", &page[..from], &page[to..]);
        std::fs::write(path, updated).expect("the tree is writable");
    } else {
        assert_eq!(&page[from..to], drawn, "run with UPDATE_GOLDEN=1 to redraw docs/lifecycle.md");
    }
}

#[test]
fn ended_is_the_end() {
    for (name, input) in inputs() {
        assert_eq!(Lifecycle::Ended(ending()).step(input), Err(OutOfTurn), "{name}");
    }
}

#[test]
fn destroy_while_preparing_waits_for_prepare() {
    let preparing = Lifecycle::Preparing(Wish::Run);
    let next = preparing.step(Input::Destroy(Why::Requested)).expect("a destroy is always heard");
    assert_eq!(next.effects, []);
    let next = next.state.step(Input::Done(Step::Prepare)).expect("prepare settles");
    assert_eq!(next.effects, [Effect::Begin(Step::Cleanup)]);
}

#[test]
fn a_second_destroy_joins_the_first() {
    let destroying = Lifecycle::Destroying(Step::Cleanup, ending());
    let next = destroying.clone().step(Input::Destroy(Why::Requested)).expect("heard");
    assert_eq!(next, Next { state: destroying, effects: Vec::new() });
}

#[test]
fn a_stop_while_starting_waits_for_the_payload_and_then_asks_it() {
    let next = Lifecycle::Starting(None).step(Input::Stop(Why::Requested)).expect("heard");
    assert_eq!(next.effects, []);
    let next = next.state.step(Input::Done(Step::Start)).expect("exec has succeeded");
    assert_eq!(next.state, Lifecycle::Running(Some(Why::Requested)));
    assert_eq!(next.effects, [Effect::SignalStop]);
}

#[test]
fn every_stop_of_a_running_container_sends_its_signal_and_the_first_is_the_cause() {
    let running = Lifecycle::Running(Some(Why::TimedOut));
    let next = running.clone().step(Input::Stop(Why::Requested)).expect("heard");
    assert_eq!(next, Next { state: running, effects: vec![Effect::SignalStop] });
}

#[test]
fn a_payload_that_ran_when_the_destroy_came_has_run() {
    let next = Lifecycle::Starting(None).step(Input::Destroy(Why::Requested)).expect("heard");
    let next = next.state.step(Input::Done(Step::Start)).expect("it was on the way");
    let Lifecycle::Destroying(Step::Kill, ending) = next.state else { panic!("{:?}", next.state) };
    assert!(ending.ran);
}

#[test]
fn a_destroy_of_a_stuck_container_repeats_the_failed_step() {
    for step in &STEPS[6..] {
        let stuck = Lifecycle::Stuck(*step, ending(), failure(*step));
        let next = stuck.step(Input::Destroy(Why::Requested)).expect("heard");
        assert_eq!(next.effects, [Effect::Begin(*step)]);
    }
}

#[test]
fn the_first_cause_stays() {
    let running = Lifecycle::Running(Some(Why::TimedOut));
    let next = running.step(Input::Destroy(Why::Requested)).expect("heard");
    let Lifecycle::Destroying(_, ending) = next.state else { panic!("{:?}", next.state) };
    assert_eq!(ending.cause, Cause::Wanted(Why::TimedOut));
}

/// What the outside does at one point of a run.
#[derive(Debug, Clone)]
enum Act {
    Settle { ok: bool },
    Die,
    Stop,
    Destroy,
    Limit(LimitedResource),
    Stale(Step, bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => any::<bool>().prop_map(|ok| Act::Settle { ok }),
        4 => Just(Act::Settle { ok: true }),
        1 => Just(Act::Die),
        1 => Just(Act::Stop),
        1 => Just(Act::Destroy),
        1 => prop_oneof![Just(LimitedResource::Mem), Just(LimitedResource::Disk)].prop_map(Act::Limit),
        1 => (0..STEPS.len(), any::<bool>()).prop_map(|(step, ok)| Act::Stale(STEPS[step], ok)),
    ];
    prop::collection::vec(act, 0..60)
}

/// The shell, reduced to what the properties need: which step is in flight, what was begun.
struct Run {
    state: Lifecycle,
    in_flight: Option<Step>,
    begun: Vec<Step>,
    settled: BTreeMap<usize, bool>,
}

impl Run {
    fn new(next: Next) -> Self {
        let mut run = Self {
            state: next.state,
            in_flight: None,
            begun: Vec::new(),
            settled: BTreeMap::new(),
        };
        run.perform(next.effects);
        run
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Begin(step) = effect {
                // A start is settled by the death of the init, which a kill brings about.
                let settles = self.in_flight.is_none_or(|flying| flying == Step::Start);
                assert!(settles, "{step:?} overtakes {:?}", self.in_flight);
                self.begun.push(step);
                self.in_flight = Some(step);
            }
        }
    }

    fn input(&mut self, input: Input) {
        if let Ok(next) = self.state.clone().step(input) {
            self.state = next.state;
            self.perform(next.effects);
        }
    }

    fn settle(&mut self, ok: bool) {
        let Some(step) = self.in_flight.take() else { return };
        self.settled.insert(self.begun.len(), ok);
        self.input(if ok { Input::Done(step) } else { Input::Failed(step, failure(step)) });
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Settle { ok } => self.settle(ok),
            Act::Die if self.begun.contains(&Step::Isolate) => {
                self.input(Input::InitExited(WaitStatus::KILLED));
            }
            Act::Die => {}
            Act::Stop => self.input(Input::Stop(Why::Requested)),
            Act::Destroy => self.input(Input::Destroy(Why::Requested)),
            Act::Limit(resource) => self.input(Input::Limited(limit(resource))),
            Act::Stale(step, ok) if self.in_flight != Some(step) => {
                self.input(if ok { Input::Done(step) } else { Input::Failed(step, failure(step)) });
            }
            Act::Stale(..) => {}
        }
    }

    /// Nothing fails any more, and somebody insists.
    fn finish(&mut self) {
        for _ in 0..40 {
            if matches!(self.state, Lifecycle::Ended(_)) {
                return;
            }
            self.input(Input::Destroy(Why::Requested));
            self.settle(true);
        }
        panic!("still {:?} after begun {:?}", self.state, self.begun);
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_destroy_ends_it_and_everything_begun_is_undone(acts in acts()) {
        let mut run = Run::new(Lifecycle::launch());
        for act in acts {
            run.act(act);
        }
        run.finish();
        let begun = |step: Step| run.begun.contains(&step);
        prop_assert!(begun(Step::Unprovision) && begun(Step::Record));
        prop_assert_eq!(begun(Step::Prepare), begun(Step::Cleanup), "cleanup mirrors prepare");
        prop_assert!(!begun(Step::Fork) || begun(Step::Kill), "what was forked is killed");
    }

    #[test]
    fn undoing_runs_in_its_order_whatever_is_retried(acts in acts()) {
        let mut run = Run::new(Lifecycle::launch());
        for act in acts {
            run.act(act);
        }
        run.finish();
        let order = |step: &Step| STEPS.iter().position(|s| s == step);
        let undone: Vec<_> = run.begun.iter().filter(|s| order(s) >= Some(6)).map(order).collect();
        prop_assert!(undone.is_sorted(), "{:?}", run.begun);
    }
}

#[test]
fn what_was_destroyed_before_it_ran_says_how_far_it_had_come() {
    let mut next = Lifecycle::launch();
    for step in &STEPS[..6] {
        let wished = next.state.clone().step(Input::Destroy(Why::Requested)).expect("in turn");
        let settled = match wished.state {
            destroying @ Lifecycle::Destroying(..) => destroying,
            waiting => waiting.step(Input::Done(*step)).expect("in turn").state,
        };
        let Lifecycle::Destroying(_, ending) = settled else { panic!("{step:?}: {settled:?}") };
        assert_eq!(ending.stage, step.stage());
        next = next.state.step(Input::Done(*step)).expect("in turn");
    }
    assert_eq!(next.state, Lifecycle::Running(None));
}
