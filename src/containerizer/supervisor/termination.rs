//! What the record of an ended container says. Pure.

use crate::error::ErrorKind;
use crate::model::{
    Bytes, End, Failure, Limitation, LimitedResource, Termination, Usage, WaitStatus,
};

use super::state::{Cause, Ending, Why};

/// The facts that make a record.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) ending: &'a Ending,
    /// The first limit that was noted.
    pub(crate) limitation: Option<Limitation>,
    pub(crate) usage: Usage,
    /// The memory limit that was asked for.
    pub(crate) memory: Option<Bytes>,
}

/// Tells apart how it ended.
pub(crate) fn end(facts: Facts<'_>) -> End {
    let Facts { ending, limitation, usage, memory } = facts;
    let termination = ending.ran.then(|| {
        let status = ending.status.unwrap_or(WaitStatus::KILLED);
        Termination {
            exit_code: status.exit_code(),
            signal: status.signal(),
            limitation: limitation.clone().or_else(|| out_of_memory(status, &usage, memory)),
            timed_out: ending.cause == Cause::Wanted(Why::TimedOut),
            stopped: ending.cause == Cause::Wanted(Why::Requested),
        }
    });
    let failure = if ending.ran { None } else { never_ran(ending, limitation) };
    let mut end = End::default();
    (end.termination, end.failure, end.usage) = (termination, failure, usage);
    end
}

/// The kernel's OOM killer is sometimes faster than the news of it.
fn out_of_memory(status: WaitStatus, usage: &Usage, memory: Option<Bytes>) -> Option<Limitation> {
    let killed = status.exit_code() == 137 && usage.oom_kills.is_some_and(|kills| kills > 0);
    killed.then(|| Limitation {
        resource: LimitedResource::Mem,
        limit: memory.map(|bytes| bytes.0),
        message: match memory {
            Some(bytes) => format!("killed by the memory limit of {bytes} bytes"),
            None => "killed by the kernel for lack of memory".to_owned(),
        },
    })
}

fn never_ran(ending: &Ending, limitation: Option<Limitation>) -> Option<Failure> {
    let failure =
        |kind, message: String| Some(Failure { stage: ending.stage, kind, errno: None, message });
    let withdrawn = |message: &str| failure(ErrorKind::Discarded, message.to_owned());
    match &ending.cause {
        Cause::Failed(failure) => Some(failure.clone()),
        Cause::Wanted(Why::Requested) => withdrawn("destroyed before its payload ran"),
        Cause::Wanted(Why::TimedOut) => withdrawn("timed out before its payload ran"),
        Cause::Wanted(Why::Orphaned) => withdrawn("its owner died and left it"),
        Cause::Wanted(Why::Lost) => {
            failure(ErrorKind::Internal, "its supervisor broke, and it was destroyed".to_owned())
        }
        Cause::Limited => {
            let limit = limitation.map_or_else(String::new, |l| format!(": {}", l.message));
            let message = format!("a limit was reached before its payload ran{limit}");
            failure(ErrorKind::Exhausted, message)
        }
        Cause::Exited => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Stage;

    fn ran(cause: Cause, status: i32) -> Ending {
        Ending { cause, status: Some(WaitStatus(status)), ran: true, stage: Stage::Run }
    }

    fn end_of(ending: &Ending, oom_kills: u64) -> End {
        let usage = Usage { oom_kills: Some(oom_kills), ..Usage::default() };
        end(Facts { ending, limitation: None, usage, memory: Some(Bytes::mib(32)) })
    }

    fn termination(ending: &Ending, oom_kills: u64) -> Termination {
        end_of(ending, oom_kills).termination.expect("a payload ran")
    }

    #[test]
    fn an_exit_a_signal_a_stop_and_a_timeout_are_told_apart() {
        let exited = termination(&ran(Cause::Exited, 3 << 8), 0);
        assert_eq!((exited.exit_code, exited.signal, exited.stopped), (3, None, false));
        let killed = termination(&ran(Cause::Exited, 9), 0);
        assert_eq!((killed.exit_code, killed.signal, killed.limitation), (137, Some(9), None));
        let stopped = termination(&ran(Cause::Wanted(Why::Requested), 15), 0);
        assert!(stopped.stopped && !stopped.timed_out);
        let timed_out = termination(&ran(Cause::Wanted(Why::TimedOut), 15), 0);
        assert!(timed_out.timed_out && !timed_out.stopped);
    }

    #[test]
    fn a_kill_by_the_oom_killer_is_a_limitation_though_nobody_said_so() {
        let limitation = termination(&ran(Cause::Exited, 9), 1).limitation.expect("limited");
        assert_eq!(limitation.limit, Some(32 << 20));
        assert!(limitation.message.contains("memory"));
    }

    #[test]
    fn a_payload_that_survives_the_death_of_a_child_was_not_limited_itself() {
        assert_eq!(termination(&ran(Cause::Exited, 0), 1).limitation, None);
    }

    #[test]
    fn what_never_ran_has_a_failure_and_no_termination() {
        let ending = Ending {
            cause: Cause::Wanted(Why::Requested),
            status: None,
            ran: false,
            stage: Stage::Provision,
        };
        let end = end_of(&ending, 0);
        assert_eq!(end.termination, None);
        assert_eq!(end.failure.expect("told").kind, ErrorKind::Discarded);
    }
}
