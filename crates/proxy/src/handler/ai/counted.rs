//! An answer that counts as a call in flight until its end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// A body with what is given back when it goes.
pub(super) struct Counted {
    inner: Body,
    _in_flight: resilience::InFlight,
}

impl Counted {
    pub(super) fn new(inner: Body, in_flight: resilience::InFlight) -> Self {
        Self { inner, _in_flight: in_flight }
    }
}

impl Wrapper for Counted {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }
}

impl HttpBody for Counted {
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
