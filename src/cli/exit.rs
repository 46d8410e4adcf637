//! Ends as exit codes, and errors as one line.

use std::process::ExitCode;

use longshore::error::{self, Error, ErrorKind, Stage};
use longshore::model::{End, Failure};

/// It took longer than `--timeout`.
const TIMED_OUT: u8 = 124;
/// Longshore failed before exec; bad usage.
pub(crate) const NOT_STARTED: u8 = 125;
/// Found, but not executable.
const NOT_EXECUTABLE: u8 = 126;
/// The program, or its interpreter, is not there.
const NOT_FOUND: u8 = 127;
/// Other commands: it failed.
const FAILED: u8 = 1;
/// Other commands: there is no such image.
const UNKNOWN: u8 = 4;

/// Why the program ends with another code than 0, and what it says on stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) code: u8,
    /// Without the program's name; nothing where the payload has said it all.
    pub(crate) line: Option<String>,
}

impl Complaint {
    /// What the user wrote cannot be meant.
    pub(crate) fn usage(message: impl std::fmt::Display) -> Self {
        Self::new(NOT_STARTED, format!("{}: {message}", Stage::Configure))
    }

    /// An error before there was a container.
    pub(crate) fn not_started(error: &Error) -> Self {
        Self::new(NOT_STARTED, error)
    }

    /// An error of a command that starts no container.
    pub(crate) fn failed(error: &Error) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => UNKNOWN,
            ErrorKind::InvalidRequest => NOT_STARTED,
            _ => FAILED,
        };
        Self::new(code, error)
    }

    /// Output of ours that could not be written.
    pub(crate) fn write_failed(error: &std::io::Error) -> Self {
        Self::new(FAILED, format!("stdout: {error}"))
    }

    fn new(code: u8, message: impl std::fmt::Display) -> Self {
        // Whatever a remote or a file name put into it: one line.
        let line = message.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        let line = error::plain(&line);
        Self { code, line: Some(line) }
    }

    /// Prints the line; the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if let Some(line) = &self.line {
            anstream::eprintln!("longshore: {line}");
        }
        ExitCode::from(self.code)
    }
}

/// What `run` says and ends with.
pub(crate) fn of_end(end: &End) -> Complaint {
    if !end.remaining.is_empty() {
        let code = payload_code(end).unwrap_or(NOT_STARTED);
        let cause = end.failure.as_ref().map_or("stuck", |failure| &failure.message);
        let cause = if end.remaining.iter().any(|left| left == cause) { "stuck" } else { cause };
        let remaining = end.remaining.join(", ");
        let line = format!("{}: {cause}; remaining: {remaining}", Stage::Destroy);
        return Complaint::new(code, line);
    }
    let Some(termination) = &end.termination else { return of_failure(end.failure.as_ref()) };
    if termination.timed_out {
        return Complaint::new(TIMED_OUT, format!("{}: the container timed out", Stage::Run));
    }
    let code = payload_code(end).unwrap_or(NOT_STARTED);
    match &termination.limitation {
        Some(limitation) => {
            let message = &limitation.message;
            let survived = match termination.ended_by_limit() {
                Some(_) => "",
                None => "; the payload went on",
            };
            Complaint::new(code, format!("{}: {message}{survived}", Stage::Run))
        }
        None => Complaint { code, line: None },
    }
}

/// A signal came before there was a payload that it could end.
pub(crate) fn interrupted(signal: i32, name: &str) -> Complaint {
    let code = u8::try_from(128 + signal).unwrap_or(NOT_STARTED);
    Complaint::new(code, format!("{}: stopped by {name} before the payload ran", Stage::Run))
}

/// A signal came while an image was fetched.
pub(crate) fn withdrawn(signal: i32, name: &str) -> Complaint {
    let code = u8::try_from(128 + signal).unwrap_or(NOT_STARTED);
    Complaint::new(code, format!("{}: the pull was withdrawn by {name}", Stage::Provision))
}

fn payload_code(end: &End) -> Option<u8> {
    let termination = end.termination.as_ref()?;
    u8::try_from(termination.exit_code).ok()
}

