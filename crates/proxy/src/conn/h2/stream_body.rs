//! A body that arrives on an HTTP/2 stream: a client's request or an upstream's answer.

use std::{
    cell::{Cell, RefCell},
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
    call::{Interim, client_left},
    failure::{Failure, Problem, Side, Stage},
    guard,
    timer::Timer,
    upstream::Guards,
    worker::Plan,
};

/// What is known of a request's body outside of it.
#[derive(Default)]
pub(crate) struct Arriving {
    /// Bytes received.
    pub(crate) received: Cell<u64>,
    /// The answer has begun: from then on its own idle time bounds both directions.
    pub(crate) answering: Cell<bool>,
    /// Who tells a client that waits for it that the body may come.
    pub(crate) expects: RefCell<Option<Rc<dyn Interim>>>,
}

/// A body that arrives on an HTTP/2 stream.
pub(crate) struct StreamBody {
    recv: RecvStream,
    side: Side,
    timer: Timer,
    idle: Duration,
    length: Option<u64>,
    /// Shared with whoever serves and records the call.
    arriving: Rc<Arriving>,
    /// The snapshot whose policies decide what a request's trailers may not say.
    plan: Option<Plan>,
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
        arriving: Rc<Arriving>,
        plan: Option<Plan>,
    ) -> Self {
        Self {
            recv,
            side: Side::Client,
            timer: Timer::new(),
            idle,
            length,
            arriving,
            plan,
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
        let body = Self::request(recv, length, idle, Rc::default(), None);
        Self { side: Side::Upstream, upload, _guards: Some(guards), ..body }
    }

    /// How long the upstream may be silent from now on.
    pub(crate) fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
        self.timer.disarm();
    }

    /// Keeps the request's body flowing.
    pub(crate) fn drive_upload(&mut self, cx: &mut Context<'_>) {
        let Some(upload) = &mut self.upload else { return };
        let before = upload.sent;
        let ended = upload.poll(cx).is_ready();
        if upload.sent != before {
            // Bytes either way are a sign of life.
            self.timer.disarm();
        }
        if ended {
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
        if self.arriving.answering.get() {
            return Poll::Pending;
        }
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
        if let Some(interim) = self.arriving.expects.take() {
            interim.send(continue_head());
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
                    self.arriving.received.set(self.arriving.received.get() + data.len() as u64);
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
            Poll::Ready(Ok(Some(mut trailers))) => {
                self.ended = true;
                match &self.plan {
                    Some(plan) => guard::clean_trailers(&mut trailers, &plan.protected_headers),
                    None => guard::clean_answer_trailers(&mut trailers),
                }
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

fn continue_head() -> http::response::Parts {
    let (mut head, ()) = http::Response::new(()).into_parts();
    head.status = http::StatusCode::CONTINUE;
    head
}
