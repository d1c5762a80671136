//! What flows after an upgrade, no faster than its pace: a side whose bytes wait is not read.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};

use super::paced::Clock;
use crate::conn::watched::{Onward, Side, Watch};

/// When nothing is due.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Both ways of a tunnel.
pub(super) struct Ways {
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

impl Ways {
    pub(super) fn new(forth: Option<Clock>, back: Option<Clock>) -> Self {
        let way = |clock| Way { clock, left: BytesMut::new(), piece: 0 };
        Self { forth: way(forth), back: way(back) }
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
