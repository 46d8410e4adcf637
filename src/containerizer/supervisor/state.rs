//! The lifecycle of a container: a total function from state and input to state and effects.
//!
//! Decides only. The shell (`actor.rs`) performs the effects and brings every result back as an
//! input. Two rules hold everything together: a launch step that was begun settles before anything
//! is undone, and undoing runs in one fixed order in which every step may be repeated.

use crate::error::Stage;
use crate::model::{Failure, Limitation, State, WaitStatus};

mod wish;

use wish::must_end;
pub(crate) use wish::{Cause, Ending, Why, Wish};

/// A step of a launch or of its undoing; performed by the shell, one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Image to root file system.
    Provision,
    /// Isolators describe and allocate, in table order.
    Prepare,
    /// The init is started, and waits.
    Fork,
    /// Isolators place it under control.
    Isolate,
    /// URIs into the sandbox.
    Fetch,
    /// The init is released; done when exec has succeeded.
    Start,
    /// Every process is killed; done when all are gone and the status is known.
    Kill,
    /// The final usage is read while the cgroups still exist.
    Collect,
    /// Isolators undo, in reverse order.
    Cleanup,
    /// The root file system is removed.
    Unprovision,
    /// The record is written and the checkpoint removed.
    Record,
}

impl Step {
    /// Where a failure of this step is reported.
    pub(crate) const fn stage(self) -> Stage {
        match self {
            Self::Provision => Stage::Provision,
            Self::Prepare => Stage::Prepare,
            Self::Fork => Stage::Fork,
            Self::Isolate => Stage::Isolate,
            Self::Fetch => Stage::Fetch,
            Self::Start => Stage::Start,
            Self::Kill | Self::Collect | Self::Cleanup | Self::Unprovision | Self::Record => {
                Stage::Destroy
            }
        }
    }

    /// The undo step after this one; `None` after the last, and for steps of a launch.
    const fn next_undo(self) -> Option<Self> {
        match self {
            Self::Kill => Some(Self::Collect),
            Self::Collect => Some(Self::Cleanup),
            Self::Cleanup => Some(Self::Unprovision),
            Self::Unprovision => Some(Self::Record),
            Self::Record
            | Self::Provision
            | Self::Prepare
            | Self::Fork
            | Self::Isolate
            | Self::Fetch
            | Self::Start => None,
        }
    }
}

/// The state of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// The image becomes a root file system.
    Provisioning(Wish),
    /// Isolators prepare; whatever is wished meanwhile waits for them.
    Preparing(Wish),
    /// The init is being started.
    Forking(Wish),
    /// Isolators act on the blocked init.
    Isolating(Wish),
    /// URIs are being fetched.
    Fetching(Wish),
    /// The init was released and sets the container up; somebody may have asked it to stop.
    Starting(Option<Why>),
    /// The payload runs; somebody may have asked it to stop.
    Running(Option<Why>),
    /// The step is being undone.
    Destroying(Step, Ending),
    /// The step could not be undone; the next destroy repeats it.
    Stuck(Step, Ending, Failure),
    /// Nothing is left but the record.
    Ended(Ending),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A step has succeeded.
    Done(Step),
    /// A step has failed, or its deadline has passed.
    Failed(Step, Failure),
    /// The init is gone, with the payload's status.
    InitExited(WaitStatus),
    /// A limit was reached.
    Limited(Limitation),
    /// Stop gracefully.
    Stop(Why),
    /// End at once.
    Destroy(Why),
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Begin a step; its result is `Done` or `Failed`.
    Begin(Step),
    /// Ask the step in flight to settle early.
    Discard(Step),
    /// Send the signal of each stop that was asked for, and see that `Destroy` comes when the first of
    /// their grace periods is over.
    SignalStop,
    /// Publish that a limit was reached, and keep it for the record.
    NoteLimit(Limitation),
}

/// The next state and what to do for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Next {
    /// The state entered, or kept.
    pub(crate) state: Lifecycle,
    /// In order.
    pub(crate) effects: Vec<Effect>,
}

/// The input does not belong to this state: a stale result, or a fact that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfTurn;

type Decision = Result<Next, OutOfTurn>;

impl Lifecycle {
    /// A new container, and the first step.
    pub(crate) fn launch() -> Next {
        begin(Self::Provisioning(Wish::Run), Step::Provision)
    }

