//! Ending what the payload has left behind, where neither a PID namespace nor a cgroup does.
//!
//! This process is the subreaper of all of them: whoever loses its parent becomes its child, so
//! killing its children until it has none ends every process of the container, wherever it has gone.

use crate::supervise;
use crate::sys::{self, Poll, SIGKILL};
use crate::sys_children::{self, Reaped};

/// Kills and reaps until no descendant is left.
///
/// A pass kills the children there are. The death of each is told by a signal, and only after it
/// are its own children ours: then comes the next pass. A child that may not be killed (a program
/// of another user) is waited for. Without /proc the children cannot be named: then it ends here,
/// and whoever destroys the container looks for them.
pub fn end_descendants(signals: i32) {
    loop {
        while supervise::next_signal(signals).is_some() {}
        let killed = kill_children();
        loop {
            match sys_children::reap() {
                Reaped::Child(..) => {}
                Reaped::NoneReady => break,
                Reaped::NoneLeft => return,
            }
        }
        if killed.is_err() || sys::poll(&mut [Poll::readable(signals)]).is_err() {
            return;
        }
    }
}

/// proc_tid_children(5): decimal numbers, each followed by a blank. It may leave some out while they
/// come and go; the next pass has them.
fn kill_children() -> sys::Result<()> {
    let file = sys::open_at(sys::AT_FDCWD, c"/proc/thread-self/children", sys::O_CLOEXEC, 0)?;
    let mut pid = 0_i32;
    let done = loop {
        let mut bytes = [0_u8; 512];
        let count = match sys::read(file, &mut bytes) {
            Ok(0) => break Ok(()),
            Ok(count) => count,
            Err(errno) => break Err(errno),
        };
        for byte in &bytes[..count] {
            match byte {
                b'0'..=b'9' => pid = pid.wrapping_mul(10).wrapping_add(i32::from(byte - b'0')),
                _ => {
                    // Never 0 or less: that would be a group, or everybody.
                    if pid > 0 {
                        sys::kill(pid, SIGKILL);
                    }
                    pid = 0;
                }
            }
        }
    };
    sys::close(file);
    done
}
