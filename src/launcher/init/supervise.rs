//! Waiting: for the release, then for the payload; and telling how it ended.

use crate::ops::{REPORT_ENDED, REPORT_FAILED, REPORT_STARTED, Report, SAY_KILL, SAY_RELEASE};
use crate::payload::Failure;
use crate::sys::{self, Errno, Poll, SIGCHLD, SIGKILL};
use crate::sys_children::{self, Reaped};
use crate::tree;

/// What the init keeps for its whole life.
#[derive(Clone, Copy)]
pub struct Channel {
    /// Release in, reports out.
    pub agent: i32,
    /// Where the raw status goes; open since before the barrier.
    pub status: i32,
    /// Every signal, read instead of handled.
    pub signals: i32,
    /// Ends every process of the container when a 1 is written; -1 where there is none, or where
    /// the end of this process does it.
    pub kill: i32,
    /// The payload dies with the agent.
    pub with_agent: bool,
    /// What the payload has left ends before this process does.
    pub ends_tree: bool,
}

impl Channel {
    /// Tells the agent; an agent that is gone is none of our business.
    fn report(&self, report: Report) {
        let (k, o) = (report.kind.to_ne_bytes(), report.op.to_ne_bytes());
        let (e, s) = (report.errno.to_ne_bytes(), report.status.to_ne_bytes());
        let bytes = [
            k[0], k[1], k[2], k[3], o[0], o[1], o[2], o[3], e[0], e[1], e[2], e[3], s[0], s[1],
            s[2], s[3],
        ];
        let _ = sys::send(self.agent, &bytes);
    }

    fn started(&self) {
        self.report(Report { kind: REPORT_STARTED, op: 0, errno: 0, status: 0 });
    }

    /// Operation `op` failed: says so, writes the status of an exit with 1, and ends.
    pub fn fail(&self, op: u32, errno: Errno) -> ! {
        self.fail_with(op, errno, 0)
    }

    /// Operation `op` failed because the command that it ran ended with `status`.
    pub fn fail_with(&self, op: u32, errno: Errno, status: i32) -> ! {
        const EXIT_1: i32 = 1 << 8;
        self.write_status(EXIT_1);
        self.report(Report { kind: REPORT_FAILED, op, errno, status });
        self.end_the_rest();
        sys::exit(1)
    }

    /// Where nobody is left to destroy what was started in the container. This ends us as well.
    fn end_the_rest(&self) {
        if self.agent < 0 && self.with_agent {
            let _ = sys::write(self.kill, b"1");
        }
        if self.ends_tree {
            tree::end_descendants(self.signals);
        }
    }

    /// The payload ended, or a signal ended the init before there was one.
    fn end(&self, status: i32) -> ! {
        self.write_status(status);
        self.report(Report { kind: REPORT_ENDED, op: 0, errno: 0, status });
        self.end_the_rest();
        // For the one who has nothing but this process' own end to read: as a shell would say it.
        sys::exit(if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) })
    }

    /// The raw status as decimal text, in one write.
    fn write_status(&self, status: i32) {
        let mut digits = [0_u8; 12];
        let mut at = digits.len();
        let mut rest = status as u32;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let _ = sys::write(self.status, &digits[at..]);
    }

    /// The barrier. End-of-file means that nothing shall run.
    pub fn wait_for_release(&self) {
        loop {
            let mut fds = [Poll::readable(self.signals), Poll::readable(self.agent)];
            if sys::poll(&mut fds).is_err() {
                sys::exit(1);
            }
            if fds[0].ready != 0 {
                if let Some(signal) = next_signal(self.signals) {
                    self.end(signal);
                }
            }
            if fds[1].ready != 0 {
                let mut byte = [0_u8; 1];
                match sys::receive_now(self.agent, &mut byte) {
                    Ok(1) if byte[0] == SAY_RELEASE => return,
                    Ok(1) => self.end(SIGKILL),
                    Ok(_) => sys::exit(0),
                    Err(sys::EAGAIN | sys::EINTR) => {}
                    Err(_) => sys::exit(0),
                }
            }
        }
    }
}