    /// A container that has lost its owner or its supervisor: everything is undone.
    pub(crate) fn orphan(ending: Ending) -> Next {
        undo(Step::Kill, ending)
    }

    /// The name of the state for events and status.
    pub(crate) const fn name(&self) -> State {
        match self {
            Self::Provisioning(_) => State::Provisioning,
            Self::Preparing(_) => State::Preparing,
            Self::Forking(_) => State::Forking,
            Self::Isolating(_) => State::Isolating,
            Self::Fetching(_) => State::Fetching,
            Self::Starting(_) => State::Starting,
            Self::Running(_) => State::Running,
            // What has ended was being destroyed last; nobody sees `Ended` but its record.
            Self::Destroying(..) | Self::Ended(_) => State::Destroying,
            Self::Stuck(..) => State::Stuck,
        }
    }

    /// Decides. `OutOfTurn` leaves everything as it is.
    pub(crate) fn step(self, input: Input) -> Decision {
        let stage = self.stage();
        let mut next = self.decide(input)?;
        if let (Some(stage), Self::Destroying(_, ending)) = (stage, &mut next.state) {
            ending.stage = stage;
        }
        Ok(next)
    }

    /// What is being done for the launch; `None` when it is being undone.
    const fn stage(&self) -> Option<Stage> {
        Some(match self {
            Self::Provisioning(_) => Step::Provision.stage(),
            Self::Preparing(_) => Step::Prepare.stage(),
            Self::Forking(_) => Step::Fork.stage(),
            Self::Isolating(_) => Step::Isolate.stage(),
            Self::Fetching(_) => Step::Fetch.stage(),
            Self::Starting(_) => Step::Start.stage(),
            Self::Running(_) => Stage::Run,
            Self::Destroying(..) | Self::Stuck(..) | Self::Ended(_) => return None,
        })
    }

    fn decide(self, input: Input) -> Decision {
        match self {
            Self::Provisioning(wish) => provisioning(wish, input),
            Self::Preparing(wish) => preparing(wish, input),
            Self::Forking(wish) => forking(wish, input),
            Self::Isolating(wish) => isolating(wish, input),
            Self::Fetching(wish) => fetching(wish, input),
            Self::Starting(stopping) => starting(stopping, input),
            Self::Running(stopping) => running(stopping, input),
            Self::Destroying(step, ending) => destroying(step, ending, input),
            Self::Stuck(step, ending, failure) => stuck(step, ending, failure, input),
            Self::Ended(_) => Err(OutOfTurn),
        }
    }
}

/// The image is on its way. A pull is asked to stop; what it had begun settles first.
fn provisioning(wish: Wish, input: Input) -> Decision {
    match input {
        Input::Done(Step::Provision) => match wish {
            Wish::Run => begin(Lifecycle::Preparing(Wish::Run), Step::Prepare).ok(),
            // No isolator was called, so none is cleaned up.
            Wish::End(ending) => undo(Step::Unprovision, ending).ok(),
        },
        Input::Failed(Step::Provision, failure) => {
            undo(Step::Unprovision, wish.ended_by(failure)).ok()
        }
        Input::Stop(why) | Input::Destroy(why) => match wish {
            Wish::Run => {
                with(Lifecycle::Provisioning(Wish::wanted(why)), Effect::Discard(Step::Provision))
            }
            Wish::End(_) => stay(Lifecycle::Provisioning(wish)),
        },
        Input::Done(_) | Input::Failed(..) | Input::InitExited(_) | Input::Limited(_) => {
            Err(OutOfTurn)
        }
    }
}

/// Cleanup must not overtake a prepare in flight: the wish is noted and acted on when it settles.
fn preparing(wish: Wish, input: Input) -> Decision {
    match input {
        Input::Done(Step::Prepare) => match wish {
            Wish::Run => begin(Lifecycle::Forking(Wish::Run), Step::Fork).ok(),
            Wish::End(ending) => undo(Step::Cleanup, ending).ok(),
        },
        Input::Failed(Step::Prepare, failure) => undo(Step::Cleanup, wish.ended_by(failure)).ok(),
        Input::Stop(why) | Input::Destroy(why) => stay(Lifecycle::Preparing(wish.or_wanted(why))),
        Input::Done(_) | Input::Failed(..) | Input::InitExited(_) | Input::Limited(_) => {
            Err(OutOfTurn)
        }
    }
}

