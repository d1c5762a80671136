//! A request's stream, from its client: the head, and then a body that arrives as it is taken.

use std::{
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::request::Parts;
use http_body::{Frame, SizeHint};
use http3::{Code, Error, Event, Limits, RequestDecoder};
use quinn::{ReadError, RecvStream};

use super::code;
use crate::{
    body::{Body, Wrapper},
    call::client_left,
    conn::h2::Arriving,
    failure::{Failure, Problem, Stage},
    guard,
    timer::Timer,
    worker::Plan,
};

/// Bytes that are taken from the stream at a time.
const CHUNK_BYTES_MAX: usize = 64 * 1024;

/// A request's stream as its bytes come.
pub(super) struct Incoming {
    stream: RecvStream,
    connection: quinn::Connection,
    decoder: RequestDecoder,
    /// What has come and is not read yet.
    chunk: Bytes,
    /// An event that was looked at and not taken.
    ahead: Option<Event>,
    is_whole: bool,
    is_ended: bool,
}

/// Why a stream tells no more.
pub(super) enum Broken {
    /// The client broke a rule; the stream or the connection is told.
    Rule(Error),
    /// The client has reset the stream, or the connection has ended.
    Gone(String),
}

impl Incoming {
    pub(super) fn new(stream: RecvStream, connection: quinn::Connection, section_bytes: usize) -> Self {
        let limits = Limits { section_bytes, ..Limits::default() };
        let decoder = RequestDecoder::new(limits);
        Self {
            stream,
            connection,
            decoder,
            chunk: Bytes::new(),
            ahead: None,
            is_whole: false,
            is_ended: false,
        }
    }

    /// The next event; none at the end.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Event>, Broken>> {
        if let Some(event) = self.ahead.take() {
            return Poll::Ready(Ok(Some(event)));
        }
        loop {
            match self.decoder.decode(&mut self.chunk) {
                Ok(Some(event)) => return Poll::Ready(Ok(Some(event))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(self.broken(error))),
            }
            if self.is_whole {
                self.is_ended = true;
                let ended = self.decoder.end().map_err(|error| self.broken(error));
                return Poll::Ready(ended.map(|()| None));
            }
            ready!(self.poll_more(cx))?;
        }
    }

    /// Takes more from the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let read = {
            let read = self.stream.read_chunk(CHUNK_BYTES_MAX, true);
            ready!(pin!(read).poll(cx))
        };
        match read {
            Ok(Some(chunk)) => self.chunk = chunk.bytes,
            Ok(None) => self.is_whole = true,
            Err(error) => {
                self.is_ended = true;
                return Poll::Ready(Err(Broken::Gone(match error {
                    ReadError::Reset(code) => {
                        format!("the client has reset the request ({:#x})", code.into_inner())
                    }
                    other => other.to_string(),
                })));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until a body begins, or the stream ends without one.
    pub(super) async fn look_ahead(&mut self) -> Result<(), Broken> {
        self.ahead = std::future::poll_fn(|cx| self.poll_event(cx)).await?;
        Ok(())
    }

    /// Whether there is no body, as far as has come.
    pub(super) fn is_whole(&self) -> bool {
        self.ahead.is_none() && (self.is_ended || (self.is_whole && self.chunk.is_empty()))
    }

    fn broken(&mut self, error: Error) -> Broken {
        self.is_ended = true;
        let why = match error {
            Error::Connection(why) => {
                self.connection.close(code(why), b"");
                return Broken::Rule(error);
            }
            Error::Stream(why) => why,
            Error::TooLarge => Code::EXCESSIVE_LOAD,
        };
        let _ = self.stream.stop(code(why));
        Broken::Rule(error)
    }

    /// The head, which comes first.
    pub(super) async fn head(&mut self) -> Result<Box<Parts>, Broken> {
        match std::future::poll_fn(|cx| self.poll_event(cx)).await? {
            Some(Event::Head(head)) => Ok(head),
            // The decoder lets nothing else come first.
            _ => Err(self.broken(Error::Stream(Code::REQUEST_INCOMPLETE))),
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_whole && !self.is_ended {
            // The answer does not need the rest of the request (RFC 9114 §4.1).
            let _ = self.stream.stop(code(Code::NO_ERROR));
        }
    }
}

/// A request's body.
pub(super) struct RequestBody {
    incoming: Incoming,
    timer: Timer,
    idle: Duration,
    arriving: Rc<Arriving>,
    /// The snapshot whose policies decide what trailers may not say.
    plan: Plan,
    /// Bytes that are still to come, where the head says how many.
    left: Option<u64>,
    is_ended: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, idle: Duration, arriving: Rc<Arriving>, plan: Plan) -> Self {
        let left = incoming.decoder.promised();
        Self { incoming, timer: Timer::new(), idle, arriving, plan, left, is_ended: false }
    }

    fn failure(&self, broken: Broken) -> Failure {
        match broken {
            Broken::Gone(why) => client_left(Stage::Body).with_detail(why),
            Broken::Rule(Error::TooLarge) => Failure::client(Stage::Body, Problem::HeadTooLarge)
                .with_hint("the trailers are larger than a head may be"),
            Broken::Rule(Error::Stream(_)) => Failure::client(Stage::Body, Problem::BadRequest).with_hint(
                "the body does not have the length that the head states, or its trailers are malformed",
            ),
            Broken::Rule(Error::Connection(code)) => {
                client_left(Stage::Body).with_detail(format!("the client broke the protocol ({:#x})", code.0))
            }
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        if this.is_ended {
            return Poll::Ready(None);
        }
        if let Some(interim) = this.arriving.expects.take() {
            let (mut head, ()) = http::Response::new(()).into_parts();
            head.status = http::StatusCode::CONTINUE;
            interim.send(head);
        }
        let event = match this.incoming.poll_event(cx) {
            Poll::Ready(event) => event,
            Poll::Pending => {
                if this.arriving.answering.get() {
                    return Poll::Pending;
                }
                if !this.timer.is_armed() {
                    this.timer.arm(this.idle);
                }
                ready!(this.timer.poll(cx));
                this.is_ended = true;
                return Poll::Ready(Some(Err(Failure::client(Stage::Body, Problem::RequestTimeout))));
            }
        };
        this.timer.disarm();
        match event {
            Ok(Some(Event::Data(data))) => {
                let length = data.len() as u64;
                this.arriving.received.set(this.arriving.received.get() + length);
                this.left = this.left.map(|left| left.saturating_sub(length));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Ok(Some(Event::Trailers(mut trailers))) => {
                this.left = Some(0);
                guard::clean_trailers(&mut trailers, &this.plan.protected_headers);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            // The decoder tells a head once.
            Ok(Some(Event::Head(_)) | None) => {
                this.is_ended = true;
                Poll::Ready(None)
            }
            Err(broken) => {
                this.is_ended = true;
                Poll::Ready(Some(Err(this.failure(broken))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_ended
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.is_ended => SizeHint::with_exact(0),
            None => SizeHint::new(),
        }
    }
}

impl Wrapper for RequestBody {
    fn inner(&mut self) -> Option<&mut Body> {
        None
    }
}
