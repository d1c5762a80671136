//! `timeouts.total` and `grpc-timeout`: bound a whole exchange, the answer's body included.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    body::{Body, Wrapper},
    failure::{Failure, Problem, Stage},
    timer::Timer,
};

/// A body that breaks off when the time for the whole exchange is over.
pub(super) struct Bounded {
    body: Body,
    timer: Timer,
    is_grpc: bool,
}

impl Bounded {
    /// Bounds what is left of an exchange.
    pub(super) fn new(body: Body, left: Duration, is_grpc: bool) -> Self {
        let timer = Timer::new();
        timer.arm(left);
        Self { body, timer, is_grpc }
    }
}

impl Wrapper for Bounded {
    fn inner(&mut self) -> Option<&mut Body> {
        Some(&mut self.body)
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.timer.is_armed() && self.timer.poll(cx).is_ready() {
            if self.is_grpc {
                // A gRPC client is told how its call ended, after what had come of it.
                self.body = Body::Empty;
                self.timer.disarm();
                return Poll::Ready(Some(Ok(Frame::trailers(deadline_exceeded()))));
            }
            let failure = Failure::upstream(
                Stage::Body,
                Problem::UpstreamTimeout,
                "the exchange took longer than `total`",
            );
            self.body = Body::Empty;
            return Poll::Ready(Some(Err(failure)));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn deadline_exceeded() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(Problem::UpstreamTimeout.grpc_status()));
    trailers.insert("grpc-message", HeaderValue::from_static("the deadline of the call has passed"));
    trailers
}
