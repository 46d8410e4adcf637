//! Programs under a deadline, with everything they wrote.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use super::process::Process;

/// More than any command of a test takes, in a guest with an emulated CPU too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// How a program ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The exit code; 128+N when a signal ended the program itself.
    pub(crate) fn code(&self) -> i32 {
        let signal = self.status.signal().map(|signal| 128 + signal);
        self.status.code().or(signal).expect("a process exits or is killed")
    }

    /// Fails, with everything that was written, unless the code is `expected`.
    #[track_caller]
    pub(crate) fn assert_code(&self, expected: i32) {
        assert_eq!(self.code(), expected, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
    }

    /// Fails unless stderr is exactly one line; returns it.
    #[track_caller]
    pub(crate) fn one_error_line(&self) -> &str {
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        assert!(!line.is_empty() && !line.contains('\n'), "not one line: {:?}", self.stderr);
        line
    }
}

/// A program that runs; ended by its drop, so that no failed test leaves it.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    output: Receiver<Chunk>,
    stdout: String,
    stderr: String,
}

/// Bytes from one of the two streams.
enum Chunk {
    Stdout(String),
    Stderr(String),
}

/// Starts `command` with stdin empty and both outputs caught.
pub(crate) fn start(command: &mut Command) -> Running {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program can be started");
    let (sender, output) = mpsc::channel();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = sender.clone();
    read_all(stdout.expect("piped"), move |text| sender.send(Chunk::Stdout(text)).is_ok());
    read_all(stderr.expect("piped"), move |text| errors.send(Chunk::Stderr(text)).is_ok());
    Running { child, output, stdout: String::new(), stderr: String::new() }
}

/// Passes on what comes until the end or until nobody listens.
fn read_all(mut from: impl Read + Send + 'static, send: impl Fn(String) -> bool + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !send(String::from_utf8_lossy(&buffer[..count]).into_owned()) {
                return;
            }
        }
    });
}

/// Runs `command` to its end within [`DEADLINE`].
pub(crate) fn finish(command: &mut Command) -> Ended {
    start(command).finish()
}

impl Running {
    /// The pid of the program.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("pids are positive and small")
    }

    /// A handle to the program, for signals.
    pub(crate) fn process(&self) -> Process {
        Process::find(self.pid()).expect("it is our child and nobody has waited for it")
    }

    /// Waits until `stdout` contains `text`; fails at the deadline or at the end of the output.
    #[track_caller]
    pub(crate) fn wait_for_output(&mut self, text: &str) {
        self.wait_until(text, |stdout| stdout.contains(text).then_some(()));
    }

    /// Waits for a whole line of stdout that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        self.wait_until(text, |stdout| {
            let mut lines = stdout.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.find(|line| line.contains(text)).map(str::to_owned)
        })
    }

    #[track_caller]
    fn wait_until<T>(&mut self, wanted: &str, seen: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = seen(&self.stdout) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(chunk) => self.take(chunk),
                Err(why) => {
                    panic!("no {wanted:?}: {why}\nout: {}\nerr: {}", self.stdout, self.stderr)
                }
            }
        }
    }

    /// What stdout has brought so far.
    pub(crate) fn stdout(&self) -> &str {
        &self.stdout
    }

    fn take(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Stdout(text) => self.stdout.push_str(&text),
            Chunk::Stderr(text) => self.stderr.push_str(&text),
        }
    }

    /// Waits for the end and for the end of both streams: whoever still holds one has leaked it.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Ended {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.take(chunk),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!(
                    "still open at the deadline\nstdout: {}\nstderr: {}",
                    self.stdout, self.stderr
                ),
            }
        }
        let status = self.child.wait().expect("it is our child");
        let (stdout, stderr) = (std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr));
        Ended { status, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when the program was waited for already, which is the rule.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
