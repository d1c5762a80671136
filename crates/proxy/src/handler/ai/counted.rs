//! An answer that holds something until its end: a place in flight, at a target or at a key.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, Wrapper},
    conn::tunnel::Tunnel,
    failure::Failure,
};

/// A body with what is given back when it goes.
pub(super) struct Counted<T> {
    inner: Body,
    held: T,
}

impl<T> Counted<T> {
    pub(super) fn new(inner: Body, held: T) -> Self {
        Self { inner, held }
    }
}

impl<T: Unpin + 'static> Wrapper for Counted<T> {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.inner)
    }

    /// It is held as long as the tunnel is there.
    fn into_tunnel(self: Box<Self>) -> Option<Tunnel> {
        let Self { inner, held } = *self;
        let tunnel = inner.into_tunnel()?;
        let before = tunnel.held;
        Some(Tunnel { held: Some(Box::new((before, held))), ..tunnel })
    }
}

impl<T: Unpin> HttpBody for Counted<T> {
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