/// A fork that failed may have left a process behind; killing what is not there costs nothing.
fn forking(wish: Wish, input: Input) -> Decision {
    match input {
        Input::Done(Step::Fork) => match wish {
            Wish::Run => begin(Lifecycle::Isolating(Wish::Run), Step::Isolate).ok(),
            Wish::End(ending) => undo(Step::Kill, ending).ok(),
        },
        Input::Failed(Step::Fork, failure) => undo(Step::Kill, wish.ended_by(failure)).ok(),
        Input::Stop(why) | Input::Destroy(why) => stay(Lifecycle::Forking(wish.or_wanted(why))),
        Input::Done(_) | Input::Failed(..) | Input::InitExited(_) | Input::Limited(_) => {
            Err(OutOfTurn)
        }
    }
}

/// Isolators hold the blocked init; it may die under their hands.
fn isolating(wish: Wish, input: Input) -> Decision {
    match input {
        Input::Done(Step::Isolate) => match wish {
            Wish::Run => begin(Lifecycle::Fetching(Wish::Run), Step::Fetch).ok(),
            Wish::End(ending) => undo(Step::Kill, ending).ok(),
        },
        Input::Failed(Step::Isolate, failure) => undo(Step::Kill, wish.ended_by(failure)).ok(),
        Input::InitExited(status) => {
            stay(Lifecycle::Isolating(wish.or_died(status, Step::Isolate)))
        }
        Input::Stop(why) | Input::Destroy(why) => stay(Lifecycle::Isolating(wish.or_wanted(why))),
        Input::Limited(limitation) => {
            let wish = wish.or_limited(&limitation);
            with(Lifecycle::Isolating(wish), Effect::NoteLimit(limitation))
        }
        Input::Done(_) | Input::Failed(..) => Err(OutOfTurn),
    }
}

/// A fetch in flight is stopped, and settles before the sandbox may go.
fn fetching(wish: Wish, input: Input) -> Decision {
    let discard = |wish| with(Lifecycle::Fetching(wish), Effect::Discard(Step::Fetch));
    match input {
        Input::Done(Step::Fetch) => match wish {
            Wish::Run => begin(Lifecycle::Starting(None), Step::Start).ok(),
            Wish::End(ending) => undo(Step::Kill, ending).ok(),
        },
        Input::Failed(Step::Fetch, failure) => undo(Step::Kill, wish.ended_by(failure)).ok(),
        Input::InitExited(status) => match wish {
            Wish::Run => discard(Wish::Run.or_died(status, Step::Fetch)),
            Wish::End(_) => stay(Lifecycle::Fetching(wish.or_died(status, Step::Fetch))),
        },
        Input::Stop(why) | Input::Destroy(why) => match wish {
            Wish::Run => discard(Wish::wanted(why)),
            Wish::End(_) => stay(Lifecycle::Fetching(wish)),
        },
        Input::Limited(limitation) => {
            let ends = wish == Wish::Run && must_end(&limitation);
            let mut effects = vec![Effect::NoteLimit(limitation.clone())];
            effects.extend(ends.then_some(Effect::Discard(Step::Fetch)));
            Ok(Next { state: Lifecycle::Fetching(wish.or_limited(&limitation)), effects })
        }
        Input::Done(_) | Input::Failed(..) => Err(OutOfTurn),
    }
}

/// The init works on its own; killing it settles whatever it was doing. A stop waits for the report:
/// the payload may run already, and what it says can reach its owner before the init's word of it.
fn starting(stopping: Option<Why>, input: Input) -> Decision {
    match input {
        Input::Done(Step::Start) => match stopping {
            None => stay(Lifecycle::Running(None)),
            Some(why) => with(Lifecycle::Running(Some(why)), Effect::SignalStop),
        },
        Input::Failed(Step::Start, failure) => {
            undo(Step::Kill, Ending::of(Cause::Failed(failure))).ok()
        }
        // The report of the start comes before the end on the same channel, so an end without one
        // means that the init itself was killed.
        Input::InitExited(status) => {
            let Wish::End(ending) = Wish::Run.or_died(status, Step::Start) else {
                return Err(OutOfTurn);
            };
            undo(Step::Kill, ending).ok()
        }
        Input::Stop(why) => stay(Lifecycle::Starting(Some(stopping.unwrap_or(why)))),
        Input::Destroy(why) => {
            undo(Step::Kill, Ending::of(Cause::Wanted(stopping.unwrap_or(why)))).ok()
        }
        Input::Limited(limitation) if must_end(&limitation) => {
            Ok(limited(Ending::of(Cause::Limited), limitation))
        }
        Input::Limited(limitation) => {
            with(Lifecycle::Starting(stopping), Effect::NoteLimit(limitation))
        }
        Input::Done(_) | Input::Failed(..) => Err(OutOfTurn),
    }
}

