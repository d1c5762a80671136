//! The body of an HTTP/1 upstream's answer.
//!
//! It holds the connection until it ends, keeps the rest of the request flowing meanwhile, and gives the connection
//! back.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http1::{BodyDecoder, BodyEvent};

use super::{Conn, Guards};
use crate::{
    conn::tunnel::{Far, Tunnel},
    failure::{Failure, Problem, Stage},
};

/// The body of an HTTP/1 upstream's answer. Holds the connection until the end.
pub(crate) struct AnswerBody {
    pub(super) conn: Option<Box<Conn>>,
    pub(super) decoder: BodyDecoder,
    /// Longest pause between two bytes.
    pub(super) idle: Duration,
    pub(super) reusable: bool,
    pub(super) switching: bool,
    pub(super) guards: Guards,
}

impl AnswerBody {
    /// Keeps the request's body flowing while the answer's cannot.
    pub(crate) fn drive_upload(&mut self, cx: &mut Context<'_>) {
        let Some(conn) = &mut self.conn else { return };
        if conn.is_uploaded() {
            return;
        }
        let before = conn.moved;
        if let Poll::Ready(Err(_)) = conn.poll_upload(cx) {
            conn.stop_upload();
            self.reusable = false;
        }
        if conn.moved != before {
            // Bytes either way are a sign of life.
            conn.timer.disarm();
        }
    }

    /// How long the upstream may be silent from now on.
    pub(crate) fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
        if let Some(conn) = &self.conn {
            conn.timer.disarm();
        }
    }

    /// The connection, the bytes that came with the 101, and what the call holds of the upstream.
    pub(crate) fn into_tunnel(mut self) -> Option<Tunnel> {
        let conn = self.conn.take().filter(|_| self.switching)?;
        let early = conn.wire.input.borrow_mut().split().freeze();
        let guards = Box::new(std::mem::take(&mut self.guards));
        Some(Tunnel { far: Far::Wire(Box::new(conn.wire)), early, guards, held: None, watch: None })
    }

    /// Whether nothing but the end of the connection tells where it ends, so that a broken one looks whole.
    pub(crate) fn ends_with_connection(&self) -> bool {
        self.decoder.ends_with_connection()
    }

    /// The answer has ended as it should.
    fn finish(&mut self) {
        if let Some(conn) = self.conn.take()
            && self.reusable
            && conn.is_uploaded()
            && conn.wire.input.borrow().is_empty()
        {
            conn.go_home();
        }
    }
}

impl http_body::Body for AnswerBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        self.drive_upload(cx);
        let this = &mut *self;
        let Some(conn) = &mut this.conn else {
            return Poll::Ready(None);
        };
        loop {
            let event = this.decoder.decode(&mut conn.wire.input.borrow_mut());
            match event {
                Ok(BodyEvent::Data(data)) => {
                    conn.timer.disarm();
                    if this.decoder.is_done() {
                        this.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(BodyEvent::Trailers(trailers)) => {
                    // Nothing comes after them, and nobody may ask.
                    if this.decoder.is_done() {
                        this.finish();
                    }
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(BodyEvent::End) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                Ok(BodyEvent::NeedMore) => {}
                Err(error) => {
                    this.conn = None;
                    return Poll::Ready(Some(Err(Failure::upstream(
                        Stage::Body,
                        Problem::BadUpstreamAnswer,
                        error,
                    ))));
                }
            }
            if !conn.timer.is_armed() {
                conn.timer.arm(this.idle);
            }
            match conn.wire.poll_fill(cx) {
                Poll::Ready(Ok(0)) => {
                    let ended = this.decoder.finish_eof();
                    this.conn = None;
                    return match ended {
                        Ok(()) => Poll::Ready(None),
                        Err(error) => Poll::Ready(Some(Err(Failure::upstream(
                            Stage::Body,
                            Problem::UpstreamReset,
                            error,
                        )))),
                    };
                }
                Poll::Ready(Err(error)) => {
                    this.conn = None;
                    let failure = Failure::upstream(Stage::Body, Problem::UpstreamReset, error);
                    return Poll::Ready(Some(Err(failure)));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    ready!(conn.timer.poll(cx));
                    this.conn = None;
                    return Poll::Ready(Some(Err(Failure::upstream(
                        Stage::Body,
                        Problem::UpstreamTimeout,
                        "the answer stalled",
                    ))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.conn.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        if self.conn.is_none() {
            hint.set_upper(0);
            return hint;
        }
        let (low, high) = self.decoder.remaining_hint();
        if let Some(high) = high {
            hint.set_upper(high);
        }
        hint.set_lower(low);
        hint
    }
}
