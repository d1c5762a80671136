//! A body of which the beginning was read already, or is somebody else's.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// A body with something before it.
pub(super) fn begun(first: impl Into<VecDeque<Bytes>>, rest: Body) -> Body {
    Body::boxed(Begun { first: first.into(), rest })
}

struct Begun {
    first: VecDeque<Bytes>,
    rest: Body,
}

impl Wrapper for Begun {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.rest)
    }
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.first.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first: usize = self.first.iter().map(Bytes::len).sum();
        match self.rest.length() {
            Some(length) => SizeHint::with_exact(length.saturating_add(first as u64)),
            None => SizeHint::default(),
        }
    }
}
