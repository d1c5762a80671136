//! A body that is listened to on its way: a copy of it is handed over when it has come to its end, and not otherwise.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Bytes that a request counts as before it has any of a body.
pub(super) const HEAD_BYTES: u64 = 8 * 1024;

/// Memory that all copies of a policy may have together.
pub(super) struct Room {
    used: AtomicU64,
    max: u64,
}

/// Some of it.
pub(super) struct Held {
    room: Arc<Room>,
    bytes: u64,
}

impl Room {
    pub(super) fn new(max: u64) -> Self {
        Self { used: AtomicU64::new(0), max }
    }

    /// Some of it, where there is as much.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Option<Held> {
        let mut held = self.nothing();
        held.grow(bytes).then_some(held)
    }

    /// Nothing of it yet.
    pub(super) fn nothing(self: &Arc<Self>) -> Held {
        Held { room: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more; false where there is not as much.
    pub(super) fn grow(&mut self, more: u64) -> bool {
        // Of two at a time neither is refused for what the other does not get.
        let fits = |used: u64| used.checked_add(more).filter(|all| *all <= self.room.max);
        if self.room.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a request is not copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// There are as many copies on their way as there may be.
    Busy,
    /// Those that wait for their bodies hold as much as they may together.
    Memory,
    /// Its body is too large.
    TooLarge,
    /// Its body did not come whole in time.
    Slow,
    /// Its body broke off.
    Broken,
}

impl LeftOut {
    pub(super) const ALL: [Self; 5] = [Self::Busy, Self::Memory, Self::TooLarge, Self::Slow, Self::Broken];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Memory => "memory",
            Self::TooLarge => "too-large",
            Self::Slow => "slow",
            Self::Broken => "broken",
        }
    }
}

/// A body that has come to its end, with the memory that it has.
pub(super) struct Gathered {
    pub(super) bytes: Bytes,
    pub(super) held: Held,
}

/// What became of a body that was listened to; nothing is told of one that broke off.
pub(super) type Heard = Result<Gathered, LeftOut>;

/// Listens to a body, up to so many bytes.
pub(super) fn overhear(body: Body, bytes_max: usize, held: Held, whole: oneshot::Sender<Heard>) -> Body {
    let mut copying = Copying { copy: BytesMut::new(), bytes_max, going: Some((held, whole)) };
    match body {
        Body::Full(bytes) => {
            copying.whole(&bytes);
            Body::Full(bytes)
        }
        body if body.is_empty() => {
            copying.end();
            body
        }
        body if body.length().is_some_and(|length| length > bytes_max as u64) => {
            copying.give_up(LeftOut::TooLarge);
            body
        }
        Body::Tunnel(tunnel) => Body::Tunnel(tunnel),
        inner => Body::boxed(Overheard { inner, copying }),
    }
}

struct Overheard {
    inner: Body,
    copying: Copying,
}

/// What was heard so far.
struct Copying {
    copy: BytesMut,
    bytes_max: usize,
    /// Nothing once it was handed over, or given up.
    going: Option<(Held, oneshot::Sender<Heard>)>,
}

impl Copying {
    /// Whether there is room for more.
    fn grows(&mut self, more: usize) -> bool {
        let Some((held, _)) = &mut self.going else { return false };
        let why = if self.copy.len() + more > self.bytes_max {
            LeftOut::TooLarge
        } else if !held.grow(more as u64) {
            LeftOut::Memory
        } else {
            return true;
        };
        self.give_up(why);
        false
    }

    fn take(&mut self, data: &Bytes) {
        if self.grows(data.len()) {
            self.copy.extend_from_slice(data);
        }
    }

    /// A body that is there already: it is shared, not copied.
    fn whole(&mut self, bytes: &Bytes) {
        if self.grows(bytes.len())
            && let Some((held, whole)) = self.going.take()
        {
            let _ = whole.send(Ok(Gathered { bytes: bytes.clone(), held }));
        }
    }

    fn give_up(&mut self, why: LeftOut) {
        self.copy = BytesMut::new();
        if let Some((_, whole)) = self.going.take() {
            let _ = whole.send(Err(why));
        }
    }

    fn end(&mut self) {
        if let Some((held, whole)) = self.going.take() {
            let _ = whole.send(Ok(Gathered { bytes: std::mem::take(&mut self.copy).freeze(), held }));
        }
    }
}

impl Wrapper for Overheard {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }

    fn into_tunnel(self: Box<Self>) -> Option<crate::conn::tunnel::Tunnel> {
        self.inner.into_tunnel()
    }
}

impl HttpBody for Overheard {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.copying.take(data);
                }
                if frame.is_trailers() || self.inner.is_end_stream() {
                    self.copying.end();
                }
            }
            Some(Err(_)) => self.copying.give_up(LeftOut::Broken),
            None => self.copying.end(),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_has_its_memory_until_it_is_dropped_and_no_more_than_there_is() {
        let room = Arc::new(Room::new(100));
        let hear = |bytes: &'static [u8]| {
            let (whole, mut heard) = oneshot::channel();
            let held = room.take(10).expect("room for a head");
            overhear(Body::Full(Bytes::from_static(bytes)), 50, held, whole);
            heard.try_recv().expect("it is told at once")
        };
        let first = hear(&[b'a'; 50]).unwrap_or_else(|why| panic!("{why:?}"));
        assert_eq!((first.bytes.len(), first.held.bytes), (50, 60));
        assert_eq!(hear(&[b'b'; 51]).err(), Some(LeftOut::TooLarge));
        assert_eq!(hear(&[b'c'; 31]).err(), Some(LeftOut::Memory), "60 and 10 are used");
        assert_eq!(room.used.load(Ordering::Relaxed), 60, "what was given up has given back");
        drop(first);
        assert_eq!(room.used.load(Ordering::Relaxed), 0);
        assert!(room.take(101).is_none() && room.take(100).is_some());
    }
}
