//! A body that is listened to on its way: a copy of it is handed over when it has come to its end, and not otherwise.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use crate::{
    body::{Body, Wrapper},
    failure::Failure,
};

/// Listens to a body, up to so many bytes.
pub(super) fn overhear(body: Body, bytes_max: usize, whole: oneshot::Sender<Bytes>) -> Body {
    match body {
        Body::Full(bytes) => {
            if bytes.len() <= bytes_max {
                let _ = whole.send(bytes.clone());
            }
            Body::Full(bytes)
        }
        body if body.is_empty() => {
            let _ = whole.send(Bytes::new());
            body
        }
        body if body.length().is_some_and(|length| length > bytes_max as u64) => body,
        Body::Tunnel(tunnel) => Body::Tunnel(tunnel),
        inner => Body::boxed(Overheard { inner, copy: BytesMut::new(), bytes_max, whole: Some(whole) }),
    }
}

struct Overheard {
    inner: Body,
    copy: BytesMut,
    bytes_max: usize,
    /// Nothing once it was handed over, or became too large.
    whole: Option<oneshot::Sender<Bytes>>,
}

impl Overheard {
    fn take(&mut self, data: &Bytes) {
        if self.whole.is_none() {
            return;
        }
        if self.copy.len() + data.len() > self.bytes_max {
            self.whole = None;
            self.copy = BytesMut::new();
            return;
        }
        self.copy.extend_from_slice(data);
    }

    fn end(&mut self) {
        if let Some(whole) = self.whole.take() {
            let _ = whole.send(std::mem::take(&mut self.copy).freeze());
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
                    self.take(data);
                }
                if frame.is_trailers() || self.inner.is_end_stream() {
                    self.end();
                }
            }
            Some(Err(_)) => self.whole = None,
            None => self.end(),
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
