//! The way of a datagram from the worker that received it to the one that it is for.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use quinn::udp::{EcnCodepoint, RecvMeta};
use tokio::sync::mpsc;

/// Datagrams on their way to a worker; more are dropped, as a full socket would.
const WAITING_MAX: usize = 1024;

/// A datagram with what the kernel told of it.
pub(super) struct Datagram {
    pub(super) meta: RecvMeta,
    pub(super) bytes: Bytes,
}

/// A worker's end for the datagrams that others receive for it.
#[derive(Debug)]
pub(super) struct Lane {
    sender: mpsc::Sender<Datagram>,
    receiver: Mutex<mpsc::Receiver<Datagram>>,
    /// Another process reads the sockets.
    is_paused: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datagram").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Lane {
    pub(super) fn new() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self {
            sender,
            receiver: Mutex::new(receiver),
            is_paused: AtomicBool::new(false),
            waker: Mutex::default(),
        }
    }

    /// Sends one on its way, if there is room.
    pub(super) fn send(&self, datagram: Datagram) {
        let _ = self.sender.try_send(datagram);
    }

    pub(super) fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Option<Datagram>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(cx)
    }

    /// Leaves the sockets to another process, or reads them again.
    pub(super) fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    }

    /// Whether another process reads the sockets; if so, wakes when that is over.
    pub(super) fn is_paused(&self, cx: &Context<'_>) -> bool {
        if !self.is_paused.load(Ordering::Acquire) {
            return false;
        }
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        self.is_paused.load(Ordering::Acquire)
    }
}

/// What an envelope says, as the kernel would have told it.
pub(super) fn unpack(envelope: &http3::steer::Envelope<'_>) -> Datagram {
    let mut meta = RecvMeta::default();
    meta.addr = envelope.from;
    meta.len = envelope.payload.len();
    meta.stride = meta.len;
    meta.ecn = EcnCodepoint::from_bits(envelope.ecn);
    meta.dst_ip = envelope.to;
    Datagram { meta, bytes: Bytes::copy_from_slice(envelope.payload) }
}
