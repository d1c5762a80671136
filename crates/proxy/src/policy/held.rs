//! A body of which the beginning is held, to be looked at before anybody else gets it.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Pieces of fewer bytes are put together: each takes memory of its own, and a client may send one for every byte.
const SMALL: usize = 4 * 1024;

/// What has been read of a body.
pub(crate) struct Held {
    chunks: VecDeque<Bytes>,
    /// Small pieces that are put together.
    small: BytesMut,
    bytes: usize,
    trailers: Option<HeaderMap>,
    rest: Option<Body>,
}

impl Held {
    /// Reads a body up to a bound: to its end, or to the first piece that is over.
    pub(crate) async fn read(body: &mut Body, limit: usize) -> Result<Self, Failure> {
        let mut source = std::mem::take(body);
        let mut held = Self::new();
        while let Some(frame) = source.frame().await {
            match frame?.into_data() {
                Ok(data) => {
                    held.put(data);
                    if held.bytes > limit {
                        held.settle();
                        held.rest = Some(source);
                        return Ok(held);
                    }
                }
                Err(frame) => held.trailers = frame.into_trailers().ok(),
            }
        }
        held.settle();
        Ok(held)
    }

    fn new() -> Self {
        Self { chunks: VecDeque::new(), small: BytesMut::new(), bytes: 0, trailers: None, rest: None }
    }

    /// Adds a piece.
    fn put(&mut self, data: Bytes) {
        self.bytes += data.len();
        // Most bodies are one piece, which is kept as it is.
        let is_first = self.chunks.is_empty() && self.small.is_empty();
        if is_first || data.len() >= SMALL {
            self.settle();
            self.chunks.push_back(data);
            return;
        }
        self.small.extend_from_slice(&data);
        if self.small.len() >= SMALL {
            self.settle();
        }
    }

    /// Makes a piece of what was put together.
    fn settle(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(std::mem::take(&mut self.small).freeze());
        }
    }

    /// Whether all of it is held.
    pub(crate) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// The first bytes of it, at most so many.
    pub(crate) fn beginning(&self, limit: usize) -> Bytes {
        if let [only] = self.chunks.as_slices().0
            && self.chunks.len() == 1
        {
            return only.slice(..only.len().min(limit));
        }
        let mut all = BytesMut::with_capacity(self.bytes.min(limit));
        for chunk in &self.chunks {
            let left = limit.saturating_sub(all.len());
            all.extend_from_slice(chunk.get(..left).unwrap_or(chunk));
        }
        all.freeze()
    }

    /// The body as it was.
    pub(crate) fn into_body(mut self) -> Body {
        if self.rest.is_none() && self.trailers.is_none() && self.chunks.len() <= 1 {
            return self.chunks.pop_front().map_or(Body::Empty, Body::Full);
        }
        Body::boxed(self)
    }
}

impl Wrapper for Held {
    fn inner(&mut self) -> Option<&mut Body> {
        self.rest.as_mut()
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes = self.bytes.saturating_sub(chunk.len());
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        if let Some(rest) = &mut self.rest {
            return Pin::new(rest).poll_frame(cx);
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        let rest = self.rest.as_ref().is_none_or(HttpBody::is_end_stream);
        self.chunks.is_empty() && self.trailers.is_none() && rest
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.bytes as u64;
        let rest = self.rest.as_ref().map_or(SizeHint::with_exact(0), HttpBody::size_hint);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_byte_are_put_together_and_none_is_lost() {
        let mut held = Held::new();
        for byte in (0..=255).cycle().take(100_000) {
            held.put(Bytes::copy_from_slice(&[byte]));
        }
        held.put(Bytes::from(vec![7; 2 * SMALL]));
        held.put(Bytes::from_static(b"end"));
        held.settle();
        assert!(held.chunks.len() <= 100_000 / SMALL + 8, "{}", held.chunks.len());
        let all = held.beginning(usize::MAX);
        assert_eq!((all.len(), held.bytes), (100_000 + 2 * SMALL + 3, all.len()));
        assert!(all[..100_000].iter().zip((0..=255).cycle()).all(|(one, byte): (&u8, u8)| *one == byte));
        assert!(all.ends_with(b"end"));
    }
}
