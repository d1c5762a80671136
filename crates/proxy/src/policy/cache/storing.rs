//! An answer's body on its way to the client, of which a copy is made to be kept. It is kept when it has come to its
//! end, and not otherwise.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Kept,
    entry::{Selecting, Stored},
    flights::Leader,
    freshness::{Clock, Terms},
    key::Key,
    store::Room,
    tiers::Epochs,
};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// An answer that is to be kept once its body is whole.
pub(super) struct Pending {
    pub(super) kept: Arc<Kept>,
    pub(super) key: Key,
    pub(super) epoch: Epochs,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) terms: Terms,
    pub(super) clock: Clock,
    pub(super) selecting: Vec<Selecting>,
    pub(super) bytes_max: usize,
    /// Others wait for this answer.
    pub(super) leader: Option<Leader>,
}

impl Pending {
    /// Keeps it with its whole body.
    pub(super) fn keep(self, body: Bytes) {
        let mut headers = self.headers;
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        headers.remove(header::TRAILER);
        let stored = Stored::new(self.status, headers, body, self.terms, self.clock, self.selecting);
        self.kept.tiers.put(&self.key, Arc::new(stored), None, self.epoch);
        // Only now may the others look.
        drop(self.leader);
    }
}

/// A body of which a copy is made as its client reads it. Nobody else waits for it.
pub(super) struct Storing {
    inner: Body,
    pending: Option<Pending>,
    copy: Vec<u8>,
    /// What the copy takes counts among what is kept.
    room: Room,
    /// The length that was announced, at most what is kept.
    known: Option<usize>,
}

/// A copy begins with so much; what a head announces is not believed before it comes.
const COPY_BYTES: usize = 16 * 1024;

impl Storing {
    pub(super) fn new(inner: Body, pending: Pending) -> Self {
        let known = inner.length().and_then(|length| usize::try_from(length).ok());
        let room = Room::none(&pending.kept);
        Self { inner, pending: Some(pending), copy: Vec::new(), room, known }
    }

    fn take(&mut self, data: &Bytes) {
        let Some(pending) = &self.pending else { return };
        let length = self.copy.len() + data.len();
        if length > pending.bytes_max {
            pending.kept.tiers.pass(&pending.key);
            self.forget();
            return;
        }
        if length > self.copy.capacity() {
            let doubled = (2 * self.copy.capacity()).max(COPY_BYTES).min(pending.bytes_max);
            let wanted = self.known.map_or(doubled, |known| doubled.min(known)).max(length);
            if !self.room.grow(wanted - self.room.bytes()) {
                self.forget();
                return;
            }
            self.copy.reserve_exact(wanted - self.copy.len());
        }
        self.copy.extend_from_slice(data);
    }

    fn forget(&mut self) {
        self.pending = None;
        self.copy = Vec::new();
        self.room.give_back();
    }

    fn keep(&mut self) {
        if let Some(pending) = self.pending.take() {
            let mut copy = std::mem::take(&mut self.copy);
            // A buffer that grew may be twice as large as what is in it.
            copy.shrink_to_fit();
            self.room.give_back();
            pending.keep(Bytes::from(copy));
        }
    }
}

impl Wrapper for Storing {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Storing {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.take(data);
                }
                // Whoever is told that this was all asks no further.
                if self.inner.is_end_stream() || frame.is_trailers() {
                    self.keep();
                }
            }
            Poll::Ready(None) => self.keep(),
            Poll::Ready(Some(Err(_))) => self.forget(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The clock of an answer that came just now.
pub(super) fn clock(terms: &Terms, sent: Instant) -> Clock {
    Clock::new(terms.age, sent, Instant::now())
}
