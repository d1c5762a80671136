//! Packets between two processes on one machine: a JSON document, and the sockets that go with it.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Serialize, de::DeserializeOwned};

/// Sockets in one packet; the kernel takes up to 253.
pub(super) const SOCKETS_MAX: usize = 64;
/// Bytes of one packet.
const PACKET_BYTES_MAX: usize = 64 * 1024;
const SPACE: usize = rustix::cmsg_space!(ScmRights(SOCKETS_MAX));

/// Sends one packet.
pub(super) fn send(to: impl AsFd, message: &impl Serialize, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if text.len() > PACKET_BYTES_MAX
        || !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets))
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the packet is too large"));
    }
    rustix::net::sendmsg(to, &[IoSlice::new(&text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one packet; an end of the connection is an error.
pub(super) fn receive<M: DeserializeOwned>(from: impl AsFd) -> io::Result<(M, Vec<OwnedFd>)> {
    let mut text = vec![0; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds);
        }
    }
    if received.bytes == 0 {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the other process has closed the connection",
        ));
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the packet is too large"));
    }
    Ok((serde_json::from_slice(&text[..received.bytes])?, sockets))
}
