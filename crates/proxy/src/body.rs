//! Bodies: one enum over every place that a body can come from.
//!
//! The common cases are variants, so that a body costs neither a box nor a virtual call per frame; what policies
//! wrap is boxed.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    conn::{h1::RequestBody, h2::StreamBody, tunnel::Tunnel},
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
    /// No body but the other side of a switched protocol.
    Tunnel(Box<Tunnel>),
    /// Anything else: what policies wrap.
    Boxed(Box<dyn Wrapper>),
}

/// A body that does something to another.
pub(crate) trait Wrapper: HttpBody<Data = Bytes, Error = Failure> + Unpin {
    /// The body that is wrapped.
    fn inner(&mut self) -> Option<&mut Body>;

    /// The other side of a switched protocol, where this lets it be one.
    fn into_tunnel(self: Box<Self>) -> Option<Tunnel> {
        None
    }
}

impl Body {
    /// Boxes a body that a policy makes.
    pub(crate) fn boxed(body: impl Wrapper + 'static) -> Self {
        Self::Boxed(Box::new(body))
    }

    /// Whether it is known to be empty and without trailers.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            other => other.is_end_stream(),
        }
    }

    /// Keeps the request's body flowing to the upstream that this is the answer of, while nobody takes the answer.
    pub(crate) fn drive_upload(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Empty | Self::Full(_) | Self::Request(_) | Self::Tunnel(_) => {}
            Self::Answer(answer) => answer.drive_upload(cx),
            Self::Stream(stream) => stream.drive_upload(cx),
            Self::Boxed(wrapper) => {
                if let Some(inner) = wrapper.inner() {
                    inner.drive_upload(cx);
                }
            }
        }
    }

    /// How long the upstream that it is read from may be silent from now on.
    pub(crate) fn set_idle(&mut self, idle: Duration) {
        match self {
            Self::Empty | Self::Full(_) | Self::Request(_) | Self::Tunnel(_) => {}
            Self::Answer(answer) => answer.set_idle(idle),
            Self::Stream(stream) => stream.set_idle(idle),
            Self::Boxed(wrapper) => {
                if let Some(inner) = wrapper.inner() {
                    inner.set_idle(idle);
                }
            }
        }
    }

    /// The other side of a switched protocol.
    pub(crate) fn into_tunnel(self) -> Option<Tunnel> {
        match self {
            Self::Answer(answer) => answer.into_tunnel(),
            Self::Tunnel(tunnel) => Some(*tunnel),
            Self::Boxed(wrapper) => wrapper.into_tunnel(),
            _ => None,
        }
    }

    /// Whether its end is told by that of its connection alone, so that nobody knows whether it is whole.
    pub(crate) fn has_no_end(&mut self) -> bool {
        match self {
            Self::Answer(answer) => answer.ends_with_connection(),
            Self::Boxed(wrapper) => wrapper.inner().is_some_and(Self::has_no_end),
            Self::Tunnel(_) | Self::Request(_) => true,
            Self::Empty | Self::Full(_) | Self::Stream(_) => false,
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
            Self::Tunnel(_) => Poll::Ready(None),
            Self::Boxed(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Request(body) => body.is_end_stream(),
            Self::Answer(body) => body.is_end_stream(),
            Self::Stream(body) => body.is_end_stream(),
            Self::Tunnel(_) => false,
            Self::Boxed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Tunnel(_) => SizeHint::with_exact(0),
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
            Self::Tunnel(_) => "Tunnel",
            Self::Boxed(_) => "Boxed",
        })
    }
}
