//! What flows after an upgrade, no faster than its pace: a side whose bytes wait is not read.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::paced::Clock;
use crate::{
    body::{Body, Wrapper},
    conn::{
        tunnel::Tunnel,
        watched::{Onward, Side, Watch},
    },
    failure::Failure,
};

/// When nothing is due.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The agreement to switch protocols, whose tunnel is slowed.
pub(super) struct Slowed {
    inner: Body,
    ways: Option<Ways>,
}

/// Both ways of a tunnel.
struct Ways {
    forth: Way,
    back: Way,
}

/// One way.
struct Way {
    clock: Option<Clock>,
    /// What has been read and has not passed.
    left: BytesMut,
    /// Length of the piece that may wait.
    piece: usize,
}

impl Slowed {
    pub(super) fn new(inner: Body, forth: Option<Clock>, back: Option<Clock>) -> Self {
        let way = |clock| Way { clock, left: BytesMut::new(), piece: 0 };
        Self { inner, ways: Some(Ways { forth: way(forth), back: way(back) }) }
    }
}

impl Wrapper for Slowed {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }

    fn into_tunnel(self: Box<Self>) -> Option<Tunnel> {
        let Self { inner, ways } = *self;
        let mut tunnel = inner.into_tunnel()?;
        // Somebody who reads what passes carries it, too.
        if tunnel.watch.is_none() {
            tunnel.watch = ways.map(|ways| Box::new(ways) as Box<dyn Watch>);
        }
        Some(tunnel)
    }
}

impl HttpBody for Slowed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Way {
    fn take(&mut self, data: &[u8], to: &mut BytesMut) {
        match self.clock {
            None => to.extend_from_slice(data),
            Some(_) => {
                self.left.extend_from_slice(data);
                self.pass(to);
            }
        }
    }

    /// Passes on what need not wait; true when that was something.
    fn pass(&mut self, to: &mut BytesMut) -> bool {
        let Some(clock) = &mut self.clock else { return false };
        let before = self.left.len();
        loop {
            if self.piece > 0 {
                if clock.is_waiting() {
                    break;
                }
                let piece = std::mem::take(&mut self.piece).min(self.left.len());
                to.extend_from_slice(self.left.get(..piece).unwrap_or_default());
                self.left.advance(piece);
            }
            if self.left.is_empty() {
                // What was read at once may have been much.
                self.left = BytesMut::new();
                break;
            }
            self.piece = self.left.len().min(clock.piece());
            clock.reserve(self.piece);
        }
        self.left.len() < before
    }

    fn poll(&mut self, cx: &mut Context<'_>, to: &mut BytesMut) -> bool {
        let is_due = self.clock.as_mut().is_some_and(|clock| clock.is_waiting() && clock.poll(cx).is_ready());
        is_due && self.pass(to)
    }
}

impl Watch for Ways {
    fn by_client(&mut self, data: &[u8], on: &mut Onward) {
        self.forth.take(data, &mut on.to_upstream);
    }

    fn by_upstream(&mut self, data: &[u8], on: &mut Onward) {
        self.back.take(data, &mut on.to_client);
    }

    fn reads(&self, side: Side) -> bool {
        match side {
            Side::Client => self.forth.left.is_empty(),
            Side::Upstream => self.back.left.is_empty(),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, on: &mut Onward) -> Poll<()> {
        let forth = self.forth.poll(cx, &mut on.to_upstream);
        let back = self.back.poll(cx, &mut on.to_client);
        if forth || back { Poll::Ready(()) } else { Poll::Pending }
    }

    fn deadline(&self) -> Instant {
        Instant::now() + NEVER
    }

    fn time_out(&mut self, _: &mut Onward) {}
}