impl Channel {
    /// Waits for a command that runs before the payload: its raw status. A signal ends it and us, as
    /// before the release; the end of the agent is what it is for a payload.
    pub fn wait_for_command(&mut self, command: i32) -> i32 {
        loop {
            let mut fds = [Poll::readable(self.signals), Poll::readable(self.agent)];
            if sys::poll(&mut fds).is_err() {
                sys::kill(command, SIGKILL);
            }
            if fds[0].ready != 0 {
                if let Some(signal) = next_signal(self.signals) {
                    sys::kill(command, SIGKILL);
                    self.end(signal);
                }
                while let Reaped::Child(pid, status) = sys_children::reap() {
                    if pid == command {
                        return status;
                    }
                }
            }
            if fds[1].ready != 0 {
                self.hear_agent(command);
            }
        }
    }
}

/// The next signal that is not SIGCHLD; `None` when there is none.
pub fn next_signal(signals: i32) -> Option<i32> {
    loop {
        // struct signalfd_siginfo: 128 bytes, the signal's number first.
        let mut info = [0_u8; 128];
        match sys::read(signals, &mut info) {
            Ok(128) => {
                let signal = i32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
                if signal != SIGCHLD {
                    return Some(signal);
                }
            }
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Waits for `payload`. `errors` is the payload's word about its start: closed empty, it runs.
pub fn run(mut channel: Channel, payload: i32, errors: i32) -> ! {
    sys::forget_deeper_stack();
    let mut starting = Starting { errors, failure: None };
    loop {
        let mut fds = [
            Poll::readable(channel.signals),
            Poll::readable(channel.agent),
            Poll::readable(starting.errors),
        ];
        if sys::poll(&mut fds).is_err() {
            sys::kill(payload, SIGKILL);
        }
        if fds[2].ready != 0 {
            starting.read(&channel);
        }
        if fds[0].ready != 0 {
            while let Some(signal) = next_signal(channel.signals) {
                sys::kill(payload, signal);
            }
            // Whatever woke us: SIGCHLD tells of one of perhaps many.
            while let Reaped::Child(pid, status) = sys_children::reap() {
                if pid == payload {
                    starting.finish(&channel);
                    channel.end(status);
                }
            }
        }
        if fds[1].ready != 0 {
            channel.hear_agent(payload);
        }
    }
}

impl Channel {
    /// After the release the agent has one word left; what else is readable is its end.
    fn hear_agent(&mut self, payload: i32) {
        let mut byte = [0_u8; 8];
        match sys::receive_now(self.agent, &mut byte) {
            Err(sys::EAGAIN | sys::EINTR) => return,
            Ok(count) if count > 0 => {
                if byte[..count].contains(&SAY_KILL) {
                    sys::kill(payload, SIGKILL);
                }
                return;
            }
            Ok(_) | Err(_) => {}
        }
        sys::close(self.agent);
        self.agent = -1;
        if self.with_agent {
            sys::kill(payload, SIGKILL);
        }
    }
}

/// The payload before exec.
struct Starting {
    /// Readable when it failed, or when exec has closed the other end; -1 after that.
    errors: i32,
    failure: Option<Failure>,
}

impl Starting {
    fn read(&mut self, channel: &Channel) {
        let mut bytes = [0_u8; 8];
        let read = sys::read(self.errors, &mut bytes);
        // Closed before the agent is told, so that who hears of the start finds us with what we keep.
        sys::close(self.errors);
        self.errors = -1;
        match read {
            Ok(8) => self.failure = Some(Failure::decode(bytes)),
            Ok(_) | Err(_) => channel.started(),
        }
    }

    /// The payload's process is gone: if it never got to its program, that is the end.
    fn finish(&mut self, channel: &Channel) {
        if self.errors >= 0 {
            self.read(channel);
        }
        if let Some(failure) = self.failure {
            channel.fail(failure.op, failure.errno);
        }
    }
}
