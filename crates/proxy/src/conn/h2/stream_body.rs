//! A body that arrives on an HTTP/2 stream: a client's request or an upstream's answer.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Frame, SizeHint};

use super::Upload;
use crate::{
    call::client_left,
    failure::{Failure, Problem, Side, Stage},
    timer::Timer,
    upstream::Guards,
};

/// A body that arrives on an HTTP/2 stream.
pub(crate) struct StreamBody {
    recv: RecvStream,
    side: Side,
    timer: Timer,
    idle: Duration,
    length: Option<u64>,
    /// Bytes received, shared with whoever records the call.
    received: Rc<Cell<u64>>,
    data_done: bool,
    ended: bool,
    /// The request that this answers, while it is still on its way.
    upload: Option<Box<Upload>>,
    _guards: Option<Guards>,
}

impl StreamBody {
    /// A request's body.
    pub(crate) fn request(
        recv: RecvStream,
        length: Option<u64>,
        idle: Duration,
        received: Rc<Cell<u64>>,
    ) -> Self {
        Self {
            recv,
            side: Side::Client,
            timer: Timer::new(),
            idle,
            length,
            received,
            data_done: false,
            ended: false,
            upload: None,
            _guards: None,
        }
    }

    /// An answer's body, together with what is still to be sent of the request.
    pub(crate) fn answer(
        recv: RecvStream,
        length: Option<u64>,
        idle: Duration,
        upload: Option<Box<Upload>>,
        guards: Guards,
    ) -> Self {
        let received = Rc::new(Cell::new(0));
        let body = Self::request(recv, length, idle, received);
        Self { side: Side::Upstream, upload, _guards: Some(guards), ..body }
    }

    /// Keeps the request's body flowing.
    pub(crate) fn drive_upload(&mut self, cx: &mut Context<'_>) {
        if let Some(upload) = &mut self.upload
            && upload.poll(cx).is_ready()
        {
            self.upload = None;
        }
    }

    fn broken(&self, error: &h2::Error) -> Failure {
        match self.side {
            Side::Client => client_left(Stage::Body).with_detail(error.to_string()),
            _ => Failure::upstream(Stage::Body, Problem::UpstreamReset, error),
        }
    }

    fn stalled(&self) -> Failure {
        match self.side {
            Side::Client => Failure::client(Stage::Body, Problem::RequestTimeout),
            _ => Failure::upstream(Stage::Body, Problem::UpstreamTimeout, "the answer stalled"),
        }
    }

    fn poll_wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Failure>>> {
        if !self.timer.is_armed() {
            self.timer.arm(self.idle);
        }
        ready!(self.timer.poll(cx));
        self.ended = true;
        Poll::Ready(Some(Err(self.stalled())))
    }
}

impl http_body::Body for StreamBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.drive_upload(cx);
        if self.ended {
            return Poll::Ready(None);
        }
        while !self.data_done {
            match self.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // The window opens as bytes are taken: a slow reader on the other side pushes back.
                    let _ = self.recv.flow_control().release_capacity(data.len());
                    self.timer.disarm();
                    if data.is_empty() {
                        continue;
                    }
                    self.received.set(self.received.get() + data.len() as u64);
                    if let Some(length) = &mut self.length {
                        *length = length.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    // An upstream that resets with NO_ERROR has answered and wants no more of the request
                    // (RFC 9113 §8.1).
                    if self.side == Side::Upstream && error.reason() == Some(h2::Reason::NO_ERROR) {
                        return Poll::Ready(None);
                    }
                    return Poll::Ready(Some(Err(self.broken(&error))));
                }
                Poll::Ready(None) => self.data_done = true,
                Poll::Pending => return self.poll_wait(cx),
            }
        }
        match self.recv.poll_trailers(cx) {
            Poll::Ready(Ok(Some(trailers))) => {
                self.ended = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Poll::Ready(Ok(None)) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Err(error)) => {
                self.ended = true;
                Poll::Ready(Some(Err(self.broken(&error))))
            }
            Poll::Pending => self.poll_wait(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.recv.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::new(),
        }
    }
}