/// The payload never ran.
fn of_failure(failure: Option<&Failure>) -> Complaint {
    let Some(failure) = failure else {
        return Complaint::new(NOT_STARTED, "destroy: the container ended before it ran");
    };
    let code = match (failure.stage, failure.errno.as_deref()) {
        (Stage::Exec, Some("ENOENT" | "ENOTDIR")) => NOT_FOUND,
        (Stage::Exec, _) => NOT_EXECUTABLE,
        (_, _) => NOT_STARTED,
    };
    Complaint::new(code, Error::from(failure.clone()))
}

#[cfg(test)]
mod tests {
    use longshore::model::{Limitation, LimitedResource, Termination, WaitStatus};

    use super::*;

    fn ended(termination: Termination) -> Complaint {
        let mut end = End::default();
        end.termination = Some(termination);
        of_end(&end)
    }

    fn exited(exit_code: i32, signal: Option<i32>) -> Termination {
        Termination::new(WaitStatus(signal.unwrap_or(exit_code << 8)))
    }

    fn failed(stage: Stage, errno: Option<&str>) -> Complaint {
        let mut end = End::default();
        let message = "exec /x:\nno such file";
        let mut failure = Failure::new(stage, ErrorKind::InvalidRequest, message);
        failure.errno = errno.map(str::to_owned);
        end.failure = Some(failure);
        of_end(&end)
    }

    #[test]
    fn the_payloads_code_is_ours_and_nothing_is_said() {
        for code in [0, 1, 42, 255] {
            let complaint = ended(exited(code, None));
            assert_eq!(i32::from(complaint.code), code);
            assert_eq!(complaint.line, None);
        }
        assert_eq!(ended(exited(143, Some(15))).code, 143);
    }

    #[test]
    fn a_timeout_is_124_whatever_the_payload_said() {
        let mut termination = exited(0, None);
        termination.timed_out = true;
        let complaint = ended(termination);
        assert_eq!(complaint.code, 124);
    }

    #[test]
    fn a_limit_is_named() {
        let message = "memory limit of 1 byte reached";
        let mut termination = exited(137, Some(9));
        termination.limitation = Some(Limitation::new(LimitedResource::Mem, Some(1), message));
        let complaint = ended(termination);
        assert_eq!(complaint.code, 137);
        assert_eq!(complaint.line.as_deref(), Some("run: memory limit of 1 byte reached"));
    }

    #[test]
    fn what_cannot_be_executed_is_126_what_is_not_there_127_and_the_rest_125() {
        for (stage, errno, code) in [
            (Stage::Exec, Some("ENOENT"), 127),
            (Stage::Exec, Some("ENOTDIR"), 127),
            (Stage::Exec, Some("EACCES"), 126),
            (Stage::Exec, Some("ENOEXEC"), 126),
            (Stage::Exec, Some("EISDIR"), 126),
            (Stage::Start, Some("ENOENT"), 125),
            (Stage::Provision, None, 125),
            (Stage::Prepare, Some("EACCES"), 125),
        ] {
            let complaint = failed(stage, errno);
            assert_eq!(complaint.code, code, "{stage} {errno:?}");
            assert!(complaint.line.is_some_and(|line| !line.contains('\n')));
        }
    }

    #[test]
    fn a_stuck_container_has_the_payloads_code_and_names_what_remains() {
        let mut end = End::default();
        end.termination = Some(exited(3, None));
        end.remaining = vec!["cgroup /sys/fs/cgroup/pids/x".to_owned()];
        let complaint = of_end(&end);
        assert_eq!(complaint.code, 3);
        assert!(complaint.line.is_some_and(|line| line.contains("cgroup /sys/fs/cgroup/pids/x")));
        let message = end.remaining[0].clone();
        end.failure = Some(Failure::new(Stage::Destroy, ErrorKind::Host, message));
        let line = of_end(&end).line.expect("something remains");
        assert_eq!(line, "destroy: stuck; remaining: cgroup /sys/fs/cgroup/pids/x", "said once");
    }
}
