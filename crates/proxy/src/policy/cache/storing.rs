//! An answer's body on its way to the client, of which a copy is made to be kept. It is kept when it has come to its
//! end, and not otherwise.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Kept,
    entry::{Selecting, Stored},
    flights::Leader,
    freshness::{Clock, Terms},
    key::Key,
    store::Epoch,
};
use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// An answer that is to be kept once its body is whole.
pub(super) struct Pending {
    pub(super) kept: Arc<Kept>,
    pub(super) key: Key,
    pub(super) epoch: Epoch,
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
        self.kept.memory.put(&self.key, Arc::new(stored), self.epoch);
        // Only now may the others look.
        drop(self.leader);
    }
}

/// A body of which a copy is made.
pub(super) struct Storing {
    inner: Body,
    pending: Option<Pending>,
    copy: BytesMut,
}

impl Storing {
    pub(super) fn new(inner: Body, pending: Pending) -> Self {
        let known = inner.length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let copy = BytesMut::with_capacity(known.min(pending.bytes_max));
        Self { inner, pending: Some(pending), copy }
    }

    fn take(&mut self, data: &Bytes) {
        let Some(pending) = &self.pending else { return };
        if self.copy.len() + data.len() > pending.bytes_max {
            pending.kept.memory.pass(&pending.key);
            self.forget();
            return;
        }
        self.copy.extend_from_slice(data);
    }

    fn forget(&mut self) {
        self.pending = None;
        self.copy = BytesMut::new();
    }

    fn keep(&mut self) {
        if let Some(pending) = self.pending.take() {
            // A buffer that grew may be twice as large as what is in it.
            let copy = std::mem::take(&mut self.copy);
            let is_exact = copy.capacity() <= copy.len() + copy.len() / 8;
            let body = if is_exact { copy.freeze() } else { Bytes::copy_from_slice(&copy) };
            pending.keep(body);
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
