//! The body of the request that a connection reads: bounded in time, bounded by its framing.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http1::{BodyDecoder, BodyEvent};

use super::Conn;
use crate::{
    call::client_left,
    failure::{Failure, Problem, Stage},
    guard,
    worker::Plan,
};

/// The body of the request that is being read.
pub(super) struct Incoming {
    pub(super) decoder: BodyDecoder,
    /// The client waits for `100 Continue`.
    pub(super) expects: bool,
    pub(super) received: u64,
    /// Whether it ended as it should.
    pub(super) done: bool,
    /// The answer has begun: from then on its own idle time bounds both directions.
    pub(super) answering: bool,
    /// The snapshot whose policies decide what trailers may not say; none before the first request.
    pub(super) plan: Option<Plan>,
}

impl Conn {
    pub(super) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut body = self.body.borrow_mut();
        if body.done {
            return Poll::Ready(None);
        }
        if body.expects {
            body.expects = false;
            let mut interim = self.interim.borrow_mut();
            http1::encode_continue(&mut interim);
        }
        self.push_interim(cx);
        loop {
            let event = body.decoder.decode(&mut self.wire.input.borrow_mut());
            match event {
                Ok(BodyEvent::Data(data)) => {
                    body.received += data.len() as u64;
                    self.timer.disarm();
                    if body.decoder.is_done() {
                        body.done = true;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(BodyEvent::Trailers(mut trailers)) => {
                    let plan = body.plan.as_ref();
                    guard::clean_trailers(&mut trailers, plan.map_or(&[], |plan| &plan.protected_headers));
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(BodyEvent::End) => {
                    body.done = true;
                    self.timer.disarm();
                    return Poll::Ready(None);
                }
                Ok(BodyEvent::NeedMore) => {}
                Err(error) => {
                    let failure =
                        Failure::client(Stage::Body, Problem::BadRequest).with_hint(error.to_string());
                    return Poll::Ready(Some(Err(failure)));
                }
            }
            if !self.timer.is_armed() && !body.answering {
                self.timer.arm(self.body_timeout);
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    return Poll::Ready(Some(Err(client_left(Stage::Body))));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if body.answering {
                        return Poll::Pending;
                    }
                    ready!(self.timer.poll(cx));
                    let failure = Failure::client(Stage::Body, Problem::RequestTimeout);
                    return Poll::Ready(Some(Err(failure)));
                }
            }
        }
    }
}

/// The body of a request on an HTTP/1 connection: a handle, for the connection itself keeps the state.
pub(crate) struct RequestBody(pub(super) Rc<Conn>);

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.0.poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.borrow().done
    }

    fn size_hint(&self) -> SizeHint {
        let (low, high) = self.0.body.borrow().decoder.remaining_hint();
        let mut hint = SizeHint::new();
        if let Some(high) = high {
            hint.set_upper(high);
        }
        hint.set_lower(low);
        hint
    }
}
