//! A body that passes no faster than its pace.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use model::Paced as PacedRecord;
use resilience::pace::Pace;

use super::report::{self, Direction};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
    timer::Timer,
};

/// When a piece may pass.
pub(super) struct Clock {
    pace: Arc<Pace>,
    direction: Direction,
    counted: Arc<report::Bytes>,
    record: Arc<PacedRecord>,
    timer: Timer,
    /// Bytes that wait, and since when.
    waiting: Option<(usize, Instant)>,
}

impl Clock {
    pub(super) fn new(
        pace: Arc<Pace>,
        direction: Direction,
        counted: Arc<report::Bytes>,
        record: Arc<PacedRecord>,
    ) -> Self {
        Self { pace, direction, counted, record, timer: Timer::new(), waiting: None }
    }

    /// Bytes that pass at a time.
    pub(super) fn piece(&self) -> usize {
        self.pace.rate().piece()
    }

    /// Takes so many bytes, which then may have to wait.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.counted.passed(self.direction, bytes);
        let now = Instant::now();
        let wait = self.pace.reserve(bytes, now);
        if !wait.is_zero() {
            self.timer.arm_at(now, wait);
            self.waiting = Some((bytes, now));
        }
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Ready when what was taken may pass.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((_, since)) = self.waiting else { return Poll::Ready(()) };
        ready!(self.timer.poll(cx));
        self.waiting = None;
        self.tell(since.elapsed());
        Poll::Ready(())
    }

    fn tell(&self, waited: Duration) {
        self.counted.waited(self.direction, waited);
        match self.direction {
            Direction::Request => self.record.request_waited(waited),
            Direction::Response => self.record.response_waited(waited),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // Others who share the pace need not wait for what never passes.
        if let Some((bytes, since)) = self.waiting {
            self.pace.give_back(bytes);
            self.tell(since.elapsed());
        }
    }
}

/// A body that passes no faster than its pace.
pub(super) struct Paced {
    inner: Body,
    clock: Clock,
    /// What has been read and has not passed; the first piece of it may wait.
    left: Bytes,
    /// Length of that piece.
    piece: usize,
}

impl Paced {
    pub(super) fn new(inner: Body, clock: Clock) -> Self {
        Self { inner, clock, left: Bytes::new(), piece: 0 }
    }
}

impl Wrapper for Paced {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = self.get_mut();
        loop {
            if this.piece > 0 {
                if this.clock.poll(cx).is_pending() {
                    // The request of this answer goes on while the answer waits.
                    this.inner.drive_upload(cx);
                    return Poll::Pending;
                }
                let piece = this.left.split_to(std::mem::take(&mut this.piece).min(this.left.len()));
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if this.left.is_empty() {
                match ready!(Pin::new(&mut this.inner).poll_frame(cx)).transpose()?.map(Frame::into_data) {
                    Some(Ok(data)) => this.left = data,
                    Some(Err(trailers)) => return Poll::Ready(Some(Ok(trailers))),
                    None => return Poll::Ready(None),
                }
                if this.left.is_empty() {
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::new()))));
                }
            }
            this.piece = this.left.len().min(this.clock.piece());
            this.clock.reserve(this.piece);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, left) = (self.inner.size_hint(), self.left.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(left));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(left));
        }
        hint
    }
}
