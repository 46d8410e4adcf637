//! Packets and descriptors between processes of ours.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::Error;
use super::error::Called;

/// Two connected ends that keep packets apart, close-on-exec, both blocking.
pub(crate) fn packet_pair() -> Result<(OwnedFd, OwnedFd), Error> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .called(|| "socketpair(UNIX, SEQPACKET, CLOEXEC)".to_owned())
}

/// Bounds every wait at `fd`.
pub(crate) fn set_timeout(fd: &OwnedFd, timeout: Duration) -> Result<(), Error> {
    let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    let time = TimeVal::seconds(seconds);
    setsockopt(fd, sockopt::ReceiveTimeout, &time)
        .called(|| format!("setsockopt(RCVTIMEO, {seconds} s)"))?;
    setsockopt(fd, sockopt::SendTimeout, &time)
        .called(|| format!("setsockopt(SNDTIMEO, {seconds} s)"))
}

/// Sends one packet; a reader that is gone is an error and no signal.
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &rights[..0] } else { &rights[..] };
    let iov = [IoSlice::new(bytes)];
    sendmsg::<()>(fd.as_raw_fd(), &iov, control, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .called(|| format!("sendmsg({} bytes, {} descriptors)", bytes.len(), raw.len()))
}

/// Receives one packet and the descriptor that came with it. 0 bytes: the other end is closed.
pub(crate) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Error> {
    receive_with(fd, buffer, MsgFlags::empty())
}

/// [`receive`] that answers `EAGAIN` instead of waiting.
pub(crate) fn receive_now(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Error> {
    receive_with(fd, buffer, MsgFlags::MSG_DONTWAIT)
}

#[expect(unsafe_code, reason = "adopts the descriptors that came with a packet")]
fn receive_with(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> Result<(usize, Option<OwnedFd>), Error> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut iov = [IoSliceMut::new(buffer)];
    let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(fd.as_raw_fd(), &mut iov, Some(&mut space), flags) {
            Err(nix::errno::Errno::EINTR) => {}
            received => break received.called(|| "recvmsg()".to_owned())?,
        }
    };
    let mut received = None;
    let control = message.cmsgs().called(|| "recvmsg() control".to_owned())?;
    for item in control {
        if let ControlMessageOwned::ScmRights(fds) = item {
            for raw in fds {
                // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
                received = Some(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    Ok((message.bytes, received))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_packet_arrives_with_its_descriptor_and_the_end_is_seen() {
        let (left, right) = packet_pair().expect("socketpair");
        send(left.as_fd(), b"hello", &[left.as_fd()]).expect("send");
        let mut buffer = [0; 16];
        let (size, fd) = receive(right.as_fd(), &mut buffer).expect("receive");
        assert_eq!(&buffer[..size], b"hello");
        drop((fd.expect("a descriptor came"), left));
        assert_eq!(receive(right.as_fd(), &mut buffer).expect("end").0, 0);
        assert!(send(right.as_fd(), b"x", &[]).is_err(), "nobody reads");
    }
}