/// The payload runs until it ends, is stopped, or reaches a limit.
fn running(stopping: Option<Why>, input: Input) -> Decision {
    match input {
        Input::InitExited(status) => {
            let cause = stopping.map_or(Cause::Exited, Cause::Wanted);
            undo(Step::Kill, Ending { status: Some(status), ran: true, ..Ending::of(cause) }).ok()
        }
        Input::Limited(limitation) if must_end(&limitation) => {
            Ok(limited(Ending { ran: true, ..Ending::of(Cause::Limited) }, limitation))
        }
        Input::Limited(limitation) => {
            with(Lifecycle::Running(stopping), Effect::NoteLimit(limitation))
        }
        // Every stop says its word; the first one is the cause.
        Input::Stop(why) => {
            with(Lifecycle::Running(Some(stopping.unwrap_or(why))), Effect::SignalStop)
        }
        Input::Destroy(why) => {
            let cause = Cause::Wanted(stopping.unwrap_or(why));
            undo(Step::Kill, Ending { ran: true, ..Ending::of(cause) }).ok()
        }
        Input::Done(_) | Input::Failed(..) => Err(OutOfTurn),
    }
}

/// One undo step is in flight.
fn destroying(step: Step, mut ending: Ending, input: Input) -> Decision {
    match input {
        Input::Done(done) if done == step => match step.next_undo() {
            Some(next) => undo(next, ending).ok(),
            None => stay(Lifecycle::Ended(ending)),
        },
        // Figures that cannot be read are lost, and nothing else is: the undoing goes on.
        Input::Failed(Step::Collect, _) if step == Step::Collect => {
            undo(Step::Cleanup, ending).ok()
        }
        Input::Failed(failed, failure) if failed == step => {
            stay(Lifecycle::Stuck(step, ending, failure))
        }
        Input::InitExited(status) => stay(Lifecycle::Destroying(step, ending.heard(status))),
        Input::Limited(limitation) => {
            with(Lifecycle::Destroying(step, ending), Effect::NoteLimit(limitation))
        }
        // The payload ran after all: its start was on the way when the destroy came.
        Input::Done(Step::Start) => {
            ending.ran |= !matches!(ending.cause, Cause::Failed(_));
            stay(Lifecycle::Destroying(step, ending))
        }
        // A second destroy joins the first.
        Input::Stop(_) | Input::Destroy(_) => stay(Lifecycle::Destroying(step, ending)),
        Input::Done(_) | Input::Failed(..) => Err(OutOfTurn),
    }
}

/// Waits for somebody to remove the cause and to ask again.
fn stuck(step: Step, ending: Ending, failure: Failure, input: Input) -> Decision {
    match input {
        Input::Stop(_) | Input::Destroy(_) => undo(step, ending).ok(),
        Input::InitExited(status) => stay(Lifecycle::Stuck(step, ending.heard(status), failure)),
        Input::Done(_) | Input::Failed(..) | Input::Limited(_) => Err(OutOfTurn),
    }
}

impl Next {
    fn ok(self) -> Decision {
        Ok(self)
    }
}

fn begin(state: Lifecycle, step: Step) -> Next {
    Next { state, effects: vec![Effect::Begin(step)] }
}

fn undo(step: Step, ending: Ending) -> Next {
    begin(Lifecycle::Destroying(step, ending), step)
}

fn limited(ending: Ending, limitation: Limitation) -> Next {
    let mut next = undo(Step::Kill, ending);
    next.effects.insert(0, Effect::NoteLimit(limitation));
    next
}

fn with(state: Lifecycle, effect: Effect) -> Decision {
    Ok(Next { state, effects: vec![effect] })
}

fn stay(state: Lifecycle) -> Decision {
    Ok(Next { state, effects: Vec::new() })
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
