//! Bodies: one enum over every place that a body can come from.
//!
//! The common cases are variants, so that a body costs neither a box nor a virtual call per frame; what policies
//! wrap is boxed.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    conn::{h1::RequestBody, h2::StreamBody, wire::Wire},
    failure::Failure,
    upstream::h1::AnswerBody,
};

/// A body of any origin. Belongs to one worker: it is not `Send`.
#[derive(Default)]
pub(crate) enum Body {
    /// No body at all.
    #[default]
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Read from a client's HTTP/1 connection.
    Request(RequestBody),
    /// Read from an HTTP/1 upstream's connection.
    Answer(Box<AnswerBody>),
    /// Read from an HTTP/2 stream, of either side.
    Stream(StreamBody),
    /// Anything else: what policies wrap.
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = Failure>>>),
}

impl Body {
    /// Boxes a body that a policy makes.
    pub(crate) fn boxed(body: impl HttpBody<Data = Bytes, Error = Failure> + 'static) -> Self {
        Self::Boxed(Box::pin(body))
    }

    /// Whether it is known to be empty and without trailers.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            other => other.is_end_stream(),
        }
    }

    /// The other side of a switched protocol, and the bytes that came with its agreement.
    pub(crate) fn into_tunnel(self) -> Option<(Box<Wire>, Bytes)> {
        match self {
            Self::Answer(answer) => answer.into_tunnel(),
            _ => None,
        }
    }

    /// Its length, when it is known beforehand.
    pub(crate) fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                if bytes.is_empty() { Poll::Ready(None) } else { Poll::Ready(Some(Ok(Frame::data(bytes)))) }
            }
            Self::Request(body) => Pin::new(body).poll_frame(cx),
            Self::Answer(body) => Pin::new(&mut **body).poll_frame(cx),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
            Self::Boxed(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Request(body) => body.is_end_stream(),
            Self::Answer(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Request(body) => body.size_hint(),
            Self::Answer(body) => body.size_hint(),
            Self::Stream(body) => body.size_hint(),
            Self::Boxed(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Request(_) => "Request",
            Self::Answer(_) => "Answer",
            Self::Stream(_) => "Stream",
            Self::Boxed(_) => "Boxed",
        })
    }
}
